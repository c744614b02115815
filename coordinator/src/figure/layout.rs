//! What all figures have around their data: a title above, notes below, a legend at the side.

use super::error::FigureError;
use super::palette::Mark;
use super::request::Size;
use super::svg::{Anchor, Canvas, Point, Stroke, Type};
use super::text;

/// Around everything.
const PADDING: f64 = 14.0;
const TITLE_SIZE: f64 = 16.0;
pub(super) const LABEL_SIZE: f64 = 13.0;
pub(super) const TICK_SIZE: f64 = 12.0;
const NOTE_SIZE: f64 = 11.0;
const NOTE_LINES_MAX: f64 = 4.0;
/// Above the notes.
const NOTE_GAP: f64 = 6.0;
/// Less than this is no area in which heights and places can be compared.
pub(super) const PLOT_WIDTH_MIN: f64 = 120.0;
pub(super) const PLOT_HEIGHT_MIN: f64 = 80.0;
/// From one baseline to the next, in sizes.
const LEADING: f64 = 1.35;
/// A narrower figure has its legend below.
const SIDE_LEGEND_WIDTH_MIN: f64 = 560.0;
const LEGEND_SHARE_MAX: f64 = 0.34;
const SAMPLE_WIDTH: f64 = 30.0;
const ENTRY_HEIGHT: f64 = 19.0;
/// Between the data and a legend at its side, and one below it.
const SIDE_GAP: f64 = 16.0;
const BELOW_GAP: f64 = 8.0;

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

/// What stands around the data.
pub(super) struct Frame<'a> {
    pub title: &'a str,
    pub notes: &'a [String],
    pub legend: &'a Legend,
}

impl Frame<'_> {
    /// Draws it; what is left for the data. That is at least `width_min` across and what
    /// `height_min` says for its width: where room is short, notes go first, then the title's
    /// second line; where that is not enough, the figure is refused.
    pub fn draw(
        &self,
        canvas: &mut Canvas,
        width_min: f64,
        height_min: &dyn Fn(f64) -> f64,
    ) -> Result<Rect, FigureError> {
        let width = canvas.width.max(width_min + 2.0 * PADDING).max(f64::from(Size::MIN.width));
        let place = self.legend.place(width, width_min);
        let height = 2.0 * PADDING + heading(1) + place.height(width - 2.0 * PADDING, height_min);
        let height = height.max(f64::from(Size::MIN.height));
        if canvas.width < width || canvas.height < height {
            return Err(FigureError::Room {
                size: [canvas.width, canvas.height].map(whole),
                least: [width, height].map(whole),
            });
        }
        let mut spare = canvas.height - height;
        let mut titles = text::wrapped(self.title, TITLE_SIZE, width - 2.0 * PADDING, 2);
        let second = heading(2) - heading(1);
        if titles.len() > 1 && spare < second {
            titles = text::wrapped(self.title, TITLE_SIZE, width - 2.0 * PADDING, 1);
        }
        spare -= second * (titles.len() as f64 - 1.0).max(0.0);
        let lines = ((spare - NOTE_GAP) / (LEADING * NOTE_SIZE)).floor();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0..=4")]
        let lines = lines.clamp(0.0, NOTE_LINES_MAX) as usize;
        let area = self.draw_texts(canvas, &titles, lines);
        Ok(self.legend.draw(canvas, area, place))
    }

    /// The title above, notes in at most so many lines below; what is left between them.
    fn draw_texts(&self, canvas: &mut Canvas, titles: &[String], note_lines: usize) -> Rect {
        let all = Rect { x: 0.0, y: 0.0, width: canvas.width, height: canvas.height };
        let inside = all.inset(PADDING, PADDING, PADDING, PADDING);
        let look = Type::new(TITLE_SIZE, canvas.colours.text, Anchor::Start);
        let mut y = inside.y + 0.8 * TITLE_SIZE;
        for line in titles {
            canvas.text("title", (inside.x, y), look, line);
            y += LEADING * TITLE_SIZE;
        }
        let lines = text::wrapped(&self.notes.join(" "), NOTE_SIZE, inside.width, note_lines);
        let small = Type::new(NOTE_SIZE, canvas.colours.muted, Anchor::Start);
        let bottom = LEADING * NOTE_SIZE * lines.len() as f64;
        let mut y = inside.bottom() - bottom + NOTE_SIZE;
        for line in &lines {
            canvas.text("note", (inside.x, y), small, line);
            y += LEADING * NOTE_SIZE;
        }
        let gap = if lines.is_empty() { 0.0 } else { NOTE_GAP };
        inside.inset(0.0, heading(titles.len()), 0.0, bottom + gap)
    }

    /// Title, notes, and why there is nothing between them.
    pub fn draw_empty(&self, canvas: &mut Canvas, why: &str) -> Result<(), FigureError> {
        let bare = Frame { legend: &Legend::default(), ..*self };
        let area = bare.draw(canvas, PLOT_WIDTH_MIN, &|_| PLOT_HEIGHT_MIN)?;
        empty(canvas, area, why);
        Ok(())
    }
}

/// Height of a title.
fn heading(lines: usize) -> f64 {
    LEADING * TITLE_SIZE * lines as f64 + 8.0
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "pixels of a figure")]
fn whole(pixels: f64) -> u32 {
    pixels.ceil() as u32
}

/// What stands where there is nothing to draw.
fn empty(canvas: &mut Canvas, area: Rect, why: &str) {
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
    /// What is not drawn yet.
    Nothing,
}

/// A legend.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Legend {
    /// What the labels are values of.
    pub title: String,
    pub entries: Vec<(String, Sample)>,
}

/// Where a legend stands.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Place {
    Nowhere,
    Side { width: f64, height: f64 },
    Below { columns: usize, height: f64 },
}

impl Place {
    /// Height that data and legend need within this width.
    fn height(self, width: f64, height_min: &dyn Fn(f64) -> f64) -> f64 {
        match self {
            Place::Nowhere => height_min(width),
            Place::Side { width: taken, height } => {
                height_min(width - taken - SIDE_GAP).max(height)
            }
            Place::Below { height, .. } => height_min(width) + height + BELOW_GAP,
        }
    }
}

impl Legend {
    /// At the side, or below where the figure is narrow or its data need the width.
    fn place(&self, width: f64, width_min: f64) -> Place {
        if self.entries.is_empty() {
            return Place::Nowhere;
        }
        let inside = width - 2.0 * PADDING;
        let labels = SAMPLE_WIDTH + 8.0 + self.widest();
        let title = text::width(&self.title, TICK_SIZE).min(150.0);
        let side = labels.max(title).min(LEGEND_SHARE_MAX * width);
        if width >= SIDE_LEGEND_WIDTH_MIN && inside - side - SIDE_GAP >= width_min {
            let height = self.titles(side, 3).len() as f64 * LEADING * TICK_SIZE
                + 4.0
                + self.entries.len() as f64 * ENTRY_HEIGHT;
            return Place::Side { width: side, height };
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "few")]
        let columns = (inside / (labels + 12.0)).floor().max(1.0) as usize;
        let rows = self.entries.len().div_ceil(columns) as f64;
        let titles = self.titles(inside, 2).len() as f64;
        Place::Below { columns, height: rows * ENTRY_HEIGHT + LEADING * TICK_SIZE * titles }
    }

    fn titles(&self, width: f64, lines_max: usize) -> Vec<String> {
        text::wrapped(&self.title, TICK_SIZE, width, lines_max)
    }

    /// What is left of the area.
    fn draw(&self, canvas: &mut Canvas, area: Rect, place: Place) -> Rect {
        match place {
            Place::Nowhere => area,
            Place::Side { width, .. } => {
                self.at_the_side(canvas, area, width);
                area.inset(0.0, 0.0, width + SIDE_GAP, 0.0)
            }
            Place::Below { columns, height } => {
                self.below(canvas, area, columns, height);
                area.inset(0.0, 0.0, 0.0, height + BELOW_GAP)
            }
        }
    }

    fn widest(&self) -> f64 {
        let labels = self.entries.iter().map(|(label, _)| text::width(label, TICK_SIZE));
        // A little more: what just fits would be cut for rounding.
        labels.fold(0.0, f64::max) + 1.0
    }

    fn at_the_side(&self, canvas: &mut Canvas, area: Rect, width: f64) {
        let x = area.right() - width;
        let mut y = area.y + TICK_SIZE;
        let heading = Type::new(TICK_SIZE, canvas.colours.muted, Anchor::Start);
        for line in self.titles(width, 3) {
            canvas.text("legend-title", (x, y), heading, &line);
            y += LEADING * TICK_SIZE;
        }
        y += 4.0;
        for entry in &self.entries {
            draw_entry(canvas, entry, (x, y), width);
            y += ENTRY_HEIGHT;
        }
    }

    fn below(&self, canvas: &mut Canvas, area: Rect, columns: usize, height: f64) {
        let width = area.width / columns as f64;
        let mut y = area.bottom() - height + TICK_SIZE;
        let heading = Type::new(TICK_SIZE, canvas.colours.muted, Anchor::Start);
        for line in self.titles(area.width, 2) {
            canvas.text("legend-title", (area.x, y), heading, &line);
            y += LEADING * TICK_SIZE;
        }
        for (at, entry) in self.entries.iter().enumerate() {
            let (row, column) = ((at / columns) as f64, (at % columns) as f64);
            let place = (area.x + column * width, y + row * ENTRY_HEIGHT);
            draw_entry(canvas, entry, place, width - 8.0);
        }
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
        Sample::Nothing => {}
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
