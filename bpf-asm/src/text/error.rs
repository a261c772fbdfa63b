//! What is wrong with a text.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct TextError {
    /// The line, from 1.
    pub line: usize,
    /// The column of the first character that is meant, from 1.
    pub column: usize,
    /// How many characters are meant.
    pub width: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// What stands in the line.
    pub text: String,
    /// The bytes of the line that are meant.
    span: Range<usize>,
}

/// Everything that is wrong with a text, from top to bottom.
///
/// `Display` shows each with its line, as compilers do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextErrors {
    file: String,
    errors: Vec<TextError>,
}

/// What is wrong with a part of a line, before it is known where the line is.
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

    /// The same with what one of `known` may have been meant by `given`.
    pub fn similar(self, given: &str, known: impl Iterator<Item = impl AsRef<str>>) -> Self {
        let similar = known
            .map(|known| (strsim::jaro_winkler(given, known.as_ref()), known))
            .max_by(|(a, _), (b, _)| a.total_cmp(b))
            .filter(|(alike, _)| *alike > 0.8);
        match similar {
            Some((_, known)) => self.hint(format!("did you mean `{}`?", known.as_ref())),
            None => self,
        }
    }

    /// The error, in the line `number` (from 1) that reads `text`.
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

impl TextErrors {
    pub(super) fn new(file: &str, mut errors: Vec<TextError>) -> Self {
        errors.sort_by_key(|error| (error.line, error.column));
        TextErrors { file: file.to_owned(), errors }
    }

    /// The errors, at least one.
    pub fn errors(&self) -> &[TextError] {
        &self.errors
    }

    /// Each error with its line; with colours for a terminal.
    pub fn render(&self, coloured: bool) -> String {
        let renderer = if coloured { Renderer::styled() } else { Renderer::plain() };
        let mut text = String::new();
        for error in &self.errors {
            let snippet = Snippet::source(error.text.as_str())
                .line_start(error.line)
                .path(self.file.as_str())
                .annotation(AnnotationKind::Primary.span(error.span.clone()));
            let mut group = Level::ERROR.primary_title(error.message.as_str()).element(snippet);
            if let Some(hint) = &error.hint {
                group = group.element(Level::HELP.message(hint.as_str()));
            }
            text.push_str(&renderer.render(&[group]));
            text.push_str("\n\n");
        }
        let count = self.errors.len();
        text.push_str(&format!("{count} error{} in {}", if count == 1 { "" } else { "s" }, self.file));
        text
    }
}

impl fmt::Display for TextErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for TextErrors {}
