//! The parameters of a sweep's configs: which vary, and their values in the order of a table.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use common::config::{Config, Param, Value};
use common::params::{self, Kind};
use rusqlite::Row;

use crate::query::{Known, QueryError, Reader};

/// What a parameter is in a config: a value, or none where it has no effect.
pub type Setting = Option<Value>;

/// Which parameters the configs of a sweep have.
#[derive(Default)]
pub struct Survey {
    /// Those with different values, sorted by name. One that some configs lack and the others agree
    /// on is not among them: another parameter decides whether it has an effect.
    pub varying: Vec<Param>,
    /// The first value seen, for those that any config has.
    first: BTreeMap<Param, Value>,
}

impl Survey {
    /// Some config has it.
    pub fn has(&self, param: Param) -> bool {
        self.first.contains_key(&param)
    }

    /// Those with the same value everywhere.
    pub fn constant(&self) -> Vec<Param> {
        self.first.keys().copied().filter(|param| !self.varying.contains(param)).collect()
    }
}

/// Settings by config, in the order of the parameters that were asked for.
pub type Points = HashMap<i64, Box<[Setting]>>;

impl Reader {
    /// Looks at every config of a sweep.
    pub(super) fn survey(&self, sweep: &Known, removed: bool) -> Result<Survey, QueryError> {
        let mut survey = Survey::default();
        let mut varies = BTreeSet::new();
        self.each_config(sweep, removed, |_, config| {
            for (param, value) in config.values() {
                if *survey.first.entry(param).or_insert(value) != value {
                    varies.insert(param);
                }
            }
        })?;
        survey.varying = varies.into_iter().collect();
        Ok(survey)
    }

    /// The settings of `params` in every config of a sweep.
    pub(super) fn points(
        &self,
        sweep: &Known,
        removed: bool,
        params: &[Param],
    ) -> Result<Points, QueryError> {
        let mut points = Points::new();
        self.each_config(sweep, removed, |id, config| {
            points.insert(id, params.iter().map(|param| config.get(*param)).collect());
        })?;
        Ok(points)
    }

    /// The settings of `params` in one config.
    pub(super) fn point(
        &self,
        sweep: &Known,
        config: i64,
        params: &[Param],
    ) -> Result<Box<[Setting]>, QueryError> {
        let wrong = self.wrong("the configs");
        let mut statement = self
            .connection
            .prepare_cached("SELECT id, model, data, params FROM configs WHERE id = ?")
            .map_err(wrong)?;
        let mut rows = statement.query([config]).map_err(wrong)?;
        let row = rows.next().map_err(wrong)?;
        let config = self.config(sweep, row.ok_or_else(|| no_rows(wrong))?)?;
        Ok(params.iter().map(|param| config.get(*param)).collect())
    }

    /// Every config of a sweep with its id.
    pub(in crate::query) fn each_config(
        &self,
        sweep: &Known,
        removed: bool,
        mut each: impl FnMut(i64, &Config),
    ) -> Result<(), QueryError> {
        let wrong = self.wrong("the configs");
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT id, model, data, params FROM configs WHERE id IN (
                    SELECT t.config FROM members m JOIN trials t ON t.id = m.trial
                    WHERE m.sweep = ?1 AND (?2 OR m.removed = 0)
                 )",
            )
            .map_err(wrong)?;
        let mut rows = statement.query((sweep.id, removed)).map_err(wrong)?;
        while let Some(row) = rows.next().map_err(wrong)? {
            let id = row.get(0).map_err(wrong)?;
            each(id, &self.config(sweep, row)?);
        }
        Ok(())
    }

    fn config(&self, sweep: &Known, row: &Row<'_>) -> Result<Config, QueryError> {
        let wrong = self.wrong("the configs");
        let text = |at| row.get_ref(at).and_then(|value| Ok(value.as_str()?)).map_err(wrong);
        Config::from_stored(text(1)?, text(2)?, text(3)?)
            .map_err(|source| QueryError::Config { sweep: sweep.name.clone(), source })
    }
}

fn no_rows(wrong: impl Fn(rusqlite::Error) -> QueryError) -> QueryError {
    wrong(rusqlite::Error::QueryReturnedNoRows)
}

/// The distinct settings of one parameter, in the order of a table; a setting's index is its
/// rank.
pub fn ranked(param: Param, settings: impl Iterator<Item = Setting>) -> Vec<Setting> {
    let mut ranked: Vec<Setting> = Vec::new();
    for setting in settings {
        if let Err(at) = ranked.binary_search_by(|known| order(param, known, &setting)) {
            ranked.insert(at, setting);
        }
    }
    ranked
}

/// The rank of a setting that is among `ranked`.
pub fn rank(param: Param, ranked: &[Setting], setting: &Setting) -> usize {
    ranked.binary_search_by(|known| order(param, known, setting)).expect("it was ranked")
}

/// No effect first, then null, flags, numbers by size, words in the order of their definition.
fn order(param: Param, a: &Setting, b: &Setting) -> Ordering {
    let key = |setting: &Setting| match setting {
        None => (0, 0.0, ""),
        Some(Value::Null) => (1, 0.0, ""),
        Some(Value::Bool(flag)) => (2, f64::from(u8::from(*flag)), ""),
        #[expect(clippy::cast_precision_loss, reason = "parameters stay far below 2^53")]
        Some(Value::Int(value)) => (3, *value as f64, ""),
        Some(Value::Float(value)) => (3, *value, ""),
        Some(Value::Word(word)) => (4, place_of(param, word), *word),
    };
    let (a, b) = (key(a), key(b));
    a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(b.2))
}

fn place_of(param: Param, word: &str) -> f64 {
    match params::info(param).kind {
        Kind::Words { built, later } => {
            let place = built.iter().chain(later).position(|known| *known == word);
            let place = place.and_then(|place| u8::try_from(place).ok());
            place.map_or(f64::INFINITY, f64::from)
        }
        Kind::Flag | Kind::Count { .. } | Kind::Number { .. } => f64::INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_rank_by_kind_size_and_definition() {
        let word = |word| Some(Value::Word(word));
        let all = [
            word("grelu"),
            Some(Value::Float(2.5)),
            word("relu"),
            None,
            Some(Value::Int(10)),
            Some(Value::Null),
            Some(Value::Int(2)),
            None,
            Some(Value::Int(10)),
        ];
        let ranked = ranked(Param::Activation, all.into_iter());
        let expected = [
            None,
            Some(Value::Null),
            Some(Value::Int(2)),
            Some(Value::Float(2.5)),
            Some(Value::Int(10)),
            word("relu"),
            word("grelu"),
        ];
        assert_eq!(ranked, expected);
        for (at, setting) in expected.iter().enumerate() {
            assert_eq!(rank(Param::Activation, &ranked, setting), at);
        }
    }
}
