//! A figure from its request to its SVG: it says what to ask for, takes the answers part by part,
//! and draws. Nothing here asks, so that one path serves a client and a server.

use std::ops::ControlFlow;

use common::wire::{self, TableLevel, TablePart, TableRequest};

use super::axes::axes;
use super::curves::{self, CurvesFigure};
use super::epochs::Histories;
use super::error::FigureError;
use super::heat::HeatFigure;
use super::line::LineFigure;
use super::notes;
use super::parallel::ParallelFigure;
use super::request::{Curves, Kind, Look, Plot, Request, Size};
use super::setting::Setting;
use super::survey::Survey;
use super::svg::Canvas;
use super::trials::{Counts, Trials, Wanted};
use super::words::{measure, param};
use crate::query::{Metric, Shown};

/// What a figure asks.
#[derive(Clone, PartialEq, Debug)]
pub enum Question {
    /// A table, whose parts go to `Drawing::part`.
    Table(TableRequest),
    /// A trial, which goes to `Drawing::trial`.
    Trial(wire::GetTrialRequest),
}

/// A figure on its way: ask what `question` says and hand the answer in until there is no
/// question left, then `finish`. Holds a bounded part of the answers.
pub struct Drawing {
    request: Request,
    look: Look,
    stage: Stage,
    /// The first mistake; nothing is taken after it.
    failed: Option<FigureError>,
    survey: Option<Survey>,
    trials: Trials,
    groups: Option<curves::Chosen>,
    histories: Option<Histories>,
    trial: Option<wire::Trial>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Start,
    Survey,
    Trials,
    Epochs,
    Trial,
    Done,
}

impl Drawing {
    /// A figure to be drawn. Fails on mistakes that need no answer.
    pub fn new(mut request: Request, look: Look) -> Result<Drawing, FigureError> {
        if let Request::Plot(Plot { kind: Kind::Heat, best_by, .. }) = &mut request {
            // Two axes have no place for a third parameter: the best config of a cell will do.
            best_by.get_or_insert_with(|| Metric::ValError.name().to_owned());
        }
        request.check()?;
        request.conditions()?;
        Ok(Drawing {
            look: look.checked()?,
            request,
            stage: Stage::Start,
            failed: None,
            survey: None,
            trials: Trials::default(),
            groups: None,
            histories: None,
            trial: None,
        })
    }

    /// What to ask next, whose answer is to be handed in before the next call.
    pub fn question(&mut self) -> Option<Question> {
        if self.failed.is_none()
            && let Err(error) = self.advance()
        {
            self.failed = Some(error);
        }
        if self.failed.is_some() {
            return None;
        }
        match self.stage {
            Stage::Survey => Some(Question::Table(self.request.own_table())),
            Stage::Trials => Some(Question::Table(self.request.table(TableLevel::Trials))),
            Stage::Epochs => Some(Question::Table(self.request.table(TableLevel::Epochs))),
            Stage::Trial => match &self.request {
                Request::Curves(Curves { sweep, trial: Some(trial), .. }) => {
                    let (sweep, trial) = (sweep.clone(), trial.clone());
                    Some(Question::Trial(wire::GetTrialRequest { sweep, trial }))
                }
                Request::Curves(_) | Request::Plot(_) => None,
            },
            Stage::Start | Stage::Done => None,
        }
    }

    /// To the next stage, with what it needs of the last one.
    fn advance(&mut self) -> Result<(), FigureError> {
        self.stage = match (self.stage, &self.request) {
            (Stage::Start, Request::Plot(plot)) if plot.has_defaults() => Stage::Survey,
            (Stage::Start, Request::Curves(curves)) if curves.trial.is_some() => Stage::Trial,
            (Stage::Start | Stage::Survey, _) => {
                self.trials = Trials::new(self.wanted()?);
                Stage::Trials
            }
            (Stage::Trials, Request::Curves(curves)) => {
                self.trials.check()?;
                let groups = curves::choose(&self.trials);
                let metrics = curves::metrics_of(&panels(curves));
                let ended = std::mem::take(&mut self.trials.ended);
                self.histories = Some(Histories::new(
                    groups.keys.clone(),
                    metrics,
                    ended,
                    self.trials.epochs_max,
                ));
                self.groups = Some(groups);
                Stage::Epochs
            }
            (Stage::Trials, Request::Plot(_)) => {
                self.trials.check()?;
                Stage::Done
            }
            (Stage::Epochs | Stage::Trial | Stage::Done, _) => Stage::Done,
        };
        Ok(())
    }

    fn wanted(&self) -> Result<Wanted, FigureError> {
        let filters = self.request.conditions()?;
        Ok(match &self.request {
            Request::Plot(plot) => {
                Wanted { shown: self.shown(plot), choosing: plot.best_by.clone(), filters }
            }
            Request::Curves(_) => {
                let shown = Shown::Metric(Metric::ValError);
                Wanted { shown, choosing: None, filters }
            }
        })
    }

    /// As asked, else that of the sweep's own table.
    fn shown(&self, plot: &Plot) -> Shown {
        let own = self.survey.as_ref().map(|survey| &*survey.metric);
        plot.y.as_deref().or(own).and_then(Shown::named).unwrap_or_default()
    }

    /// Takes a part of the table that was asked for. `Break` says that no more is needed of it,
    /// which may be ignored.
    pub fn part(&mut self, part: &TablePart) -> ControlFlow<()> {
        let taken = match self.stage {
            _ if self.failed.is_some() => return ControlFlow::Break(()),
            Stage::Survey => {
                self.survey.get_or_insert_with(|| Survey::of(part));
                return ControlFlow::Break(());
            }
            Stage::Trials => self.trials.part(part),
            Stage::Epochs => match &mut self.histories {
                Some(histories) => histories.part(part),
                None => Ok(()),
            },
            Stage::Start | Stage::Trial | Stage::Done => Ok(()),
        };
        match taken {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failed = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    /// Takes the trial that was asked for.
    pub fn trial(&mut self, trial: wire::Trial) {
        self.trial = Some(trial);
    }

    /// The figure as SVG: no script, no reference to anything outside.
    pub fn finish(mut self) -> Result<String, FigureError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let histories = self.histories.take();
        match &self.request {
            Request::Plot(plot) => self.plot(plot),
            Request::Curves(curves) => match histories {
                Some(histories) => self.curves(curves, histories),
                None => self.curves_of_trial(curves),
            },
        }
    }

    fn canvas(&self, default: Size) -> Canvas {
        let size = self.look.size.unwrap_or(default);
        let (width, height) = (f64::from(size.width), f64::from(size.height));
        Canvas::new(self.look.theme.colours(), width, height)
    }

    /// The sweep, and the conditions that narrow it.
    fn subject(&self) -> Result<String, FigureError> {
        let conditions = self.request.conditions()?;
        let words = conditions.iter().map(|(name, value)| format!("{} {value}", param(name)));
        let words: Vec<String> = words.collect();
        let sweep = self.request.sweep();
        Ok(if words.is_empty() { sweep.into() } else { format!("{sweep} ({})", words.join(", ")) })
    }

    fn plot(&self, plot: &Plot) -> Result<String, FigureError> {
        let survey = self.survey.clone().unwrap_or_default();
        let axes = axes(plot, &survey, &self.trials)?;
        let canvas = self.canvas(Size { width: 720, height: 460 });
        let shown = self.shown(plot);
        let best_by = plot.best_by.as_deref().map_or("", |metric| measure(metric).name);
        let (trials, measure) = (&self.trials, measure(shown.name()));
        let subject = &*self.subject()?;
        let y_scale = plot.y_scale;
        match plot.kind {
            Kind::Line => {
                LineFigure { trials, axes, subject, measure, best_by, y_scale }.draw(canvas)
            }
            Kind::Heat => {
                let lower_is_better = shown.lower_is_better();
                HeatFigure { trials, axes, subject, measure, best_by, lower_is_better, y_scale }
                    .draw(canvas)
            }
            Kind::Parallel => {
                ParallelFigure { trials, axes, subject, measure, best_by, y_scale }.draw(canvas)
            }
        }
    }

    fn curves(&self, curves: &Curves, histories: Histories) -> Result<String, FigureError> {
        let canvas = self.canvas(curves_size(curves));
        let trials = &self.trials;
        let of_none = curves::Chosen::default();
        let groups = self.groups.as_ref().unwrap_or(&of_none);
        let mut notes = Vec::new();
        notes.extend(note_of_panels(curves));
        if groups.of > groups.keys.len() {
            notes.push(format!(
                "{} of {} configs are drawn, those of lowest validation error; a condition \
                 (where) narrows them.",
                groups.keys.len(),
                groups.of
            ));
        }
        let counts = counts_of(trials, groups);
        let mut all = Counts::default();
        counts.iter().for_each(|it| all.add(*it));
        notes.extend(notes::lost(all, false));
        let figure = CurvesFigure {
            title: format!("{}: learning curves", self.subject()?),
            histories,
            settings: curves::settings(groups),
            params: curves::names(trials, &groups.varying),
            counts,
            panels: panels(curves),
            y_scale: curves.y_scale,
            notes,
            nothing: match trials.configs().is_empty() {
                true => "There are no such trials.".into(),
                false if all.values + all.unfinished == 0 => "No trial came to an end.".into(),
                false => "No epoch is recorded yet.".into(),
            },
        };
        figure.draw(canvas)
    }

    fn curves_of_trial(&self, curves: &Curves) -> Result<String, FigureError> {
        let canvas = self.canvas(curves_size(curves));
        let trial = self.trial.clone().unwrap_or_default();
        let metrics = curves::metrics_of(&panels(curves));
        let mut notes = vec![format!("{}, seed {}; {}.", params(&trial), trial.seed, trial.state)];
        notes.extend(note_of_panels(curves));
        // The rest of a longer history is not in the answer.
        if let Some(first) = trial.epochs.first().filter(|first| first.epoch > 1) {
            let count = trial.epochs.len();
            let before = first.epoch - 1;
            notes.push(format!("The newest {count} epochs are drawn, not the {before} before."));
        }
        let figure = CurvesFigure {
            title: format!("{}, trial {}: learning curves", curves.sweep, trial.id),
            histories: Histories::of_trial(metrics, &trial.epochs),
            settings: vec![Vec::new()],
            params: Vec::new(),
            counts: vec![Counts::default()],
            panels: panels(curves),
            y_scale: curves.y_scale,
            notes,
            nothing: match &*trial.state {
                "diverged" | "failed" | "cancelled" => {
                    format!("The trial {} before the end of an epoch.", ended(&trial.state))
                }
                _ => "No epoch is recorded yet.".into(),
            },
        };
        figure.draw(canvas)
    }
}

/// A panel per metric.
fn panels(curves: &Curves) -> Vec<String> {
    let mut panels: Vec<String> = Vec::new();
    for metric in &curves.metrics {
        if !panels.contains(metric) {
            panels.push(metric.clone());
        }
    }
    panels.truncate(super::request::PANELS_MAX);
    if panels.is_empty() { vec!["val_error".into(), "loss".into()] } else { panels }
}

fn note_of_panels(curves: &Curves) -> Option<String> {
    let mut asked = curves.metrics.clone();
    asked.sort();
    asked.dedup();
    let drawn = panels(curves);
    let is_cut = asked.len() > drawn.len();
    is_cut.then(|| format!("The first {} of {} metrics are drawn.", drawn.len(), asked.len()))
}

/// As a sentence says it.
fn ended(state: &str) -> String {
    if state == "cancelled" { "was cancelled".into() } else { state.into() }
}

fn curves_size(curves: &Curves) -> Size {
    let panels = u32::try_from(panels(curves).len()).unwrap_or(1);
    Size { width: 720, height: 260 + 150 * panels }
}

/// By group that is drawn, what became of its trials.
fn counts_of(trials: &Trials, groups: &curves::Chosen) -> Vec<Counts> {
    let find = |key: &[Setting]| trials.configs().iter().find(|it| *it.settings == *key);
    groups.keys.iter().map(|key| find(key).map_or(Counts::default(), |it| it.counts)).collect()
}

/// `depth 2, tau 5` of a JSON object.
fn params(trial: &wire::Trial) -> String {
    let parsed = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&trial.params);
    let Ok(object) = parsed else { return trial.params.clone() };
    let pairs = object.iter().map(|(name, value)| match value {
        serde_json::Value::String(word) => format!("{name} {word}"),
        value => format!("{name} {value}"),
    });
    pairs.collect::<Vec<String>>().join(", ")
}
