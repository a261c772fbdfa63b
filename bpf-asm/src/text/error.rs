//! Errors and warnings of assembling.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// An error or a warning.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct TextError {
    /// The line, from 1.
    pub line: usize,
    /// The column of its first character, from 1.
    pub column: usize,
    /// Its length in characters.
    pub width: usize,
    /// The message.
    pub message: String,
    /// How to fix it.
    pub hint: Option<String>,
    /// The text of the line.
    pub text: String,
    /// Its bytes in the line.
    span: Range<usize>,
}

/// All errors in a text, from top to bottom.
///
/// `Display` shows each with its line, as compilers do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextErrors {
    file: String,
    errors: Vec<TextError>,
}

/// Warnings about a text, from top to bottom. They do not prevent assembling.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TextWarnings {
    file: String,
    warnings: Vec<TextError>,
}

/// An error in part of a line whose number is not known yet.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub span: Range<usize>,
    pub message: String,
    pub hint: Option<String>,
}

impl Fault {
    pub fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Fault { span, message: message.into(), hint: None }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the name in `known` that is most similar to `given` as a suggestion before any other
    /// hint.
    pub fn similar(mut self, given: &str, known: impl Iterator<Item = impl AsRef<str>>) -> Self {
        if let Some(known) = similar(given, known) {
            let otherwise = self.hint.map(|hint| format!(" Otherwise {hint}")).unwrap_or_default();
            self.hint = Some(format!("did you mean `{known}`?{otherwise}"));
        }
        self
    }

    /// The error at line `number` (from 1), which contains `text`.
    pub fn at(self, number: usize, text: &str) -> TextError {
        let Fault { span, message, hint } = self;
        let chars = |range: Range<usize>| text.get(range).unwrap_or_default().chars().count();
        TextError {
            line: number,
            column: chars(0..span.start) + 1,
            width: chars(span.clone()),
            message,
            hint,
            text: text.to_owned(),
            span,
        }
    }
}

/// An error about a whole line (from 1), or about no line.
#[cfg(feature = "elf")]
fn whole_line(
    source: &str,
    line: Option<usize>,
    message: String,
    hint: Option<String>,
) -> TextError {
    let line = line.filter(|line| *line > 0).unwrap_or(1);
    let text = source.lines().nth(line - 1).unwrap_or_default();
    let code = super::token::without_comment(text);
    let start = code.len() - code.trim_start().len();
    Fault { span: start..code.trim_end().len().max(start), message, hint }.at(line, text)
}

impl TextErrors {
    /// An error about a line, from 1.
    #[cfg(feature = "elf")]
    pub(crate) fn one(
        file: &str,
        source: &str,
        line: Option<usize>,
        message: String,
        hint: Option<String>,
    ) -> Self {
        TextErrors::new(file, vec![whole_line(source, line, message, hint)])
    }

    pub(super) fn new(file: &str, mut errors: Vec<TextError>) -> Self {
        errors.sort_by_key(|error| (error.line, error.column));
        TextErrors { file: file.to_owned(), errors }
    }

    /// The errors, at least one.
    pub fn errors(&self) -> &[TextError] {
        &self.errors
    }

    /// Each error with its line, followed by the number of errors; optionally in colour.
    pub fn render(&self, coloured: bool) -> String {
        render(&self.file, &self.errors, "error", coloured)
    }
}

impl TextWarnings {
    pub(super) fn new(file: &str, mut warnings: Vec<TextError>) -> Self {
        warnings.sort_by_key(|warning| (warning.line, warning.column));
        TextWarnings { file: file.to_owned(), warnings }
    }

    /// Adds a warning about a line, from 1.
    #[cfg(feature = "elf")]
    pub(crate) fn add(
        &mut self,
        source: &str,
        line: Option<usize>,
        message: String,
        hint: Option<String>,
    ) {
        self.warnings.push(whole_line(source, line, message, hint));
        self.warnings.sort_by_key(|warning| (warning.line, warning.column));
    }

    /// The warnings, if there are any.
    pub fn warnings(&self) -> &[TextError] {
        &self.warnings
    }

    /// Each warning with its line, in the format of [`TextErrors::render`]; empty if there is none.
    pub fn render(&self, coloured: bool) -> String {
        render(&self.file, &self.warnings, "warning", coloured)
    }
}

fn render(file: &str, errors: &[TextError], what: &'static str, coloured: bool) -> String {
    let renderer = if coloured { Renderer::styled() } else { Renderer::plain() };
    let level = if what == "error" { Level::ERROR } else { Level::WARNING };
    let mut text = String::new();
    for error in errors {
        let snippet = Snippet::source(error.text.as_str())
            .line_start(error.line)
            .path(file)
            .annotation(AnnotationKind::Primary.span(error.span.clone()));
        let mut group = level.clone().primary_title(error.message.as_str()).element(snippet);
        if let Some(hint) = &error.hint {
            group = group.element(Level::HELP.message(hint.as_str()));
        }
        text.push_str(&renderer.render(&[group]));
        text.push_str("\n\n");
    }
    match errors.len() {
        0 => {}
        1 => text.push_str(&format!("1 {what} in {file}\n")),
        count => text.push_str(&format!("{count} {what}s in {file}\n")),
    }
    text
}

/// The most similar name in `known`, if at most one letter in three differs.
pub(crate) fn similar(given: &str, known: impl Iterator<Item = impl AsRef<str>>) -> Option<String> {
    /// Longer names are generated, not mistyped.
    const LONGEST: usize = 64;
    // The common prefix of helpers' names is not a similarity.
    let own = |name: &str| name.strip_prefix("bpf_").unwrap_or(name).to_lowercase();
    let wanted = own(given);
    let allowed = wanted.chars().count().div_ceil(3).min(wanted.len().saturating_sub(1));
    let near = |name: &str| {
        let name = own(name);
        let worth = name.len() <= LONGEST && name.len().abs_diff(wanted.len()) <= allowed;
        let distance = worth.then(|| strsim::osa_distance(&wanted, &name))?;
        (distance <= allowed).then_some(distance)
    };
    known
        .take_while(|_| given.len() <= LONGEST)
        .filter_map(|known| Some((near(known.as_ref())?, known.as_ref().to_owned())))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

impl fmt::Display for TextErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for TextErrors {}
