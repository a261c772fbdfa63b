//! The log: lines on standard error, as text or JSON.
//!
//! A line at level *info* or above is subject to the [`Limiter`]: what traffic or tenants can cause
//! must not fill the journal. Whoever asks for *debug* or *trace* gets every line of those levels.

mod limiter;
mod line;

use std::fmt;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use nix::sys::stat::fstat;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::policy::file::LogFormat;
use limiter::Limiter;
use line::{Line, Style};

/// The log of this process, once it has begun.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    style: Style,
    limiter: Mutex<Limiter>,
}

/// Starts logging for this process. A second call changes nothing.
pub fn begin(format: LogFormat) {
    let is_terminal = std::io::stderr().is_terminal();
    let style = match format {
        LogFormat::Json => Style::Json,
        LogFormat::Text => {
            Style::Text { with_time: !is_terminal && !is_journal(), coloured: is_terminal }
        }
    };
    let log = LOG.get_or_init(|| Log { style, limiter: Mutex::default() });
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level())
        .with_writer(std::io::stderr)
        // A failure to write the log cannot be logged, and must not stop the agent.
        .log_internal_errors(false)
        .event_format(log);
    // Only a second call fails.
    let _ = tracing::subscriber::set_global_default(subscriber.finish());
}

/// Writes how many lines have been left out, if any, before the process exits.
pub fn end() {
    let Some(log) = LOG.get() else { return };
    let mut text = String::new();
    for note in log.limiter().rest() {
        // Writing to a string never fails.
        let _ = note.write(log.style, &mut text);
    }
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// The log level: that of `RUST_LOG`, which may be a level only.
fn level() -> LevelFilter {
    let level = std::env::var("RUST_LOG").ok();
    level.and_then(|level| level.parse().ok()).unwrap_or(LevelFilter::INFO)
}

/// Whether standard error is the journal's, by the device and inode that systemd passes
/// (systemd.exec(5), `$JOURNAL_STREAM`).
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    fstat(std::io::stderr().as_fd())
        .is_ok_and(|own| stream == format!("{}:{}", own.st_dev, own.st_ino))
}

/// The current time by RFC 3339.
pub fn now() -> String {
    let mut time = String::new();
    // Writing to a string never fails.
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    time
}

impl Log {
    fn limiter(&self) -> std::sync::MutexGuard<'_, Limiter> {
        // It stays valid when a thread panics.
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>, N: for<'a> FormatFields<'a> + 'static>
    FormatEvent<S, N> for &'static Log
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut to: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let line = Line::of(event);
        let place = event.metadata().name();
        let (notes, passes) = self.limiter().judge(place, &line, Instant::now());
        for note in notes {
            note.write(self.style, &mut to)?;
        }
        if passes { line.write(self.style, &mut to) } else { Ok(()) }
    }
}
