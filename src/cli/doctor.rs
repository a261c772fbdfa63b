//! `shunt doctor`

use std::fmt;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::{DONE, UNAVAILABLE, print, print_coloured};
use crate::kernel;
use crate::probe::behaviour::{Answer, Behaviour};
use crate::probe::known_bug::{self, KnownBug, Reach};
use crate::probe::{self, Answers, Requirement, State};

/// Test whether shunt can run here and how this kernel behaves, with consequences and remedies
///
/// Everything is tested in its own cgroup and network namespaces; nothing is left behind. Exit code
/// 0 when shunt can run here, 69 when it cannot. Behaviour that needs a guard is not a failure, nor
/// is a known bug of this kernel, or a limit: something for which connections stay with TCP.
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    shunt doctor                              before the first run, and after a kernel update\n  \
    shunt doctor --json                       JSON")]
pub struct Doctor {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The findings.
#[derive(Serialize)]
struct Report {
    can_run: bool,
    /// Whether a requirement is `limited`.
    limited: bool,
    requirements: Vec<Met>,
    behaviours: Vec<Found>,
    /// The upstream Linux release that this kernel is based on, as far as it says.
    release: String,
    /// Judged by that release alone.
    known_bugs: Vec<Warning>,
}

/// A known bug of this kernel.
#[derive(Serialize)]
struct Warning {
    id: &'static str,
    what: &'static str,
    /// The releases that fix it.
    fixed: String,
    /// Whether shunt can trigger it at all.
    reachable: bool,
    reach: String,
}

#[derive(Serialize)]
struct Met {
    name: &'static str,
    met: bool,
    /// Met, but connections stay with TCP that would be accelerated otherwise.
    limited: bool,
    detail: String,
}

#[derive(Serialize)]
struct Found {
    name: &'static str,
    statement: &'static str,
    /// Whether shunt refuses to run without it.
    required: bool,
    /// Whether it is required and absent here.
    lacking: bool,
    /// `yes`, `no` or `unknown`.
    answer: String,
    meaning: String,
}

impl Doctor {
    pub fn run(self) -> Result<ExitCode> {
        let report = Report::of_this_machine();
        if self.json {
            print(format_args!("{}\n", serde_json::to_string(&report)?))?;
        } else {
            print_coloured(&report)?;
        }
        Ok(if report.can_run { DONE } else { UNAVAILABLE.into() })
    }
}

impl Report {
    fn of_this_machine() -> Report {
        // Much of what is tried out asks for the kernel's types: they are read once. That there are
        // none is said by the requirements.
        let _types = kernel::btf().ok();
        let answers = Answers::default();
        let requirements = probe::requirements(&answers);
        let requirements: Vec<Met> = requirements.into_iter().map(Met::from).collect();
        let allowed = requirements.iter().all(|requirement| requirement.met);
        // Behaviours cannot be tested without the requirements.
        let behaviours = Behaviour::all().filter(|_| allowed);
        let behaviours: Vec<Found> =
            behaviours.map(|behaviour| Found::of(behaviour, answers.of(behaviour))).collect();
        let can_run = allowed && behaviours.iter().all(|found| !found.lacking);
        let release = known_bug::running();
        let known_bugs = known_bug::affecting(&release).into_iter().map(Warning::of).collect();
        let limited = requirements.iter().any(|requirement| requirement.limited);
        Report { can_run, limited, requirements, behaviours, release, known_bugs }
    }
}

impl Warning {
    fn of(bug: &KnownBug) -> Warning {
        Warning {
            id: bug.id,
            what: bug.what,
            fixed: bug.fixed(),
            reachable: !matches!(bug.reach, Reach::Never(_)),
            reach: bug.reach.to_string(),
        }
    }
}

impl From<Requirement> for Met {
    fn from(requirement: Requirement) -> Met {
        let Requirement { name, state, detail } = requirement;
        Met { name, met: state != State::Missing, limited: state == State::Limited, detail }
    }
}

impl Found {
    fn of(behaviour: Behaviour, answer: &Answer) -> Found {
        let meaning = behaviour.meaning(answer.is_yes());
        let meaning = match answer.detail() {
            Some(detail) => format!("{meaning} ({detail})"),
            None => meaning.to_owned(),
        };
        Found {
            name: behaviour.name(),
            statement: behaviour.statement(),
            required: behaviour.is_required(),
            lacking: behaviour.is_required() && !answer.is_yes(),
            answer: answer.to_string(),
            meaning,
        }
    }
}

/// Columns of the narrowest terminal supported.
const WIDTH: usize = 80;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const GOOD: Style = AnsiColor::Green.on_default();
        const BAD: Style = AnsiColor::Red.on_default();
        const CAREFUL: Style = AnsiColor::Yellow.on_default();
        const HEADING: Style = Style::new().bold();
        const DIM: Style = Style::new().dimmed();
        writeln!(f, "{HEADING}What shunt needs{HEADING:#}")?;
        for Met { name, met, limited, detail } in &self.requirements {
            let (style, word) = match (met, limited) {
                (true, false) => (GOOD, "ok"),
                (true, true) => (CAREFUL, "limited"),
                (false, _) => (BAD, "missing"),
            };
            writeln!(f, "  {style}{word:<7}{style:#}  {name:<16} {}", wrapped(detail, 28))?;
        }
        if !self.behaviours.is_empty() {
            writeln!(f, "\n{HEADING}What this kernel does (tested){HEADING:#}")?;
        }
        for Found { statement, answer, meaning, lacking, .. } in &self.behaviours {
            let style = if *lacking { BAD } else { HEADING };
            writeln!(f, "  {style}{answer:<7}{style:#}  {}", wrapped(statement, 11))?;
            writeln!(f, "           {DIM}{}{DIM:#}", wrapped(meaning, 11))?;
        }
        if !self.known_bugs.is_empty() {
            writeln!(f, "\n{HEADING}Known bugs of Linux {}{HEADING:#}", self.release)?;
            writeln!(f, "  {DIM}{}{DIM:#}", wrapped(known_bug::CAVEAT, 2))?;
        }
        for Warning { id, what, fixed, reachable, reach } in &self.known_bugs {
            let (style, word) = if *reachable { (CAREFUL, "warning") } else { (DIM, "note") };
            writeln!(f, "  {style}{word:<7}{style:#}  {}", wrapped(&format!("{id}: {what}"), 11))?;
            let rest = format!("Fixed in {fixed}; {reach}.");
            writeln!(f, "           {DIM}{}{DIM:#}", wrapped(&rest, 11))?;
        }
        let (style, verdict) = match self.can_run {
            true if self.limited => (CAREFUL, "shunt can run here, with limits: see above."),
            true => (GOOD, "shunt can run here."),
            false if self.behaviours.iter().any(|found| found.lacking) => {
                (BAD, "shunt cannot run on this kernel, which lacks what it needs.")
            }
            false => (BAD, "shunt cannot run here until the missing requirements are met."),
        };
        writeln!(f, "\n{style}{verdict}{style:#}")
    }
}

/// Wraps text before the last column, with continuation lines indented; words are not broken.
fn wrapped(text: &str, indent: usize) -> String {
    let mut lines = String::new();
    let mut column = indent;
    for word in text.split_whitespace() {
        let width = word.chars().count();
        if column > indent && column + 1 + width >= WIDTH {
            lines.push('\n');
            lines.push_str(&" ".repeat(indent));
            column = indent;
        } else if column > indent {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += width;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(can_run: bool, requirements: Vec<Met>, behaviours: Vec<Found>) -> Report {
        let limited = requirements.iter().any(|requirement| requirement.limited);
        Report {
            can_run,
            limited,
            requirements,
            behaviours,
            release: String::new(),
            known_bugs: Vec::new(),
        }
    }

    fn plain(report: &Report) -> String {
        anstream::adapter::strip_str(&report.to_string()).to_string()
    }

    #[test]
    fn every_answer_to_every_behaviour_has_a_meaning_and_fits_a_terminal() {
        for behaviour in Behaviour::all() {
            for holds in [true, false] {
                let meaning = behaviour.meaning(holds);
                assert!(meaning.ends_with('.'), "{behaviour}: {meaning:?}");
                let found = Found {
                    name: behaviour.name(),
                    statement: behaviour.statement(),
                    required: behaviour.is_required(),
                    lacking: behaviour.is_required() && !holds,
                    answer: "unknown".into(),
                    meaning: meaning.into(),
                };
                let text = plain(&report(true, Vec::new(), vec![found]));
                assert!(text.lines().all(|line| line.chars().count() < WIDTH), "{text}");
            }
        }
    }

    #[test]
    fn a_missing_requirement_is_shown_with_its_remedy() {
        let missing = Met::from(Requirement {
            name: "capabilities",
            state: State::Missing,
            detail: "run it as root ".repeat(12),
        });
        let text = plain(&report(false, vec![missing], Vec::new()));
        assert!(
            text.contains("missing  capabilities     run it as root run")
                && text.contains("cannot run here"),
            "{text}"
        );
        assert!(text.lines().all(|line| line.chars().count() < WIDTH), "{text}");
    }

    #[test]
    fn a_limit_is_shown_and_does_not_prevent_a_run() {
        let limit = Met::from(Requirement {
            name: "processes",
            state: State::Limited,
            detail: "not in the initial PID namespace".to_owned(),
        });
        let text = plain(&report(true, vec![limit], Vec::new()));
        assert!(text.contains("  limited  processes        not in the"), "{text}");
        assert!(text.ends_with("shunt can run here, with limits: see above.\n"), "{text}");
    }

    #[test]
    fn a_kernel_without_required_behaviour_is_refused() {
        let found = |lacking| Found {
            name: "order",
            statement: "in order",
            required: true,
            lacking,
            answer: "no".into(),
            meaning: "Out of order.".into(),
        };
        assert!(plain(&report(false, Vec::new(), vec![found(true)])).contains("on this kernel"));
        assert!(plain(&report(true, Vec::new(), vec![found(false)])).contains("can run here"));
    }

    #[test]
    fn known_bugs_are_shown_with_their_fixes_and_whether_shunt_triggers_them() {
        let known_bugs: Vec<_> = known_bug::ALL.iter().map(Warning::of).collect();
        let release = "6.1.0-1-amd64".to_owned();
        let report = Report { release, known_bugs, ..report(true, Vec::new(), Vec::new()) };
        let text = plain(&report);
        for part in ["6.1.0-1-amd64", "CVE-2024-56633", "6.12.5", "can run here", "cannot trigger"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(
            text.contains("  warning  CVE-2026-74714: ")
                && text.contains("  note     CVE-2026-68284: "),
            "{text}"
        );
        assert!(text.lines().all(|line| line.chars().count() < WIDTH), "{text}");
    }

    #[test]
    fn a_word_longer_than_a_line_is_not_broken() {
        let long = "x".repeat(100);
        assert_eq!(wrapped(&format!("a {long} b"), 2), format!("a\n  {long}\n  b"));
        assert_eq!(wrapped("", 2), "");
    }
}
