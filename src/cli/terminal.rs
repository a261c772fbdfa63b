//! Full-screen terminal: raw keys, whole frames, and the previous state restored on every exit
//! path.

use std::io::{IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Alternate screen with the cursor hidden; and back.
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l";
const LEAVE: &[u8] = b"\x1b[?25h\x1b[?1049l";

/// A key that was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Char(char),
    Up,
    Down,
    PageUp,
    PageDown,
    Enter,
    Escape,
    Backspace,
    /// Ctrl-C, or end of input.
    Interrupt,
}

/// The terminal of this process. Dropping it restores it.
pub struct Terminal {
    before: Termios,
}

impl Terminal {
    /// Takes the terminal over.
    pub fn open() -> Result<Terminal> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() || !std::io::stdout().is_terminal() {
            bail!(
                "top needs a terminal; for files and pipes use `shunt flows --watch` or `shunt \
                 flows --json`"
            );
        }
        let before = tcgetattr(&stdin).context("cannot read the terminal's settings")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Flush, &raw).context("cannot set the terminal")?;
        let terminal = Terminal { before: before.clone() };
        // A panic aborts the process without running destructors.
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore(&before);
            hook(panic);
        }));
        write(ENTER)?;
        Ok(terminal)
    }

    /// Columns and rows.
    pub fn size(&self) -> (usize, usize) {
        tcgetwinsize(std::io::stdout())
            .ok()
            .map(|size| (usize::from(size.ws_col), usize::from(size.ws_row)))
            .filter(|size| *size != (0, 0))
            .unwrap_or((80, 24))
    }

    /// Draws these lines from the top.
    pub fn show(&self, lines: &[String]) -> Result<()> {
        let mut frame = String::from("\x1b[H");
        for (row, line) in lines.iter().enumerate() {
            frame.push_str(if row == 0 { "" } else { "\r\n" });
            frame.push_str(line);
            frame.push_str("\x1b[0m\x1b[K");
        }
        frame.push_str("\x1b[J");
        write(frame.as_bytes())
    }

    /// Keys pressed so far, after waiting at most this long for one. A signal ends the wait.
    pub fn keys(&self, wait: Duration) -> Result<Vec<Key>> {
        let stdin = std::io::stdin();
        let mut ready = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)) {
            Ok(0) | Err(Errno::EINTR) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(errno) => return Err(errno).context("cannot wait for keys"),
        }
        let mut bytes = [0; 256];
        match stdin.lock().read(&mut bytes) {
            Ok(0) | Err(_) => Ok(vec![Key::Interrupt]),
            Ok(read) => Ok(keys(bytes.get(..read).unwrap_or_default())),
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        restore(&self.before);
    }
}

fn restore(before: &Termios) {
    // The terminal may be gone: then there is nothing to restore.
    let _ = write(LEAVE);
    let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, before);
}

fn write(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).context("cannot write to the terminal")
}

/// Decodes the bytes that terminals send for keys; unknown ones are skipped.
fn keys(bytes: &[u8]) -> Vec<Key> {
    const SEQUENCES: [(&[u8], Key); 6] = [
        (b"\x1b[A", Key::Up),
        (b"\x1bOA", Key::Up),
        (b"\x1b[B", Key::Down),
        (b"\x1bOB", Key::Down),
        (b"\x1b[5~", Key::PageUp),
        (b"\x1b[6~", Key::PageDown),
    ];
    let mut keys = Vec::new();
    let text = String::from_utf8_lossy(bytes);
    let mut rest = &*text;
    while let Some(first) = rest.chars().next() {
        let known = SEQUENCES.iter().find_map(|(sequence, key)| {
            rest.strip_prefix(std::str::from_utf8(sequence).ok()?).map(|after| (*key, after))
        });
        if let Some((key, after)) = known {
            keys.push(key);
            rest = after;
            continue;
        }
        rest = rest.get(first.len_utf8()..).unwrap_or_default();
        match first {
            '\x1b' if rest.starts_with(['[', 'O']) => {
                // An unknown escape sequence ends with a letter or a tilde.
                let end =
                    rest.char_indices().skip(1).find(|(_, c)| c.is_ascii_alphabetic() || *c == '~');
                rest = end.and_then(|(at, c)| rest.get(at + c.len_utf8()..)).unwrap_or_default();
            }
            '\x1b' => keys.push(Key::Escape),
            '\r' | '\n' => keys.push(Key::Enter),
            '\x7f' | '\x08' => keys.push(Key::Backspace),
            '\x03' => keys.push(Key::Interrupt),
            c if !c.is_control() => keys.push(Key::Char(c)),
            _ => {}
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_decoded_and_unknown_escape_sequences_are_skipped() {
        let pressed = keys("q\x1b[A\x1bOB\x1b[5~\r\x7f\x03é\x1b[1;5Cx\x1b".as_bytes());
        let expected = [
            Key::Char('q'),
            Key::Up,
            Key::Down,
            Key::PageUp,
            Key::Enter,
            Key::Backspace,
            Key::Interrupt,
            Key::Char('é'),
            Key::Char('x'),
            Key::Escape,
        ];
        assert_eq!(pressed, expected);
        for torn in [&b"\x1b["[..], b"\x1b[99", b"\xff\xfe", b"\0"] {
            assert!(keys(torn).iter().all(|key| matches!(key, Key::Char(_))), "{torn:?}");
        }
    }
}
