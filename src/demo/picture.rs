//! Two latency histograms, one below the other on the same logarithmic scale, in characters.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use crate::bench::Latency;

/// Columns of a histogram; fits in 80 with the labels.
const COLUMNS: usize = 66;
/// Lines of a histogram.
const LINES: usize = 4;
/// Width of the labels on the left.
const LABEL: usize = 10;
/// Empty to full, in eighths of a character.
const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A logarithmic scale from `low` to `high` ns.
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    /// From the fastest to the slowest request, except one in 200 at each end.
    fn of(latencies: &[&Latency]) -> Self {
        let all = |percent| latencies.iter().map(move |latency| latency.percentile(percent));
        let low = all(0.5).fold(f64::INFINITY, f64::min).clamp(1.0, 1e12);
        let high = all(99.5).fold(0.0, f64::max).max(low * 2.0);
        Self { low, high }
    }

    /// The column of a time in ns.
    fn place(&self, time: f64) -> f64 {
        (time / self.low).ln() / (self.high / self.low).ln() * COLUMNS as f64
    }

    /// The share of requests in each column.
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

/// Draws both histograms with labels, and the axis below.
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

/// The character of a column in a line, counted from 0 at the bottom. A nonzero share is always
/// visible.
fn block(share: f64, highest: f64, line: usize) -> char {
    if share <= 0.0 || highest <= 0.0 {
        return BLOCKS[0];
    }
    let eighths = (share / highest * (LINES * 8) as f64).round().max(1.0) as usize;
    BLOCKS[eighths.saturating_sub(line * 8).min(8)]
}

/// A line with a tick at each leading digit, and the times below where they fit, round ones first.
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

/// Writes `text` at a column if it and two columns on each side are free.
fn place(times: &mut [char], column: usize, text: &str) {
    let end = column + text.chars().count();
    let around = column.saturating_sub(2)..(end + 2).min(times.len());
    if end <= times.len() && times[around].iter().all(|taken| *taken == ' ') {
        for (free, character) in times[column..end].iter_mut().zip(text.chars()) {
            *free = character;
        }
    }
}

/// Times with these leading digits from 1 ns to 900 s, in ns and as text.
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
    fn the_histograms_are_aligned_with_their_axis() {
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
    fn a_rare_time_is_visible_and_the_highest_share_fills_its_column() {
        assert_eq!(block(0.0001, 0.5, 0), '▁');
        assert_eq!(block(0.0, 0.5, 0), ' ');
        for line in 0..LINES {
            assert_eq!(block(0.5, 0.5, line), '█');
        }
        assert_eq!((block(0.25, 0.5, 1), block(0.25, 0.5, 2)), ('█', ' '));
    }
}
