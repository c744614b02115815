//! `expect` of a sweep file: what it means, and every mistake with its place and what is accepted.
#![allow(clippy::unwrap_used, reason = "tests")]

use common::config::{Param, Value};
use common::expectation::{Expectation, Relation, Selector};
use common::spec::{Options, Sweep, load};
use proptest::prelude::*;

/// Points of two activations at three depths; plain ReLU with two gains.
const HEAD: &str = "\
name: a
model: mlp
data: mnist
base: {epochs: 20}
grid: {depth: [2, 10, 40], tau: [1, 5]}
zip: [{activation: [relu, relu, grelu], init_gain: [1, 1.5, 1]}]
exclude: [{depth: 40, init_gain: 1.5}]
";

fn with(lines: &str) -> String {
    format!("{HEAD}{lines}")
}

fn loaded(text: &str, options: &Options) -> Sweep {
    load(text, "a.yaml", options).unwrap_or_else(|errors| panic!("{errors}")).0
}

fn stated(items: &str) -> Vec<Expectation> {
    loaded(&with(items), &Options::default()).expect
}

fn refused(text: &str, options: &Options) -> String {
    match load(text, "a.yaml", options) {
        Ok((sweep, _)) => panic!("accepted:\n{}", sweep.yaml),
        Err(errors) => errors.to_string(),
    }
}

fn errors(items: &str) -> String {
    refused(&with(items), &Options::default())
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is missing in\n{text}");
    }
}

#[test]
fn sides_are_read_with_their_defaults() {
    let expect = stated(
        "expect:\n\
         - claim: deeper\n  \
           where: {depth: 10}\n  \
           less: {activation: grelu, tau: 5}\n  \
           than: {activation: relu, init_gain: 1}\n\
         - {claim: as good, metric: diverged, similar: {activation: grelu, depth: [2, 10]},\n   \
            to: {activation: relu}, within: 2e-2, best_by: val_error, confidence: 0.9}\n",
    );
    let word = |word| vec![Value::Word(word)];
    let deeper = Expectation {
        claim: "deeper".into(),
        metric: "test_error",
        relation: Relation::Less,
        common: Selector(vec![(Param::Depth, vec![Value::Int(10)])]),
        sides: [
            Selector(vec![
                (Param::Activation, word("grelu")),
                (Param::Tau, vec![Value::Float(5.0)]),
            ]),
            Selector(vec![
                (Param::Activation, word("relu")),
                (Param::InitGain, vec![Value::Float(1.0)]),
            ]),
        ],
        best_by: None,
        confidence: 0.95,
    };
    assert_eq!(expect[0], deeper);
    assert_eq!(expect[1].relation, Relation::Similar { within: 0.02 });
    assert_eq!((expect[1].metric, expect[1].best_by), ("diverged", Some("val_error")));
    assert_eq!(expect[1].confidence, 0.9);
    let depths = (Param::Depth, vec![Value::Int(2), Value::Int(10)]);
    assert_eq!(expect[1].sides[0].0[1], depths);
}

#[test]
fn a_config_matches_by_its_parameters_with_effect() {
    let sweep = loaded(
        &with("expect: {claim: c, where: {depth: 10}, less: {tau: 5}, than: {tau: 1}}\n"),
        &Options::default(),
    );
    let matching = |side| {
        let of_side = |config: &common::config::Config| {
            sweep.expect[0].matches(side, |param| config.get(param))
        };
        sweep.expand().filter(|(config, _, _)| of_side(config)).count()
    };
    assert_eq!((matching(0), matching(1)), (1, 1), "tau is none of a relu's parameters");
}

#[test]
fn all_mistakes_of_the_items_are_shown_at_once() {
    let shown = errors(
        "expect:\n\
         - {metric: tset_error, less: {dpeth: 2}, than: {conv: plain}}\n\
         - {claim: \"\", less: {depth: 2, activation: reul}, similar: {depth: 2}}\n\
         - {claim: 5, similar: {depth: x}, to: [1], within: 0}\n\
         - {claim: c, similar: {depth: 2}, confidence: 95, best_by: seconds}\n\
         - {claim: c, less: {}, depth: 2}\n\
         - {claim: c, where: {depth: 2}, less: {depth: 10}, than: {depth: 40}, within: 1}\n\
         - {claim: c}\n\
         - 5\n",
    );
    has(&shown, &["`claim` is missing in an item of `expect`", "a.yaml:9:3"]);
    has(&shown, &["`tset_error` is not a value of `metric`", "did you mean `test_error`?"]);
    has(&shown, &["accepted: test_error, val_error", "seconds, diverged"]);
    has(&shown, &["unknown parameter `dpeth`", "a.yaml:9:31", "did you mean `depth`?"]);
    has(&shown, &["model `mlp` does not have the parameter `conv`"]);
    has(&shown, &["`claim` cannot be the text \"\"", "a.yaml:10:11", "accepted: a sentence"]);
    has(&shown, &["`similar` does not go with `less`", "less and than, or similar, to and within"]);
    has(&shown, &["`reul` is not a value of `activation`", "did you mean `relu`?"]);
    has(&shown, &["`claim` cannot be 5", "`depth` cannot be the text \"x\""]);
    has(&shown, &["`to` cannot be a list", "`within` cannot be 0", "accepted: a number above 0"]);
    has(&shown, &["`within` is missing beside `similar`", "`to` is missing"]);
    has(&shown, &["`confidence` cannot be 95", "a number from 0.5 to 0.999"]);
    has(&shown, &["`seconds` is not a value of `best_by`", "accepted: test_error, val_error"]);
    has(&shown, &["unknown key `depth` of an item", "`depth` is a parameter: it stands in a side"]);
    has(&shown, &["`less` names no parameter", "`than` is missing"]);
    has(&shown, &["`within` does not go with `less`", "a.yaml:14:"]);
    has(&shown, &["an item of `expect` compares nothing", "a.yaml:15:3"]);
    has(&shown, &["an item of `expect` cannot be 5", "a.yaml:16:3"]);
    has(&errors("expect: 5\n"), &["`expect` cannot be 5", "accepted: a list of claims"]);
    let many = "- {claim: c, less: {tau: 1}, than: {tau: 5}}\n".repeat(101);
    has(&errors(&format!("expect:\n{many}")), &["`expect` has 101 items", "accepted: at most 100"]);
}

#[test]
fn a_parameter_stands_in_where_or_in_a_side() {
    let shown =
        errors("expect: [{claim: c, where: {depth: 2}, less: {depth: 10}, than: {tau: 1}}]");
    has(&shown, &["`depth` stands in both `where` and `less`", "first here", "a.yaml:8:47"]);
}

#[test]
fn the_whole_message_of_a_side_that_matches_several_configs() {
    let shown = errors(
        "expect:\n- {claim: c, where: {depth: 10}, less: {activation: grelu, tau: 1}, \
         than: {activation: relu}}\n",
    );
    let expected = "\
error: `than` matches several configs: `init_gain` varies
 --> a.yaml:9:69
  |
9 | - {claim: c, where: {depth: 10}, less: {activation: grelu, tau: 1}, than: {activation: relu}}
  |                                                                     ^^^^
  |
  = note: accepted: one config: name `init_gain` in `where` or in `than`
  = note: `best_by: val_error` takes the config with the lowest mean of that metric

1 error in a.yaml";
    assert_eq!(shown, expected);
    let item = "{claim: c, where: {depth: 10}, less: {activation: grelu, tau: 1}, \
                than: {activation: relu}, best_by: val_error}";
    assert_eq!(stated(&format!("expect: [{item}]\n")).len(), 1);
}

#[test]
fn a_side_that_matches_nothing_says_which_value_is_not_there() {
    for (side, parts) in [
        ("activation: leaky_relu", ["none has `activation` leaky_relu", "accepted: relu, grelu"]),
        ("depth: 41", ["`less` matches no config: none has `depth` 41", "accepted: 2, 10, 40"]),
        ("depth: [3, 4]", ["none has `depth` 3, 4", "accepted: 2, 10, 40"]),
        ("p: 0.5", ["`p` has no effect in this sweep", "accepted: an item without `p`"]),
        ("activation: relu, tau: 5", ["`tau` has no effect there", "`less` without `tau`"]),
        (
            "activation: grelu, init_gain: 1.5",
            [
                "each value of `activation`, `init_gain` is there",
                "a combination that the sweep has",
            ],
        ),
        ("depth: 40, init_gain: 1.5", ["all together are not", "a.yaml:8:21"]),
    ] {
        let than = "{activation: grelu, depth: 2, tau: 1}";
        let shown = errors(&format!("expect: [{{claim: c, less: {{{side}}}, than: {than}}}]\n"));
        has(&shown, &parts);
        has(&shown, &["`less` matches no config", "1 error in a.yaml", "a.yaml:8:"]);
    }
}

#[test]
fn a_near_value_of_the_sweep_is_offered() {
    let text = "name: a\nmodel: mlp\ndata: mnist\ngrid: {activation: [leaky_relu, identity]}\n\
                expect: [{claim: c, less: {activation: very_leaky_relu}, \
                than: {activation: identity}}]\n";
    let shown = refused(text, &Options::default());
    has(&shown, &["none has `activation` very_leaky_relu", "did you mean `leaky_relu`?"]);
}

#[test]
fn both_sides_are_different_configs() {
    let shown = errors(
        "expect: [{claim: c, less: {activation: grelu, tau: 1, depth: 2}, \
         than: {tau: 1, depth: 2}}]\n",
    );
    has(&shown, &["`less` and `than` are the same config", "accepted: two different configs"]);
}

const CLAIM: &str = "{claim: c, where: {depth: 40}, less: {activation: grelu, tau: 1}, \
                     than: {activation: relu}}";

#[test]
fn an_overlay_that_takes_points_away_replaces_the_claims() {
    let overlays = "overlays:\n  \
                    small:\n    grid.depth: [2]\n    \
                    expect: [{claim: s, less: {tau: 1}, than: {tau: 5}}]\n  \
                    none: {grid.depth: [2], expect: []}\n  \
                    broken: {grid.depth: [2]}\n";
    let text = with(&format!("expect: [{CLAIM}]\n{overlays}"));
    let overlaid = |name: &str| Options { overlay: Some(name.into()), ..Options::default() };
    assert_eq!(loaded(&text, &Options::default()).expect.len(), 1);
    assert_eq!(loaded(&text, &overlaid("small")).expect[0].claim, "s");
    assert_eq!(loaded(&text, &overlaid("none")).expect.len(), 0);
    let shown = refused(&text, &overlaid("broken"));
    has(&shown, &["`where` matches no config: none has `depth` 40", "accepted: 2"]);
    has(&shown, &["may replace `expect` as well", "1 error in a.yaml"]);
    let sets = |sets: &[&str]| Options {
        sets: sets.iter().map(|set| (*set).to_owned()).collect(),
        ..Options::default()
    };
    has(&refused(&text, &sets(&["grid.depth=[2]"])), &["may replace `expect` as well"]);
    assert_eq!(loaded(&text, &sets(&["grid.depth=[2]", "expect=[]"])).expect.len(), 0);
    has(&refused(&text, &sets(&["expect.claim=c"])), &["`expect` has no entry `claim`"]);
}

#[test]
fn claims_change_no_trial_and_stay_in_the_resolved_file() {
    let bare = loaded(&with(""), &Options::default());
    let flag = format!("expect=[{CLAIM}]");
    let set = Options { sets: vec![flag], ..Options::default() };
    let claimed = loaded(&with(""), &set);
    assert!(!claimed.are_points_set);
    let ids = |sweep: &Sweep| sweep.expand().map(|(_, id, _)| id).collect::<Vec<_>>();
    assert_eq!(ids(&bare), ids(&claimed));
    assert_eq!((bare.expect.len(), claimed.expect.len()), (0, 1));
    let again = loaded(&claimed.yaml, &Options::default());
    assert_eq!((&again.expect, &again.yaml), (&claimed.expect, &claimed.yaml));
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        claim in "[ -~]{1,40}",
        within in 1e-9..10.0_f64,
        confidence in 0.5..0.999_f64,
        depth in prop::sample::select(vec![2, 10, 40]),
    ) {
        prop_assume!(!claim.trim().is_empty());
        let claim_text = serde_json::to_string(&claim).unwrap();
        let text = with(&format!(
            "expect: [{{claim: {claim_text}, where: {{depth: {depth}}}, \
             similar: {{activation: grelu, tau: 5}}, to: {{init_gain: 1, activation: relu}}, \
             within: {within:?}, confidence: {confidence:?}}}]\n",
        ));
        let sweep = loaded(&text, &Options::default());
        let again = loaded(&sweep.yaml, &Options::default());
        prop_assert_eq!(&sweep.expect[0].claim, claim.trim());
        prop_assert_eq!(sweep.expect[0].relation, Relation::Similar { within });
        prop_assert_eq!(&again.expect, &sweep.expect);
        prop_assert_eq!(again.yaml, sweep.yaml);
    }

    #[test]
    fn no_item_panics(text in "[ -~\n]{0,60}") {
        drop(load(&with(&format!("expect:\n- {{{text}}}\n")), "a.yaml", &Options::default()));
    }
}
