//! Sweep files of any size, of a data set that needs no file.

/// The sweep's name.
pub const NAME: &str = "load";
/// Seeds of a config, as many as a sweep of the paper has.
const SEEDS: u64 = 5;

/// The file of a sweep of this many trials, in cohorts of this size.
pub fn yaml(trials: u64, cohort: u32) -> String {
    // A size that the seeds do not divide has a config for each trial.
    let (configs, seeds) =
        if trials.is_multiple_of(SEEDS) { (trials / SEEDS, SEEDS) } else { (trials, 1) };
    let rates = match configs {
        1 => "[1e-3]".to_owned(),
        _ => format!("{{logspace: [1e-4, 1e-1, {configs}]}}"),
    };
    format!(
        "name: {NAME}\nmodel: mlp\ndata: strokes\nbase: {{width: 16, depth: 2, epochs: 1000}}\n\
         grid: {{lr: {rates}}}\nseeds: {seeds}\nfusion: {cohort}\n"
    )
}

/// The metric that counts the sweep's trials of a state.
pub fn count(state: &str) -> String {
    format!("gradsweep_trials{{state=\"{state}\",sweep=\"{NAME}\"}}")
}

/// How the coordinator tells that the whole file is applied.
pub fn applied_line() -> String {
    format!("sweep {NAME}: ")
}
