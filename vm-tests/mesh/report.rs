//! The figures, for people (a table with a bar for each ratio, 80 columns) and for machines (JSON).

use serde::Serialize;
use tcp_shunt::bench::Quartiles;

use testkit::mesh::Kind;
use testkit::mesh::load::{Answers, Load};
use testkit::mesh::meter::{LEGS, Meter};

/// One load, measured once.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Sample {
    /// Microseconds from a request to its answer.
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub slowest: f64,
    /// Answers a second.
    pub throughput: f64,
    /// Microseconds of all processors for each answer.
    pub cpu: f64,
    /// Packets for each answer, on each leg.
    pub packets: [f64; LEGS.len()],
}

impl Sample {
    pub fn new(answers: Answers, cost: Meter) -> Self {
        let each = |cost: u64| cost as f64 / answers.requests as f64;
        Self {
            p50: answers.p50,
            p90: answers.p90,
            p99: answers.p99,
            slowest: answers.slowest,
            throughput: answers.requests as f64 / answers.duration * 1e6,
            cpu: each(cost.cpu),
            packets: cost.packets.map(each),
        }
    }
}

/// A load in a mesh: a sample of each round by TCP, and beside it one with shunt.
#[derive(Debug, Serialize)]
pub struct Measured {
    pub mesh: Kind,
    pub load: Load,
    pub tcp: Vec<Sample>,
    pub shunt: Vec<Sample>,
}

type Figure = fn(&Sample) -> f64;

const FIGURES: [(&str, Figure); 5] = [
    ("p50, µs", |sample| sample.p50),
    ("p90, µs", |sample| sample.p90),
    ("p99, µs", |sample| sample.p99),
    ("requests/s", |sample| sample.throughput),
    ("CPU/request, µs", |sample| sample.cpu),
];

/// Columns of a bar as long as what TCP took.
const UNIT: f64 = 16.0;
/// What is longer is cut.
const LONGEST: usize = 29;

impl Measured {
    fn median(samples: &[Sample], figure: impl Fn(&Sample) -> f64) -> f64 {
        let figures: Vec<f64> = samples.iter().map(figure).collect();
        Quartiles::of(&figures).map_or(f64::NAN, |quartiles| quartiles.median)
    }

    /// Of the ratios within rounds: what slows a whole round down cancels.
    fn ratio(&self, figure: Figure) -> Option<Quartiles> {
        let pairs = self.shunt.iter().zip(&self.tcp);
        Quartiles::of(&pairs.map(|(shunt, tcp)| figure(shunt) / figure(tcp)).collect::<Vec<_>>())
    }
}

/// A block for each mesh, in it one for each load.
pub fn table(all: &[Measured]) -> String {
    let mut table = String::new();
    let mut last = None;
    for measured in all {
        if last.replace(measured.mesh) != Some(measured.mesh) {
            let bars = format!("{:<width$}1", "shunt/TCP", width = UNIT as usize - 1);
            table += &format!(
                "{}\n{:<17}{:>9}{:>9}{:>14}  {bars}\n",
                measured.mesh.describe(),
                "",
                "TCP",
                "shunt",
                "ratio"
            );
        }
        table += &format!(" {}\n", measured.load);
        for (name, figure) in FIGURES {
            let Some(ratio) = measured.ratio(figure) else { continue };
            let median = |samples| quantity(Measured::median(samples, figure));
            let spread = if ratio.spread() < 0.995 {
                format!("±{:.0}%", ratio.spread() * 100.0)
            } else {
                "±>99%".into()
            };
            table += &format!(
                "  {name:<15}{:>9}{:>9}{:>8.2} {spread:>5}  {}\n",
                median(&measured.tcp),
                median(&measured.shunt),
                ratio.median,
                bar(ratio.median)
            );
        }
        for (leg, name) in LEGS.into_iter().enumerate() {
            let median = |samples| Measured::median(samples, |sample| sample.packets[leg]);
            let (tcp, shunt) = (median(&measured.tcp), median(&measured.shunt));
            // Nothing goes past a sidecar that is not there.
            if tcp >= 0.005 {
                table += &format!("  {:<15}{tcp:>9.2}{shunt:>9.2}\n", format!("packets, {name}"));
            }
        }
    }
    table
}

/// Three digits, where there are not more before the point.
fn quantity(figure: f64) -> String {
    let digits = if figure < 9.995 { 2 } else { usize::from(figure < 99.95) };
    format!("{figure:.digits$}")
}

fn bar(ratio: f64) -> String {
    let eighths = ((ratio * UNIT * 8.0).round() as usize).min(LONGEST * 8);
    let part = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
    format!("{}{part}", "█".repeat(eighths / 8))
}
