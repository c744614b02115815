//! `plan`: reads a sweep file and shows what it would run.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use common::config::{Model, Param};
use common::spec::Sweep;
use common::{params, spec};

use super::{Failure, PlanArgs, output::Output};
use crate::config;
use crate::options::SweepOptions;
use crate::plan::{self, Plan};
use crate::render;

/// Plans the file.
pub(super) fn run(args: &PlanArgs) -> Result<(), Failure> {
    let (sweep, warnings) = read(&args.file, &args.reading)?;
    let plan = Plan::new(&sweep, &warnings);
    let mut out = Output::stdout();
    plan::write(&plan, &sweep, args.format, args.trials, &mut out)?;
    out.finish()
}

/// Reads and checks a sweep file; tells its warnings.
pub(super) fn read(
    path: &Path,
    reading: &SweepOptions,
) -> Result<(Sweep, Vec<spec::Warning>), Failure> {
    let file = path.display().to_string();
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::Mistake(format!("cannot read the sweep file {file}: {error}")))?;
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (sweep, warnings) = spec::load(&text, &file, &reading.to_spec())
        .map_err(|errors| Failure::Report(ended(errors.render(colour))))?;
    let mut mistakes = Vec::new();
    config::check_set_targets(reading, std::slice::from_ref(&sweep), &mut mistakes);
    if !mistakes.is_empty() {
        return Err(Failure::Report(ended(mistakes.join("\n"))));
    }
    for warning in &warnings {
        io::stderr().lock().write_all(ended(warning.render(colour).to_owned()).as_bytes())?;
    }
    Ok((sweep, warnings))
}

/// With a line break at its end.
fn ended(mut text: String) -> String {
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// What stands below the options: what a plan has, and every parameter of a sweep file.
pub(super) fn help() -> String {
    const NAME_WIDTH: usize = 16;
    const TEXT_WIDTH: usize = 60;
    let mut text = "Counts points, exclusions, collapsed points, configs, trials and cohorts, and \
        estimates memory and time. Every mistake of the file is shown at once.\n\n\
        Parameters of a sweep file, each with what is accepted and its default:\n"
        .to_owned();
    for param in Param::ALL {
        let models = || Model::AVAILABLE.into_iter();
        let Some(default) = models().find_map(|model| params::default(model, param)) else {
            continue;
        };
        let info = params::info(param);
        let about = format!("{}: {} [{default}]", info.doc, info.accepted());
        let mut name = param.name();
        for line in render::wrapped(&about, TEXT_WIDTH) {
            text.push_str(&format!("  {name:<NAME_WIDTH$}{line}\n"));
            name = "";
        }
    }
    text
}
