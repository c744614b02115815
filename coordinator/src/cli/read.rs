//! The reading commands: ask a source, render its answer.

use std::io::{IsTerminal, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use common::wire::{self, TableLevel, TableRequest};
use serde_json::Value;

use super::output::Output;
use super::source::Source;
use super::{
    ExpectArgs, Failure, LogArgs, Place, ProbeArgs, SweepArgs, TableArgs, TrialArgs, ViewArgs,
    ViewFormat,
};
use crate::options::Global;
use crate::render::{self, Format, TableWriter};

async fn open(place: &Place, global: &Global) -> Result<Source, Failure> {
    Source::open(place.coordinator.as_deref(), global).await
}

/// Writes an object on lines of its own.
fn json(value: &Value, out: &mut Output) -> Result<(), Failure> {
    serde_json::to_writer_pretty(&mut *out, value).map_err(std::io::Error::from)?;
    Ok(writeln!(out)?)
}

/// `list`.
pub(super) async fn list(args: &ViewArgs, global: &Global) -> Result<(), Failure> {
    let sweeps = open(&args.place, global).await?.sweeps().await?;
    let mut out = Output::stdout();
    let style = out.style();
    match args.format {
        ViewFormat::Text => render::sweeps(&sweeps, style, &mut out)?,
        ViewFormat::Json => json(&render::sweeps_json(&sweeps), &mut out)?,
    }
    out.finish()
}

/// `status`.
pub(super) async fn status(args: &SweepArgs, global: &Global) -> Result<(), Failure> {
    let sweep = open(&args.view.place, global).await?.sweep(&args.sweep).await?;
    let mut out = Output::stdout();
    let style = out.style();
    match args.view.format {
        ViewFormat::Text => render::sweep(&sweep, style, &mut out)?,
        ViewFormat::Json => json(&render::sweep_json(&sweep), &mut out)?,
    }
    out.finish()
}

/// `workers`.
pub(super) async fn workers(args: &ViewArgs, global: &Global) -> Result<(), Failure> {
    let workers = open(&args.place, global).await?.workers().await?;
    let mut out = Output::stdout();
    let style = out.style();
    match args.format {
        ViewFormat::Text => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now_unix_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
            render::workers(&workers, now_unix_ms, style, &mut out)?;
        }
        ViewFormat::Json => json(&render::workers_json(&workers), &mut out)?,
    }
    out.finish()
}

/// `expect`: with `--strict` a contradiction is a failure, after everything is shown.
pub(super) async fn expect(args: &ExpectArgs, global: &Global) -> Result<(), Failure> {
    let mut source = open(&args.view.place, global).await?;
    let expectations = source.expectations(&args.sweep).await?;
    let mut out = Output::stdout();
    let style = out.style();
    match args.view.format {
        ViewFormat::Text => render::expectations(&args.sweep, &expectations, style, &mut out)?,
        ViewFormat::Json => json(&render::expectations_json(&expectations), &mut out)?,
    }
    out.finish()?;
    match render::contradicted(&expectations) {
        count if args.strict && count > 0 => {
            let claims = if count == 1 { "claim is" } else { "claims are" };
            Err(Failure::Failed(anyhow::anyhow!("--strict: {count} {claims} contradicted")))
        }
        _ => Ok(()),
    }
}

/// `probe`.
pub(super) async fn probe(args: &ProbeArgs, global: &Global) -> Result<(), Failure> {
    let mut source = open(&args.view.place, global).await?;
    let request = wire::GetProbeRequest { sweep: args.sweep.clone(), curve: args.curve };
    let mut configs = Vec::new();
    let mut keep = |config| {
        configs.push(config);
        Ok(())
    };
    source.probe(request, &mut keep).await?;
    let mut out = Output::stdout();
    let style = out.style();
    match args.view.format {
        ViewFormat::Text => render::probe(&configs, style, &mut out)?,
        ViewFormat::Json => json(&render::probe_json(&configs), &mut out)?,
    }
    out.finish()
}

/// `trial`.
pub(super) async fn trial(args: &TrialArgs, global: &Global) -> Result<(), Failure> {
    let mut source = open(&args.view.place, global).await?;
    let trial = source.trial(&args.sweep, &args.trial).await?;
    let mut out = Output::stdout();
    let style = out.style();
    match args.view.format {
        ViewFormat::Text => render::trial(&trial, style, &mut out)?,
        ViewFormat::Json => json(&render::trial_json(&trial), &mut out)?,
    }
    out.finish()
}

/// `logs`: the text alone on standard output, where it is from on stderr.
pub(super) async fn logs(args: &LogArgs, global: &Global) -> Result<(), Failure> {
    let mut source = open(&args.place, global).await?;
    let log = source.log(&args.sweep, &args.trial).await?;
    writeln!(std::io::stderr().lock(), "{}", render::printable(&log.source))?;
    let mut out = Output::stdout();
    let text = render::printable(&log.text);
    out.write_all(text.as_bytes())?;
    if !text.is_empty() && !text.ends_with('\n') {
        writeln!(out)?;
    }
    out.finish()
}

/// `table`: rows are written as they come.
pub(super) async fn table(args: &TableArgs, global: &Global) -> Result<(), Failure> {
    let format = format(args)?;
    if format == Format::Parquet && args.output.is_none() && std::io::stdout().is_terminal() {
        return Err(Failure::Mistake("--format parquet is not for a terminal: add -o FILE".into()));
    }
    let mut source = open(&args.place, global).await?;
    let mut out = Output::open(args.output.as_deref())?;
    let style = out.style();
    let mut table = TableWriter::new(format, style, &mut out);
    source.table(request(args), &mut |part| table.part(part)).await?;
    table.finish()?;
    out.finish()
}

fn request(args: &TableArgs) -> TableRequest {
    let level = match (args.trials, args.epochs) {
        (true, _) => TableLevel::Trials,
        (false, true) => TableLevel::Epochs,
        (false, false) => TableLevel::Configs,
    };
    TableRequest {
        sweep: args.sweep.clone(),
        rows: args.rows.clone(),
        columns: args.columns.clone(),
        metric: args.metric.clone().unwrap_or_default(),
        pool: args.pool.clone(),
        best_by: args.best_by.clone().unwrap_or_default(),
        level: level.into(),
        removed: args.removed,
        provenance: args.provenance,
    }
}

/// As asked, else by the ending of the file.
fn format(args: &TableArgs) -> Result<Format, Failure> {
    let path = match (args.format, &args.output) {
        (Some(format), _) => return Ok(format),
        (None, None) => return Ok(Format::default()),
        (None, Some(path)) => path,
    };
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    Format::of_ending(ending).ok_or_else(|| {
        let path = path.display();
        Failure::Mistake(format!(
            "--output {path}: a table is written as .txt, .md, .tex, .csv, .json or .parquet; \
             --format says which where the name does not"
        ))
    })
}
