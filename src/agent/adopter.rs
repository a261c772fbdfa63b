//! The process that adopts open connections for the agent: see [`super::adoption`].

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use super::Config;
use crate::policy::file::LogFormat;

/// A running `shunt adopt --on-request`. It ends with this value, or soon after this process has.
pub struct Adopter {
    process: Child,
}

impl Adopter {
    /// Starts it, with the privileges of this process, which may give them up afterwards. It begins
    /// at once.
    ///
    /// A failure only disables adoption, and is logged.
    pub fn start(config: &Config) -> Option<Adopter> {
        let mut command = Command::new("/proc/self/exe");
        command.arg0("shunt").args(["adopt", "--on-request", "--name"]).arg(config.name.as_ref());
        if let Some(bpffs) = &config.bpffs {
            command.arg("--bpffs").arg(bpffs);
        }
        if config.log_format == LogFormat::Json {
            command.arg("--log-format=json");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        match command.spawn() {
            Ok(process) => Some(Adopter { process }),
            Err(error) => {
                tracing::warn!(
                    "connections that are open already stay with TCP: cannot start `shunt adopt`: {error}"
                );
                None
            }
        }
    }

    /// Requests another scan after the rules have changed. The request is dropped if the process is
    /// still scanning or has exited.
    pub fn again(&mut self) {
        if let Some(requests) = &mut self.process.stdin {
            // A pipe holds thousands of these.
            let _ = requests.write_all(b"\n");
        }
    }
}

impl Drop for Adopter {
    /// The child is not waited for: it may be blocked on a socket lock held by another process, and
    /// is then unkillable.
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.try_wait();
    }
}
