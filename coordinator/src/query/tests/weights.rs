//! Whose weights are wanted: by each trial's neighbours as by everything that is stored.

use std::collections::BTreeSet;

use common::ids::{AttemptId, TrialId};
use common::spec::Keep;
use proptest::prelude::*;

use super::*;

const CONFIGS: usize = 4;
const SEEDS: usize = 3;

fn yaml(name: &str, keep: Keep, seeds: usize) -> String {
    format!(
        "name: {name}\nmodel: mlp\ndata: strokes\nbase: {{tau: 3, epochs: 8}}\n\
         grid: {{depth: [2, 3, 4, 5]}}\nseeds: {seeds}\nkeep: {keep}\n"
    )
}

fn keeps() -> impl Strategy<Value = Keep> {
    prop_oneof![Just(Keep::Best), Just(Keep::All), Just(Keep::None), (1..5u32).prop_map(Keep::Top)]
}

/// What became of a trial: not run, diverged, or completed with a few errors that often tie.
fn ends() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0..6u8, CONFIGS * SEEDS)
}

fn kept_alone(keep: Keep, bench: &Bench, ends: &[u8], seeds: usize) -> BTreeSet<TrialId> {
    let mut keeper = crate::keep::Keeper::new(keep);
    for (at, end) in ends.iter().enumerate().filter(|(at, end)| at % SEEDS < seeds && **end > 1) {
        keeper.add(crate::keep::Completed {
            trial: bench.trials[at].id,
            config: i64::try_from(at / SEEDS).unwrap(),
            val_error: Some(f64::from(*end)),
            ended_unix_ms: AT,
        });
    }
    keeper.kept()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Two sweeps share the trials of the first seeds; some members are removed again.
    #[test]
    fn a_trials_neighbours_decide_as_the_whole_store_does(
        keep in keeps(),
        other in keeps(),
        ends in ends(),
        fewer in 1..SEEDS,
        removed in prop::collection::btree_set(0..CONFIGS * SEEDS, 0..3),
    ) {
        let mut bench = Bench::new(&yaml("other", other, fewer));
        bench.apply(&yaml("tiny", keep, SEEDS));
        for (at, end) in ends.iter().enumerate() {
            match end {
                0 => {}
                1 => bench.run(at, OutcomeKind::Diverged, 0.0, 0.0),
                end => bench.run(at, OutcomeKind::Completed, 0.5, f64::from(*end)),
            }
        }
        let (trials, reader) = (bench.trials.clone(), bench.reader());
        let wanted = || {
            let all = trials.iter().map(|trial| trial.id).collect();
            let wanted = reader.wanted_among(&all).expect("readable");
            for (trial, end) in trials.iter().zip(&ends) {
                let fate = reader.fate(AttemptId { trial: trial.id, number: 1 }).expect("readable");
                let is_wanted = matches!(fate, crate::query::Fate::Wanted(_));
                assert_eq!(is_wanted, wanted.contains(&trial.id), "{}", trial.id);
                assert!(!is_wanted || *end > 1);
                let later = AttemptId { trial: trial.id, number: 2 };
                assert_eq!(reader.fate(later).expect("readable"), crate::query::Fate::Unwanted);
            }
            wanted
        };
        let mut expected = kept_alone(keep, &bench, &ends, SEEDS);
        expected.extend(kept_alone(other, &bench, &ends, fewer));
        prop_assert_eq!(wanted(), expected);

        let gone = removed.iter().map(|at| trials[*at].id).collect();
        bench.commit([Change::MembersRemoved("tiny".parse().expect("a name"), gone)]);
        let after = wanted();
        for at in removed.into_iter().filter(|at| at % SEEDS >= fewer) {
            prop_assert!(!after.contains(&trials[at].id), "nobody names it any more");
        }
    }
}
