//! Probes of a sweep. Gradual trials stand for them: both have a gate that goes from 0 to 1.

use super::*;

const PROBES: &str = "\
name: depths
model: mlp
data: strokes
base: {dropout: gradual, p: 0.8, tau: 20, epochs: 20}
grid: {depth: [2, 10]}
seeds: 3
";

/// An epoch of a curve that is level for `knee` of 20 epochs.
fn epoch(knee: u32, epoch: u32) -> EpochMetrics {
    let above = f64::from(epoch.saturating_sub(knee));
    let gate = f64::from(epoch) / 20.0;
    EpochMetrics { gate, val_error: 0.05 + 0.02 * above, ..metrics(1, epoch) }
}

fn run(bench: &mut Bench, trial: usize, knee: u32, kind: OutcomeKind) {
    let attempt = bench.attempt(trial, 1);
    bench.start(trial, 1);
    bench.commit((1..=20).map(|number| Change::EpochRecorded(attempt, epoch(knee, number))));
    bench.end(trial, 1, AttemptEnd::Outcome(kind));
    bench.commit([Change::OutcomeRecorded(attempt, outcome(kind, 0.1, 0.1))]);
}

fn probes(bench: &Bench, curve: bool) -> Vec<wire::ProbeConfig> {
    let request = wire::GetProbeRequest { sweep: "depths".into(), curve };
    let mut found = Vec::new();
    let mut sink = |config| {
        found.push(config);
        ControlFlow::Continue(())
    };
    bench.reader().probes_with("gradual", &request, &mut sink).unwrap();
    found
}

#[test]
fn probes_tell_the_rate_over_the_seeds_of_each_config() {
    let mut bench = Bench::new(PROBES);
    for (seed, knee) in [(0, 10), (1, 12)] {
        let trial = bench.find(&[(Param::Depth, "2")], seed);
        run(&mut bench, trial, knee, OutcomeKind::Completed);
    }
    let diverged = bench.find(&[(Param::Depth, "2")], 2);
    run(&mut bench, diverged, 3, OutcomeKind::Diverged);
    let level = bench.find(&[(Param::Depth, "10")], 0);
    run(&mut bench, level, 20, OutcomeKind::Completed);
    let found = probes(&bench, false);
    let names: Vec<&str> = found.iter().map(|it| it.config[0].values[0].as_str()).collect();
    assert_eq!(names, ["2", "10"]);
    assert_eq!(found[0].config.len(), 1, "what all have alike is not said");
    let rate = found[0].rate.unwrap();
    assert_eq!((rate.n, rate.diverged, rate.unfinished), (2, 1, 0));
    assert!((rate.mean - 0.44).abs() < 1e-12, "{rate:?}");
    assert!((found[0].val_error.unwrap().mean - 0.05).abs() < 1e-12);
    assert_eq!((found[1].rate.unwrap().n, found[1].rate.unwrap().unfinished), (0, 2));
    assert_eq!((found[1].level, found[1].level_rate), (1, Some(0.8)));
    assert!(found.iter().all(|config| config.curve.is_empty()));
}

#[test]
fn probes_have_curves_on_request() {
    let mut bench = Bench::new(PROBES);
    for (seed, knee) in [(0, 10), (1, 12)] {
        let trial = bench.find(&[(Param::Depth, "2")], seed);
        run(&mut bench, trial, knee, OutcomeKind::Completed);
    }
    let found = probes(&bench, true);
    assert_eq!((found[0].curve.len(), found[1].curve.len()), (20, 0));
    let point = found[0].curve[12];
    assert_eq!((point.epoch, point.n), (13, 2));
    assert!((point.rate - 0.8 * 0.65).abs() < 1e-12);
    assert!((point.val_error - (0.05 + 0.02 * 2.0)).abs() < 1e-12, "{point:?}");
}

#[test]
fn a_sweep_without_probes_is_refused() {
    let bench = Bench::new(PROBES);
    let request = wire::GetProbeRequest { sweep: "depths".into(), curve: false };
    let mut sink = |_| panic!("there are none");
    let found = bench.reader().probe(&request, &mut sink).expect_err("refused");
    assert_eq!(found.class(), Class::Invalid);
    assert!(found.to_string().contains("sweep `depths` has no probe trials"), "{found}");
}
