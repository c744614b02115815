//! Names of metrics and parameters as a figure writes them, with their units.

use super::scale::short;
use super::text;

/// A metric: what its axis is called, and how its numbers are shown.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Measure {
    /// In a title.
    pub name: &'static str,
    unit: &'static str,
    /// From data to the figure: errors are fractions in data and percent in a figure.
    pub factor: f64,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Percent,
    Loss,
    Count,
    Time,
    Other,
}

const fn of(name: &'static str, unit: &'static str, kind: Kind) -> Measure {
    let factor = if matches!(kind, Kind::Percent) { 100.0 } else { 1.0 };
    Measure { name, unit, factor, kind }
}

/// A metric by its name in tables.
pub(super) fn measure(metric: &str) -> Measure {
    match metric {
        "test_error" => of("test error", "%", Kind::Percent),
        "val_error" => of("validation error", "%", Kind::Percent),
        "train_error" => of("training error", "%", Kind::Percent),
        "error" => of("error", "%", Kind::Percent),
        "test_loss" => of("test loss", "", Kind::Loss),
        "val_loss" => of("validation loss", "", Kind::Loss),
        "train_loss" => of("training loss", "", Kind::Loss),
        "loss" => of("loss", "", Kind::Loss),
        "best_epoch" => of("best epoch", "", Kind::Count),
        "epochs" => of("epochs trained", "", Kind::Count),
        "seconds" => of("training time", "s", Kind::Time),
        "completed" => of("completed trials", "%", Kind::Percent),
        "diverged" => of("diverged trials", "%", Kind::Percent),
        "failed" => of("failed trials", "%", Kind::Percent),
        "gate" => of("gate", "", Kind::Other),
        "lr" => of("learning rate", "", Kind::Other),
        "grad_norm" => of("gradient norm", "", Kind::Loss),
        "examples_per_second" => of("examples per second", "", Kind::Count),
        _ => of("value", "", Kind::Other),
    }
}

impl Measure {
    /// With its unit.
    pub fn label(&self) -> String {
        if self.unit.is_empty() {
            self.name.into()
        } else {
            format!("{} ({})", self.name, self.unit)
        }
    }

    /// A value, kept within what the metric can be: a mean less its deviation may not be.
    pub fn within(&self, value: f64) -> f64 {
        match self.kind {
            Kind::Percent => value.clamp(0.0, 100.0),
            Kind::Loss | Kind::Count | Kind::Time | Kind::Other => value,
        }
    }

    /// Whether a range of more than two decades is shown logarithmically.
    pub fn may_be_log(&self) -> bool {
        matches!(self.kind, Kind::Loss)
    }

    /// Decimals that all values of a figure have; `least` is the smallest of them.
    pub fn decimals(&self, least: f64) -> usize {
        match self.kind {
            Kind::Percent if least < 10.0 => 2,
            Kind::Percent | Kind::Count | Kind::Time => 1,
            Kind::Loss | Kind::Other => 3,
        }
    }

    /// A value of the figure as text.
    pub fn value(&self, value: f64, decimals: usize) -> String {
        match self.kind {
            Kind::Percent | Kind::Count | Kind::Time if value.abs() < 1e6 => {
                format!("{value:.decimals$}")
            }
            Kind::Loss | Kind::Other if value == 0.0 || (1e-2..1e4).contains(&value.abs()) => {
                format!("{value:.decimals$}")
            }
            Kind::Percent | Kind::Count | Kind::Time | Kind::Loss | Kind::Other => short(value),
        }
    }
}

/// A parameter's name in a legend or a title.
pub(super) fn param(name: &str) -> String {
    match name {
        "tau" => "τ".into(),
        "lr" => "learning rate".into(),
        "p" => "p".into(),
        name => name.replace('_', " "),
    }
}

/// A parameter's name on an axis, with its unit.
pub(super) fn param_label(name: &str) -> String {
    match name {
        "tau" => "τ (epochs)".into(),
        "depth" => "depth (hidden layers)".into(),
        "width" => "width (units)".into(),
        "p" => "p (dropout)".into(),
        "batch_size" => "batch size (examples)".into(),
        "patience" => "patience (epochs)".into(),
        name => param(name),
    }
}

/// The label of a logarithmic axis.
pub(super) fn log_label(label: &str) -> String {
    match label.strip_suffix(')') {
        Some(start) => format!("{start}, log scale)"),
        None => format!("{label} (log scale)"),
    }
}

/// The label of an axis where there is so much room: its start, but always whether the axis is
/// logarithmic.
pub(super) fn label_within(label: &str, size: f64, width_max: f64) -> String {
    const NAME_MIN: f64 = 30.0;
    let parts = label.strip_suffix("log scale)").and_then(|start| start.rsplit_once(" ("));
    match parts.filter(|_| text::width(label, size) > width_max) {
        None => text::shortened(label, size, width_max),
        Some((name, unit)) => {
            let is_short = |mark: &String| width_max - text::width(mark, size) >= NAME_MIN;
            let mark = Some(format!(" ({unit}log)")).filter(is_short);
            let mark = mark.unwrap_or_else(|| " (log)".into());
            text::shortened(name, size, width_max - text::width(&mark, size)) + &mark
        }
    }
}

/// `1 trial`, `2 trials`.
pub(super) fn counted(count: u64, one: &str) -> String {
    if count == 1 { format!("{count} {one}") } else { format!("{count} {one}s") }
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn listed(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [start @ .., last] => format!("{} and {last}", start.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::{EPOCH_METRICS, Shown};

    #[test]
    fn every_metric_has_a_name_of_its_own() {
        let is_share = |name| matches!(Shown::named(name), Some(Shown::Count(_)));
        for metric in Shown::ALL.map(Shown::name).iter().chain(&EPOCH_METRICS) {
            assert_ne!(measure(metric).name, "value", "{metric}");
            let is_percent = metric.ends_with("_error") || is_share(metric);
            assert_eq!(measure(metric).label().contains('%'), is_percent);
        }
    }

    #[test]
    fn values_have_the_decimals_of_their_figure() {
        let error = measure("test_error");
        assert_eq!(error.value(1.234, error.decimals(1.0)), "1.23");
        assert_eq!(error.value(90.0, error.decimals(19.0)), "90.0");
        assert_eq!(measure("val_loss").value(1e-5, 3), "1e-5");
        assert_eq!(measure("val_loss").value(0.25, 3), "0.250");
    }

    #[test]
    fn lists_read_as_sentences() {
        let words = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        assert_eq!(listed(&words(&["a"])), "a");
        assert_eq!(listed(&words(&["a", "b", "c"])), "a, b and c");
        assert_eq!(counted(1, "trial"), "1 trial");
        assert_eq!(counted(0, "trial"), "0 trials");
        assert_eq!(log_label("test error (%)"), "test error (%, log scale)");
        assert_eq!(log_label("loss"), "loss (log scale)");
        let within = |label, width| label_within(label, 10.0, width);
        assert_eq!(within("loss (log scale)", 200.0), "loss (log scale)");
        assert_eq!(within("validation loss (log scale)", 90.0), "validation l… (log)");
        assert_eq!(within("test error (%, log scale)", 100.0), "test error (%, log)");
        assert_eq!(within("depth (hidden layers, log scale)", 80.0), "depth (log)");
        assert_eq!(within("validation error (%)", 60.0), "validation…");
    }
}
