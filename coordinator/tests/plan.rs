//! `plan` of known sweeps: counts, cohorts, estimate and every trial, in each format.
#![allow(clippy::unwrap_used, reason = "tests")]

use common::spec::{Options, Sweep, load};
use coordinator::plan::{Format, Plan, write};

const DEPTHS: &str = "name: depths\nmodel: mlp\ndata: strokes\n\
    base: {width: 128, batch_size: 100, epochs: 6, tau: 3}\n\
    grid: {depth: [2, 60], activation: [relu, grelu]}\n\
    exclude: [{depth: 2, activation: grelu}]\nseeds: 2\n";

fn planned(text: &str) -> (Sweep, Plan) {
    let (sweep, warnings) =
        load(text, "a.yaml", &Options::default()).unwrap_or_else(|errors| panic!("{errors}"));
    let plan = Plan::new(&sweep, &warnings);
    (sweep, plan)
}

fn printed(text: &str, format: Format, trials: bool) -> String {
    let (sweep, plan) = planned(text);
    let mut out = Vec::new();
    write(&plan, &sweep, format, trials, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn text_says_what_would_run() {
    let expected = "\
sweep       depths
model       mlp
data        strokes
points      4
excluded    1
collapsed   0
configs     3
seeds       2
trials      6
cohorts     6 of up to 1 on a CPU, 1 of up to 16 on a GPU (fusion: auto)
varies      activation: relu, grelu
varies      depth: 2, 60
partly      gate linear, gate_per step, select after_tau, tau 3 (no effect in the other configs)
";
    let text = printed(DEPTHS, Format::Text, false);
    assert!(text.starts_with(expected), "{text}");
    for line in
        ["fixed       batch_size 100, ", "memory      up to ", "time        ", "basis       "]
    {
        assert!(text.lines().any(|printed| printed.starts_with(line)), "`{line}` in\n{text}");
    }
    assert!(!text.contains('\u{1b}'));
}

#[test]
fn trials_are_listed_with_their_parameters() {
    let (sweep, _) = planned(DEPTHS);
    let ids: Vec<String> = sweep.expand().map(|(_, id, _)| id.to_string()).collect();
    let text = printed(DEPTHS, Format::Text, true);
    let header = text.lines().position(|line| line.starts_with("trial ")).unwrap();
    let rows: Vec<&str> = text.lines().skip(header + 1).collect();
    assert_eq!(rows.len(), ids.len());
    for (row, id) in rows.iter().zip(&ids) {
        assert!(row.starts_with(id.as_str()), "{text}");
    }
    assert!(rows[0].ends_with("relu      2       -         -          -    -"), "{text}");
    assert!(rows[5].ends_with("grelu     60  linear      step  after_tau    3"), "{text}");
}

#[test]
fn csv_has_a_row_per_trial_and_a_column_per_parameter() {
    let text = printed(DEPTHS, Format::Csv, true);
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().unwrap().clone();
    assert_eq!(header.iter().take(3).collect::<Vec<_>>(), ["trial", "seed", "activation"]);
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let at = |name: &str| header.iter().position(|column| column == name).unwrap();
    assert_eq!(rows.len(), 6);
    assert_eq!((&rows[0][at("tau")], &rows[5][at("tau")]), ("", "3"));
    assert_eq!((&rows[1][at("seed")], &rows[5][at("width")]), ("1", "128"));
    let facts = printed(DEPTHS, Format::Csv, false);
    assert!(facts.starts_with("fact,value\nsweep,depths\n"), "{facts}");
    assert!(facts.contains("\ntrials,6\n") && facts.contains("\ncohorts_gpu,1\n"), "{facts}");
}

#[test]
fn json_is_one_object() {
    let value: serde_json::Value =
        serde_json::from_str(&printed(DEPTHS, Format::Json, true)).unwrap();
    assert_eq!((&value["points"], &value["trials"]), (&4.into(), &6.into()));
    let trials = value["trial_list"].as_array().unwrap();
    assert_eq!(trials.len(), 6);
    assert_eq!(trials[5]["params"]["depth"], 60);
    assert_eq!(trials[0]["params"].get("tau"), None);
    let value: serde_json::Value =
        serde_json::from_str(&printed(DEPTHS, Format::Json, false)).unwrap();
    assert_eq!(value.get("trial_list"), None);
    assert_eq!(value["varies"]["depth"]["distinct"], 2);
}

#[test]
fn cohorts_hold_what_fuses() {
    let grid =
        "name: a\nmodel: mlp\ndata: mnist\ngrid: {width: [8, 16], lr: [0.1, 0.2]}\nseeds: 9\n";
    let (_, plan) = planned(grid);
    assert_eq!((plan.cohorts_cpu.count, plan.cohorts_gpu.count), (36, 4), "18 of each width");
    let (_, plan) = planned(&format!("{grid}fusion: off\n"));
    assert_eq!((plan.cohorts_cpu.count, plan.cohorts_gpu.count), (36, 36));
    let (_, plan) = planned(&format!("{grid}fusion: 5\n"));
    assert_eq!((plan.cohorts_cpu.count, plan.cohorts_gpu.count), (8, 8));
}

#[test]
fn the_estimate_is_the_arithmetic_it_says() {
    let (_, plan) = planned(
        "name: a\nmodel: mlp\ndata: mnist\nbase: {depth: 3, width: 10, epochs: 2, batch_size: 50}\n\
         seeds: 3\n",
    );
    let weights = 784.0 * 10.0 + 2.0 * 100.0 + 100.0;
    let parameters = weights + 30.0 + 10.0;
    assert_eq!(plan.estimate.network_parameters, (parameters, parameters));
    let trial = weights * (2.0 * (6.0 * 50_000.0 + 2.0 * 10_000.0) + 2.0 * 10_000.0);
    assert_eq!((plan.estimate.flops_trial_max, plan.estimate.flops), (trial, 3.0 * trial));
    let numbers = 5.0 * parameters + 50.0 * (2.0 * 40.0 + 784.0);
    assert_eq!(plan.estimate.trial_bytes_max, 4.0 * numbers);
    assert_eq!(plan.estimate.data_bytes, 4.0 * 70_000.0 * 784.0);
}

#[test]
fn warnings_are_passed_on() {
    let (_, plan) =
        planned("name: a\nmodel: mlp\ndata: mnist\ngrid: {depth: [1]}\nexclude: [{depth: 2}]\n");
    assert_eq!(plan.warnings, ["this item of `exclude` matches no point"]);
}

#[test]
fn a_million_trials_are_planned() {
    // Every point a config of its own is the slowest case, too slow for the development profile.
    let (count, seeds) = if cfg!(debug_assertions) { (10, 10_000) } else { (1_000, 1) };
    let (_, plan) = planned(&format!(
        "name: a\nmodel: mlp\ndata: mnist\ngrid:\n  lr: {{logspace: [1e-4, 1e-1, {count}]}}\n  \
         init_gain: {{linspace: [0.5, 2, {count}]}}\nseeds: {seeds}\n",
    ));
    assert_eq!((plan.counts.trials, plan.counts.configs), (1_000_000, count * count));
}
