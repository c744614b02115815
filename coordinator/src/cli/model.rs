//! `model`: the weights of a trial's best epoch as a file.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;
use common::wire::{self, model_part};

use super::output::Output;
use super::source::Source;
use super::{Failure, Place};
use crate::options::Global;
use crate::render;

/// Arguments of `model`.
#[derive(Args, Clone, Debug)]
pub struct ModelArgs {
    /// The sweep's name
    pub sweep: String,
    /// Of this trial: its id, or at least 4 of its first digits
    #[arg(long, value_name = "TRIAL", conflicts_with = "best")]
    pub trial: Option<String>,
    /// Of the completed trial with the lowest val_error whose weights are kept [default]
    #[arg(long)]
    pub best: bool,
    /// Writes to this file, which appears when it is complete [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Whom to ask.
    #[command(flatten)]
    pub place: Place,
}

/// `model`: what they are of goes to stderr.
pub(super) async fn model(args: &ModelArgs, global: &Global) -> Result<(), Failure> {
    if args.output.is_none() && std::io::stdout().is_terminal() {
        return Err(Failure::Mistake("weights are not for a terminal: add -o FILE".into()));
    }
    let mut source = Source::open(args.place.coordinator.as_deref(), global).await?;
    let trial = args.trial.clone().unwrap_or_default();
    let request = wire::GetModelRequest { sweep: args.sweep.clone(), trial };
    let mut out = None;
    let mut header = wire::ModelHeader::default();
    let mut received = 0;
    let mut take = |part: wire::ModelPart| match part.part {
        Some(model_part::Part::Header(found)) => {
            header = found;
            // Only now: a file that was there stays where there is no model.
            out = Some(Output::open(args.output.as_deref())?);
            Ok(())
        }
        Some(model_part::Part::Chunk(chunk)) => {
            received += chunk.len() as u64;
            out.as_mut().map_or(Ok(()), |out: &mut Output| out.write_all(&chunk))?;
            Ok(())
        }
        None => Ok(()),
    };
    source.model(request, &mut take).await?;
    let Some(out) = out.filter(|_| received == header.bytes) else {
        return Err(Failure::Failed(anyhow::anyhow!(
            "the weights ended after {received} of {} bytes",
            header.bytes
        )));
    };
    out.finish()?;
    writeln!(std::io::stderr().lock(), "{}", render::printable(&told(&header)))?;
    Ok(())
}

fn told(header: &wire::ModelHeader) -> String {
    let percent = |name: &str, value: Option<f64>| {
        value.map_or(String::new(), |value| format!(", {name} {}", render::percent(value)))
    };
    let wire::ModelHeader { trial, attempt, bytes, val_error, test_error, note } = header;
    let errors = [percent("val_error", *val_error), percent("test_error", *test_error)].concat();
    let note = if note.is_empty() { String::new() } else { format!("; {note}") };
    format!("trial {trial}, attempt {attempt}{errors}, {bytes} bytes{note}")
}
