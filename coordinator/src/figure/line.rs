//! A metric against a parameter, a line per group: the mean over seeds, their sample standard
//! deviation, and each trial faintly behind it.

use std::collections::BTreeMap;

use super::cells::{Axes, Cell, gather};
use super::error::FigureError;
use super::layout::{self, Frame, Legend, PLOT_HEIGHT_MIN, PLOT_WIDTH_MIN, Sample};
use super::notes;
use super::palette::Mark;
use super::panel::{self, Axis, Panel, Spread};
use super::request::YScale;
use super::scale::{Scale, range};
use super::setting::{Setting, ranked};
use super::svg::{Canvas, Stroke};
use super::trials::Trials;
use super::words::{self, Measure};

/// Groups that are drawn: more lines cannot be told apart.
pub(super) const GROUPS_MAX: usize = 12;
/// Trials that are drawn one by one.
const DOTS_MAX: usize = 3_000;
/// Points of a group that the description has.
const DESCRIBED_MAX: usize = 16;
/// From one group to the next where they stand at the same word, and at the same number: less, for
/// a number has a place of its own.
const DODGE: f64 = 12.0;
const NUMBER_DODGE: f64 = 5.0;
/// Right of the panel.
const RIGHT: f64 = 8.0;
/// Trials stand beside their mean, which would hide them.
const DOT_ASIDE: f64 = 7.0;

/// What the figure shows.
pub(super) struct LineFigure<'t> {
    pub trials: &'t Trials,
    pub axes: Axes,
    /// The sweep and what is drawn of it.
    pub subject: &'t str,
    pub measure: Measure,
    /// Name of the metric that chose, where one did.
    pub best_by: &'t str,
    pub y_scale: YScale,
}

struct Group {
    label: String,
    /// In the order of x.
    cells: Vec<(Setting, Cell)>,
    mark: Mark,
}

/// A point of a line, as shares of the axes.
struct Spot {
    x: f64,
    mean: f64,
    low: f64,
    high: f64,
    /// Whether the axis has `low` and `high` themselves: else the spread goes on beyond it.
    has: [bool; 2],
}

impl LineFigure<'_> {
    pub fn draw(&self, mut canvas: Canvas) -> Result<String, FigureError> {
        let x = self.axes.x.unwrap_or(0);
        let x_name = &self.trials.params()[x];
        let mut keys = vec![x];
        keys.extend(&self.axes.by);
        let cells = gather(self.trials, &keys, &self.axes.choice);
        let notes = notes::of_trials(self.trials, &self.axes, &cells, self.best_by);
        let settings = ranked(cells.iter().map(|cell| &cell.key[0]));
        let (groups, group_count) = self.groups(&canvas, cells, &settings);
        let title =
            format!("{}: {} against {}", self.subject, self.measure.name, words::param(x_name));
        let notes = self.notes(&groups, group_count, notes);
        let legend = self.legend(&groups);
        let frame = Frame { title: &title, notes: &notes, legend: &legend };
        match self.y_axis(&groups, canvas.height) {
            None => frame.draw_empty(&mut canvas, &notes::nothing(self.trials))?,
            Some(y_axis) => {
                let x_axis = Axis::of_settings(words::param_label(x_name), &settings);
                self.draw_panel(&mut canvas, &frame, (x_axis, y_axis), &groups, &settings)?;
            }
        }
        Ok(canvas.finish(&title, &self.description(&title, &groups, &notes)))
    }

    /// `y` is the axis of a panel as high as the figure.
    fn draw_panel(
        &self,
        canvas: &mut Canvas,
        frame: &Frame<'_>,
        (x, y): (Axis, Axis),
        groups: &[Group],
        settings: &[Setting],
    ) -> Result<(), FigureError> {
        // The signs of lost trials need room above it.
        let top = if groups.iter().any(Group::has_lost) { 16.0 } else { 6.0 };
        let left = panel::left_of(&y);
        let height =
            |width: f64| top + PLOT_HEIGHT_MIN + panel::below(&x, width - left - RIGHT).height;
        let area = frame.draw(canvas, left + PLOT_WIDTH_MIN + RIGHT, &height)?;
        let y = self.y_axis(groups, area.height).unwrap_or(y);
        let left = panel::left_of(&y);
        let below = panel::below(&x, area.width - left - RIGHT);
        let rect = area.inset(left, top, RIGHT, below.height);
        let panel = Panel { rect, x: &x, y: &y };
        panel.draw(canvas, Some(&below));
        self.draw_groups(canvas, &panel, groups, settings);
        Ok(())
    }

    /// The groups that are drawn, in order, and how many there are.
    fn groups(&self, canvas: &Canvas, cells: Vec<Cell>, xs: &[Setting]) -> (Vec<Group>, usize) {
        let by: Vec<Vec<Setting>> = (1..=self.axes.by.len())
            .map(|at| ranked(cells.iter().map(|cell| &cell.key[at])))
            .collect();
        let place = |ranked: &[Setting], of: &Setting| ranked.iter().position(|it| it == of);
        let mut sorted: Vec<(Vec<Option<usize>>, Option<usize>, Cell)> = Vec::new();
        for cell in cells {
            let keys = by.iter().zip(&cell.key[1..]);
            let group = keys.map(|(ranked, setting)| place(ranked, setting)).collect();
            sorted.push((group, place(xs, &cell.key[0]), cell));
        }
        sorted.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut groups: Vec<Group> = Vec::new();
        let mut of_last = None;
        let mut count = 0;
        for (group, _, cell) in sorted {
            if of_last.as_ref() != Some(&group) {
                count += 1;
                of_last = Some(group);
                if count <= GROUPS_MAX {
                    let label: Vec<String> = cell.key[1..].iter().map(Setting::text).collect();
                    let mark = canvas.colours.mark(groups.len());
                    groups.push(Group { label: label.join(", "), cells: Vec::new(), mark });
                }
            }
            if let Some(group) = groups.last_mut().filter(|_| count <= GROUPS_MAX) {
                group.cells.push((cell.key[0].clone(), cell));
            }
        }
        (groups, count)
    }

    fn notes(&self, groups: &[Group], group_count: usize, more: Vec<String>) -> Vec<String> {
        let cells = || groups.iter().flat_map(|group| &group.cells);
        let sizes = cells().map(|(_, cell)| cell.values.len());
        let mut notes = Vec::new();
        if let Some(replicates) = notes::replicates(self.trials.statistic(), sizes) {
            let has_spread =
                cells().any(|(_, cell)| cell.summary.is_some_and(|it| it.std.is_some()));
            let spread = if has_spread { " ± sample standard deviation" } else { "" };
            let dots = if self.has_dots(groups) { "; faint dots are trials" } else { "" };
            notes.push(format!("{replicates}{spread}{dots}."));
        }
        if group_count > groups.len() {
            notes.push(format!(
                "{} of {group_count} groups are drawn: --where PARAMETER=VALUE narrows them.",
                groups.len()
            ));
        }
        let summaries = || cells().filter_map(|(_, cell)| cell.summary);
        let least = summaries().map(|it| it.min).fold(f64::INFINITY, f64::min);
        let below = summaries().filter_map(|it| Some(it.mean - it.std?));
        let is_log = self.ends(groups).is_some_and(|(_, is_log)| is_log);
        notes.extend(notes::of_log(self.y_scale, least, is_log, below));
        notes.extend(more);
        notes
    }

    fn legend(&self, groups: &[Group]) -> Legend {
        let names: Vec<String> =
            self.axes.by.iter().map(|at| words::param(&self.trials.params()[*at])).collect();
        let mut legend = Legend { title: names.join(", "), entries: Vec::new() };
        if !names.is_empty() {
            for group in groups {
                let sample = Sample::Mark { mark: group.mark, dashed: true };
                legend.entries.push((group.label.clone(), sample));
            }
        }
        if groups.iter().any(Group::has_lost) {
            legend.entries.push(("diverged or failed".into(), Sample::Lost));
        }
        legend
    }

    /// Of the metric's axis, and whether it is logarithmic.
    fn ends(&self, groups: &[Group]) -> Option<((f64, f64), bool)> {
        let factor = self.measure.factor;
        let summaries = || groups.iter().flat_map(|it| &it.cells).filter_map(|it| it.1.summary);
        let (low, high) = range(summaries().flat_map(|it| [factor * it.min, factor * it.max]))?;
        let with_spread = summaries().flat_map(|it| {
            let std = it.std.unwrap_or(0.0);
            let ends = [(it.mean - std).max(low.min(0.0) / factor), it.mean + std];
            ends.map(|end| self.measure.within(factor * end))
        });
        let (spread_low, spread_high) = range(with_spread)?;
        let auto = self.measure.may_be_log() && high / low > 100.0;
        let is_log = self.y_scale.is_log((low, high), auto);
        let ends = (low.min(spread_low), high.max(spread_high));
        Some((if is_log { log_ends(low, ends) } else { with_zero(ends) }, is_log))
    }

    fn y_axis(&self, groups: &[Group], height: f64) -> Option<Axis> {
        let (ends, is_log) = self.ends(groups)?;
        let scale = Scale::round(ends, is_log, ticks_of(height));
        Some(Axis::numbers(self.measure.label(), scale))
    }

    fn draw_groups(
        &self,
        canvas: &mut Canvas,
        panel: &Panel<'_>,
        groups: &[Group],
        settings: &[Setting],
    ) {
        let has_dots = self.has_dots(groups);
        let is_words = matches!(panel.x.spread, Spread::Words(_));
        let exact = |setting: &Setting| match setting {
            Setting::Number(number) if !is_words => Some(panel.x.at(*number)),
            Setting::Absent if !is_words => None,
            setting => {
                let rank = settings.iter().position(|it| it == setting)?;
                Some(panel.x.at_rank(rank))
            }
        };
        let places: Vec<f64> = settings.iter().filter_map(exact).collect();
        let step = match are_beside(groups) {
            true => dodge(&places, groups.len(), is_words, panel.rect.width),
            false => 0.0,
        };
        let mut taken = BTreeMap::new();
        for (at, group) in groups.iter().enumerate() {
            let middle = (groups.len() as f64 - 1.0) / 2.0;
            let place = |setting: &Setting| Some(exact(setting)? + (at as f64 - middle) * step);
            canvas.begin("group", &group.label);
            if has_dots {
                self.draw_dots(canvas, panel, group, &place);
            }
            self.draw_line(canvas, panel, group, &place);
            draw_lost(canvas, panel, group, &mut taken, &exact);
            canvas.end();
        }
    }

    /// Whether each trial is drawn.
    fn has_dots(&self, groups: &[Group]) -> bool {
        let sizes = || groups.iter().flat_map(|it| &it.cells).map(|it| it.1.values.len());
        let is_few = sizes().sum::<usize>() <= DOTS_MAX;
        self.trials.has_spread() && is_few && sizes().any(|size| size > 1)
    }

    fn draw_dots(
        &self,
        canvas: &mut Canvas,
        panel: &Panel<'_>,
        group: &Group,
        place: &dyn Fn(&Setting) -> Option<f64>,
    ) {
        for (setting, cell) in &group.cells {
            let Some(x) = place(setting) else { continue };
            // Many of them darken each other.
            let opacity = if cell.values.len() > 20 { 0.18 } else { 0.45 };
            for value in cell.values.iter().filter(|_| cell.values.len() > 1) {
                let (x, y) = panel.point(x, panel.y.at(self.measure.factor * value));
                canvas.dot("trial", (x + DOT_ASIDE, y), 2.3, group.mark.colour, opacity);
            }
        }
    }

    fn draw_line(
        &self,
        canvas: &mut Canvas,
        panel: &Panel<'_>,
        group: &Group,
        place: &dyn Fn(&Setting) -> Option<f64>,
    ) {
        let mut spots = Vec::new();
        for (setting, cell) in &group.cells {
            let Some(summary) = cell.summary else { continue };
            let y = |value: f64| panel.y.at(self.measure.factor * value);
            let std = summary.std.unwrap_or(0.0);
            let mean = y(summary.mean);
            let ends = [summary.mean - std, summary.mean + std];
            let [low, high] = ends.map(y);
            let has = ends.map(|end| panel.y.has(self.measure.factor * end));
            let spot = |x| Spot { x, mean, low, high, has };
            match place(setting) {
                Some(x) => spots.push(spot(x)),
                // Without the parameter of the axis: the same everywhere.
                None => draw_level(canvas, panel, &group.mark, &spot(0.0)),
            }
        }
        let mark = group.mark;
        let stroke = Stroke { dash: mark.dash, ..Stroke::solid(mark.colour, 2.0) };
        let line: Vec<_> = spots.iter().map(|spot| panel.point(spot.x, spot.mean)).collect();
        for spot in spots.iter().filter(|spot| spot.high > spot.low) {
            draw_bar(canvas, panel, &mark, spot);
        }
        if line.len() > 1 {
            canvas.polyline("mean-line", &line, stroke);
        }
        for at in line {
            canvas.marker("mean", mark.marker, at, 4.5, mark.colour);
        }
    }

    fn description(&self, title: &str, groups: &[Group], notes: &[String]) -> String {
        let mut text = format!("{title}, in {}. ", self.measure.label());
        let least = groups.iter().flat_map(|it| &it.cells).filter_map(|it| it.1.summary);
        let least = least.map(|it| self.measure.factor * it.mean).fold(f64::INFINITY, f64::min);
        let decimals = self.measure.decimals(least);
        for group in groups {
            let points = group.cells.iter().filter_map(|(setting, cell)| {
                let mean = self.measure.factor * cell.summary?.mean;
                Some(format!("{} at {}", self.measure.value(mean, decimals), setting.text()))
            });
            let points: Vec<String> = points.take(DESCRIBED_MAX).collect();
            let label = if group.label.is_empty() { "mean" } else { &group.label };
            text.push_str(&format!("{label}: {}. ", points.join(", ")));
        }
        text + &notes.join(" ")
    }
}

impl Group {
    fn has_lost(&self) -> bool {
        self.cells.iter().any(|(_, cell)| cell.counts.lost() > 0)
    }
}

/// Whether several groups have a point at one place.
fn are_beside(groups: &[Group]) -> bool {
    let shown = |group: &Group| {
        let cells = group.cells.iter().filter(|(_, cell)| cell.summary.is_some());
        cells.map(|(setting, _)| setting.clone()).collect::<Vec<Setting>>()
    };
    let mut all: Vec<Setting> = groups.iter().flat_map(shown).collect();
    let count = all.len();
    all.sort();
    all.dedup();
    all.len() < count
}

/// From one group to the next, as a share of the axis: so little that those of one place stay
/// nearer to it than to the next one, and on the axis.
fn dodge(places: &[f64], groups: usize, is_words: bool, width: f64) -> f64 {
    let mut sorted = places.to_vec();
    sorted.sort_by(f64::total_cmp);
    let gap = sorted.windows(2).map(|pair| pair[1] - pair[0]).fold(1.0, f64::min);
    let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else { return 0.0 };
    let edge = if is_words { 1.0 } else { 2.0 * first.min(1.0 - last) };
    let wanted = if is_words { DODGE } else { NUMBER_DODGE } / width;
    wanted.min((0.6 * gap).min(edge) / groups as f64).max(0.0)
}

/// Of a logarithmic axis: with spreads that end above 0, but none that would be most of it.
pub(super) fn log_ends(least: f64, (low, high): (f64, f64)) -> (f64, f64) {
    (if low > 0.1 * least { low } else { least }, high)
}

/// Ticks of a y axis of about this height.
pub(super) fn ticks_of(height: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "4..=9")]
    let ticks = (height / 24.0).clamp(4.0, 9.0) as usize;
    ticks
}

/// With zero where that is near: a reader compares heights.
pub(super) fn with_zero((low, high): (f64, f64)) -> (f64, f64) {
    if low >= 0.0 && low < 0.35 * high { (0.0, high) } else { (low, high) }
}

fn draw_bar(canvas: &mut Canvas, panel: &Panel<'_>, mark: &Mark, spot: &Spot) {
    const CAP: f64 = 3.5;
    let stroke = Stroke { opacity: 0.85, ..Stroke::solid(mark.colour, 1.3) };
    let (low, high) = (panel.point(spot.x, spot.low), panel.point(spot.x, spot.high));
    canvas.line("spread", low, high, stroke);
    for ((x, y), has) in [low, high].into_iter().zip(spot.has) {
        if has {
            canvas.line("cap", (x - CAP, y), (x + CAP, y), stroke);
        }
    }
}

/// A line across, with its spread.
fn draw_level(canvas: &mut Canvas, panel: &Panel<'_>, mark: &Mark, spot: &Spot) {
    // An edge along the end of a logarithmic axis would be read as a value.
    let low = if panel.y.is_log() && !spot.has[0] { spot.mean } else { spot.low };
    let points = [(0.0, low), (1.0, low), (1.0, spot.high), (0.0, spot.high)];
    let points = points.map(|(x, y)| panel.point(x, y));
    canvas.polygon("level-spread", &points, mark.colour, 0.12);
    let stroke = Stroke { dash: mark.dash, ..Stroke::solid(mark.colour, 2.0) };
    let ends = (panel.point(0.0, spot.mean), panel.point(1.0, spot.mean));
    canvas.line("level", ends.0, ends.1, stroke);
    let at = panel.point(0.5, spot.mean);
    canvas.marker("mean", mark.marker, at, 4.5, mark.colour);
}

/// A sign above the panel for each point that lost trials. Those of several groups at one place
/// stand beside each other.
fn draw_lost(
    canvas: &mut Canvas,
    panel: &Panel<'_>,
    group: &Group,
    taken: &mut BTreeMap<i64, u32>,
    place: &dyn Fn(&Setting) -> Option<f64>,
) {
    const ASIDE: f64 = 11.0;
    for (setting, cell) in group.cells.iter().filter(|(_, cell)| cell.counts.lost() > 0) {
        // Without the parameter of the axis: where the marker of its line is.
        let (x, _) = panel.point(place(setting).unwrap_or(0.5), 1.0);
        #[expect(clippy::cast_possible_truncation, reason = "pixels of a figure")]
        let earlier = taken.entry(x.round() as i64).or_default();
        let side = if earlier.is_multiple_of(2) { 1.0 } else { -1.0 };
        let at = (x + side * ASIDE * f64::from(earlier.div_ceil(2)), panel.rect.y - 8.0);
        *earlier += 1;
        let title = format!("{}, {}: {} lost", group.label, setting.text(), cell.counts.lost());
        canvas.begin("lost-trials", &title);
        layout::lost(canvas, at, group.mark.colour);
        canvas.end();
    }
}
