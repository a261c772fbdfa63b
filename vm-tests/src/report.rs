//! What came out: a table of tests and kernels with times, what went wrong in full, and JUnit's
//! XML.

use std::fmt::{self, Write};
use std::time::Duration;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

/// The outcome of a whole run.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// How the guests were executed.
    pub accelerator: String,
    /// The names of the tests, in order.
    pub tests: Vec<String>,
    /// One for each kernel.
    pub kernels: Vec<KernelReport>,
}

/// The outcome on one kernel.
#[derive(Debug, Clone, Default)]
pub struct KernelReport {
    /// The series.
    pub series: String,
    /// Which kernel it was, where that is known.
    pub release: Option<String>,
    /// It was left out on the command line.
    pub excluded: bool,
    /// In the order of [`Report::tests`]; those that did not run are absent.
    pub results: Vec<TestResult>,
    /// What the kernel complained about outside tests.
    pub complaints: Vec<String>,
    /// Why not everything could be run: nothing that a test did.
    pub trouble: Option<String>,
}

/// The outcome of one test on one kernel.
#[derive(Debug, Clone)]
pub struct TestResult {
    /// The name of the test.
    pub test: String,
    /// What came of it.
    pub verdict: Verdict,
    /// How long it took.
    pub seconds: f64,
    /// What it printed.
    pub output: String,
    /// What the kernel complained about meanwhile.
    pub complaints: Vec<String>,
}

/// What came of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It held.
    Passed,
    /// It did not.
    Failed,
    /// It was not done in time.
    TimedOut,
    /// The kernel died.
    Crashed,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::TimedOut => "TIMED OUT",
            Self::Crashed => "CRASHED",
        })
    }
}

/// What the run comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conclusion {
    /// Every test passed on every kernel that was not excluded.
    Passed,
    /// A test failed or a kernel complained.
    Failed,
    /// Nothing failed, but not everything could be run.
    Incomplete,
}

impl TestResult {
    /// The verdict and what led to it.
    pub fn details(&self) -> String {
        let mut text = format!("{}\n", self.verdict);
        for complaint in &self.complaints {
            let _ = writeln!(text, "the kernel complained: {complaint}");
        }
        let _ = writeln!(text, "{}", self.output.trim_end());
        text
    }
}

impl KernelReport {
    fn result(&self, test: &str) -> Option<&TestResult> {
        self.results.iter().find(|result| result.test == test)
    }

    fn cell(&self, test: &str) -> String {
        match self.result(test) {
            Some(TestResult { verdict: Verdict::Passed, seconds, .. }) => format!("{seconds:.1} s"),
            Some(TestResult { verdict, seconds, .. }) => format!("{verdict} {seconds:.1} s"),
            None if self.excluded => "excluded".to_owned(),
            None => "not run".to_owned(),
        }
    }

    fn title(&self) -> String {
        self.release.clone().unwrap_or_else(|| self.series.clone())
    }
}

impl Report {
    /// What it all comes to.
    pub fn conclusion(&self) -> Conclusion {
        let failed = |kernel: &KernelReport| {
            !kernel.complaints.is_empty()
                || kernel.results.iter().any(|result| result.verdict != Verdict::Passed)
        };
        let complete = |kernel: &KernelReport| {
            kernel.excluded
                || kernel.trouble.is_none()
                    && self.tests.iter().all(|test| kernel.result(test).is_some())
        };
        if self.kernels.iter().any(failed) {
            Conclusion::Failed
        } else if self.tests.is_empty()
            || self.kernels.iter().all(|kernel| kernel.excluded)
            || !self.kernels.iter().all(complete)
        {
            Conclusion::Incomplete
        } else {
            Conclusion::Passed
        }
    }

    /// The table, then everything that went wrong, then the numbers.
    pub fn text(&self) -> String {
        let mut text = self.table();
        for kernel in &self.kernels {
            for result in kernel.results.iter().filter(|result| result.verdict != Verdict::Passed) {
                let _ = write!(
                    text,
                    "\n── {} on {}: {}",
                    result.test,
                    kernel.title(),
                    result.details()
                );
            }
            for complaint in &kernel.complaints {
                let _ =
                    writeln!(text, "\n── {} complained outside tests: {complaint}", kernel.title());
            }
            if let Some(trouble) = &kernel.trouble {
                let _ = writeln!(
                    text,
                    "\n── {} could not run everything: {}",
                    kernel.title(),
                    trouble.trim_end()
                );
            }
        }
        let _ = writeln!(text, "\n{}", self.summary());
        text
    }

    fn table(&self) -> String {
        let mut rows = vec![
            [String::new()]
                .into_iter()
                .chain(self.kernels.iter().map(|kernel| kernel.series.clone()))
                .collect(),
        ];
        for test in &self.tests {
            rows.push(
                [test.clone()]
                    .into_iter()
                    .chain(self.kernels.iter().map(|kernel| kernel.cell(test)))
                    .collect(),
            );
        }
        let columns = self.kernels.len() + 1;
        let width =
            |column: usize| rows.iter().map(|row: &Vec<String>| row[column].chars().count()).max();
        let widths: Vec<usize> =
            (0..columns).map(|column| width(column).unwrap_or_default()).collect();
        let mut table = String::new();
        for row in &rows {
            let mut line = format!("{:<width$}", row[0], width = widths[0]);
            for (cell, width) in row.iter().zip(&widths).skip(1) {
                let _ = write!(line, "  {cell:>width$}");
            }
            table.push_str(line.trim_end());
            table.push('\n');
        }
        for kernel in &self.kernels {
            if let Some(release) = &kernel.release {
                let _ = writeln!(table, "{} is {release}", kernel.series);
            }
        }
        table
    }

    fn summary(&self) -> String {
        let all = || self.kernels.iter().flat_map(|kernel| &kernel.results);
        let passed = all().filter(|result| result.verdict == Verdict::Passed).count();
        let failed = all().count() - passed;
        let kernels = self.kernels.iter().filter(|kernel| !kernel.excluded).count();
        let expected = kernels * self.tests.len();
        let mut summary = format!(
            "{passed} of {expected} passed, {failed} failed, {} not run; {} tests on {kernels} kernels by {}",
            expected.saturating_sub(passed + failed),
            self.tests.len(),
            self.accelerator,
        );
        let excluded: Vec<_> = self
            .kernels
            .iter()
            .filter(|kernel| kernel.excluded)
            .map(|kernel| kernel.series.as_str())
            .collect();
        if !excluded.is_empty() {
            let _ = write!(summary, "; excluded: {}", excluded.join(", "));
        }
        summary
    }

    /// The same for tools that read JUnit's XML: a suite for each kernel, with an error where it
    /// could not run everything.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn junit(&self) -> Result<String, quick_junit::SerializeError> {
        let mut report = quick_junit::Report::new("kernels");
        for kernel in &self.kernels {
            let mut suite = TestSuite::new(kernel.series.as_str());
            if let Some(release) = &kernel.release {
                suite.add_property(("release", release.as_str()));
            }
            for test in &self.tests {
                let status = match kernel.result(test) {
                    Some(TestResult { verdict: Verdict::Passed, .. }) => TestCaseStatus::success(),
                    Some(result) => {
                        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                        status.set_message(result.verdict.to_string());
                        status.set_description(format!(
                            "{}\n{}",
                            result.complaints.join("\n"),
                            result.output
                        ));
                        status
                    }
                    None => {
                        let mut status = TestCaseStatus::skipped();
                        status.set_message(kernel.cell(test));
                        status
                    }
                };
                let mut case = TestCase::new(test.as_str(), status);
                if let Some(result) = kernel.result(test) {
                    case.set_time(Duration::try_from_secs_f64(result.seconds).unwrap_or_default());
                }
                suite.add_test_case(case);
            }
            let complaints = (!kernel.complaints.is_empty()).then(|| kernel.complaints.join("\n"));
            for (name, kind, what) in [
                ("the kernel does not complain", NonSuccessKind::Failure, complaints.as_ref()),
                ("the guest runs everything", NonSuccessKind::Error, kernel.trouble.as_ref()),
            ] {
                if let Some(what) = what {
                    let mut status = TestCaseStatus::non_success(kind);
                    status.set_description(what.as_str());
                    suite.add_test_case(TestCase::new(name, status));
                }
            }
            report.add_test_suite(suite);
        }
        report.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(test: &str, verdict: Verdict, seconds: f64, output: &str) -> TestResult {
        TestResult {
            test: test.into(),
            verdict,
            seconds,
            output: output.into(),
            complaints: vec![],
        }
    }

    fn report() -> Report {
        let good = KernelReport {
            series: "6.12".into(),
            release: Some("6.12.9-cloud".into()),
            results: vec![
                result("nat::one", Verdict::Passed, 1.25, ""),
                result("nat::another_one", Verdict::Passed, 61.04, ""),
            ],
            ..KernelReport::default()
        };
        let mut warned = result("nat::another_one", Verdict::Failed, 3.0, "test result: ok\n");
        warned.complaints.push("WARNING: CPU: 0 PID: 1 at net/core/sock_map.c:1".into());
        let bad = KernelReport {
            series: "5.10".into(),
            release: Some("5.10.1-cloud".into()),
            results: vec![
                result("nat::one", Verdict::TimedOut, 300.0, "panicked <here>\n"),
                warned,
            ],
            complaints: vec!["BUG: at boot".into()],
            ..KernelReport::default()
        };
        let absent = KernelReport {
            series: "7".into(),
            trouble: Some("no kernel 7 in the cache".into()),
            ..KernelReport::default()
        };
        let excluded =
            KernelReport { series: "6.1".into(), excluded: true, ..KernelReport::default() };
        Report {
            accelerator: "emulation".into(),
            tests: vec!["nat::one".into(), "nat::another_one".into()],
            kernels: vec![good, bad, absent, excluded],
        }
    }

    #[test]
    fn the_report_shows_every_test_on_every_kernel_and_all_that_went_wrong() {
        assert_eq!(report().text(), include_str!("report.txt"));
    }

    #[test]
    fn the_xml_has_failures_where_tests_failed_and_errors_where_they_could_not_run() {
        assert_eq!(report().junit().expect("XML"), include_str!("report.xml"));
    }

    #[test]
    fn a_run_passes_only_when_every_test_passed_on_every_kernel_that_was_not_excluded() {
        let whole = report();
        let with = |kernels: &[usize]| Report {
            kernels: kernels.iter().map(|&index| whole.kernels[index].clone()).collect(),
            ..whole.clone()
        };
        assert_eq!(with(&[0, 3]).conclusion(), Conclusion::Passed);
        assert_eq!(with(&[0, 2]).conclusion(), Conclusion::Incomplete);
        assert_eq!(with(&[3]).conclusion(), Conclusion::Incomplete);
        assert_eq!(with(&[0, 1, 2]).conclusion(), Conclusion::Failed);
        let mut complaining = with(&[0]);
        complaining.kernels[0].complaints.push("WARNING:".into());
        assert_eq!(complaining.conclusion(), Conclusion::Failed);
        let mut shorter = with(&[0]);
        shorter.kernels[0].results.pop();
        assert_eq!(shorter.conclusion(), Conclusion::Incomplete);
        assert_eq!(Report::default().conclusion(), Conclusion::Incomplete);
    }
}
