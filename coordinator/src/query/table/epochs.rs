//! The table by epoch: every trial's history, in the order of expansion.

use std::ops::ControlFlow;

use common::wire::{self, ColumnType};

use super::trials::Identity;
use super::{Parts, Sink, column, integer_cell, number_cell};
use crate::query::history::{self, Recorded};
use crate::query::{Known, KnownTrial, QueryError, Reader, trial};

/// Epochs that are read at a time.
const PAGE_EPOCHS: u32 = 1_000;

/// The metrics of an epoch, in the order of the columns.
pub const EPOCH_METRICS: [&str; 9] = [
    "train_loss",
    "train_error",
    "val_loss",
    "val_error",
    "gate",
    "lr",
    "grad_norm",
    "examples_per_second",
    "seconds",
];

/// Their values, in the same order.
pub fn epoch_metrics(epoch: &wire::EpochReport) -> [f64; EPOCH_METRICS.len()] {
    [
        epoch.train_loss,
        epoch.train_error,
        epoch.val_loss,
        epoch.val_error,
        epoch.gate,
        epoch.lr,
        epoch.grad_norm,
        epoch.examples_per_second,
        epoch.seconds,
    ]
}

impl Reader {
    pub(super) fn table_of_epochs(
        &self,
        sweep: &Known,
        removed: bool,
        sink: Sink,
    ) -> Result<(), QueryError> {
        let mut identity = Identity::new(self, sweep, removed)?;
        let mut columns = identity.columns();
        columns.push(column("epoch", ColumnType::Integer));
        columns.extend(EPOCH_METRICS.map(|metric| column(metric, ColumnType::Number)));
        let mut parts = Parts::new(columns, "", sink);
        let mut page = identity.page(None, false)?;
        while let Some(last) = page.last() {
            let next = identity.page(Some(last), false)?;
            for member in &page {
                let start = identity.cells(member)?;
                if self.history(member.trial, &start, &mut parts)?.is_break() {
                    return Ok(());
                }
            }
            page = next;
        }
        parts.finish(None);
        Ok(())
    }

    /// Sends a trial's history. Epochs that are stored never change, so the parts that are
    /// known at the start can be read one page at a time.
    fn history(
        &self,
        trial: KnownTrial,
        start: &[wire::Cell],
        parts: &mut Parts<'_>,
    ) -> Result<ControlFlow<()>, QueryError> {
        let wrong = self.wrong("the epochs");
        let recorded = trial::recorded(&self.connection, trial).map_err(wrong)?;
        for part in history::parts(&recorded) {
            let mut rest = Some(part);
            while let Some(part) = rest {
                let snapshot = self.snapshot()?;
                let page = trial::epochs_of(&snapshot, trial, part, PAGE_EPOCHS).map_err(wrong)?;
                drop(snapshot);
                for epoch in &page {
                    if parts.row(cells(start, epoch)).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                rest = after(part, &page);
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// What is left of a part after a page of it.
fn after(part: Recorded, page: &[wire::EpochReport]) -> Option<Recorded> {
    let last = page.last()?.epoch;
    (last < part.last).then(|| Recorded { first: last + 1, ..part })
}

fn cells(start: &[wire::Cell], epoch: &wire::EpochReport) -> Vec<wire::Cell> {
    let mut cells = start.to_vec();
    cells.push(integer_cell(epoch.epoch));
    cells.extend(epoch_metrics(epoch).map(|metric| number_cell(Some(metric))));
    cells
}
