//! How much of a sweep was trained more than once, because a worker or trainer was lost.

use common::wire;

use crate::query::history::{self, Recorded};
use crate::query::{Known, QueryError, Reader};

/// A count over the trials of a table.
#[derive(Default)]
pub(super) struct Repeated(wire::EpochsRepeated);

impl Repeated {
    /// Takes the next trial.
    pub(super) fn add(&mut self, epochs: u64) {
        self.0.epochs += epochs;
        self.0.trials += u64::from(epochs > 0);
        self.0.of_trials += 1;
    }

    /// None where nothing was repeated.
    pub(super) fn of_table(self) -> Option<wire::EpochsRepeated> {
        (self.0.trials > 0).then_some(self.0)
    }
}

impl Reader {
    /// Of a sweep. Epochs are looked at for trials with several attempts alone.
    pub(super) fn epochs_repeated(
        &self,
        sweep: &Known,
        removed: bool,
    ) -> Result<Option<wire::EpochsRepeated>, QueryError> {
        let wrong = self.wrong("the epochs");
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT m.trial, r.attempt, r.first, r.last
                 FROM members m JOIN trials t ON t.id = m.trial
                 LEFT JOIN recorded r
                    ON t.attempts > 1 AND r.trial = t.id AND r.first IS NOT NULL
                 WHERE m.sweep = ?1 AND (?2 OR m.removed = 0)
                 ORDER BY m.trial, r.attempt",
            )
            .map_err(wrong)?;
        let mut rows = statement.query((sweep.id, removed)).map_err(wrong)?;
        let mut repeated = Repeated::default();
        let mut trial = None;
        let mut recorded: Vec<Recorded> = Vec::new();
        while let Some(row) = rows.next().map_err(wrong)? {
            let this: i64 = row.get(0).map_err(wrong)?;
            if trial.replace(this).is_some_and(|trial| trial != this) {
                repeated.add(history::repeated(&recorded));
                recorded.clear();
            }
            if let Some(attempt) = row.get(1).map_err(wrong)? {
                let (first, last) = (row.get(2).map_err(wrong)?, row.get(3).map_err(wrong)?);
                recorded.push(Recorded { attempt, first, last });
            }
        }
        if trial.is_some() {
            repeated.add(history::repeated(&recorded));
        }
        Ok(repeated.of_table())
    }
}
