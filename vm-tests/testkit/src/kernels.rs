//! The table in docs/kernels.md: a row for each behaviour, a column for each kernel.

use std::path::PathBuf;

/// The row below the names: which kernel of a series it was.
const RELEASE: &str = "release";

/// A table in Markdown, with the text around it.
pub struct Table {
    before: String,
    /// Rows of cells; the first has the names of the kernels, the second their releases.
    rows: Vec<Vec<String>>,
    after: String,
}

impl Table {
    fn path() -> PathBuf {
        crate::workspace().join("docs/kernels.md")
    }

    /// The committed one.
    pub fn read() -> Table {
        let path = Table::path();
        Table::parse(
            &std::fs::read_to_string(&path)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display())),
        )
    }

    fn parse(text: &str) -> Table {
        let (mut before, mut rows, mut after) = (String::new(), Vec::new(), String::new());
        for line in text.lines() {
            match line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")) {
                Some(cells) => {
                    rows.push(cells.split(" | ").map(|cell| cell.trim().to_owned()).collect())
                }
                // The line between head and body.
                None if line.starts_with("|-") => {}
                None => {
                    let around = if rows.is_empty() { &mut before } else { &mut after };
                    around.push_str(line);
                    around.push('\n');
                }
            }
        }
        Table { before, rows, after }
    }

    /// Writes it where it was read.
    pub fn write(&self) {
        let (path, text) = (Table::path(), self.to_string());
        std::fs::write(&path, &text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// The names of the kernels.
    pub fn kernels(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().take(1).flatten().skip(1).map(String::as_str)
    }

    fn column(&self, kernel: &str) -> Option<usize> {
        self.rows.first()?.iter().skip(1).position(|name| name == kernel).map(|place| place + 1)
    }

    fn cell(&self, kernel: &str, row: &str) -> Option<&String> {
        let column = self.column(kernel)?;
        self.rows
            .iter()
            .skip(1)
            .find(|cells| cells.first().is_some_and(|first| first == row))?
            .get(column)
    }

    /// The release of a kernel that its column was written on.
    pub fn release(&self, kernel: &str) -> Option<&str> {
        self.cell(kernel, RELEASE).map(String::as_str)
    }

    /// What is written down.
    pub fn answer(&self, kernel: &str, statement: &str) -> Option<&String> {
        self.cell(kernel, statement)
    }

    /// What is written down for every kernel that `counts`, if it is the same for all of them.
    pub fn common_answer(&self, statement: &str, counts: impl Fn(&str) -> bool) -> Option<&String> {
        let mut answers = self
            .kernels()
            .filter(|kernel| counts(kernel))
            .map(|kernel| self.answer(kernel, statement));
        let first = answers.next()??;
        answers.all(|answer| answer == Some(first)).then_some(first)
    }

    /// What the rows are about.
    pub fn statements(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().skip(2).filter_map(|cells| cells.first().map(String::as_str))
    }

    /// Puts a kernel's column there, with a row for each of `answers` and no others.
    pub fn set(&mut self, kernel: &str, release: &str, answers: &[(&str, String)]) {
        let names = self.rows.first().cloned().unwrap_or_else(|| vec![String::new()]);
        let kernels: Vec<String> = names
            .iter()
            .skip(1)
            .cloned()
            .chain(self.column(kernel).is_none().then(|| kernel.to_owned()))
            .collect();
        let row = |statement: &str, new: &str| {
            let cell = |name: &String| {
                let known = self.cell(name, statement).cloned().unwrap_or_default();
                if name == kernel { new.to_owned() } else { known }
            };
            std::iter::once(statement.to_owned()).chain(kernels.iter().map(cell)).collect()
        };
        let mut rows =
            vec![std::iter::once(String::new()).chain(kernels.iter().cloned()).collect()];
        rows.push(row(RELEASE, release));
        rows.extend(answers.iter().map(|(statement, answer)| row(statement, answer)));
        self.rows = rows;
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.before)?;
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
        };
        let widths: Vec<usize> =
            (0..columns).map(|column| width(column).unwrap_or_default().max(1)).collect();
        for (number, row) in self.rows.iter().enumerate() {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            writeln!(f, "| {} |", cells.join(" | "))?;
            if number == 0 {
                let lines: Vec<String> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
                writeln!(f, "|{}|", lines.join("|"))?;
            }
        }
        f.write_str(&self.after)
    }
}

#[test]
fn an_answer_is_common_when_every_kernel_that_counts_gives_it() {
    let table = Table::parse(
        "|   | 6.1 | 6.12 | 7 |\n|--|--|--|--|\n| release | a | b | c |\n| sees | no | yes | yes |\n",
    );
    assert_eq!(
        table.common_answer("sees", |kernel| kernel != "6.1").map(String::as_str),
        Some("yes")
    );
    assert_eq!(table.common_answer("sees", |_| true), None);
    assert_eq!(table.common_answer("sees", |_| false), None);
    assert_eq!(table.common_answer("hears", |_| true), None);
}

#[test]
fn a_column_is_read_as_it_was_written_and_leaves_the_others_alone() {
    let mut table = Table::parse(
        "# Kernels\n\n|   | 5.10 |\n|---|------|\n| release | 5.10.1 |\n| sees | no |\n| gone | yes |\n\nEnd\n",
    );
    table.set("6.1", "6.1.9", &[("sees", "yes".into()), ("hears", "no".into())]);
    let table = Table::parse(&table.to_string());
    assert_eq!(table.release("6.1"), Some("6.1.9"));
    assert_eq!(table.answer("6.1", "hears").map(String::as_str), Some("no"));
    assert_eq!(table.answer("5.10", "sees").map(String::as_str), Some("no"));
    assert_eq!(table.answer("5.10", "hears").map(String::as_str), Some(""));
    assert_eq!(table.statements().collect::<Vec<_>>(), ["sees", "hears"]);
    assert_eq!(table.answer("7", "sees"), None);
    assert!(
        table.to_string().starts_with("# Kernels\n\n|")
            && table.to_string().ends_with("|\n\nEnd\n"),
        "{table}"
    );
}
