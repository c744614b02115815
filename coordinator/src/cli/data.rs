//! `data check`.

use std::io::Write;

use common::config::Data;
use common::data;

use super::{CheckArgs, Failure, output::Output};

/// Reads a data set and says what it holds.
pub(super) fn check(args: &CheckArgs) -> Result<(), Failure> {
    let name = &args.name;
    let Some(data) = Data::ALL.into_iter().find(|data| data.name() == name.as_str()) else {
        let available = Data::AVAILABLE.map(|data| format!("`{}`", data.name())).join(", ");
        return Err(Failure::Mistake(format!("unknown data set `{name}`; accepted: {available}")));
    };
    let report = data::check(data, args.data.as_deref());
    // Whatever is wrong with the files, the check has done what was asked: they are not right.
    let report = report.map_err(|error| Failure::Failed(error.into()))?;
    let mut out = Output::stdout();
    writeln!(out, "{report}")?;
    out.finish()
}
