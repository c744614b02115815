//! `store check` and `store backup`: on the state directory itself, beside a running coordinator or
//! without one.

use std::io::Write;

use super::output::Output;
use super::{BackupArgs, Failure};
use crate::options::Global;
use crate::query::Reader;
use crate::weights;

/// Says what is wrong with a store; status 1 where something is.
pub(super) fn check(global: &Global) -> Result<(), Failure> {
    let report = Reader::open(&global.state)?.check()?;
    let mut out = Output::stdout();
    for violation in &report.violations {
        writeln!(out, "violated {} times: {}", violation.count, violation.sentence)?;
        for example in &violation.examples {
            writeln!(out, "  {example}")?;
        }
    }
    let rows = report.rows.iter().map(|(table, count)| format!("{count} {table}"));
    let rows = rows.collect::<Vec<_>>().join(", ");
    if report.violations.is_empty() {
        writeln!(out, "the store is whole: schema version {}, {rows}", report.version)?;
        return out.finish();
    }
    out.finish()?;
    let many = match report.violations.len() {
        1 => "1 sentence does".into(),
        count => format!("{count} sentences do"),
    };
    Err(Failure::Failed(anyhow::anyhow!(
        "{many} not hold in {}; stop the coordinator, keep a copy of the directory, and go on from \
         the newest backup",
        global.state.display()
    )))
}

/// Copies a store.
pub(super) fn backup(args: &BackupArgs, global: &Global) -> Result<(), Failure> {
    let bytes = Reader::open(&global.state)?.backup(&args.file, args.force)?;
    let mut out = Output::stdout();
    writeln!(out, "{}: {bytes} bytes, as the store was a moment ago", args.file.display())?;
    if !weights::kept(&global.state)?.is_empty() {
        let folder = weights::folder(&global.state);
        writeln!(out, "not in it: the kept weights; copy {} as well", folder.display())?;
    }
    out.finish()
}
