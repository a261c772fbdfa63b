//! One line of the log.

use std::fmt::{self, Write};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Level, message and `name=value` for each field.
    Text {
        /// Whether the time comes first.
        with_time: bool,
        /// Whether the terminal shows levels in colours.
        coloured: bool,
    },
    /// One object.
    Json,
}

/// A line that is to be written.
#[derive(Clone, Debug)]
pub struct Line {
    pub level: Level,
    pub message: String,
    /// In the order in which they are written.
    fields: Vec<(String, Value)>,
}

impl Line {
    /// What an event says.
    pub fn of(event: &Event<'_>) -> Line {
        let mut line = Line::new(*event.metadata().level(), String::new());
        event.record(&mut line);
        line
    }

    /// One without fields.
    pub fn new(level: Level, message: String) -> Line {
        Line { level, message, fields: Vec::new() }
    }

    /// The same with one more field.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Line {
        self.fields.push((name.into(), value.into()));
        self
    }

    /// Writes it, with its end.
    pub fn write(&self, style: Style, to: &mut impl Write) -> fmt::Result {
        let Style::Text { with_time, coloured } = style else {
            let mut all: Map<String, Value> = self.fields.iter().cloned().collect();
            all.insert("message".into(), self.message.as_str().into());
            all.insert("time".into(), super::now().into());
            all.insert("level".into(), self.level.as_str().into());
            return writeln!(to, "{}", Value::Object(all));
        };
        if with_time {
            write!(to, "{} ", super::now())?;
        }
        let colour = match self.level {
            Level::ERROR => 31,
            Level::WARN => 33,
            Level::INFO => 32,
            Level::DEBUG => 34,
            Level::TRACE => 35,
        };
        if coloured {
            write!(to, "\x1b[{colour}m{:>5}\x1b[0m ", self.level.as_str())?;
        } else {
            write!(to, "{:>5} ", self.level.as_str())?;
        }
        write_plain(&self.message, to)?;
        for (name, value) in &self.fields {
            write!(to, " {name}=")?;
            match value {
                Value::String(text) if !text.contains([' ', '"', '=']) => write_plain(text, to)?,
                value => write_plain(&value.to_string(), to)?,
            }
        }
        writeln!(to)
    }
}

/// Names of processes and paths are a tenant's to choose: they must neither control a terminal nor
/// look like a line of their own.
fn write_plain(text: &str, to: &mut impl Write) -> fmt::Result {
    for char in text.chars() {
        match char {
            '\n' => to.write_str("\n        ")?,
            char if char.is_control() => write!(to, "{}", char.escape_default())?,
            char => to.write_char(char)?,
        }
    }
    Ok(())
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message = value.into();
        } else {
            self.fields.push((field.name().into(), value.into()));
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.fields.push((field.name().into(), value.into()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.fields.push((field.name().into(), value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.fields.push((field.name().into(), value.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(line: &Line, style: Style) -> String {
        let mut text = String::new();
        line.write(style, &mut text).expect("write to a string");
        text
    }

    #[test]
    fn a_line_is_level_message_and_fields_and_the_same_in_json() {
        let line = Line::new(Level::INFO, "left to TCP: it splices".into())
            .with("times", 3)
            .with("program", "docker-proxy")
            .with("why", "two words");
        let plain = Style::Text { with_time: false, coloured: false };
        assert_eq!(
            written(&line, plain),
            " INFO left to TCP: it splices times=3 program=docker-proxy why=\"two words\"\n"
        );
        let timed = written(&line, Style::Text { with_time: true, coloured: false });
        assert!(timed.ends_with(&written(&line, plain)) && timed.starts_with("20"), "{timed}");
        let object: Value = serde_json::from_str(&written(&line, Style::Json)).expect("JSON");
        assert_eq!(
            (&object["level"], &object["message"], &object["times"], &object["program"]),
            (&"INFO".into(), &"left to TCP: it splices".into(), &3.into(), &"docker-proxy".into())
        );
        assert!(object["time"].is_string());
    }

    #[test]
    fn a_name_that_a_tenant_chooses_cannot_look_like_a_line_or_control_a_terminal() {
        let name = "x\n ERROR all is lost\x1b[2J\r";
        let line = Line::new(Level::WARN, format!("left to TCP: {name}")).with("program", name);
        let text = written(&line, Style::Text { with_time: false, coloured: false });
        assert!(!text.contains(['\x1b', '\r']), "{text:?}");
        let beginnings: Vec<&str> = text.lines().map(|line| &line[..5]).collect();
        assert_eq!(beginnings, [" WARN", "     "], "{text:?}");
    }
}
