//! Process groups that end with this process, whether it returns or a signal ends it: a virtual
//! machine is several processes, which would run on.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{SigSet, Signal, killpg, raise};
use nix::unistd::Pid;

/// The signals that ask a process to end.
const ENDING: [Signal; 3] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM];

/// The groups that are running, by the process ID of their leaders, which is theirs as long as the
/// leader has not been waited for.
static RUNNING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

fn running() -> MutexGuard<'static, BTreeSet<u32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn end(leader: u32) {
    if let Ok(leader) = i32::try_from(leader) {
        // Fails when all of its processes have ended.
        let _ = killpg(Pid::from_raw(leader), Signal::SIGKILL);
    }
}

/// A process and what it starts. Dropping it kills them all.
#[derive(Debug)]
pub struct Group {
    /// The leader.
    pub leader: Child,
}

impl Group {
    /// Starts `command` as the leader of a process group.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        // Held while it starts: a signal ends a group that is in the set, and starts no other.
        let mut running = running();
        let leader = command.process_group(0).spawn()?;
        running.insert(leader.id());
        Ok(Self { leader })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let mut running = running();
        end(self.leader.id());
        let _ = self.leader.wait();
        running.remove(&self.leader.id());
    }
}

/// The signals that this process ignores: signal N is bit N - 1 (`SigIgn` of proc_pid_status(5)).
fn ignored() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or_default();
    u64::from_str_radix(mask.trim(), 16).map_err(io::Error::other)
}

/// From now on a signal that asks this process to end kills all groups first. One that this process
/// was started to ignore, as SIGINT where a script runs it in the background, stays ignored. Call
/// it before the first thread is started: threads inherit which signals are blocked. Processes that
/// are started do not, as `std::process` empties their signal mask.
///
/// # Errors
/// When it cannot be told which signals are ignored, and when they cannot be blocked.
pub fn end_all_on_signals() -> io::Result<()> {
    let ignored = ignored()?;
    let signals: SigSet =
        ENDING.into_iter().filter(|&signal| ignored >> (signal as u32 - 1) & 1 == 0).collect();
    signals.thread_block()?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let Ok(signal) = signals.wait() else { return };
        // Never released: no group starts after this.
        let running = running();
        running.iter().copied().for_each(end);
        // What started this process learns by which signal it has ended.
        let _ = signals.thread_unblock();
        let _ = raise(signal);
        drop(running);
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;
    use std::time::{Duration, Instant};

    use super::*;

    fn is_running(pid: &str) -> bool {
        let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = status.rsplit(") ").next().unwrap_or_default();
        !state.is_empty() && !state.starts_with('Z')
    }

    #[test]
    fn what_a_group_has_started_ends_with_it() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "sleep 1000 & echo $!; wait"]).stdout(Stdio::piped());
        let mut group = Group::start(&mut shell).expect("start");
        let mut started = String::new();
        let output = group.leader.stdout.take().expect("standard output");
        BufReader::new(output).read_line(&mut started).expect("a process ID");
        assert!(is_running(started.trim()), "{started}");
        drop(group);
        let deadline = Instant::now() + Duration::from_secs(5);
        while is_running(started.trim()) {
            assert!(Instant::now() < deadline, "{started} is running");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
