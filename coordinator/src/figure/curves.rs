//! Learning curves: panels of metrics by epoch, the gate beneath on an axis of its own.

use super::epochs::{Histories, Moments};
use super::layout::{self, Legend, Rect, Sample};
use super::line::{GROUPS_MAX, ticks_of, with_zero};
use super::palette::Mark;
use super::panel::{self, Axis, Below, Panel};
use super::request::PAIRS;
use super::scale::{Scale, Tick, range};
use super::setting::Setting;
use super::svg::{Canvas, Stroke};
use super::trials::{Config, Trials};
use super::words::{self, measure};
use crate::query::EPOCH_METRICS;
use crate::query::statistics::summarise;

/// Markers on a curve: one at every epoch would be a line of its own.
const MARKERS_MAX: usize = 8;
/// Between two panels: the texts of their axes stand above each other.
const GAP: f64 = 20.0;
/// Height of the gate's panel, of one of the others.
const GATE_SHARE: f64 = 0.34;
/// Of training, where validation is in the same panel.
const TRAIN_DASH: &str = "5 3";

/// What the figure shows.
pub(super) struct CurvesFigure {
    pub title: String,
    pub histories: Histories,
    /// By group.
    pub labels: Vec<String>,
    /// What the labels are values of.
    pub legend: String,
    /// What is drawn, a panel each.
    pub panels: Vec<String>,
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
    let mut configs: Vec<(f64, &Config)> =
        trials.configs().iter().map(|config| (mean(config), config)).collect();
    let of = configs.len();
    configs.sort_by(|a, b| a.0.total_cmp(&b.0));
    configs.truncate(GROUPS_MAX);
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
    pub fn draw(&self, mut canvas: Canvas) -> String {
        let notes = self.notes();
        let area = layout::frame(&mut canvas, &self.title, &notes);
        let epochs = (0..self.histories.groups.len())
            .flat_map(|group| self.histories.groups[group].keys())
            .map(|epoch| f64::from(*epoch));
        match range(epochs) {
            None => layout::empty(&mut canvas, area, &self.nothing),
            Some((first, last)) => {
                let area = self.legend(&canvas).draw(&mut canvas, area);
                self.draw_panels(&mut canvas, area, (first.min(1.0), last));
            }
        }
        canvas.finish(&self.title, &self.description(&notes))
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let curves = (0..self.labels.len()).flat_map(|group| {
            let metric = self.histories.metrics[0];
            self.histories.curve(group, metric)
        });
        let counts: Vec<usize> = curves.map(|(_, moments)| moments.n as usize).collect();
        if counts.iter().any(|count| *count > 1) {
            let replicates = super::notes::replicates("Mean", counts).unwrap_or_default();
            notes.push(format!("{replicates}; bands are ± sample standard deviation."));
        }
        if self.histories.thins_out(self.histories.metrics[0]) {
            notes.push("After early stopping the mean is of the trials that go on.".into());
        }
        if self.histories.stride > 1 {
            notes.push(format!("Every {}th epoch is drawn.", self.histories.stride));
        }
        notes.extend(self.notes.iter().cloned());
        notes
    }

    fn legend(&self, canvas: &Canvas) -> Legend {
        let mut legend = Legend { title: self.legend.clone(), entries: Vec::new() };
        if self.labels.len() > 1 {
            for (group, label) in self.labels.iter().enumerate() {
                let sample = Sample::Mark { mark: canvas.colours.mark(group), dashed: false };
                legend.entries.push((label.clone(), sample));
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
        legend
    }

    fn draw_panels(&self, canvas: &mut Canvas, area: Rect, (first, last): (f64, f64)) {
        let scale = Scale::exact(first, last);
        let whole = |ticks: Vec<Tick>| ticks.into_iter().filter(|tick| tick.value.fract() == 0.0);
        let ticks = whole(scale.ticks(10)).map(|tick| {
            let text = format!("{:.0}", tick.value);
            Tick { text, ..tick }
        });
        let x = Axis::numbers("epoch".into(), (scale, ticks.collect()));
        let count = self.panels.len() as f64;
        let rough = area.height / (count + GATE_SHARE);
        let mut axes: Vec<Axis> =
            self.panels.iter().map(|panel| self.y_axis(panel, rough)).collect();
        let gate = ["0", "0.5", "1"]
            .map(|text| Tick { value: text.parse().unwrap_or_default(), text: text.into() });
        // A line at an end of the axis would be hidden by it.
        axes.push(Axis::numbers("gate".into(), (Scale::exact(-0.06, 1.06), gate.to_vec())));
        let left = axes.iter().map(panel::left_of).fold(0.0, f64::max);
        let below = panel::below(&x, area.width - left);
        let inside = area.inset(left, 6.0, 8.0, below.height);
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
            self.draw_panel(canvas, &panel, name, is_gate.then_some(&below));
            canvas.end();
        }
    }

    fn draw_panel(
        &self,
        canvas: &mut Canvas,
        panel: &Panel<'_>,
        name: &str,
        below: Option<&Below>,
    ) {
        panel.draw(canvas, below);
        let factor = measure(name).factor;
        for group in 0..self.labels.len() {
            let mark = canvas.colours.mark(group);
            for (metric, is_training) in lines_of(name) {
                let curve = self.histories.curve(group, &metric);
                let dash = if is_training { TRAIN_DASH } else { "" };
                let markers = if is_training || name == "gate" { 0 } else { MARKERS_MAX };
                draw_curve(canvas, panel, (&curve, factor), (mark, dash), (markers, group));
            }
        }
    }

    fn y_axis(&self, panel: &str, height: f64) -> Axis {
        let measure = measure(panel);
        let mut ends = Vec::new();
        let mut means = Vec::new();
        for group in 0..self.labels.len() {
            for (metric, _) in lines_of(panel) {
                for (_, moments) in self.histories.curve(group, &metric) {
                    let (mean, std) = (measure.factor * moments.mean, moments.std());
                    means.push(mean);
                    ends.push(mean + measure.factor * std);
                    let low = mean - measure.factor * std;
                    ends.push(if mean >= 0.0 { low.max(0.0) } else { low });
                }
            }
        }
        let (low, high) = range(means).unwrap_or((0.0, 1.0));
        let (spread_low, spread_high) = range(ends).unwrap_or((low, high));
        let is_log = measure.may_be_log() && low > 0.0 && high / low > 100.0;
        let ends = match is_log {
            true => (low, spread_high),
            false => with_zero((spread_low, spread_high)),
        };
        Axis::numbers(measure.label(), Scale::round(ends, is_log, ticks_of(height).min(6)))
    }

    fn description(&self, notes: &[String]) -> String {
        let panels: Vec<String> = self.panels.iter().map(|it| measure(it).label()).collect();
        let mut text = format!("{} by epoch, the gate beneath. ", words::listed(&panels));
        for (group, label) in self.labels.iter().enumerate() {
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

fn draw_curve(
    canvas: &mut Canvas,
    panel: &Panel<'_>,
    (curve, factor): (&[(f64, Moments)], f64),
    (mark, dash): (Mark, &'static str),
    (markers, group): (usize, usize),
) {
    let at = |epoch: f64, value: f64| panel.point(panel.x.at(epoch), panel.y.at(factor * value));
    if curve.iter().any(|(_, moments)| moments.std() > 0.0) {
        let upper = curve.iter().map(|(epoch, it)| at(*epoch, it.mean + it.std()));
        let lower = curve.iter().rev().map(|(epoch, it)| at(*epoch, it.mean - it.std()));
        let opacity = if dash.is_empty() { 0.16 } else { 0.08 };
        let band: Vec<_> = upper.chain(lower).collect();
        canvas.polygon("band", &band, mark.colour, opacity);
    }
    let line: Vec<_> = curve.iter().map(|(epoch, it)| at(*epoch, it.mean)).collect();
    let stroke = Stroke { dash, ..Stroke::solid(mark.colour, 1.8) };
    if line.len() > 1 {
        canvas.polyline("curve", &line, stroke);
    }
    let every = if markers == 0 { usize::MAX } else { line.len().div_ceil(markers).max(1) };
    for (place, point) in line.iter().enumerate() {
        // Beside those of the other groups.
        let is_marked = markers > 0 && place % every == group % every;
        if is_marked || line.len() == 1 {
            canvas.marker("point", mark.marker, *point, 3.6, mark.colour);
        }
    }
}

/// Names of the parameters that the labels are values of.
pub(super) fn names(trials: &Trials, params: &[usize]) -> String {
    let names: Vec<String> = params.iter().map(|at| words::param(&trials.params()[*at])).collect();
    names.join(", ")
}

/// Labels of the groups.
pub(super) fn labels(chosen: &Chosen) -> Vec<String> {
    let label = |key: &[Setting]| {
        let settings = chosen.varying.iter().map(|at| key[*at].text());
        settings.collect::<Vec<String>>().join(", ")
    };
    chosen.keys.iter().map(|key| label(key)).collect()
}
