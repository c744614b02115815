//! What all figures have around their data: a title above, notes below, a legend at the side.

use super::palette::Mark;
use super::svg::{Anchor, Canvas, Point, Stroke, Type};
use super::text;

/// Around everything.
const PADDING: f64 = 14.0;
const TITLE_SIZE: f64 = 16.0;
pub(super) const LABEL_SIZE: f64 = 13.0;
pub(super) const TICK_SIZE: f64 = 12.0;
const NOTE_SIZE: f64 = 11.0;
const NOTE_LINES_MAX: usize = 4;
/// From one baseline to the next, in sizes.
const LEADING: f64 = 1.35;
/// A narrower figure has its legend below.
const SIDE_LEGEND_WIDTH_MIN: f64 = 560.0;
const LEGEND_SHARE_MAX: f64 = 0.34;
const SAMPLE_WIDTH: f64 = 30.0;
const ENTRY_HEIGHT: f64 = 19.0;

/// An area of the figure.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Rect {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

impl Rect {
    pub fn right(&self) -> f64 {
        self.x + self.width
    }

    pub fn bottom(&self) -> f64 {
        self.y + self.height
    }

    pub fn centre(&self) -> Point {
        (self.x + self.width / 2.0, self.y + self.height / 2.0)
    }

    /// Without so much of each side; never less than nothing.
    pub fn inset(&self, left: f64, top: f64, right: f64, bottom: f64) -> Rect {
        Rect {
            x: self.x + left,
            y: self.y + top,
            width: (self.width - left - right).max(1.0),
            height: (self.height - top - bottom).max(1.0),
        }
    }
}

/// Draws the title and the notes; what is left between them.
pub(super) fn frame(canvas: &mut Canvas, title: &str, notes: &[String]) -> Rect {
    let all = Rect { x: 0.0, y: 0.0, width: canvas.width, height: canvas.height };
    let inside = all.inset(PADDING, PADDING, PADDING, PADDING);
    let heading = Type::new(TITLE_SIZE, canvas.colours.text, Anchor::Start);
    let titles = text::wrapped(title, TITLE_SIZE, inside.width, 2);
    let mut y = inside.y + 0.8 * TITLE_SIZE;
    for line in &titles {
        canvas.text("title", (inside.x, y), heading, line);
        y += LEADING * TITLE_SIZE;
    }
    let top = LEADING * TITLE_SIZE * titles.len() as f64 + 8.0;
    let lines = text::wrapped(&notes.join(" "), NOTE_SIZE, inside.width, NOTE_LINES_MAX);
    let small = Type::new(NOTE_SIZE, canvas.colours.muted, Anchor::Start);
    let bottom = LEADING * NOTE_SIZE * lines.len() as f64;
    let mut y = inside.bottom() - bottom + NOTE_SIZE;
    for line in &lines {
        canvas.text("note", (inside.x, y), small, line);
        y += LEADING * NOTE_SIZE;
    }
    let gap = if lines.is_empty() { 0.0 } else { 6.0 };
    inside.inset(0.0, top, 0.0, bottom + gap)
}

/// What stands where there is nothing to draw.
pub(super) fn empty(canvas: &mut Canvas, area: Rect, why: &str) {
    let (x, mut y) = area.centre();
    let look = Type::new(LABEL_SIZE, canvas.colours.muted, Anchor::Middle);
    for line in text::wrapped(why, LABEL_SIZE, area.width, 4) {
        canvas.text("empty", (x, y), look, &line);
        y += LEADING * LABEL_SIZE;
    }
}

/// What a legend shows beside a label.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Sample {
    /// A line with its marker.
    Mark { mark: Mark, dashed: bool },
    /// A line alone.
    Line(Stroke),
    /// The sign of trials without a value.
    Lost,
}

/// A legend.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Legend {
    /// What the labels are values of.
    pub title: String,
    pub entries: Vec<(String, Sample)>,
}

impl Legend {
    /// Draws it at the side, or below where the figure is narrow; what is left of the area.
    pub fn draw(&self, canvas: &mut Canvas, area: Rect) -> Rect {
        if self.entries.is_empty() {
            return area;
        }
        if canvas.width >= SIDE_LEGEND_WIDTH_MIN {
            self.at_the_side(canvas, area)
        } else {
            self.below(canvas, area)
        }
    }

    fn widest(&self) -> f64 {
        let labels = self.entries.iter().map(|(label, _)| text::width(label, TICK_SIZE));
        // A little more: what just fits would be cut for rounding.
        labels.fold(0.0, f64::max) + 1.0
    }

    fn at_the_side(&self, canvas: &mut Canvas, area: Rect) -> Rect {
        const GAP: f64 = 16.0;
        let width_max = LEGEND_SHARE_MAX * canvas.width;
        let labels = SAMPLE_WIDTH + 8.0 + self.widest();
        let title = text::width(&self.title, TICK_SIZE).min(150.0);
        let width = labels.max(title).min(width_max);
        let x = area.right() - width;
        let mut y = area.y + TICK_SIZE;
        let heading = Type::new(TICK_SIZE, canvas.colours.muted, Anchor::Start);
        for line in text::wrapped(&self.title, TICK_SIZE, width, 3) {
            canvas.text("legend-title", (x, y), heading, &line);
            y += LEADING * TICK_SIZE;
        }
        y += 4.0;
        for entry in &self.entries {
            draw_entry(canvas, entry, (x, y), width);
            y += ENTRY_HEIGHT;
        }
        area.inset(0.0, 0.0, width + GAP, 0.0)
    }

    fn below(&self, canvas: &mut Canvas, area: Rect) -> Rect {
        let wanted = SAMPLE_WIDTH + 8.0 + self.widest() + 12.0;
        let columns = (area.width / wanted).floor().max(1.0);
        let width = area.width / columns;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "few")]
        let columns = columns as usize;
        let rows = self.entries.len().div_ceil(columns) as f64;
        let titles = text::wrapped(&self.title, TICK_SIZE, area.width, 2);
        let height = rows * ENTRY_HEIGHT + LEADING * TICK_SIZE * titles.len() as f64;
        let mut y = area.bottom() - height + TICK_SIZE;
        let heading = Type::new(TICK_SIZE, canvas.colours.muted, Anchor::Start);
        for line in &titles {
            canvas.text("legend-title", (area.x, y), heading, line);
            y += LEADING * TICK_SIZE;
        }
        for (at, entry) in self.entries.iter().enumerate() {
            let (row, column) = ((at / columns) as f64, (at % columns) as f64);
            let place = (area.x + column * width, y + row * ENTRY_HEIGHT);
            draw_entry(canvas, entry, place, width - 8.0);
        }
        area.inset(0.0, 0.0, 0.0, height + 8.0)
    }
}

fn draw_entry(canvas: &mut Canvas, (label, sample): &(String, Sample), at: Point, width: f64) {
    let (x, y) = at;
    let middle = y - 0.36 * TICK_SIZE;
    let ends = ((x, middle), (x + SAMPLE_WIDTH, middle));
    let centre = (x + SAMPLE_WIDTH / 2.0, middle);
    canvas.begin("legend-entry", label);
    match sample {
        Sample::Mark { mark, dashed } => {
            let dash = if *dashed { mark.dash } else { "" };
            let stroke = Stroke { dash, ..Stroke::solid(mark.colour, 2.0) };
            canvas.line("sample", ends.0, ends.1, stroke);
            canvas.marker("sample", mark.marker, centre, 4.5, mark.colour);
        }
        Sample::Line(stroke) => canvas.line("sample", ends.0, ends.1, *stroke),
        Sample::Lost => lost(canvas, centre, canvas.colours.text),
    }
    let look = Type::new(TICK_SIZE, canvas.colours.text, Anchor::Start);
    let room = width - SAMPLE_WIDTH - 8.0;
    let label = text::shortened(label, TICK_SIZE, room);
    canvas.text("legend-label", (x + SAMPLE_WIDTH + 8.0, y), look, &label);
    canvas.end();
}

/// The sign of trials that ended without a value.
pub(super) fn lost(canvas: &mut Canvas, (x, y): Point, colour: &'static str) {
    const ARM: f64 = 4.0;
    let stroke = Stroke::solid(colour, 2.0);
    canvas.line("lost", (x - ARM, y - ARM), (x + ARM, y + ARM), stroke);
    canvas.line("lost", (x - ARM, y + ARM), (x + ARM, y - ARM), stroke);
}
