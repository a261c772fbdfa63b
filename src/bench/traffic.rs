//! What the applications do: requests and answers, and long transfers. The bench and the demo send the same.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use socket2::Socket;

/// Operations between two looks at the clock.
const BATCH: u32 = 16;

/// Bytes per write of a bulk transfer.
pub const BULK_WRITE: usize = 64 * 1024;

/// How long a send or receive may take before it is an error. Nothing here takes a hundredth of it: a reader that hangs
/// is found.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sets what applications set that answer at once, and a limit to every wait.
pub fn prepare(socket: Socket) -> io::Result<Socket> {
    socket.set_tcp_nodelay(true)?;
    be_patient(&socket)?;
    Ok(socket)
}

pub(super) fn be_patient(socket: &Socket) -> io::Result<()> {
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))
}

/// Sends a message one way and reads it at the other end, on one thread: what the path itself costs, without anybody
/// being woken.
pub fn pass(from: &Socket, to: &Socket, buffer: &mut [u8]) -> io::Result<()> {
    let (mut from, mut to) = (from, to);
    from.write_all(buffer)?;
    to.read_exact(buffer)
}

/// Sends a request as long as `buffer` and waits for an answer as long.
pub fn request(mut server: &Socket, buffer: &mut [u8]) -> io::Result<()> {
    server.write_all(buffer)?;
    server.read_exact(buffer)
}

/// Answers requests of `size` bytes with as many until the client has sent its last.
pub fn answer(mut client: &Socket, size: usize) -> io::Result<()> {
    let mut buffer = vec![0; size];
    loop {
        match client.read_exact(&mut buffer) {
            Ok(()) => client.write_all(&buffer)?,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Repeats `operation` for `slice`, after a tenth of it to warm up, and tells the median of its time in ns, over
/// batches: a batch that was interrupted by something else on the machine does not count.
pub fn time(slice: Duration, mut operation: impl FnMut() -> io::Result<()>) -> io::Result<f64> {
    let mut batches = |length: Duration| {
        let mut times = Vec::new();
        let start = Instant::now();
        let mut last = start;
        while last - start < length {
            for _ in 0..BATCH {
                operation()?;
            }
            let now = Instant::now();
            times.push((now - last).as_nanos() as f64 / f64::from(BATCH));
            last = now;
        }
        Ok::<_, io::Error>(times)
    };
    batches(slice / 10)?;
    let times = batches(slice)?;
    super::Quartiles::of(&times).map(|times| times.median).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// Sends for `length`, ends the sending, and waits for the receiver to tell how much arrived. Gives bytes and time
/// until then.
pub fn send_bulk(mut server: &Socket, length: Duration) -> io::Result<(u64, Duration)> {
    let data = vec![0x5a; BULK_WRITE];
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < length {
        server.write_all(&data)?;
        sent += data.len() as u64;
    }
    server.shutdown(Shutdown::Write)?;
    let mut told = [0; 8];
    server.read_exact(&mut told)?;
    let received = u64::from_be_bytes(told);
    if received != sent {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{sent} bytes were sent and {received} received"),
        ));
    }
    Ok((received, start.elapsed()))
}

/// Receives to the end, then tells the sender how many bytes there were.
pub fn receive_bulk(mut client: &Socket) -> io::Result<()> {
    let mut buffer = vec![0; BULK_WRITE];
    let mut received = 0u64;
    loop {
        match client.read(&mut buffer)? {
            0 => return client.write_all(&received.to_be_bytes()),
            length => received += length as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pair::Pair;
    use super::*;
    use std::thread;

    #[test]
    fn a_message_arrives_as_it_was_sent_and_requests_are_answered_until_the_end() {
        for pair in [Pair::tcp().expect("connect"), Pair::unix().expect("a pair")] {
            let mut buffer = b"request".to_vec();
            pass(&pair.near, &pair.far, &mut buffer).expect("pass");
            assert_eq!(buffer, b"request");
            thread::scope(|scope| {
                let server = scope.spawn(|| answer(&pair.far, 7));
                for _ in 0..3 {
                    request(&pair.near, &mut buffer).expect("an answer");
                }
                pair.near.shutdown(Shutdown::Write).expect("end");
                server.join().expect("the server").expect("a clean end");
            });
            assert_eq!(buffer, b"request");
        }
    }

    #[test]
    fn a_bulk_transfer_tells_what_arrived() {
        let pair = Pair::tcp().expect("connect");
        thread::scope(|scope| {
            let server = scope.spawn(|| receive_bulk(&pair.far));
            let (bytes, time) = send_bulk(&pair.near, Duration::from_millis(20)).expect("send");
            assert!(
                bytes > 0 && bytes % BULK_WRITE as u64 == 0 && time >= Duration::from_millis(20),
                "{bytes} {time:?}"
            );
            server.join().expect("the server").expect("a clean end");
        });
    }

    #[test]
    fn a_transfer_that_lost_bytes_is_an_error() {
        let pair = Pair::unix().expect("a pair");
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut far = &pair.far;
                far.read_exact(&mut [0; 1]).expect("a byte");
                far.write_all(&0u64.to_be_bytes()).expect("tell");
                io::copy(&mut far, &mut io::sink()).expect("read the rest");
            });
            let error = send_bulk(&pair.near, Duration::from_millis(1)).expect_err("bytes are missing");
            assert!(error.to_string().contains("0 received"), "{error}");
        });
    }

    #[test]
    fn the_time_of_an_operation_is_its_median_and_not_moved_by_what_interrupts_once() {
        let (start, mut interrupted) = (Instant::now(), false);
        let time = time(Duration::from_millis(300), || {
            let interrupt = !interrupted && start.elapsed() > Duration::from_millis(100);
            interrupted |= interrupt;
            thread::sleep(if interrupt { Duration::from_millis(160) } else { Duration::from_micros(100) });
            Ok(())
        });
        let time = time.expect("a time");
        assert!(interrupted);
        // The batch that was interrupted took 10 ms per operation.
        assert!((100_000.0..9_000_000.0).contains(&time), "{time}");
        super::time(Duration::ZERO, || Ok(())).expect_err("no time, no figure");
    }
}
