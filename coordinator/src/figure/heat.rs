//! A field over two parameters: the mean of a metric as colour and as number.

use std::collections::BTreeMap;

use super::bar::{ColourScale, LABEL_HEIGHT, area_colour};
use super::cells::{Axes, Cell, gather};
use super::error::FigureError;
use super::layout::{Frame, Legend, PLOT_HEIGHT_MIN, PLOT_WIDTH_MIN, Rect};
use super::notes;
use super::palette::of_area;
use super::panel::{self, Axis, Panel};
use super::request::YScale;
use super::scale::range;
use super::setting::{Setting, numbers, ranked};
use super::svg::{Anchor, Canvas, Stroke, Type};
use super::text;
use super::trials::Trials;
use super::words::{self, Measure};

/// Columns and rows that are drawn.
const SIDE_MAX: usize = 60;
const VALUE_SIZE: f64 = 13.0;
const SMALL_SIZE: f64 = 11.0;
/// Values that the description has.
const DESCRIBED_MAX: usize = 64;

/// What the figure shows.
pub(super) struct HeatFigure<'t> {
    pub trials: &'t Trials,
    /// `by` has the one parameter of the rows.
    pub axes: Axes,
    /// The sweep and what is drawn of it.
    pub subject: &'t str,
    pub measure: Measure,
    pub best_by: &'t str,
    /// Whether the lowest value is the best one.
    pub lower_is_better: bool,
    pub y_scale: YScale,
}

/// The cells by column and row, from the lower left.
struct Field {
    columns: Vec<Setting>,
    rows: Vec<Setting>,
    cells: BTreeMap<(usize, usize), Cell>,
}

impl HeatFigure<'_> {
    pub fn draw(&self, mut canvas: Canvas) -> Result<String, FigureError> {
        let (x, y) = (self.axes.x.unwrap_or(0), self.axes.by.first().copied().unwrap_or(0));
        let cells = gather(self.trials, &[x, y], &self.axes.choice);
        let more = notes::of_trials(self.trials, &self.axes, &cells, self.best_by);
        let (field, dropped) = Field::new(cells);
        let [x_name, y_name] = [x, y].map(|at| &*self.trials.params()[at]);
        let title = format!(
            "{}: {} by {} and {}",
            self.subject,
            self.measure.name,
            words::param(x_name),
            words::param(y_name)
        );
        let notes = self.notes(&field, dropped, more);
        let frame = Frame { title: &title, notes: &notes, legend: &Legend::default() };
        match self.ends(&field) {
            None => frame.draw_empty(&mut canvas, &notes::nothing(self.trials))?,
            Some(ends) => {
                let x_axis = Axis::of_words(words::param_label(x_name), &field.columns);
                let y_axis = Axis::of_words(words::param_label(y_name), &field.rows);
                self.draw_panel(&mut canvas, &frame, (&x_axis, &y_axis), &field, ends)?;
            }
        }
        Ok(canvas.finish(&title, &self.description(&title, &field, &notes)))
    }

    fn draw_panel(
        &self,
        canvas: &mut Canvas,
        frame: &Frame<'_>,
        (x, y): (&Axis, &Axis),
        field: &Field,
        ends: (f64, f64),
    ) -> Result<(), FigureError> {
        const TOP: f64 = 4.0;
        let colours = ColourScale::new(ends, self.y_scale);
        let left = panel::left_of(y);
        let beside = left + colours.taken();
        let height = |width: f64| {
            LABEL_HEIGHT + TOP + PLOT_HEIGHT_MIN + panel::below(x, width - beside).height
        };
        let area = frame.draw(canvas, beside + PLOT_WIDTH_MIN, &height)?;
        let area = colours.draw(canvas, area, &self.measure, area_colour);
        let below = panel::below(x, area.width - left);
        let rect = area.inset(left, TOP, 0.0, below.height);
        let panel = Panel { rect, x, y };
        panel.draw(canvas, Some(&below));
        self.draw_cells(canvas, rect, field, &colours);
        Ok(())
    }

    /// The lowest and the highest mean.
    fn ends(&self, field: &Field) -> Option<(f64, f64)> {
        range(field.means().map(|mean| self.measure.factor * mean))
    }

    fn notes(&self, field: &Field, dropped: bool, more: Vec<String>) -> Vec<String> {
        let mut notes = Vec::new();
        let sizes = field.cells.values().map(|cell| cell.values.len());
        if let Some(replicates) = notes::replicates(self.trials.statistic(), sizes) {
            let best = if self.lower_is_better { "; the lowest is framed" } else { "" };
            notes.push(format!("{replicates}{best}."));
        }
        if dropped {
            notes.push(format!("The first {SIDE_MAX} columns and rows are drawn."));
        }
        if let Some((least, _)) = self.ends(field) {
            notes.extend(notes::of_log(self.y_scale, least, false, std::iter::empty()));
        }
        notes.extend(more);
        notes
    }

    fn draw_cells(&self, canvas: &mut Canvas, rect: Rect, field: &Field, colours: &ColourScale) {
        let size = (rect.width / field.columns.len() as f64, rect.height / field.rows.len() as f64);
        let factor = self.measure.factor;
        let least = field.means().fold(f64::INFINITY, f64::min);
        let decimals = self.measure.decimals(factor * least);
        let values = |cell: &Cell| {
            let summary = cell.summary?;
            let value = self.measure.value(factor * summary.mean, decimals);
            let std = summary.std.map(|std| self.measure.value(factor * std, decimals));
            Some((value, std.map_or(String::new(), |std| format!("± {std}"))))
        };
        let widest = |pick: fn((String, String)) -> String, text_size: f64| {
            let texts = field.cells.values().filter_map(values).map(pick);
            texts.map(|text| text::width(&text, text_size)).fold(0.0, f64::max)
        };
        let has_value = widest(|it| it.0, VALUE_SIZE) + 6.0 <= size.0 && size.1 >= 16.0;
        let has_std = has_value && widest(|it| it.1, SMALL_SIZE) + 6.0 <= size.0 && size.1 >= 40.0;
        for ((column, row), cell) in &field.cells {
            let at =
                (rect.x + *column as f64 * size.0, rect.bottom() - (*row as f64 + 1.0) * size.1);
            let centre = (at.0 + size.0 / 2.0, at.1 + size.1 / 2.0 + 0.36 * VALUE_SIZE);
            canvas.begin("cell", &self.cell_title(field, (*column, *row), cell));
            // Between small cells a gap would be all that is seen.
            let gap = if size.0.min(size.1) >= 8.0 { 0.5 } else { 0.0 };
            let inner = ((at.0 + gap, at.1 + gap), (size.0 - 2.0 * gap, size.1 - 2.0 * gap));
            match (cell.summary, values(cell)) {
                (Some(summary), Some((value, std))) => {
                    let share = colours.scale.at(factor * summary.mean);
                    let (fill, text) = of_area(share);
                    canvas.rect("field", inner.0, inner.1, &fill, 1.0);
                    let has_std = has_std && !std.is_empty();
                    let lift = if has_std { 0.55 * VALUE_SIZE } else { 0.0 };
                    let look = Type::new(VALUE_SIZE, text, Anchor::Middle);
                    if has_value {
                        canvas.text("value", (centre.0, centre.1 - lift), look, &value);
                    }
                    if has_std {
                        let look = Type { size: SMALL_SIZE, ..look };
                        canvas.text("std", (centre.0, centre.1 + 0.75 * VALUE_SIZE), look, &std);
                    }
                }
                _ => draw_empty(canvas, inner, centre, cell),
            }
            canvas.end();
        }
        self.frame_best(canvas, rect, size, field, least);
    }

    fn frame_best(
        &self,
        canvas: &mut Canvas,
        rect: Rect,
        size: (f64, f64),
        field: &Field,
        least: f64,
    ) {
        let is_best = |cell: &&Cell| cell.summary.is_some_and(|it| it.mean == least);
        for ((column, row), cell) in &field.cells {
            if !self.lower_is_better || !is_best(&cell) {
                continue;
            }
            let inset = (size.0.min(size.1) / 6.0).min(2.0);
            let at = (
                rect.x + *column as f64 * size.0 + inset,
                rect.bottom() - (*row as f64 + 1.0) * size.1 + inset,
            );
            let inner = (size.0 - 2.0 * inset, size.1 - 2.0 * inset);
            // On any colour one of the two is seen.
            canvas.outline("best", at, inner, Stroke::solid("#ffffff", 3.5));
            canvas.outline("best-line", at, inner, Stroke::solid("#111111", 1.5));
        }
    }

    fn cell_title(&self, field: &Field, (column, row): (usize, usize), cell: &Cell) -> String {
        let place = format!("{}, {}", field.columns[column].text(), field.rows[row].text());
        match cell.summary {
            Some(summary) => {
                let mean = self.measure.factor * summary.mean;
                let value = self.measure.value(mean, self.measure.decimals(mean));
                format!("{place}: {value} ({})", summary.n)
            }
            None => format!("{place}: no value"),
        }
    }

    fn description(&self, title: &str, field: &Field, notes: &[String]) -> String {
        let mut text = format!("{title}, in {}. ", self.measure.label());
        for (place, cell) in field.cells.iter().take(DESCRIBED_MAX) {
            text.push_str(&self.cell_title(field, *place, cell));
            text.push_str(". ");
        }
        text + &notes.join(" ")
    }
}

impl Field {
    /// The field, and whether it is a part of a larger one.
    fn new(cells: Vec<Cell>) -> (Field, bool) {
        let columns = ranked(cells.iter().map(|cell| &cell.key[0]));
        let mut rows = ranked(cells.iter().map(|cell| &cell.key[1]));
        let dropped = columns.len() > SIDE_MAX || rows.len() > SIDE_MAX;
        rows.truncate(SIDE_MAX);
        if numbers(&rows).is_none() {
            // Numbers rise; words are read from the top.
            rows.reverse();
        }
        let mut field = Field { columns, rows, cells: BTreeMap::new() };
        field.columns.truncate(SIDE_MAX);
        for cell in cells {
            let column = field.columns.iter().position(|it| *it == cell.key[0]);
            let row = field.rows.iter().position(|it| *it == cell.key[1]);
            if let (Some(column), Some(row)) = (column, row) {
                field.cells.insert((column, row), cell);
            }
        }
        (field, dropped)
    }

    fn means(&self) -> impl Iterator<Item = f64> {
        self.cells.values().filter_map(|cell| Some(cell.summary?.mean))
    }
}

/// A cell without a value: says why where there is room.
fn draw_empty(
    canvas: &mut Canvas,
    (at, size): ((f64, f64), (f64, f64)),
    centre: (f64, f64),
    cell: &Cell,
) {
    canvas.rect("no-value", at, size, canvas.colours.empty, 1.0);
    let counts = cell.counts;
    let why = counts.why().unwrap_or("–");
    let is_short = text::width(why, SMALL_SIZE) + 4.0 <= size.0 && size.1 >= 14.0;
    let look = Type::new(SMALL_SIZE, canvas.colours.muted, Anchor::Middle);
    canvas.text("why", centre, look, if is_short { why } else { "–" });
}
