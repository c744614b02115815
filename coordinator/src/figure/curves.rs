//! Learning curves: panels of metrics by epoch, the gate beneath on an axis of its own.

use super::epochs::{Histories, Moments};
use super::error::FigureError;
use super::gates::{self, Schedule};
use super::layout::{Frame, Legend, PLOT_WIDTH_MIN, Rect, Sample};
use super::line::{log_ends, ticks_of, with_zero};
use super::palette::Mark;
use super::panel::{self, Axis, Panel};
use super::request::{PAIRS, YScale};
use super::scale::{Scale, Tick, range};
use super::setting::Setting;
use super::svg::{Canvas, Point, Stroke};
use super::trials::{Config, Counts, Trials};
use super::words::{self, measure};
use crate::query::EPOCH_METRICS;
use crate::query::statistics::summarise;

/// Configs that are drawn: each has a colour and a marker of its own.
pub(super) const CONFIGS_MAX: usize = 7;
/// Markers on a curve: one at every epoch would be a line of its own.
const MARKERS_MAX: usize = 8;
/// Between two panels: the texts of their axes stand above each other.
const GAP: f64 = 20.0;
/// Height of the gate's panel, of one of the others.
const GATE_SHARE: f64 = 0.34;
/// The least height of one of the others.
const UNIT_MIN: f64 = 48.0;
/// Above the panels, and right of them.
const TOP: f64 = 6.0;
const RIGHT: f64 = 8.0;
/// Of training, where validation is in the same panel.
const TRAIN_DASH: &str = "5 3";
/// Of the gate's schedules that several configs have: other than those of validation and training.
const GATE_DASHES: [&str; 3] = ["2 2.5", "9 3 2 3", "1 5"];

/// What the figure shows.
pub(super) struct CurvesFigure {
    pub title: String,
    pub histories: Histories,
    /// Names of the parameters that tell groups apart.
    pub params: Vec<String>,
    /// By group, its settings of these.
    pub settings: Vec<Vec<String>>,
    /// By group, what became of its trials.
    pub counts: Vec<Counts>,
    /// What is drawn, a panel each.
    pub panels: Vec<String>,
    pub y_scale: YScale,
    pub notes: Vec<String>,
    /// Why there may be nothing.
    pub nothing: String,
}

/// The groups of a sweep that are drawn.
#[derive(Default)]
pub(super) struct Chosen {
    /// Parameters that tell them apart.
    pub varying: Vec<usize>,
    /// All settings of each config.
    pub keys: Vec<Box<[Setting]>>,
    /// How many there are.
    pub of: usize,
}

/// The metrics that these panels need, the gate last.
pub(super) fn metrics_of(panels: &[String]) -> Vec<&'static str> {
    let mut metrics = Vec::new();
    let needed = panels.iter().flat_map(|panel| lines_of(panel));
    for (metric, _) in needed.chain([("gate".to_owned(), false)]) {
        let known = EPOCH_METRICS.iter().find(|known| **known == metric);
        metrics.extend(known.filter(|known| !metrics.contains(*known)).copied());
    }
    metrics.sort_by_key(|metric| *metric == "gate");
    metrics
}

/// The lines of a panel: a metric, and whether it is of training beside one of validation.
fn lines_of(panel: &str) -> Vec<(String, bool)> {
    if PAIRS.contains(&panel) {
        return vec![(format!("val_{panel}"), false), (format!("train_{panel}"), true)];
    }
    vec![(panel.to_owned(), false)]
}

/// The configs of a sweep that are drawn: those with the lowest validation error where they are
/// too many, in the order of their settings.
pub(super) fn choose(trials: &Trials) -> Chosen {
    let mean = |config: &Config| summarise(&config.values).map_or(f64::INFINITY, |it| it.mean);
    // Of those without a value, those that may have a curve come first.
    let is_lost = |config: &Config| config.counts.unfinished == 0;
    let mut configs: Vec<((f64, bool), &Config)> =
        trials.configs().iter().map(|it| ((mean(it), is_lost(it)), it)).collect();
    let of = configs.len();
    configs.sort_by(|(a, _), (b, _)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    configs.truncate(CONFIGS_MAX);
    let mut keys: Vec<Box<[Setting]>> =
        configs.into_iter().map(|(_, config)| config.settings.clone()).collect();
    let varying = trials.varying();
    let orders: Vec<Vec<Setting>> = varying.iter().map(|param| trials.settings(*param)).collect();
    keys.sort_by_cached_key(|key| {
        let places = orders.iter().zip(&varying);
        let place = |(order, at): (&Vec<Setting>, &usize)| {
            order.iter().position(|known| *known == key[*at])
        };
        places.map(place).collect::<Vec<_>>()
    });
    Chosen { varying, keys, of }
}

impl CurvesFigure {
    pub fn draw(&self, mut canvas: Canvas) -> Result<String, FigureError> {
        let notes = self.notes();
        let schedules = gates::schedules(&self.histories);
        let legend = self.legend(&canvas, &schedules);
        let frame = Frame { title: &self.title, notes: &notes, legend: &legend };
        let epochs = (0..self.histories.groups.len())
            .flat_map(|group| self.histories.groups[group].keys())
            .map(|epoch| f64::from(*epoch));
        match range(epochs) {
            None => frame.draw_empty(&mut canvas, &self.nothing)?,
            Some((first, last)) => {
                self.draw_panels(&mut canvas, &frame, (first.min(1.0), last), &schedules)?;
            }
        }
        Ok(canvas.finish(&self.title, &self.description(&notes)))
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let metric = self.histories.metrics[0];
        let curves = (0..self.settings.len()).flat_map(|it| self.histories.curve(it, metric));
        let counts: Vec<usize> = curves.map(|(_, moments)| moments.n as usize).collect();
        if counts.iter().any(|count| *count > 1) {
            let replicates = super::notes::replicates("Mean", counts).unwrap_or_default();
            notes.push(format!("{replicates}; bands are ± sample standard deviation."));
        }
        let thin = (0..self.settings.len()).filter(|it| self.histories.thins_out(*it, metric));
        let (running, stopped): (Vec<usize>, Vec<usize>) =
            thin.partition(|group| self.counts[*group].unfinished > 0);
        if !stopped.is_empty() {
            notes.push("After early stopping the mean is of the trials that go on.".into());
        }
        if !running.is_empty() {
            notes.push("Late epochs are the mean of fewer trials: some are unfinished.".into());
        }
        if self.histories.stride > 1 {
            notes.push(format!("One epoch of {} is drawn.", self.histories.stride));
        }
        notes.extend(self.notes_of_log());
        notes.extend(self.notes.iter().cloned());
        notes
    }

    /// Each once: several panels may need the same.
    fn notes_of_log(&self) -> Vec<String> {
        let mut notes: Vec<String> = Vec::new();
        for panel in &self.panels {
            let moments = self.moments(panel);
            let least = moments.iter().map(|it| it.mean).fold(f64::INFINITY, f64::min);
            let below = moments.iter().map(|it| it.mean - it.std());
            let is_log = self.ends(panel).1;
            let note = super::notes::of_log(self.y_scale, least, is_log, below);
            notes.extend(note.filter(|note| !notes.contains(note)));
        }
        notes
    }

    fn legend(&self, canvas: &Canvas, schedules: &[Schedule]) -> Legend {
        let mut legend = Legend { title: self.params.join(", "), entries: Vec::new() };
        if self.settings.len() > 1 {
            for (group, settings) in self.settings.iter().enumerate() {
                let label = settings.join(", ");
                legend.entries.push(match self.why_without(group) {
                    Some((why, sample)) => (format!("{label}: {why}"), sample),
                    None => {
                        let mark = canvas.colours.mark(group);
                        (label, Sample::Mark { mark, dashed: false })
                    }
                });
            }
        } else {
            legend.title.clear();
        }
        if self.panels.iter().any(|panel| PAIRS.contains(&&**panel)) {
            let stroke = Stroke::solid(canvas.colours.axis, 2.0);
            legend.entries.push(("validation".into(), Sample::Line(stroke)));
            let dashed = Stroke { dash: TRAIN_DASH, ..stroke };
            legend.entries.push(("training".into(), Sample::Line(dashed)));
        }
        if schedules.len() > 1 {
            for (at, schedule) in schedules.iter().enumerate().filter(|it| it.1.groups.len() > 1) {
                let label = gates::label(schedule, &self.params, &self.settings);
                legend.entries.push((label, Sample::Line(gate_stroke(canvas, schedules, at))));
            }
        }
        legend
    }

    /// Why a group has no line.
    fn why_without(&self, group: usize) -> Option<(&'static str, Sample)> {
        if !self.histories.groups[group].is_empty() {
            return None;
        }
        let counts = self.counts[group];
        Some(match counts.why() {
            Some(why) if counts.unfinished == 0 => (why, Sample::Lost),
            Some(_) | None => ("no epoch yet", Sample::Nothing),
        })
    }

    fn draw_panels(
        &self,
        canvas: &mut Canvas,
        frame: &Frame<'_>,
        (first, last): (f64, f64),
        schedules: &[Schedule],
    ) -> Result<(), FigureError> {
        let scale = Scale::exact(first, last);
        let whole = |ticks: Vec<Tick>| ticks.into_iter().filter(|tick| tick.value.fract() == 0.0);
        let ticks = whole(scale.ticks(10)).map(|tick| {
            let text = format!("{:.0}", tick.value);
            Tick { text, ..tick }
        });
        let x = Axis::numbers("epoch".into(), (scale, ticks.collect()));
        let count = self.panels.len() as f64;
        let left_of = |axes: &[Axis]| axes.iter().map(panel::left_of).fold(0.0, f64::max);
        let rough = left_of(&self.axes(canvas.height));
        let height = |width: f64| {
            let panels = UNIT_MIN * (count + GATE_SHARE) + count * GAP;
            TOP + panels + panel::below(&x, width - rough - RIGHT).height
        };
        let area = frame.draw(canvas, rough + PLOT_WIDTH_MIN + RIGHT, &height)?;
        let axes = self.axes(area.height);
        let left = left_of(&axes);
        let below = panel::below(&x, area.width - left - RIGHT);
        let inside = area.inset(left, TOP, RIGHT, below.height);
        let unit = (inside.height - count * GAP) / (count + GATE_SHARE);
        let mut top = inside.y;
        for (at, y) in axes.iter().enumerate() {
            let is_gate = at + 1 == axes.len();
            let height = if is_gate { GATE_SHARE * unit } else { unit };
            let rect = Rect { y: top, height, ..inside };
            top += height + GAP;
            let panel = Panel { rect, x: &x, y };
            let name = if is_gate { "gate" } else { &self.panels[at] };
            canvas.begin(&format!("panel {name}"), "");
            if is_gate {
                panel.draw(canvas, Some(&below));
                draw_gates(canvas, &panel, schedules);
            } else {
                self.draw_panel(canvas, &panel, name);
            }
            canvas.end();
        }
        Ok(())
    }

    fn draw_panel(&self, canvas: &mut Canvas, panel: &Panel<'_>, name: &str) {
        panel.draw(canvas, None);
        let factor = measure(name).factor;
        for group in 0..self.settings.len() {
            let mark = canvas.colours.mark(group);
            for (metric, is_training) in lines_of(name) {
                let curve = self.histories.curve(group, &metric);
                draw_band(canvas, panel, (&curve, factor), mark, is_training);
                let line: Vec<Point> = curve
                    .iter()
                    .map(|(epoch, it)| {
                        panel.point(panel.x.at(*epoch), panel.y.at(factor * it.mean))
                    })
                    .collect();
                draw_curve(canvas, &line, (mark, is_training), group);
            }
        }
    }

    /// Of the panels in an area of this height, that of the gate last.
    fn axes(&self, height: f64) -> Vec<Axis> {
        let height = height / (self.panels.len() as f64 + GATE_SHARE);
        let mut axes: Vec<Axis> = self.panels.iter().map(|it| self.y_axis(it, height)).collect();
        let gate = ["0", "0.5", "1"]
            .map(|text| Tick { value: text.parse().unwrap_or_default(), text: text.into() });
        // A line at an end of the axis would be hidden by it.
        axes.push(Axis::numbers("gate".into(), (Scale::exact(-0.06, 1.06), gate.to_vec())));
        axes
    }

    fn y_axis(&self, panel: &str, height: f64) -> Axis {
        let (ends, is_log) = self.ends(panel);
        let ticks = ticks_of(height).min(6);
        Axis::numbers(measure(panel).label(), Scale::round(ends, is_log, ticks))
    }

    /// Of a panel's axis, and whether it is logarithmic.
    fn ends(&self, panel: &str) -> ((f64, f64), bool) {
        let measure = measure(panel);
        let moments = self.moments(panel);
        let means = moments.iter().map(|it| measure.factor * it.mean);
        let (low, high) = range(means).unwrap_or((0.0, 1.0));
        let spread = moments.iter().flat_map(|it| {
            let ends = [it.mean - it.std(), it.mean + it.std()];
            let [below, above] = ends.map(|end| measure.within(measure.factor * end));
            [if it.mean >= 0.0 { below.max(0.0) } else { below }, above]
        });
        let (spread_low, spread_high) = range(spread).unwrap_or((low, high));
        let ends = (low.min(spread_low), high.max(spread_high));
        let auto = measure.may_be_log() && high / low > 100.0;
        let is_log = self.y_scale.is_log((low, high), auto);
        (if is_log { log_ends(low, ends) } else { with_zero(ends) }, is_log)
    }

    /// All that a panel shows.
    fn moments(&self, panel: &str) -> Vec<Moments> {
        let mut all = Vec::new();
        for (metric, _) in lines_of(panel) {
            for group in 0..self.settings.len() {
                let curve = self.histories.curve(group, &metric);
                all.extend(curve.into_iter().map(|(_, moments)| moments));
            }
        }
        all
    }

    fn description(&self, notes: &[String]) -> String {
        let panels: Vec<String> = self.panels.iter().map(|it| measure(it).label()).collect();
        let mut text = format!("{} by epoch, the gate beneath. ", words::listed(&panels));
        for (group, settings) in self.settings.iter().enumerate() {
            let label = settings.join(", ");
            let metric = self.histories.metrics[0];
            let of = measure(metric);
            if let Some((epoch, last)) = self.histories.curve(group, metric).last() {
                let value = of.value(of.factor * last.mean, 2);
                text.push_str(&format!("{label}: {} {value} at epoch {epoch}. ", of.label()));
            }
        }
        text + &notes.join(" ")
    }
}

/// Mean ± deviation. Where the lower end has no place on a logarithmic axis, the band has its
/// upper half alone: an edge along the axis would be read as a value.
fn draw_band(
    canvas: &mut Canvas,
    panel: &Panel<'_>,
    (curve, factor): (&[(f64, Moments)], f64),
    mark: Mark,
    is_training: bool,
) {
    if curve.iter().all(|(_, moments)| moments.std() == 0.0) {
        return;
    }
    let at = |epoch: f64, value: f64| panel.point(panel.x.at(epoch), panel.y.at(factor * value));
    let upper = curve.iter().map(|(epoch, it)| at(*epoch, it.mean + it.std()));
    let lower = curve.iter().rev().map(|(epoch, it)| {
        let low = it.mean - it.std();
        at(*epoch, if panel.y.is_log() && low <= 0.0 { it.mean } else { low })
    });
    let band: Vec<Point> = upper.chain(lower).collect();
    canvas.polygon("band", &band, mark.colour, if is_training { 0.08 } else { 0.16 });
}

/// A line with markers, of training with hollow ones. The last point always has one.
fn draw_curve(
    canvas: &mut Canvas,
    line: &[Point],
    (mark, is_training): (Mark, bool),
    group: usize,
) {
    let dash = if is_training { TRAIN_DASH } else { "" };
    if line.len() > 1 {
        canvas.polyline("curve", line, Stroke { dash, ..Stroke::solid(mark.colour, 1.8) });
    }
    // Lines that lie on each other have markers of their own all the same.
    let every = line.len().div_ceil(MARKERS_MAX).max(2);
    for (place, point) in line.iter().enumerate() {
        // Beside those of the other groups.
        if place % every != group % every && place + 1 != line.len() {
            continue;
        }
        match is_training {
            true => canvas.hollow("point", mark.marker, *point, 3.0, mark.colour),
            false => canvas.marker("point", mark.marker, *point, 3.6, mark.colour),
        }
    }
}

/// A line per schedule: with the mark of its config where it has one, else without a colour.
fn draw_gates(canvas: &mut Canvas, panel: &Panel<'_>, schedules: &[Schedule]) {
    for (at, schedule) in schedules.iter().enumerate() {
        let points = schedule.curve.iter();
        let line: Vec<Point> = points
            .map(|(epoch, it)| panel.point(panel.x.at(*epoch), panel.y.at(it.mean)))
            .collect();
        match schedule.groups[..] {
            [group] if schedules.len() > 1 => {
                draw_curve(canvas, &line, (canvas.colours.mark(group), false), group);
            }
            _ if line.len() > 1 => {
                canvas.polyline("curve", &line, gate_stroke(canvas, schedules, at));
            }
            _ => canvas.dot("point", line[0], 3.0, canvas.colours.axis, 1.0),
        }
    }
}

/// Of a schedule that several configs have.
fn gate_stroke(canvas: &Canvas, schedules: &[Schedule], at: usize) -> Stroke {
    let earlier = schedules[..at].iter().filter(|it| it.groups.len() > 1).count();
    let is_only = schedules.len() == 1;
    let dash = if is_only { "" } else { GATE_DASHES[earlier % GATE_DASHES.len()] };
    Stroke { dash, ..Stroke::solid(canvas.colours.axis, 2.0) }
}

/// Names of the parameters that tell groups apart.
pub(super) fn names(trials: &Trials, params: &[usize]) -> Vec<String> {
    params.iter().map(|at| words::param(&trials.params()[*at])).collect()
}

/// The settings of the groups, as texts.
pub(super) fn settings(chosen: &Chosen) -> Vec<Vec<String>> {
    let texts = |key: &[Setting]| chosen.varying.iter().map(|at| key[*at].text()).collect();
    chosen.keys.iter().map(|key| texts(key)).collect()
}
