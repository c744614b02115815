//! A pair of axes and the area between them.

use super::layout::{LABEL_SIZE, Rect, TICK_SIZE};
use super::scale::{Scale, Tick, wants_log};
use super::setting::{Setting, numbers};
use super::svg::{Anchor, Canvas, Point, Stroke, Type};
use super::text;
use super::words::{label_within, log_label};

/// From an axis to its ticks' texts.
const TICK_GAP: f64 = 6.0;
/// Between the texts of two ticks.
const TEXT_GAP: f64 = 8.0;
/// Texts that do not fit beside each other are turned so far, and are at most so long.
const TURN_DEGREES: f64 = -40.0;
const TURNED_WIDTH_MAX: f64 = 120.0;
/// Numbers that get a tick each where they fit.
const OWN_TICKS_MAX: usize = 14;

/// An axis.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Axis {
    pub label: String,
    pub spread: Spread,
}

/// What lies along an axis.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Spread {
    Numbers { scale: Scale, ticks: Vec<Tick> },
    Words(Vec<String>),
}

impl Axis {
    /// A logarithmic one says so.
    pub fn numbers(label: String, (scale, ticks): (Scale, Vec<Tick>)) -> Axis {
        let label = if scale.is_log() { log_label(&label) } else { label };
        Axis { label, spread: Spread::Numbers { scale, ticks } }
    }

    /// Of a parameter: by its numbers where all are, logarithmic where they lie more evenly so,
    /// else each setting beside the next.
    pub fn of_settings(label: String, ranked: &[Setting]) -> Axis {
        let Some(numbers) = numbers(ranked).filter(|numbers| numbers.len() > 1) else {
            return Axis::of_words(label, ranked);
        };
        let ends = (numbers[0], numbers[numbers.len() - 1]);
        let scale = Scale::tight(ends, wants_log(&numbers));
        let ticks = if numbers.len() <= OWN_TICKS_MAX {
            let own = |value: &f64| Tick { value: *value, text: super::scale::short(*value) };
            numbers.iter().map(own).collect()
        } else {
            scale.ticks(9)
        };
        Axis::numbers(label, (scale, ticks))
    }

    /// Each setting beside the next.
    pub fn of_words(label: String, ranked: &[Setting]) -> Axis {
        Axis { label, spread: Spread::Words(ranked.iter().map(Setting::text).collect()) }
    }

    /// Where a number lies.
    pub fn at(&self, value: f64) -> f64 {
        match &self.spread {
            Spread::Numbers { scale, .. } => scale.at(value),
            Spread::Words(_) => 0.5,
        }
    }

    pub fn is_log(&self) -> bool {
        matches!(&self.spread, Spread::Numbers { scale, .. } if scale.is_log())
    }

    /// Whether it has a place for a number.
    pub fn has(&self, value: f64) -> bool {
        match &self.spread {
            Spread::Numbers { scale, .. } => scale.has(value),
            Spread::Words(_) => false,
        }
    }

    /// Where the word of this rank lies.
    pub fn at_rank(&self, rank: usize) -> f64 {
        match &self.spread {
            Spread::Numbers { .. } => 0.5,
            Spread::Words(words) => (rank as f64 + 0.5) / words.len().max(1) as f64,
        }
    }

    pub fn ticks(&self) -> Vec<(f64, &str)> {
        match &self.spread {
            Spread::Numbers { scale, ticks } => {
                ticks.iter().map(|tick| (scale.at(tick.value), &*tick.text)).collect()
            }
            Spread::Words(words) => {
                words.iter().enumerate().map(|(at, word)| (self.at_rank(at), &**word)).collect()
            }
        }
    }

    fn widest(&self) -> f64 {
        let widths = self.ticks().into_iter().map(|(_, text)| text::width(text, TICK_SIZE));
        widths.fold(0.0, f64::max)
    }
}

/// What an x axis needs below it, and which of its texts are shown.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Below {
    pub height: f64,
    turned: bool,
    shown: Vec<bool>,
}

/// Width that a y axis needs at its left.
pub(super) fn left_of(axis: &Axis) -> f64 {
    const WIDTH_MAX: f64 = 150.0;
    let label = if axis.label.is_empty() { 0.0 } else { 1.5 * LABEL_SIZE };
    axis.widest().min(WIDTH_MAX) + TICK_GAP + label
}

/// Room below an x axis of this width.
pub(super) fn below(axis: &Axis, width: f64) -> Below {
    let label = if axis.label.is_empty() { 4.0 } else { 1.6 * LABEL_SIZE };
    let flat = TICK_GAP + TICK_SIZE + label;
    let ticks = axis.ticks();
    let fits = shown(&ticks, width, |text| text::width(text, TICK_SIZE) + TEXT_GAP);
    let is_words = matches!(axis.spread, Spread::Words(_));
    if !is_words || fits.iter().all(|shown| *shown) {
        return Below { height: flat, turned: false, shown: fits };
    }
    let shown = shown(&ticks, width, |_| 1.2 * TICK_SIZE);
    let (sin, _) = TURN_DEGREES.abs().to_radians().sin_cos();
    let height = flat + sin * axis.widest().min(TURNED_WIDTH_MAX);
    Below { height, turned: true, shown }
}

/// Which texts fit beside each other: the first and the last before those between.
fn shown(ticks: &[(f64, &str)], width: f64, room: impl Fn(&str) -> f64) -> Vec<bool> {
    let mut shown = vec![false; ticks.len()];
    let ends = |at: usize| {
        let (place, text) = ticks[at];
        (place * width - room(text) / 2.0, place * width + room(text) / 2.0)
    };
    let Some(last) = ticks.len().checked_sub(1) else { return shown };
    shown[last] = true;
    let limit = ends(last).0;
    let mut used = f64::NEG_INFINITY;
    for (at, shown) in shown.iter_mut().enumerate().take(last) {
        let (left, right) = ends(at);
        if left >= used && right <= limit {
            *shown = true;
            used = right;
        }
    }
    shown
}

/// An area with its axes.
pub(super) struct Panel<'a> {
    pub rect: Rect,
    pub x: &'a Axis,
    pub y: &'a Axis,
}

impl Panel<'_> {
    /// The point at these shares of the axes.
    pub fn point(&self, x: f64, y: f64) -> Point {
        (self.rect.x + x * self.rect.width, self.rect.bottom() - y * self.rect.height)
    }

    /// Lines, ticks and texts; those of the x axis where `below` says so.
    pub fn draw(&self, canvas: &mut Canvas, below: Option<&Below>) {
        let colours = canvas.colours;
        let (grid, axis) = (Stroke::solid(colours.grid, 1.0), Stroke::solid(colours.axis, 1.0));
        let rect = self.rect;
        if matches!(self.y.spread, Spread::Numbers { .. }) {
            for (place, _) in self.y.ticks() {
                let (_, y) = self.point(0.0, place);
                canvas.line("grid", (rect.x, y), (rect.right(), y), grid);
            }
        }
        if matches!(self.x.spread, Spread::Numbers { .. }) {
            for (place, _) in self.x.ticks() {
                let (x, _) = self.point(place, 0.0);
                canvas.line("grid", (x, rect.y), (x, rect.bottom()), grid);
            }
        }
        canvas.line("axis", (rect.x, rect.y), (rect.x, rect.bottom()), axis);
        canvas.line("axis", (rect.x, rect.bottom()), (rect.right(), rect.bottom()), axis);
        self.draw_y(canvas);
        if let Some(below) = below {
            self.draw_x(canvas, below);
        }
    }

    fn draw_y(&self, canvas: &mut Canvas) {
        let rect = self.rect;
        let look = Type::new(TICK_SIZE, canvas.colours.text, Anchor::End);
        let mut above = f64::INFINITY;
        for (place, text) in self.y.ticks() {
            let (x, y) = self.point(0.0, place);
            // A low panel shows fewer texts than ticks.
            if above - y >= 1.05 * TICK_SIZE {
                canvas.text("tick-y", (x - TICK_GAP, y + 0.36 * TICK_SIZE), look, text);
                above = y;
            }
        }
        let x = rect.x - left_of(self.y) + 0.8 * LABEL_SIZE;
        // A low panel has its label in smaller type, and a very low one the start of it.
        let room = rect.height.max(40.0) + 16.0;
        let size = LABEL_SIZE.min(room / text::width(&self.y.label, 1.0)).max(10.0);
        let look = Type::new(size, canvas.colours.text, Anchor::Middle).turned(-90.0);
        let label = label_within(&self.y.label, size, room + 0.1);
        canvas.text("label-y", (x, rect.centre().1), look, &label);
    }

    fn draw_x(&self, canvas: &mut Canvas, below: &Below) {
        let rect = self.rect;
        let colours = canvas.colours;
        for ((place, text), shown) in self.x.ticks().into_iter().zip(&below.shown) {
            let (x, y) = self.point(place, 0.0);
            canvas.line("axis", (x, y), (x, y + 4.0), Stroke::solid(colours.axis, 1.0));
            if !shown {
                continue;
            }
            if below.turned {
                let look = Type::new(TICK_SIZE, colours.text, Anchor::End).turned(TURN_DEGREES);
                let text = text::shortened(text, TICK_SIZE, TURNED_WIDTH_MAX);
                canvas.text("tick-x", (x + 4.0, y + TICK_GAP + 0.8 * TICK_SIZE), look, &text);
            } else {
                let look = Type::new(TICK_SIZE, colours.text, Anchor::Middle);
                canvas.text("tick-x", (x, y + TICK_GAP + TICK_SIZE), look, text);
            }
        }
        let y = rect.bottom() + below.height - 0.3 * LABEL_SIZE;
        let look = Type::new(LABEL_SIZE, colours.text, Anchor::Middle);
        let label = label_within(&self.x.label, LABEL_SIZE, rect.width.max(80.0));
        canvas.text("label-x", (rect.centre().0, y), look, &label);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// No two texts of an axis that lie flat overlap.
        #[test]
        fn texts_of_an_axis_do_not_overlap(
            mut numbers in prop::collection::vec(1e-3..1e5f64, 2..30), width in 50.0..900.0f64,
        ) {
            numbers.sort_by(f64::total_cmp);
            let settings: Vec<Setting> = numbers.iter().map(|it| Setting::Number(*it)).collect();
            let axis = Axis::of_settings(String::new(), &settings);
            let below = below(&axis, width);
            let mut right = f64::NEG_INFINITY;
            for ((place, text), shown) in axis.ticks().into_iter().zip(&below.shown) {
                if *shown {
                    let half = text::width(text, TICK_SIZE) / 2.0;
                    prop_assert!(place * width - half >= right, "{text}");
                    right = place * width + half;
                }
            }
        }
    }
}
