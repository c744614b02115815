//! Seed after seed; one that fails is run again with its log, which is written to a file.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::run;

/// What many seeds came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Seeds that were run.
    pub seeds: u64,
    /// Virtual milliseconds, all worlds added.
    pub virtual_ms: u64,
    /// Those that failed.
    pub failures: Vec<Failure>,
    /// How often what a simulation is for happened.
    pub seen: BTreeMap<&'static str, u64>,
}

/// A seed that failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The first line of what does not hold; the log ends with all of it.
    pub violation: String,
    /// Its log.
    pub log: PathBuf,
}

/// Runs seeds from `first` on, calls `progress` after each, and writes the logs of those that
/// fail below `folder`. Stops after the tenth failure. Fails where a log cannot be written.
pub fn run_seeds(
    first: u64,
    count: u64,
    folder: &Path,
    mut progress: impl FnMut(&Totals),
) -> io::Result<Totals> {
    const FAILURES_MAX: usize = 10;
    let mut totals = Totals::default();
    for seed in first..first.saturating_add(count) {
        let ended = run(seed, false);
        totals.seeds += 1;
        totals.virtual_ms += ended.virtual_ms;
        for (what, count) in ended.seen {
            *totals.seen.entry(what).or_default() += count;
        }
        if let Some(violation) = ended.violation {
            let log = folder.join(format!("seed-{seed}.log"));
            fs::create_dir_all(folder)?;
            fs::write(&log, format!("{}\n{violation}\n", run(seed, true).log))?;
            let violation = violation.lines().next().unwrap_or_default().to_owned();
            totals.failures.push(Failure { seed, violation, log });
        }
        progress(&totals);
        if totals.failures.len() >= FAILURES_MAX {
            break;
        }
    }
    Ok(totals)
}
