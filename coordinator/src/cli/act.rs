//! The commands that change what runs: they need a running coordinator, and return when what they
//! did is stored.

use std::io::{self, Write};

use common::wire::{ActOnSweepRequest, ActedResponse, ApplySweepRequest, DrainWorkerRequest};

use super::output::Output;
use super::source::{Client, Source, answer};
use super::{ActArgs, ApplyArgs, DrainArgs, Failure, Place, plan};
use crate::options::Global;

async fn running(place: &Place, global: &Global) -> Result<Client, Failure> {
    Source::running(place.coordinator.as_deref(), global).await
}

fn tell(line: &str) -> Result<(), Failure> {
    let mut out = Output::stdout();
    writeln!(out, "{line}")?;
    out.finish()
}

/// `apply`.
pub(super) async fn apply(args: &ApplyArgs, global: &Global) -> Result<(), Failure> {
    let (sweep, _) = plan::read(&args.file, &args.reading)?;
    let request = ApplySweepRequest {
        yaml: sweep.yaml,
        prune: args.prune,
        points_set: sweep.are_points_set,
        trials_max: args.reading.max_trials,
    };
    let done = answer(running(&args.place, global).await?.apply_sweep(request).await)?;
    let mut line = match done.again {
        false => format!("sweep {}: {} added", done.sweep, trials(done.added)),
        true => format!(
            "sweep {}: {} added, {} removed, {} unchanged",
            done.sweep,
            trials(done.added),
            done.removed,
            done.unchanged
        ),
    };
    if !done.held.is_empty() {
        line.push_str(&format!("; none is handed out, {}", done.held));
    }
    tell(&line)?;
    if done.again && done.unchanged == 0 && done.removed > 0 {
        // Of another file by a name that is taken, for one.
        writeln!(
            io::stderr().lock(),
            "warning: no trial of the earlier file is in this one; their results are kept, and \
             `--set name=NEW` makes this one a sweep of its own: apply the earlier file again, \
             then this one by another name"
        )?;
    }
    Ok(())
}

/// `pause`.
pub(super) async fn pause(args: &ActArgs, global: &Global) -> Result<(), Failure> {
    let mut client = running(&args.place, global).await?;
    let ActedResponse { pending, running } = answer(client.pause_sweep(request(args)).await)?;
    tell(&format!(
        "sweep {} is paused: {} wait, {running} running go on to their end",
        args.sweep,
        trials(pending)
    ))
}

/// `resume`.
pub(super) async fn resume(args: &ActArgs, global: &Global) -> Result<(), Failure> {
    let mut client = running(&args.place, global).await?;
    let ActedResponse { pending, .. } = answer(client.resume_sweep(request(args)).await)?;
    tell(&format!("sweep {} goes on: {} may run", args.sweep, trials(pending)))
}

/// `cancel`.
pub(super) async fn cancel(args: &ActArgs, global: &Global) -> Result<(), Failure> {
    let mut client = running(&args.place, global).await?;
    let ActedResponse { pending, running } = answer(client.cancel_sweep(request(args)).await)?;
    tell(&format!(
        "sweep {} is cancelled: {} that waited, {running} that ran",
        args.sweep,
        trials(pending)
    ))
}

/// `retry`.
pub(super) async fn retry(args: &ActArgs, global: &Global) -> Result<(), Failure> {
    let mut client = running(&args.place, global).await?;
    let ActedResponse { pending, .. } = answer(client.retry_sweep(request(args)).await)?;
    tell(&match pending {
        0 => format!("sweep {} goes on", args.sweep),
        _ => format!("sweep {} goes on: {} run again", args.sweep, trials(pending)),
    })
}

/// `drain`.
pub(super) async fn drain(args: &DrainArgs, global: &Global) -> Result<(), Failure> {
    let mut client = running(&args.place, global).await?;
    let request = DrainWorkerRequest { worker: args.worker.clone() };
    let ActedResponse { running, .. } = answer(client.drain_worker(request).await)?;
    tell(&format!("worker {} drains: it hands back {} and leaves", args.worker, trials(running)))
}

fn request(args: &ActArgs) -> ActOnSweepRequest {
    ActOnSweepRequest { sweep: args.sweep.clone() }
}

fn trials(count: u64) -> String {
    match count {
        1 => "1 trial".into(),
        count => format!("{count} trials"),
    }
}
