//! Tables for output: columns as wide as their widest cell, two spaces apart.

use std::fmt::{self, Write};

/// A table with a header.
pub struct Table {
    rows: Vec<Vec<String>>,
    right: Vec<usize>,
}

impl Table {
    /// A table with these columns.
    pub fn new(heading: &[&str]) -> Table {
        Table {
            rows: vec![heading.iter().map(|&cell| cell.to_owned()).collect()],
            right: Vec::new(),
        }
    }

    /// Aligns a column to the right, for numbers.
    pub fn right(mut self, column: usize) -> Table {
        self.right.push(column);
        self
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell: &String| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut line = String::new();
        for row in &self.rows {
            line.clear();
            for (column, cell) in row.iter().enumerate() {
                let width = widths[column];
                // Writing to a string never fails.
                let _ = if self.right.contains(&column) {
                    write!(line, "{cell:>width$}  ")
                } else {
                    write!(line, "{cell:<width$}  ")
                };
            }
            line.truncate(line.trim_end().len());
            line.push('\n');
            f.write_str(&line)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_are_aligned_and_lines_do_not_end_in_spaces() {
        let mut table = Table::new(&["NAME", "N"]).right(1);
        table.row(["a".into(), "7".into()]);
        table.row(["länger".into(), "1234".into()]);
        assert_eq!(table.to_string(), "NAME       N\na          7\nlänger  1234\n");
    }
}
