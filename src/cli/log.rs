//! The log: lines on standard error, as text or JSON.

use std::fmt;
use std::io::IsTerminal;
use std::os::fd::AsFd;

use nix::sys::stat::fstat;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::policy::file::LogFormat;

/// Starts logging for this process.
pub fn begin(format: LogFormat) {
    let log = tracing_subscriber::fmt()
        .with_max_level(level())
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        // A failure to write the log cannot be logged, and must not stop the agent.
        .log_internal_errors(false);
    match format {
        LogFormat::Json => log.event_format(Json).init(),
        LogFormat::Text if std::io::stderr().is_terminal() || is_journal() => {
            log.without_time().init()
        }
        LogFormat::Text => log.init(),
    }
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

struct Json;

impl<S: Subscriber + for<'a> LookupSpan<'a>, N: for<'a> FormatFields<'a> + 'static>
    FormatEvent<S, N> for Json
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut to: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Line(Map::new());
        event.record(&mut line);
        line.0.insert("time".into(), now().into());
        line.0.insert("level".into(), event.metadata().level().as_str().into());
        writeln!(to, "{}", Value::Object(line.0))
    }
}

struct Line(Map<String, Value>);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().into(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().into(), value.into());
    }
}
