//! Runs `SIM_SEEDS` seeds from `SIM_SEED` on; tells of its progress and of each failure on stderr.

use std::env;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use simulation::{LOG_FOLDER, Totals, run_seeds};

/// Seeds between two lines of progress.
const SEEDS_PER_LINE: u64 = 1_000;

fn main() -> ExitCode {
    let (first, count) = match (number("SIM_SEED", 1), number("SIM_SEEDS", 10_000)) {
        (Ok(first), Ok(count)) => (first, count),
        (Err(error), _) | (_, Err(error)) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    // A violation is a panic that is caught and told below.
    std::panic::set_hook(Box::new(|_| {}));
    let started = Instant::now();
    let mut told = 0;
    let ended = run_seeds(first, count, Path::new(LOG_FOLDER), |totals| {
        for failure in &totals.failures[told..] {
            let log = failure.log.display();
            eprintln!("seed {}: {}\n    its log: {log}", failure.seed, failure.violation);
        }
        told = totals.failures.len();
        if totals.seeds.is_multiple_of(SEEDS_PER_LINE) {
            tell(totals, started);
        }
    });
    match ended {
        Ok(totals) => {
            tell(&totals, started);
            for (what, count) in &totals.seen {
                eprintln!("{count:>9} times {what}");
            }
            if totals.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("error: cannot write a log to {LOG_FOLDER}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn tell(totals: &Totals, started: Instant) {
    eprintln!(
        "{} seeds, {} failed; {} virtual hours in {:.1} s",
        totals.seeds,
        totals.failures.len(),
        totals.virtual_ms / 3_600_000,
        started.elapsed().as_secs_f64()
    );
}

fn number(name: &str, default: u64) -> Result<u64, String> {
    match env::var(name) {
        Ok(text) => text.parse().map_err(|_| format!("{name}=`{text}` is not a whole number")),
        Err(_) => Ok(default),
    }
}
