//! What is wrong with a sweep file, shown where it stands.
//!
//! A problem names the value and what is accepted; `SpecErrors` prints all of them with file,
//! line, column and the line itself. Warnings look the same and stop nothing.

use std::fmt;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::params::{Rejection, nearest, printable};

/// Problems that are shown; further ones are counted.
const SHOWN_MAX: usize = 50;
/// Bytes of a line around a problem that are shown; the generated file of one line is cut.
const LINE_BYTES_SHOWN: usize = 160;

/// A range of bytes in one of the sources.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Span {
    /// 0 is the file, n the n-th `--set` flag.
    pub source: usize,
    /// First byte.
    pub start: usize,
    /// Byte after the last.
    pub end: usize,
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Problem {
    at: Span,
    message: String,
    label: Option<String>,
    related: Option<(Span, String)>,
    notes: Vec<String>,
}

impl Problem {
    /// A problem at a place; the message is lower case without a full stop.
    pub fn new(at: Span, message: impl Into<String>) -> Problem {
        Problem { at, message: message.into(), label: None, related: None, notes: Vec::new() }
    }

    /// A value that the parameter table refuses.
    pub fn rejected(at: Span, rejection: Rejection) -> Problem {
        Problem::new(at, rejection.problem)
            .suggest(rejection.suggestion)
            .accepted(rejection.accepted)
    }

    /// A name that is none of the candidates, which are listed.
    pub fn unknown<'a>(
        at: Span,
        what: &str,
        name: &str,
        candidates: impl Iterator<Item = &'a str> + Clone,
    ) -> Problem {
        let list: Vec<&str> = candidates.clone().collect();
        let problem = Problem::new(at, format!("unknown {what} `{}`", printable(name)))
            .suggest(nearest(name, candidates));
        if list.is_empty() { problem.accepted("none") } else { problem.accepted(list.join(", ")) }
    }

    /// Says below the line what is accepted.
    pub fn accepted(self, accepted: impl fmt::Display) -> Problem {
        self.note(format!("accepted: {accepted}"))
    }

    /// Says something more below the line.
    pub fn note(mut self, note: impl Into<String>) -> Problem {
        self.notes.push(note.into());
        self
    }

    /// Offers a near name beside the marked text.
    pub fn suggest(mut self, name: Option<&str>) -> Problem {
        if let Some(name) = name {
            self.label = Some(format!("did you mean `{name}`?"));
        }
        self
    }

    /// Marks a second place.
    pub fn related(mut self, at: Span, label: impl Into<String>) -> Problem {
        self.related = Some((at, label.into()));
        self
    }
}

/// A text that spans point into.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Source {
    /// File name, or `--set`.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// Collects problems and warnings while a file is read.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    pub errors: Vec<Problem>,
    pub warnings: Vec<Problem>,
}

impl Problems {
    /// Something that stops the sweep.
    pub fn error(&mut self, problem: Problem) {
        self.errors.push(problem);
    }

    /// Something that looks unintended.
    pub fn warn(&mut self, problem: Problem) {
        self.warnings.push(problem);
    }
}

/// Everything that is wrong with a sweep file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SpecErrors {
    sources: Vec<Source>,
    problems: Vec<Problem>,
}

impl SpecErrors {
    pub(crate) fn new(sources: Vec<Source>, mut problems: Vec<Problem>) -> SpecErrors {
        assert!(!problems.is_empty(), "errors come with at least one problem");
        problems.sort_by_key(|problem| (problem.at.source, problem.at.start));
        SpecErrors { sources, problems }
    }

    /// How many problems there are.
    #[expect(clippy::len_without_is_empty, reason = "there is always at least one")]
    pub fn len(&self) -> usize {
        self.problems.len()
    }

    /// Every problem with its place, then their number; in colour for a terminal that wants it.
    pub fn render(&self, colour: bool) -> String {
        let mut out = String::new();
        for problem in self.problems.iter().take(SHOWN_MAX) {
            out.push_str(&render(Level::ERROR, problem, &self.sources, colour));
            out.push_str("\n\n");
        }
        let file = &self.sources[0].name;
        match self.problems.len() {
            1 => out.push_str(&format!("1 error in {file}")),
            n if n <= SHOWN_MAX => out.push_str(&format!("{n} errors in {file}")),
            n => out.push_str(&format!("{n} errors in {file}; the first {SHOWN_MAX} are shown")),
        }
        out
    }
}

impl fmt::Display for SpecErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for SpecErrors {}

/// Something in a sweep file that looks unintended, and stops nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Warning {
    message: String,
    plain: String,
    coloured: String,
}

impl Warning {
    pub(crate) fn new(problem: &Problem, sources: &[Source]) -> Warning {
        Warning {
            message: problem.message.clone(),
            plain: render(Level::WARNING, problem, sources, false),
            coloured: render(Level::WARNING, problem, sources, true),
        }
    }

    /// What it says, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// With its place; in colour for a terminal that wants it.
    pub fn render(&self, colour: bool) -> &str {
        if colour { &self.coloured } else { &self.plain }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.plain)
    }
}

fn render(level: Level<'static>, problem: &Problem, sources: &[Source], colour: bool) -> String {
    let mut group = Group::with_title(level.primary_title(problem.message.clone()));
    let primary = Excerpt::of(sources, problem.at);
    let label = problem.label.clone();
    let mut snippet = primary
        .snippet()
        .annotation(AnnotationKind::Primary.span(primary.marked.clone()).label(label));
    let mut second = None;
    if let Some((at, label)) = &problem.related {
        let excerpt = Excerpt::of(sources, *at);
        if excerpt.name == primary.name && excerpt.line == primary.line {
            let mark = AnnotationKind::Context.span(excerpt.marked.clone()).label(label.clone());
            snippet = snippet.annotation(mark);
        } else {
            second = Some((excerpt, label.clone()));
        }
    }
    group = group.element(snippet);
    if let Some((excerpt, label)) = &second {
        let mark = AnnotationKind::Context.span(excerpt.marked.clone()).label(label.clone());
        group = group.element(excerpt.snippet().annotation(mark));
    }
    for note in &problem.notes {
        group = group.element(Level::NOTE.message(note.clone()));
    }
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    renderer.decor_style(DecorStyle::Ascii).render(&[group])
}

/// One line of a source with the marked bytes in it.
struct Excerpt<'a> {
    name: &'a str,
    /// From 1.
    line: usize,
    text: &'a str,
    marked: std::ops::Range<usize>,
}

impl<'a> Excerpt<'a> {
    fn of(sources: &'a [Source], at: Span) -> Excerpt<'a> {
        let Source { name, text } = &sources[at.source];
        let start = floor_boundary(text, at.start);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |length| start + length);
        let line = text[..line_start].matches('\n').count() + 1;
        let end = floor_boundary(text, at.end).clamp(start, line_end);
        let shown = line_end.min(floor_boundary(text, start.saturating_add(LINE_BYTES_SHOWN)));
        let text = text[line_start..shown.max(start)].trim_end_matches(['\r', '\n']);
        let marked = (start - line_start).min(text.len())..(end - line_start).min(text.len());
        Excerpt { name, line, text, marked }
    }

    fn snippet(&self) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
        Snippet::source(self.text).line_start(self.line).path(self.name)
    }
}

fn floor_boundary(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at.min(text.len()))
}
