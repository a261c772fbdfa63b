//! A terminal for a command that draws on the whole screen.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use nix::pty::{Winsize, openpty};

/// How large it is.
const SIZE: Winsize = Winsize { ws_row: 50, ws_col: 132, ws_xpixel: 0, ws_ypixel: 0 };
/// What the last line of a frame ends with: all below is erased.
const END: &[u8] = b"\x1b[J";

/// Runs the command until it has drawn its first frame, then ends it by `q`.
pub(super) fn first_frame(mut command: Command) -> Result<Vec<u8>> {
    let terminal = openpty(&SIZE, None).context("cannot make a terminal")?;
    let (mut screen, slave) = (File::from(terminal.master), terminal.slave);
    command.process_group(0);
    command.stdin(slave.try_clone()?).stdout(slave).stderr(Stdio::piped());
    let mut child = command.spawn().context("cannot start a command on a terminal")?;
    // Its ends of the terminal: without them the screen ends with the child.
    drop(command);
    let mut drawn = Vec::new();
    let mut part = [0; 4096];
    while !drawn.windows(END.len()).any(|bytes| bytes == END) {
        // An error once nobody has the other end.
        match screen.read(&mut part) {
            Ok(length) if length > 0 => drawn.extend_from_slice(&part[..length]),
            _ => {
                let output = child.wait_with_output()?;
                bail!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
            }
        }
    }
    screen.write_all(b"q")?;
    // What it draws until then is not to fill the terminal.
    while screen.read(&mut part).is_ok_and(|length| length > 0) {}
    let status = child.wait()?;
    ensure!(status.success(), "{status}");
    Ok(drawn)
}
