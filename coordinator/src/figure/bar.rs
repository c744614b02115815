//! The bar that says which colour stands for which number.

use super::layout::{Rect, TICK_SIZE};
use super::palette::of_area;
use super::request::YScale;
use super::scale::{Scale, Tick};
use super::svg::{Anchor, Canvas, Type};
use super::text;
use super::words::{Measure, label_within, log_label};

pub(super) const BAR_WIDTH: f64 = 14.0;
const STEPS: u32 = 48;
const GAP: f64 = 18.0;
/// Of its label, above the area.
pub(super) const LABEL_HEIGHT: f64 = 1.5 * TICK_SIZE;

/// How numbers become colours.
pub(super) struct ColourScale {
    pub scale: Scale,
    pub ticks: Vec<Tick>,
}

impl ColourScale {
    /// Over these ends.
    pub fn new((low, high): (f64, f64), asked: YScale) -> ColourScale {
        let scale = match asked.is_log((low, high), is_wide((low, high))) {
            true => Scale::tight((low, high), true),
            false => Scale::exact(low, high),
        };
        ColourScale { scale, ticks: scale.ticks(7) }
    }

    fn width(&self) -> f64 {
        let widths = self.ticks.iter().map(|tick| text::width(&tick.text, TICK_SIZE));
        let texts = widths.fold(0.0, f64::max);
        BAR_WIDTH + 6.0 + texts
    }

    /// Width that it takes, with a gap.
    pub fn taken(&self) -> f64 {
        self.width() + GAP
    }

    /// Draws the bar at the right of an area; what is left of it. `colour` is that of a share.
    pub fn draw(
        &self,
        canvas: &mut Canvas,
        area: Rect,
        measure: &Measure,
        colour: impl Fn(f64) -> String,
    ) -> Rect {
        let width = self.width();
        let x = area.right() - width;
        let look = Type::new(TICK_SIZE, canvas.colours.muted, Anchor::End);
        let label = measure.label();
        let label = if self.scale.is_log() { log_label(&label) } else { label };
        let label = label_within(&label, TICK_SIZE, area.width);
        canvas.text("bar-label", (area.right(), area.y + TICK_SIZE), look, &label);
        let top = area.y + 2.0 * TICK_SIZE;
        let height = (area.height - 2.0 * TICK_SIZE - 30.0).max(40.0);
        canvas.begin("colour-bar", "");
        let step = height / f64::from(STEPS);
        for at in 0..STEPS {
            let share = (f64::from(at) + 0.5) / f64::from(STEPS);
            let y = top + height - f64::from(at + 1) * step;
            canvas.rect("shade", (x, y), (BAR_WIDTH, step + 0.5), &colour(share), 1.0);
        }
        let look = Type::new(TICK_SIZE, canvas.colours.text, Anchor::Start);
        let mut above = f64::INFINITY;
        for tick in &self.ticks {
            let y = top + height * (1.0 - self.scale.at(tick.value)) + 0.36 * TICK_SIZE;
            if above - y < 1.05 * TICK_SIZE {
                continue;
            }
            above = y;
            canvas.text("bar-tick", (x + BAR_WIDTH + 6.0, y), look, &tick.text);
        }
        canvas.end();
        area.inset(0.0, LABEL_HEIGHT, width + GAP, 0.0)
    }
}

/// Whether colours would hide what is small: one decade and more is shown logarithmically.
pub(super) fn is_wide((low, high): (f64, f64)) -> bool {
    low > 0.0 && high / low >= 10.0
}

/// The colour of an area, as the bar takes it.
pub(super) fn area_colour(share: f64) -> String {
    of_area(share).0
}
