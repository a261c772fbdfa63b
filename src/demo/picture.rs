//! Two distributions of latency, one under the other on the same logarithmic scale, drawn in
//! characters.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use crate::bench::Latency;

/// Columns of a distribution; with the labels it fits in 80.
const COLUMNS: usize = 66;
/// Lines of a distribution.
const LINES: usize = 4;
/// The width of what stands to the left.
const LABEL: usize = 10;
/// From empty to full, in eighths of a character.
const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The scale, from `low` to `high` ns in equal steps of the logarithm.
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    /// From where the fastest begin to where the slowest end, but for one in 200 at each end.
    fn of(latencies: &[&Latency]) -> Self {
        let all = |percent| latencies.iter().map(move |latency| latency.percentile(percent));
        let low = all(0.5).fold(f64::INFINITY, f64::min).clamp(1.0, 1e12);
        let high = all(99.5).fold(0.0, f64::max).max(low * 2.0);
        Self { low, high }
    }

    /// How many columns from the left a time in ns is.
    fn place(&self, time: f64) -> f64 {
        (time / self.low).ln() / (self.high / self.low).ln() * COLUMNS as f64
    }

    /// The share of the requests in each column.
    fn shares(&self, latency: &Latency) -> [f64; COLUMNS] {
        let mut shares = [0.0; COLUMNS];
        for (time, count) in latency.times() {
            let place = self.place(time);
            if place >= 0.0 && place < COLUMNS as f64 {
                shares[place as usize] += count as f64 / latency.count() as f64;
            }
        }
        shares
    }
}

/// Draws both, each under its label, with the axis below.
pub fn draw(without: &Latency, with: &Latency) -> String {
    let scale = Scale::of(&[without, with]);
    let (first, second) = (scale.shares(without), scale.shares(with));
    let highest = first.iter().chain(&second).copied().fold(0.0, f64::max);
    let mut picture = String::new();
    distribution(&mut picture, "without", AnsiColor::Yellow.on_default(), &first, highest);
    picture.push('\n');
    distribution(&mut picture, "with shunt", AnsiColor::Green.on_default(), &second, highest);
    axis(&mut picture, &scale);
    picture
}

fn distribution(picture: &mut String, label: &str, style: Style, shares: &[f64], highest: f64) {
    for line in (0..LINES).rev() {
        let label = if line == 0 { label } else { "" };
        let columns: String = shares.iter().map(|share| block(*share, highest, line)).collect();
        let _ = match columns.trim_end() {
            "" => writeln!(picture, "{label}"),
            columns => writeln!(picture, "{label:<LABEL$} {style}{columns}{style:#}"),
        };
    }
}

/// What a column shows in a line; lines count from 0 at the bottom. A share that is not zero is
/// always seen.
fn block(share: f64, highest: f64, line: usize) -> char {
    if share <= 0.0 || highest <= 0.0 {
        return BLOCKS[0];
    }
    let eighths = (share / highest * (LINES * 8) as f64).round().max(1.0) as usize;
    BLOCKS[eighths.saturating_sub(line * 8).min(8)]
}

/// A line with a tick at each first digit of a time, and the times below as far as they have room,
/// round ones first.
fn axis(picture: &mut String, scale: &Scale) {
    let mut line = ['─'; COLUMNS];
    let mut times = [' '; COLUMNS];
    for digits in [&[1][..], &[2, 5], &[3, 7], &[4, 6, 8, 9]] {
        for (time, text) in times_of(digits) {
            if (scale.low..=scale.high).contains(&time) {
                let column = (scale.place(time) as usize).min(COLUMNS - 1);
                line[column] = '┬';
                place(&mut times, column, &text);
            }
        }
    }
    let blank = "";
    let _ = writeln!(picture, "{blank:<LABEL$} {}", line.iter().collect::<String>());
    let _ = writeln!(picture, "{blank:<LABEL$} {}", times.iter().collect::<String>().trim_end());
}

/// Writes `text` at a column if it and two columns before and behind it are free.
fn place(times: &mut [char], column: usize, text: &str) {
    let end = column + text.chars().count();
    let around = column.saturating_sub(2)..(end + 2).min(times.len());
    if end <= times.len() && times[around].iter().all(|taken| *taken == ' ') {
        for (free, character) in times[column..end].iter_mut().zip(text.chars()) {
            *free = character;
        }
    }
}

/// Times with these digits before the zeros, from 1 ns to 900 s, in ns and in words.
fn times_of(digits: &[u32]) -> impl Iterator<Item = (f64, String)> {
    let units = ["ns", "µs", "ms", "s"].into_iter().zip([1.0, 1e3, 1e6, 1e9]);
    units.flat_map(move |(unit, factor)| {
        [1, 10, 100].into_iter().flat_map(move |zeros| {
            digits.iter().map(move |digit| {
                (f64::from(digit * zeros) * factor, format!("{} {unit}", digit * zeros))
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn around(micros: u64, spread: u64) -> Latency {
        let mut latency = Latency::default();
        for near in 0..spread {
            for _ in 0..spread - near {
                latency.record(Duration::from_micros(micros + near));
                latency.record(Duration::from_micros(micros - near));
            }
        }
        latency
    }

    #[test]
    fn the_distributions_stand_over_their_times() {
        let picture =
            anstream::adapter::strip_str(&draw(&around(200, 60), &around(60, 20))).to_string();
        let expected = include_str!("picture.txt");
        assert_eq!(picture, expected);
    }

    #[test]
    fn it_fits_in_80_columns_whatever_the_times_are() {
        let mut one = Latency::default();
        one.record(Duration::from_secs(50));
        for (without, with) in [
            (Latency::default(), Latency::default()),
            (one.clone(), Latency::default()),
            (one, around(10, 9)),
            (around(1_000_000, 3), around(1_000_000, 3)),
        ] {
            let picture = anstream::adapter::strip_str(&draw(&without, &with)).to_string();
            assert_eq!(picture.lines().count(), 2 * LINES + 3, "{picture}");
            assert!(picture.lines().all(|line| line.chars().count() <= 80), "{picture}");
        }
    }

    #[test]
    fn a_rare_time_is_still_seen_and_the_highest_share_fills_its_column() {
        assert_eq!(block(0.0001, 0.5, 0), '▁');
        assert_eq!(block(0.0, 0.5, 0), ' ');
        for line in 0..LINES {
            assert_eq!(block(0.5, 0.5, line), '█');
        }
        assert_eq!((block(0.25, 0.5, 1), block(0.25, 0.5, 2)), ('█', ' '));
    }
}
