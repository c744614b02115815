//! Sweeps and workers for reading.

use std::io::{self, Write};

use common::wire::{EndCount, Sweep, TrialCounts, Worker};

use super::gpus::gpus_grid;
use super::grid::{self, Grid, GridColumn};
use super::number::{Unit, duration, duration_ms, utc};
use super::style::Style;
use super::table::counts_in_words;

/// Columns that lists of facts take at most.
const FACTS_WIDTH: usize = 100;

/// Names and values; empty values say nothing.
pub type Facts = Vec<(&'static str, String)>;

/// Names and values, one per line; long values go on below themselves, empty ones are left out.
pub(super) fn facts(facts: &[(&str, String)], style: Style, out: &mut dyn Write) -> io::Result<()> {
    let shown = || facts.iter().filter(|(_, value)| !value.is_empty());
    let name_width = shown().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let width = style.width.unwrap_or(FACTS_WIDTH).min(FACTS_WIDTH);
    for (name, value) in shown() {
        let mut name = *name;
        for line in wrapped(&grid::cell(value), width.saturating_sub(name_width + 2)) {
            writeln!(out, "{name:<name_width$}  {line}")?;
            name = "";
        }
    }
    Ok(())
}

/// The text in lines of at most `width` characters, broken between words, or after the commas of
/// a list of short items; a part that is longer has a line of its own.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let is_list =
        text.contains(", ") && text.split(", ").all(|item| 2 * item.chars().count() <= width);
    let separator = if is_list { ", " } else { " " };
    let mut lines: Vec<String> = vec![String::new()];
    for part in text.split_inclusive(separator) {
        let line = lines.last_mut().expect("there is a first line");
        let length = line.chars().count() + part.trim_end().chars().count();
        if length > width && !line.is_empty() {
            *line = line.trim_end().to_owned();
            lines.push(part.to_owned());
        } else {
            line.push_str(part);
        }
    }
    lines
}

fn count_of(counts: &TrialCounts) -> u64 {
    let TrialCounts { pending, running, completed, diverged, failed, cancelled, removed: _ } =
        counts;
    pending + running + completed + diverged + failed + cancelled
}

fn percent(fraction: Option<f64>) -> String {
    fraction.map_or("-".into(), |fraction| Unit::Percent.value(fraction))
}

/// Every sweep, one per line.
pub fn sweeps(sweeps: &[Sweep], style: Style, out: &mut dyn Write) -> io::Result<()> {
    if sweeps.is_empty() {
        return writeln!(out, "no sweeps; `coordinator --sweep FILE` applies one");
    }
    let columns = [
        GridColumn::new("sweep").key(),
        GridColumn::new("trials done").right(),
        GridColumn::new("running").right(),
        GridColumn::new("diverged").right(),
        GridColumn::new("failed").right(),
        GridColumn::new("cancelled").right(),
        GridColumn::new("best val_error %").right(),
        GridColumn::new("state"),
    ];
    let mut rows = Vec::with_capacity(sweeps.len());
    for sweep in sweeps {
        let counts = sweep.trials.unwrap_or_default();
        let all = count_of(&counts);
        let done = counts.completed + counts.diverged + counts.failed;
        rows.push(vec![
            grid::cell(&sweep.name),
            format!("{done} of {all}"),
            counts.running.to_string(),
            counts.diverged.to_string(),
            counts.failed.to_string(),
            counts.cancelled.to_string(),
            percent(sweep.best_val_error),
            grid::cell(&sweep.state),
        ]);
    }
    grid::write(&columns, &rows, style, out)
}

/// Where a sweep stands, and its best trial.
pub fn sweep_facts(sweep: &Sweep) -> Facts {
    let counts = sweep.trials.unwrap_or_default();
    let best = match sweep.best_val_error {
        Some(error) => format!("val_error {} %, trial {}", percent(Some(error)), sweep.best_trial),
        None => String::new(),
    };
    let at = |unix_ms: u64| if unix_ms == 0 { String::new() } else { utc(unix_ms) + " UTC" };
    let completed = match sweep.completed_unix_ms {
        0 => String::new(),
        ms => {
            let took = duration_ms(ms.saturating_sub(sweep.created_unix_ms));
            format!("{}, {took} later", at(ms))
        }
    };
    vec![
        ("sweep", sweep.name.clone()),
        ("model", sweep.model.clone()),
        ("data", sweep.data.clone()),
        ("state", sweep.state.clone()),
        ("trials", format!("{}: {}", count_of(&counts), counts_in_words(&counts))),
        ("configs", format!("{} of {} done", sweep.configs_done, sweep.configs)),
        ("epochs", sweep.epochs.to_string()),
        ("best", best),
        (
            "time left",
            sweep.eta_seconds.map_or(String::new(), |eta| format!("about {}", duration(eta))),
        ),
        ("created", at(sweep.created_unix_ms)),
        ("ended", completed),
    ]
}

/// One sweep: where it stands, its best trial, its newest failures.
pub fn sweep(sweep: &Sweep, style: Style, out: &mut dyn Write) -> io::Result<()> {
    facts(&sweep_facts(sweep), style, out)?;
    if !sweep.lost_attempts.is_empty() {
        writeln!(out, "\nattempts without an outcome")?;
        for EndCount { end, attempts } in &sweep.lost_attempts {
            writeln!(out, "{attempts:>6}  {end}")?;
        }
    }
    if !sweep.failures.is_empty() {
        writeln!(out, "\nnewest failures (`trial {} TRIAL` has more)", sweep.name)?;
        for failure in &sweep.failures {
            writeln!(out, "  {}", grid::cell(failure))?;
        }
    }
    Ok(())
}

/// Every worker, one per line, then every GPU; `now_unix_ms` is for how long ago each was seen.
pub fn workers(
    workers: &[Worker],
    now_unix_ms: u64,
    style: Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    if workers.is_empty() {
        return writeln!(out, "no workers; `worker --coordinator URL` starts one");
    }
    workers_grid(workers, now_unix_ms).write(style, out)?;
    let gpus = gpus_grid(workers);
    if gpus.rows.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    gpus.write(style, out)
}

/// Every worker, one per row.
pub fn workers_grid(workers: &[Worker], now_unix_ms: u64) -> Grid {
    let is_other = |worker: &Worker| worker.program_version != env!("CARGO_PKG_VERSION");
    let with_program = workers.iter().any(is_other);
    let with_reason = workers.iter().any(|worker| !worker.reason.is_empty());
    let mut columns = vec![
        GridColumn::new("worker").key(),
        GridColumn::new("host"),
        GridColumn::new("state"),
        GridColumn::new("devices"),
        GridColumn::new("busy slots").right(),
        GridColumn::new("trials").right(),
        GridColumn::new("seen"),
        GridColumn::new("libtorch"),
    ];
    columns.extend(with_program.then(|| GridColumn::new("program")));
    columns.extend(with_reason.then(|| GridColumn::new("why it gets no cohort")));
    let mut rows = Vec::with_capacity(workers.len());
    for worker in workers {
        let busy = worker.slots.iter().filter(|slot| slot.state == "busy");
        let trials: u32 = busy.clone().map(|slot| slot.attempts).sum();
        let seen = match worker.last_seen_unix_ms {
            0 => "-".into(),
            ms => duration_ms(now_unix_ms.saturating_sub(ms)) + " ago",
        };
        let mut row = vec![
            grid::cell(&worker.worker),
            grid::cell(&worker.host),
            grid::cell(&worker.state),
            grid::cell(&devices(worker)),
            format!("{} of {}", busy.count(), worker.slots.len()),
            trials.to_string(),
            seen,
            grid::cell(&worker.libtorch_version),
        ];
        row.extend(with_program.then(|| grid::cell(&worker.program_version)));
        row.extend(with_reason.then(|| grid::cell(&worker.reason)));
        rows.push(row);
    }
    Grid { columns, rows }
}

/// Each device once, `cpu, cuda:0`.
fn devices(worker: &Worker) -> String {
    let mut devices: Vec<&str> = Vec::new();
    for slot in &worker.slots {
        if !devices.contains(&slot.device.as_str()) {
            devices.push(&slot.device);
        }
    }
    devices.join(", ")
}
