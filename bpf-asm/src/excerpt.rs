//! The line of a source file, to be shown under an error.

use std::fmt;
use std::fs;
use std::path::Path;

use crate::error::Location;

/// Larger files are not searched for a line.
const MAX_FILE: u64 = 1 << 20;

/// Shows a line with a mark under its column, each after a line break and `indent` spaces; nothing
/// if the file is not at hand, or is shorter than it was when it was compiled.
pub(crate) struct Excerpt {
    pub(crate) at: Location,
    pub(crate) indent: usize,
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, column) = (self.at.line() as usize, self.at.column() as usize);
        let Some(text) = read(Path::new(self.at.file())) else { return Ok(()) };
        let Some(line) = text.lines().nth(number.saturating_sub(1)) else { return Ok(()) };
        let before = line.chars().take(column.saturating_sub(1));
        // Tabs stay, so that the mark is below its column.
        let gap: String = before.map(|c| if c == '\t' { c } else { ' ' }).collect();
        let (number, line, indent) = (number.to_string(), line.trim_end(), self.indent);
        let width = number.len();
        write!(f, "\n{:indent$}{:width$} |", "", "")?;
        write!(f, "\n{:indent$}{number} | {line}", "")?;
        write!(f, "\n{:indent$}{:width$} | {gap}^", "", "")
    }
}

/// A source file by the compiler's path, which begins at the folder of the workspace: that may be
/// one of those above the current folder.
fn read(path: &Path) -> Option<String> {
    let current = std::env::current_dir().ok()?;
    current.ancestors().find_map(|folder| {
        let path = folder.join(path);
        let is_small =
            fs::metadata(&path).is_ok_and(|about| about.is_file() && about.len() <= MAX_FILE);
        is_small.then(|| fs::read_to_string(path).ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_shown_with_a_mark_below_its_column() {
        let at: Location = std::panic::Location::caller();
        let shown = Excerpt { at, indent: 2 }.to_string();
        let number = at.line();
        let line = "        let at: Location = std::panic::Location::caller();";
        let mark = " ".repeat(at.column() as usize - 1);
        let width = number.to_string().len();
        assert_eq!(
            shown,
            format!("\n  {:width$} |\n  {number} | {line}\n  {:width$} | {mark}^", "", "")
        );
    }

    #[test]
    fn a_file_that_is_not_at_hand_is_left_out() {
        assert_eq!(read(Path::new("no/such/file.rs")), None);
        assert_eq!(read(Path::new("src")), None);
    }
}
