//! How much each place in the code may log.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tracing::Level;

use super::line::Line;

/// So many lines a place may log at once.
const BURST: u32 = 100;
/// And then one more for each of these.
const REFILL: Duration = Duration::from_secs(1);
/// How often it is said, at most, how many lines of a place were left out.
const NOTES: Duration = Duration::from_secs(10);

/// A token bucket for each place in the code, by the name that `tracing` gives it. It owns what has
/// been left out until that is said, which is before the next line of any place, ten seconds after
/// the first at the earliest.
#[derive(Debug, Default)]
pub struct Limiter {
    places: HashMap<&'static str, Place>,
}

#[derive(Debug)]
struct Place {
    tokens: u32,
    refilled: Instant,
    left_out: Option<LeftOut>,
}

#[derive(Debug)]
struct LeftOut {
    since: Instant,
    lines: u64,
    first: Line,
}

impl Limiter {
    /// Whether a line is to be written now, and what has to be said before.
    pub fn judge(&mut self, place: &'static str, line: &Line, now: Instant) -> (Vec<Line>, bool) {
        let is_due = |left_out: &LeftOut| now.duration_since(left_out.since) >= NOTES;
        let notes = self.notes(is_due);
        // Asked for by whoever wants all of it.
        if line.level > Level::INFO {
            return (notes, true);
        }
        let place = self.places.entry(place).or_insert(Place {
            tokens: BURST,
            refilled: now,
            left_out: None,
        });
        (notes, place.passes(line, now))
    }

    /// What has not been said yet.
    pub fn rest(&mut self) -> Vec<Line> {
        self.notes(|_| true)
    }

    fn notes(&mut self, is_due: impl Fn(&LeftOut) -> bool) -> Vec<Line> {
        let all = self.places.values_mut();
        all.filter_map(|place| place.left_out.take_if(|left_out| is_due(left_out)))
            .map(LeftOut::note)
            .collect()
    }
}

impl Place {
    fn passes(&mut self, line: &Line, now: Instant) -> bool {
        let periods = now.duration_since(self.refilled).as_secs() / REFILL.as_secs();
        let new = u32::try_from(periods).unwrap_or(BURST).min(BURST);
        self.tokens = (self.tokens + new).min(BURST);
        if new > 0 {
            self.refilled = now;
        }
        match self.tokens.checked_sub(1) {
            Some(tokens) => {
                self.tokens = tokens;
                true
            }
            None => {
                let first = || LeftOut { since: now, lines: 0, first: line.clone() };
                self.left_out.get_or_insert_with(first).lines += 1;
                false
            }
        }
    }
}

impl LeftOut {
    fn note(self) -> Line {
        let LeftOut { lines, first, .. } = self;
        let message = format!("left out {lines} lines, the first of them: {}", first.message);
        Line::new(first.level, message).with("left_out", lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(level: Level) -> Line {
        Line::new(level, "left to TCP".into())
    }

    /// How many lines pass of a number that come at one moment.
    fn pass(limiter: &mut Limiter, place: &'static str, lines: u32, now: Instant) -> u32 {
        let line = line(Level::INFO);
        (0..lines).map(|_| u32::from(limiter.judge(place, &line, now).1)).sum()
    }

    #[test]
    fn a_flood_is_cut_to_a_burst_and_a_line_a_second_and_disturbs_no_other_place() {
        let (mut limiter, begun) = (Limiter::default(), Instant::now());
        assert_eq!(pass(&mut limiter, "here", 100_000, begun), BURST);
        assert_eq!(pass(&mut limiter, "there", 1, begun), 1);
        let mut passed = 0;
        for tenths in 1..=100 {
            let now = begun + Duration::from_millis(100 * tenths);
            passed += pass(&mut limiter, "here", 1000, now);
        }
        assert_eq!(passed, 10);
        // A place that has been quiet has its burst again, and no more than that.
        let later = begun + Duration::from_secs(86_400);
        assert_eq!(pass(&mut limiter, "here", 1000, later), BURST);
    }

    #[test]
    fn every_line_that_was_left_out_is_counted_once_by_the_next_line_of_any_place_or_at_the_end() {
        let (mut limiter, begun) = (Limiter::default(), Instant::now());
        let first = Line::new(Level::WARN, "one of many".into());
        let mut said = Vec::new();
        let mut passed = 0;
        for second in 0..60 {
            for _ in 0..50 {
                let (notes, passes) =
                    limiter.judge("here", &first, begun + Duration::from_secs(second));
                passed += u64::from(passes);
                said.extend(notes);
            }
        }
        assert!((4..=6).contains(&said.len()), "{} notes in a minute", said.len());
        let before = said.len();
        let (notes, passes) =
            limiter.judge("there", &line(Level::INFO), begun + Duration::from_secs(3600));
        assert!(passes && notes.len() == 1, "nobody is told of the last ones: {notes:?}");
        said.extend(notes);
        assert_eq!(said.len(), before + 1);
        pass(&mut limiter, "there", 2 * BURST, begun + Duration::from_secs(3600));
        let rest = limiter.rest();
        assert_eq!((rest.len(), limiter.rest().len()), (1, 0));

        let mut counted = 0;
        for note in &said {
            let mut text = String::new();
            note.write(super::super::line::Style::Json, &mut text).expect("write to a string");
            let object: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(object["level"], "WARN");
            assert!(
                object["message"].as_str().is_some_and(|text| text.contains("one of many")),
                "{object}"
            );
            counted += object["left_out"].as_u64().expect("a number");
        }
        assert_eq!(passed + counted, 60 * 50);
    }

    #[test]
    fn whoever_asks_for_debug_gets_all_of_it() {
        let (mut limiter, now) = (Limiter::default(), Instant::now());
        let debug = line(Level::DEBUG);
        assert!((0..10 * BURST).all(|_| limiter.judge("here", &debug, now).1));
        assert!(limiter.rest().is_empty());
    }
}
