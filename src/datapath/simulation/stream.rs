//! The bytes that one socket sends to another, by their places in the stream, and the queues that
//! they pass.

use std::collections::VecDeque;
use std::ops::Range;

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Direct,
    Tcp,
}

/// Bytes that came together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Their places in the stream.
    pub bytes: Range<u64>,
    /// The sequence number of the first, if they came by TCP.
    pub first: Option<u32>,
}

impl Piece {
    pub fn size(&self) -> u32 {
        (self.bytes.end - self.bytes.start) as u32
    }

    /// Cuts bytes off at the beginning.
    pub fn cut(&mut self, bytes: u32) {
        self.bytes.start += u64::from(bytes);
        assert!(!self.bytes.is_empty(), "a segment was cut off to its end");
        self.first = self.first.map(|first| first.wrapping_add(bytes));
    }
}

/// All bytes that were ever sent to a socket.
#[derive(Clone, Default)]
pub struct Stream {
    /// How many were sent, and how many of them were read.
    written: u64,
    read: u64,
    /// Sent by TCP and not arrived.
    pub on_their_way: VecDeque<Piece>,
    /// In TCP's receive queue, the first of them read in part.
    pub received: VecDeque<Piece>,
    /// In the ingress queue.
    queue: VecDeque<Piece>,
    /// What has entered it, in that order.
    pub entered: Vec<(Way, Range<u64>)>,
}

impl Stream {
    /// Takes the next places.
    pub fn write(&mut self, size: u32) -> Range<u64> {
        let first = self.written;
        self.written += u64::from(size);
        first..self.written
    }

    /// Bytes enter the ingress queue.
    pub fn queue(&mut self, piece: Piece) {
        let next = self.queue.back().map_or(self.read, |last| last.bytes.end);
        assert_eq!(piece.bytes.start, next, "bytes have overtaken others, or come twice");
        self.entered.push((
            if piece.first.is_some() { Way::Tcp } else { Way::Direct },
            piece.bytes.clone(),
        ));
        self.queue.push_back(piece);
    }

    /// Reads at most so many bytes: of the ingress queue, and of TCP's where there are none. How
    /// many were read, and how many of them had come by TCP.
    pub fn read(&mut self, most: u64) -> (u64, u32) {
        let (mut read, mut of_tcp) = (0, 0);
        for queue in [&mut self.queue, &mut self.received] {
            while read < most
                && let Some(piece) = queue.front()
            {
                assert!(piece.bytes.contains(&self.read), "bytes are read in another order");
                let taken = (most - read).min(piece.bytes.end - self.read);
                read += taken;
                self.read += taken;
                of_tcp += if piece.first.is_some() { taken as u32 } else { 0 };
                if self.read == piece.bytes.end {
                    queue.pop_front();
                }
            }
        }
        (read, of_tcp)
    }

    pub fn is_queue_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many have come and were not read.
    pub fn unread(&self) -> u64 {
        let last = self.received.back().or(self.queue.back());
        last.map_or(0, |last| last.bytes.end - self.read)
    }

    /// Everything was read.
    pub fn is_read(&self) -> bool {
        self.read == self.written
    }
}
