//! Claims of a sweep file, judged by what is stored.

use super::*;

const CLAIMS: &str = "\
name: depths
model: mlp
data: strokes
base: {tau: 3, epochs: 8}
grid:
  activation: [relu, grelu]
  lr: [0.001, 0.0003]
seeds: 3
expect:
  - {claim: lower, where: {lr: 0.001}, less: {activation: grelu}, than: {activation: relu}}
  - {claim: higher, where: {lr: 0.001}, less: {activation: relu}, than: {activation: grelu}}
  - {claim: alike, where: {lr: 0.001}, similar: {activation: grelu}, to: {activation: relu},
     within: 0.5}
  - {claim: best, metric: test_error, less: {activation: grelu}, than: {activation: relu},
     best_by: val_error}
  - {claim: diverges less, metric: diverged, where: {lr: 0.0003}, less: {activation: grelu},
     than: {activation: relu}}
";

const LARGE: &str = "0.001";
const SMALL: &str = "0.0003";

fn run(bench: &mut Bench, activation: &str, lr: &str, seed: u64, (test, val): (f64, f64)) {
    let trial = bench.find(&[(Param::Activation, activation), (Param::Lr, lr)], seed);
    let kind = if test.is_nan() { OutcomeKind::Diverged } else { OutcomeKind::Completed };
    bench.run(trial, kind, test, val);
}

fn judged(bench: &Bench) -> Vec<wire::Expectation> {
    bench.reader().expectations("depths").unwrap().expectations
}

fn verdicts(bench: &Bench) -> Vec<wire::Verdict> {
    judged(bench).iter().map(wire::Expectation::verdict).collect()
}

/// At the large rate GReLU is better by 0.2; at the small one all of ReLU diverges.
fn filled() -> Bench {
    let mut bench = Bench::new(CLAIMS);
    for (seed, spread) in [(0, 0.0), (1, 0.01), (2, 0.02)] {
        run(&mut bench, "grelu", LARGE, seed, (0.1 + spread, 0.2 + spread));
        run(&mut bench, "relu", LARGE, seed, (0.3 + spread, 0.3));
        run(&mut bench, "grelu", SMALL, seed, (0.4 + spread, 0.1));
        run(&mut bench, "relu", SMALL, seed, (f64::NAN, f64::NAN));
    }
    bench
}

#[test]
fn claims_are_judged_by_the_completed_trials() {
    let bench = filled();
    use wire::Verdict::{Contradicted, Supported};
    // The best GReLU by validation is the one of the small rate, which tests worse.
    let expected = [Supported, Contradicted, Supported, Contradicted, Supported];
    assert_eq!(verdicts(&bench), expected);
    let judged = judged(&bench);
    let [first, second] = [&judged[0].first, &judged[0].second].map(|it| it.clone().unwrap());
    assert_eq!((first.name.as_str(), second.name.as_str()), ("less", "than"));
    assert_eq!(first.stated[0].values, ["grelu"]);
    assert_eq!((first.summary.unwrap().n, first.chosen.len()), (3, 0));
    assert!((judged[0].difference.unwrap() + 0.2).abs() < 1e-12);
    assert!(judged[0].low.unwrap() < -0.2 && judged[0].high.unwrap() > -0.2);
    assert_eq!(judged[2].within, Some(0.5));
    let chosen = judged[3].first.clone().unwrap().chosen;
    assert_eq!((chosen[0].param.as_str(), chosen[0].values[0].as_str()), ("lr", SMALL));
    let all = judged[4].second.clone().unwrap().summary.unwrap();
    assert_eq!((all.n, all.mean, all.diverged), (3, 1.0, 3));
    assert!(judged[4].note.contains("no spread on either side"), "{}", judged[4].note);
}

#[test]
fn what_is_left_after_divergence_supports_no_claim() {
    let mut bench = Bench::new(CLAIMS);
    for seed in 0..3 {
        let spread = f64::from(u32::try_from(seed).unwrap()) * 0.01;
        let test = if seed == 2 { f64::NAN } else { 0.1 + spread };
        run(&mut bench, "grelu", LARGE, seed, (test, test));
        run(&mut bench, "relu", LARGE, seed, (0.9 + spread, 0.9));
    }
    let judged = judged(&bench);
    assert!(judged[0].high.unwrap() < 0.0, "the two that are left are far better");
    assert_eq!(judged[0].verdict(), wire::Verdict::Undecided);
    assert_eq!(judged[0].note, "1 of `less` diverged and have no value");
    assert_eq!(judged[1].verdict(), wire::Verdict::Contradicted);
    assert_eq!(judged[2].verdict(), wire::Verdict::Contradicted, "alike they are not either");
}

#[test]
fn claims_without_values_are_undecided_and_say_why() {
    let mut bench = Bench::new(CLAIMS);
    run(&mut bench, "grelu", LARGE, 0, (0.1, 0.1));
    let judged = judged(&bench);
    assert_eq!(verdicts(&bench), [wire::Verdict::Undecided; 5]);
    assert_eq!(
        judged[0].note,
        "`less` has 1 value, 2 are needed; `than` has no value, 2 are needed"
    );
    assert_eq!(judged[0].difference, None);
    assert_eq!(judged[0].second.clone().unwrap().summary.unwrap().unfinished, 3);
    assert!(
        judged[3].note.contains("no config of `than` has a val_error yet"),
        "{}",
        judged[3].note
    );
}

#[test]
fn claims_are_those_of_the_file_that_was_applied_last() {
    let mut bench = filled();
    let bare = CLAIMS.split("expect:").next().unwrap().to_owned();
    bench.apply(&bare);
    assert_eq!(verdicts(&bench), []);
    bench.apply(&format!(
        "{bare}expect: [{{claim: c, less: {{lr: 0.001}}, than: {{lr: 0.0003}},\n \
                          where: {{activation: grelu}}, confidence: 0.9}}]\n"
    ));
    assert_eq!(verdicts(&bench), [wire::Verdict::Supported]);
    assert_eq!(judged(&bench)[0].confidence, 0.9);
}

#[test]
fn claims_pass_over_removed_trials() {
    let mut bench = filled();
    let gone = bench.find(&[(Param::Activation, "grelu"), (Param::Lr, LARGE)], 0);
    let gone = vec![bench.trials[gone].id];
    bench.commit([Change::MembersRemoved("depths".parse().unwrap(), gone)]);
    assert_eq!(judged(&bench)[0].first.clone().unwrap().summary.unwrap().n, 2);
}

#[test]
fn claims_of_an_unknown_sweep_are_refused() {
    let found = filled().reader().expectations("dephts").expect_err("unknown");
    assert!(found.to_string().contains("did you mean `depths`?"), "{found}");
}
