//! What became of the claims of a sweep file: the trials that each side means, and the verdict.

use std::collections::HashMap;

use common::config::{Config, Param};
use common::expectation::{DIVERGED, Expectation, Relation, Selector};
use common::wire;

use super::group::{self, Group, Ranked};
use super::verdict::{self, Verdict};
use super::{Known, Metric, QueryError, Reader};

impl Reader {
    /// Every claim of the sweep's file, in its order, judged by what is stored now.
    pub fn expectations(&self, sweep: &str) -> Result<wire::Expectations, QueryError> {
        let _snapshot = self.snapshot()?;
        let known = self.known(sweep)?;
        let stated = self.file(&known)?.expect;
        let mut configs: HashMap<i64, Config> = HashMap::new();
        if !stated.is_empty() {
            self.each_config(&known, false, |id, config| {
                let is_meant =
                    |stated: &Expectation| (0..2).any(|side| means(stated, side, config));
                if stated.iter().any(is_meant) {
                    configs.insert(id, config.clone());
                }
            })?;
        }
        let mut expectations = Vec::with_capacity(stated.len());
        for stated in &stated {
            expectations.push(self.expectation(&known, stated, &configs)?);
        }
        Ok(wire::Expectations { expectations })
    }

    fn expectation(
        &self,
        sweep: &Known,
        stated: &Expectation,
        configs: &HashMap<i64, Config>,
    ) -> Result<wire::Expectation, QueryError> {
        let metric = |name: &str| Metric::ALL.into_iter().find(|metric| metric.name() == name);
        let shown = metric(stated.metric).unwrap_or(Metric::TestError);
        let choosing = stated.best_by.and_then(metric).unwrap_or(shown);
        let mut meant: Vec<&Config> = Vec::new();
        let groups = self.groups(sweep, false, (shown, choosing), |id| {
            let config = configs.get(&id)?;
            let is_meant = (0..2).any(|side| means(stated, side, config));
            is_meant.then(|| {
                meant.push(config);
                [meant.len() - 1].into()
            })
        })?;
        let sides = [0, 1].map(|side| Side::new(stated, side, &groups, &meant));
        Ok(judged(stated, &sides))
    }
}

fn means(stated: &Expectation, side: usize, config: &Config) -> bool {
    stated.matches(side, |param| config.get(param))
}

/// What is known of a side.
struct Side {
    name: &'static str,
    values: Vec<f64>,
    /// `best_by` has something to choose by.
    is_chosen: bool,
    /// The config's place among those of the sweep; none where it is not stored yet.
    config: Option<usize>,
    /// Trials that diverged, which have no value of other metrics.
    diverged: u64,
    wire: wire::ExpectationSide,
}

impl Side {
    fn new(stated: &Expectation, side: usize, groups: &[Ranked], meant: &[&Config]) -> Side {
        let mut candidates = Vec::new();
        for (at, (rank, _)) in groups.iter().enumerate() {
            if means(stated, side, meant[rank[0]]) {
                candidates.push(at);
            }
        }
        let name = stated.relation.sides()[side];
        let absent = Group::default();
        let (at, group, chosen) = match candidates.as_slice() {
            // Its members are not stored yet.
            [] => (None, &absent, Vec::new()),
            [first, ..] => {
                let chosen = group::chosen(groups, &candidates);
                let config = |at: usize| meant[groups[at].0[0]];
                let others = candidates.iter().map(|at| config(*at));
                let params = varying(config(*first), others);
                (Some(chosen), &groups[chosen].1, settings_of(config(chosen), &params))
            }
        };
        let is_chosen = stated.best_by.is_none() || !group.choosing.is_empty();
        let values = match stated.metric {
            DIVERGED => {
                let mut values = vec![0.0; usize::try_from(group.completed).unwrap_or(usize::MAX)];
                values.resize(values.len() + usize::try_from(group.diverged).unwrap_or(0), 1.0);
                values
            }
            _ => group.values.clone(),
        };
        let wire = wire::ExpectationSide {
            name: name.into(),
            stated: settings(&stated.sides[side]),
            chosen: if is_chosen { chosen } else { Vec::new() },
            summary: Some(group.summary_of(&values)),
        };
        Side { name, values, is_chosen, config: at, diverged: group.diverged, wire }
    }

    /// That a mean of the trials that did not diverge speaks for them alone.
    fn survivors(&self) -> Option<String> {
        let (name, diverged) = (self.name, self.diverged);
        (diverged > 0).then(|| format!("{diverged} of `{name}` diverged and have no value"))
    }

    /// Why there is no interval, where this side is the reason.
    fn lacks(&self, best_by: Option<&str>) -> Option<String> {
        let name = self.name;
        match (self.is_chosen, self.values.len()) {
            (false, _) => Some(format!("no config of `{name}` has a {} yet", best_by?)),
            (true, 0) => Some(format!("`{name}` has no value, 2 are needed")),
            (true, 1) => Some(format!("`{name}` has 1 value, 2 are needed")),
            (true, _) => None,
        }
    }
}

fn judged(stated: &Expectation, sides: &[Side; 2]) -> wire::Expectation {
    let [first, second] = sides;
    let lacking: Vec<String> = sides.iter().filter_map(|side| side.lacks(stated.best_by)).collect();
    let difference = if lacking.is_empty() {
        verdict::difference(&first.values, &second.values, stated.confidence)
    } else {
        None
    };
    let verdict = difference.map(|found| verdict::verdict(stated.relation, &found));
    let mut notes = lacking;
    if difference.is_some_and(|found| found.t.is_none()) {
        notes.push("no spread on either side: the difference alone decides".into());
    }
    let is_one = first.config.is_some() && first.config == second.config;
    if is_one {
        notes.push("both sides chose the same config".into());
    }
    let survivors = match stated.metric {
        DIVERGED => [None, None],
        _ => [first.survivors(), second.survivors()],
    };
    // What diverged cannot speak against a claim, so what is left must not speak for it.
    let speaks = match stated.relation {
        Relation::Less => survivors[0].is_none(),
        Relation::Similar { .. } => survivors.iter().all(Option::is_none),
    };
    notes.extend(survivors.into_iter().flatten());
    let verdict = match verdict {
        Some(Verdict::Supported) if is_one || !speaks => Some(Verdict::Undecided),
        verdict => verdict,
    };
    let note = notes.join("; ");
    wire::Expectation {
        claim: stated.claim.clone(),
        metric: stated.metric.into(),
        common: settings(&stated.common),
        first: Some(first.wire.clone()),
        second: Some(second.wire.clone()),
        within: match stated.relation {
            Relation::Less => None,
            Relation::Similar { within } => Some(within),
        },
        best_by: stated.best_by.unwrap_or_default().into(),
        confidence: stated.confidence,
        verdict: match verdict {
            Some(Verdict::Supported) => wire::Verdict::Supported,
            Some(Verdict::Contradicted) => wire::Verdict::Contradicted,
            Some(Verdict::Undecided) | None => wire::Verdict::Undecided,
        }
        .into(),
        difference: difference.map(|found| found.mean),
        low: difference.map(|found| found.low),
        high: difference.map(|found| found.high),
        t: difference.and_then(|found| found.t),
        degrees_of_freedom: difference.and_then(|found| found.degrees_of_freedom),
        note,
    }
}

fn settings(selector: &Selector) -> Vec<wire::Setting> {
    let setting = |(param, values): &(Param, Vec<_>)| wire::Setting {
        param: param.name().into(),
        values: values.iter().map(ToString::to_string).collect(),
    };
    selector.0.iter().map(setting).collect()
}

/// Parameters that some config has otherwise than the first one.
pub(super) fn varying<'c>(
    first: &Config,
    others: impl Iterator<Item = &'c Config> + Clone,
) -> Vec<Param> {
    let differs = |param: &Param| others.clone().any(|it| it.get(*param) != first.get(*param));
    Param::ALL.into_iter().filter(differs).collect()
}

/// What a config has of some parameters; those without effect are left out.
pub(super) fn settings_of(config: &Config, params: &[Param]) -> Vec<wire::Setting> {
    let setting = |param: &Param| {
        let value = config.get(*param)?;
        Some(wire::Setting { param: param.name().into(), values: vec![value.to_string()] })
    };
    params.iter().filter_map(setting).collect()
}
