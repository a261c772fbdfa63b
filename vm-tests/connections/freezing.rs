//! Nobody waits for the other end's process (Q11).

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use testkit::isolation::isolated;
use testkit::memory_fault::{Filler, Hole};
use testkit::node::Pair;
use testkit::nonblocking::{over_tcp_and_shunt, put, take};
use testkit::path::{LOOPBACK, Path, VETH};
use testkit::traffic::wait_within;

/// How long the receiver holds its socket.
const HELD: Duration = Duration::from_secs(2);
/// A call that takes longer than this has waited for the receiver.
const AT_ONCE: Duration = Duration::from_millis(500);

/// A process that sends so many bytes on the pair's client once, and ends.
fn sending_process(pair: &Pair, bytes: &'static [u8]) -> Pid {
    // SAFETY: the child only makes system calls.
    match unsafe { fork() }.expect("fork") {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
            // SAFETY: `bytes` is readable, and `_exit` is what a forked child may call.
            unsafe {
                libc::send(pair.client.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags);
                libc::_exit(0)
            }
        }
    }
}

/// Waits for a child to end, for so long.
fn ends_within(child: Pid, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        match waitpid(child, Some(WaitPidFlag::WNOHANG)).expect("wait for a child") {
            WaitStatus::StillAlive if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5))
            }
            WaitStatus::StillAlive => return false,
            _ => return true,
        }
    }
}

fn senders_do_not_wait(path: Path) {
    over_tcp_and_shunt(|ground| {
        let pair = ground.open_settled(path);
        let hole = Hole::open();
        put(&pair.client, b"M1M1");
        assert!(
            wait_within(&pair.server, PollFlags::POLLIN, AT_ONCE),
            "the first message has not arrived"
        );
        std::thread::scope(|scope| {
            let (pair, hole) = (&pair, &hole);
            let filler = Filler(hole);
            let receiver = scope.spawn(|| {
                let (fd, page) = (pair.server.as_raw_fd(), hole.pointer() as usize);
                // SAFETY: the page is mapped and writable, and belongs to the kernel until the call
                // returns.
                unsafe { libc::recv(fd, page as *mut libc::c_void, 4, 0) }
            });
            hole.wait_until_touched();
            let held = Instant::now();
            let sender = scope.spawn(|| {
                let begun = Instant::now();
                let sent = (&pair.client).write(b"M2M2");
                (sent, begun.elapsed())
            });
            std::thread::sleep(Duration::from_millis(50));
            let (second, third) = (sending_process(pair, b"M3M3"), sending_process(pair, b"M4M4"));
            // They have had the time to send, and are where they are going to wait.
            std::thread::sleep(Duration::from_millis(100));
            for child in [second, third] {
                // ESRCH cannot be: it has not been waited for.
                kill(child, Signal::SIGKILL).expect("kill it");
            }
            let killed = [second, third].map(|child| ends_within(child, AT_ONCE));
            std::thread::sleep(HELD.saturating_sub(held.elapsed()));
            drop(filler);
            let (sent, took) = sender.join().expect("the sender");
            assert_eq!(receiver.join().expect("the receiver"), 4);
            for (child, killed) in [second, third].into_iter().zip(killed) {
                assert!(killed || ends_within(child, HELD * 2), "it does not end even now");
            }
            assert!(
                took < AT_ONCE && killed == [true; 2],
                "{path} over {:?}: a non-blocking write took {took:?} while the receiver held its \
                 socket; senders that were killed ended: {killed:?}",
                ground.carrier
            );
            // Nothing is lost by not waiting.
            assert_eq!(sent.expect("send"), 4);
            assert_eq!(take(&pair.server, 4), b"M2M2");
            let mut rest = vec![0; 100];
            let rest = match (&pair.server).read(&mut rest) {
                Ok(read) => rest[..read].to_vec(),
                Err(_) => Vec::new(),
            };
            assert!([0, 4, 8].contains(&rest.len()), "{rest:?}");
        });
    });
}

/// Q11.
#[test]
fn senders_to_a_receiver_that_holds_its_socket_neither_wait_nor_survive_a_kill_on_loopback() {
    isolated(|| senders_do_not_wait(LOOPBACK));
}

/// Q11.
#[test]
fn senders_to_a_receiver_that_holds_its_socket_neither_wait_nor_survive_a_kill_over_veth() {
    isolated(|| senders_do_not_wait(VETH));
}
