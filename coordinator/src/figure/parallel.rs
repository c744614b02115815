//! Parallel coordinates: an axis per parameter and one of the metric, a line per config.

use super::bar::{BAR_WIDTH, is_wide};
use super::cells::{Axes, Cell, gather};
use super::error::FigureError;
use super::layout::{Frame, Legend, PLOT_HEIGHT_MIN, PLOT_WIDTH_MIN, Rect, TICK_SIZE};
use super::notes;
use super::panel::{Axis, Spread};
use super::request::YScale;
use super::scale::{Scale, range};
use super::setting::{Setting, ranked};
use super::svg::{Anchor, Canvas, Point, Stroke, Type};
use super::text;
use super::trials::Trials;
use super::words::{self, Measure};

/// Lines that are drawn: the best ones where there are more.
const LINES_MAX: usize = 1_500;
/// Axes of parameters that are drawn.
const AXES_MAX: usize = 12;
/// Room above the axes for two rows of names, and below them.
const ABOVE: f64 = 2.0 * TICK_SIZE + 8.0;
const BELOW: f64 = 10.0;
const TICKS_WIDTH_MAX: f64 = 110.0;
/// Configs that the description has.
const DESCRIBED_MAX: usize = 5;

/// What the figure shows.
pub(super) struct ParallelFigure<'t> {
    pub trials: &'t Trials,
    /// `by` has the parameters.
    pub axes: Axes,
    /// The sweep and what is drawn of it.
    pub subject: &'t str,
    pub measure: Measure,
    pub best_by: &'t str,
    pub y_scale: YScale,
}

/// An axis with what tells where a setting lies on it.
struct Upright {
    axis: Axis,
    ranked: Vec<Setting>,
}

impl ParallelFigure<'_> {
    pub fn draw(&self, mut canvas: Canvas) -> Result<String, FigureError> {
        let by: Vec<usize> = self.axes.by.iter().copied().take(AXES_MAX).collect();
        let cells = gather(self.trials, &self.axes.by, &self.axes.choice);
        let more = notes::of_trials(self.trials, &self.axes, &cells, self.best_by);
        let uprights: Vec<Upright> = by
            .iter()
            .enumerate()
            .map(|(at, param)| self.upright(*param, cells.iter().map(|cell| &cell.key[at])))
            .collect();
        let mut lines: Vec<&Cell> = cells.iter().filter(|cell| cell.summary.is_some()).collect();
        let mean = |cell: &Cell| cell.summary.map_or(f64::INFINITY, |it| it.mean);
        lines.sort_by(|a, b| mean(a).total_cmp(&mean(b)));
        let line_count = lines.len();
        lines.truncate(LINES_MAX);
        let factor = self.measure.factor;
        let ends = range(lines.iter().map(|cell| factor * mean(cell)));
        let mut notes = self.notes(&lines, line_count, cells.len() - line_count);
        if let Some((least, _)) = ends {
            notes.extend(notes::of_log(self.y_scale, least, false, std::iter::empty()));
        }
        notes.extend(more);
        let title = format!("{}: {} by parameter", self.subject, self.measure.name);
        let frame = Frame { title: &title, notes: &notes, legend: &Legend::default() };
        match ends {
            None => frame.draw_empty(&mut canvas, &notes::nothing(self.trials))?,
            Some(ends) => {
                let is_log = self.y_scale.is_log(ends, is_wide(ends));
                let metric = Axis::numbers(self.measure.label(), Scale::round(ends, is_log, 9));
                let (width, height) = Field::least(&uprights, &metric);
                let area = frame.draw(&mut canvas, width, &|_| height)?;
                let field = Field::new(area, &uprights, &metric);
                let palette = canvas.colours;
                // The best on top.
                for (rank, cell) in lines.iter().enumerate().rev() {
                    let place = metric.at(factor * mean(cell));
                    let points = field.points(&uprights, cell, place, rank);
                    draw_line(&mut canvas, &points, &palette.of_line(place), line_count);
                }
                field.draw_axes(&mut canvas, &uprights);
                field.draw_metric(&mut canvas, uprights.len(), &metric);
            }
        }
        Ok(canvas.finish(&title, &self.description(&title, &lines, &notes)))
    }

    fn upright<'c>(&self, param: usize, settings: impl Iterator<Item = &'c Setting>) -> Upright {
        let ranked = ranked(settings);
        let name = words::param(&self.trials.params()[param]);
        let has_absent = ranked.contains(&Setting::Absent);
        let axis = match has_absent {
            // A place of its own for configs in which it has no effect.
            true => Axis::of_words(name, &ranked),
            false => Axis::of_settings(name, &ranked),
        };
        Upright { axis, ranked }
    }

    fn notes(&self, lines: &[&Cell], line_count: usize, without: usize) -> Vec<String> {
        let mut notes = Vec::new();
        let sizes = lines.iter().map(|cell| cell.values.len());
        if let Some(replicates) = notes::replicates(self.trials.statistic(), sizes) {
            notes.push(format!("A line is a config. {replicates}."));
        }
        if line_count > lines.len() {
            notes.push(format!("The {LINES_MAX} lowest of {line_count} configs are drawn."));
        }
        if self.axes.by.len() > AXES_MAX {
            notes.push(format!("{AXES_MAX} of {} parameters are drawn.", self.axes.by.len()));
        }
        match without {
            0 => {}
            1 => notes.push("1 config without a value has no line.".into()),
            _ => notes.push(format!("{without} configs without a value have no line.")),
        }
        notes
    }

    fn description(&self, title: &str, lines: &[&Cell], notes: &[String]) -> String {
        let mut text = format!("{title}, in {}. Lowest: ", self.measure.label());
        for cell in lines.iter().take(DESCRIBED_MAX) {
            let Some(summary) = cell.summary else { continue };
            let mean = self.measure.factor * summary.mean;
            let settings: Vec<String> = self
                .axes
                .by
                .iter()
                .zip(&cell.key)
                .map(|(param, setting)| {
                    format!("{} {}", words::param(&self.trials.params()[*param]), setting.text())
                })
                .collect();
            let value = self.measure.value(mean, self.measure.decimals(mean));
            text.push_str(&format!("{value} at {}. ", settings.join(", ")));
        }
        text + &notes.join(" ")
    }
}

/// In pixels, within half of `ASIDE` each way: neighbours by rank are far from each other, and
/// no two of a figure are the same.
fn aside(rank: usize) -> f64 {
    const ASIDE: f64 = 8.0;
    const GOLDEN: f64 = 0.618_033_988_749_895;
    ASIDE * ((rank as f64 * GOLDEN).fract() - 0.5)
}

fn draw_line(canvas: &mut Canvas, points: &[Point], colour: &str, lines: usize) {
    let (width, opacity) = if lines > 200 { (1.1, 0.45) } else { (1.8, 0.85) };
    canvas.shaded_polyline("config", points, colour, width, opacity);
}

/// Where the axes stand.
struct Field {
    rect: Rect,
    /// Room left of the first axis.
    left: f64,
    /// Whether names that stand beside each other have no room.
    is_crowded: bool,
    /// From one axis to the next.
    step: f64,
}

impl Field {
    fn new(area: Rect, uprights: &[Upright], metric: &Axis) -> Field {
        let (first, last) = Field::beside(uprights, metric);
        let rect = area.inset(first, ABOVE, last, BELOW);
        let step = rect.width / uprights.len().max(1) as f64;
        let names = uprights.iter().map(|it| &it.axis).chain([metric]);
        let widths: Vec<f64> = names.map(|it| text::width(&it.label, TICK_SIZE)).collect();
        let is_crowded = widths.windows(2).any(|it| (it[0] + it[1]) / 2.0 > step - 6.0);
        Field { rect, left: first, is_crowded, step }
    }

    /// What is left of the first axis and right of the last.
    fn beside(uprights: &[Upright], metric: &Axis) -> (f64, f64) {
        let half = |axis: &Axis| text::width(&axis.label, TICK_SIZE) / 2.0;
        let first = uprights.first().map_or(0.0, |it| {
            // A longer name is cut.
            (ticks_width(&it.axis) + 10.0).max(half(&it.axis).min(TICKS_WIDTH_MAX))
        });
        (first, (BAR_WIDTH + 12.0 + ticks_width(metric)).max(half(metric)))
    }

    /// The least area in which lines can be followed.
    fn least(uprights: &[Upright], metric: &Axis) -> (f64, f64) {
        const STEP_MIN: f64 = 36.0;
        let (first, last) = Field::beside(uprights, metric);
        let between = (STEP_MIN * uprights.len() as f64).max(PLOT_WIDTH_MIN);
        (first + between + last, ABOVE + PLOT_HEIGHT_MIN + BELOW)
    }

    fn at(&self, axis: usize, place: f64) -> Point {
        (self.rect.x + axis as f64 * self.step, self.rect.bottom() - place * self.rect.height)
    }

    /// Of the line of this rank, which is a little aside of others with the same settings.
    fn points(&self, uprights: &[Upright], cell: &Cell, metric: f64, rank: usize) -> Vec<Point> {
        let mut points = Vec::with_capacity(uprights.len() + 1);
        for (at, upright) in uprights.iter().enumerate() {
            let (x, y) = self.at(at, upright.place(&cell.key[at]));
            points.push((x, y + aside(rank)));
        }
        points.push(self.at(uprights.len(), metric));
        points
    }

    fn draw_axes(&self, canvas: &mut Canvas, uprights: &[Upright]) {
        let colours = canvas.colours;
        for (at, upright) in uprights.iter().enumerate() {
            let (x, bottom) = self.at(at, 0.0);
            let top = self.rect.y;
            canvas.begin("upright", &upright.axis.label);
            canvas.line("axis", (x, top), (x, bottom), Stroke::solid(colours.axis, 1.5));
            self.draw_ticks(canvas, x, &upright.axis);
            self.draw_name(canvas, at, x, &upright.axis.label);
            canvas.end();
        }
    }

    /// The axis of the metric says which colour stands for which value as well.
    fn draw_metric(&self, canvas: &mut Canvas, at: usize, axis: &Axis) {
        const STEPS: u32 = 60;
        let colours = canvas.colours;
        let (x, bottom) = self.at(at, 0.0);
        let step = self.rect.height / f64::from(STEPS);
        canvas.begin("upright metric", &axis.label);
        for part in 0..STEPS {
            let colour = colours.of_line((f64::from(part) + 0.5) / f64::from(STEPS));
            let y = bottom - f64::from(part + 1) * step;
            canvas.rect("shade", (x, y), (BAR_WIDTH, step + 0.5), &colour, 1.0);
        }
        let look = Type::new(TICK_SIZE, colours.text, Anchor::Start);
        for (place, text) in axis.ticks() {
            let (_, y) = self.at(at, place);
            let right = x + BAR_WIDTH;
            canvas.line("axis", (right, y), (right + 4.0, y), Stroke::solid(colours.axis, 1.0));
            canvas.text("tick-y", (right + 7.0, y + 0.36 * TICK_SIZE), look, text);
        }
        self.draw_name(canvas, at, x, &axis.label);
        canvas.end();
    }

    /// Names that would touch each other stand in two rows.
    fn draw_name(&self, canvas: &mut Canvas, at: usize, x: f64, name: &str) {
        let row = if self.is_crowded && at % 2 == 1 { 1.25 * TICK_SIZE } else { 0.0 };
        let look = Type::new(TICK_SIZE, canvas.colours.text, Anchor::Middle);
        let room = 2.0 * self.step - 6.0;
        let room = if at == 0 { room.min(2.0 * self.left) } else { room };
        let name = words::label_within(name, TICK_SIZE, room);
        canvas.text("axis-name", (x, self.rect.y - 10.0 - row), look, &name);
    }

    fn draw_ticks(&self, canvas: &mut Canvas, x: f64, axis: &Axis) {
        let colours = canvas.colours;
        let look = Type::new(TICK_SIZE, colours.text, Anchor::End);
        let mut above = f64::INFINITY;
        for (place, text) in axis.ticks() {
            let (_, y) = self.at(0, place);
            if above - y < 1.15 * TICK_SIZE {
                continue;
            }
            above = y;
            canvas.line("axis", (x - 4.0, y), (x, y), Stroke::solid(colours.axis, 1.0));
            let text = text::shortened(text, TICK_SIZE, (self.step - 12.0).min(TICKS_WIDTH_MAX));
            let width = text::width(&text, TICK_SIZE);
            // Lines behind a text would hide it.
            let (at, size) =
                ((x - 8.0 - width, y - 0.6 * TICK_SIZE), (width + 3.0, 1.2 * TICK_SIZE));
            canvas.rect("halo", at, size, colours.background, 0.9);
            canvas.text("tick-y", (x - 7.0, y + 0.36 * TICK_SIZE), look, &text);
        }
    }
}

impl Upright {
    fn place(&self, setting: &Setting) -> f64 {
        match (&self.axis.spread, setting) {
            (Spread::Numbers { .. }, Setting::Number(number)) => self.axis.at(*number),
            _ => {
                let rank = self.ranked.iter().position(|it| it == setting);
                self.axis.at_rank(rank.unwrap_or(0))
            }
        }
    }
}

fn ticks_width(axis: &Axis) -> f64 {
    let widths = axis.ticks().into_iter().map(|(_, text)| text::width(text, TICK_SIZE));
    widths.fold(0.0, f64::max).min(TICKS_WIDTH_MAX)
}
