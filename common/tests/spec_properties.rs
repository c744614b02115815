//! What holds for every sweep file: order, ids, collapse, round trips; and no text panics.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, HashMap, HashSet};

use common::config::{Config, Param, Value};
use common::ids::TrialId;
use common::params;
use common::spec::{Budget, Counts, Fusion, Keep, Options, Sweep, TableSpec, keep_of, load};
use proptest::prelude::*;

fn sweep(text: &str) -> Sweep {
    load(text, "a.yaml", &Options::default()).unwrap_or_else(|errors| panic!("{errors}")).0
}

fn with(lines: &str) -> Sweep {
    sweep(&format!("name: a\nmodel: mlp\ndata: mnist\n{lines}"))
}

fn with_options(lines: &str, options: &Options) -> Sweep {
    let text = format!("name: a\nmodel: mlp\ndata: mnist\n{lines}");
    load(&text, "a.yaml", options).unwrap_or_else(|errors| panic!("{errors}")).0
}

fn ids(sweep: &Sweep) -> Vec<TrialId> {
    sweep.expand().map(|(_, id, _)| id).collect()
}

fn id_set(sweep: &Sweep) -> HashSet<TrialId> {
    sweep.expand().map(|(_, id, _)| id).collect()
}

/// The values of some parameters and the seed, trial by trial; `-` where there is no effect.
fn rows(sweep: &Sweep, params: &[Param]) -> Vec<String> {
    let mut rows = Vec::new();
    for (config, _, seed) in sweep.expand() {
        let mut row = String::new();
        for param in params {
            row += &config.get(*param).map_or("-".to_string(), |value| value.to_string());
            row += " ";
        }
        rows.push(row + &seed.to_string());
    }
    rows
}

fn column(sweep: &Sweep, param: Param) -> Vec<f64> {
    sweep.expand().map(|(config, _, _)| config.number(param).unwrap()).collect()
}

#[test]
fn order_is_that_of_the_file_with_seeds_innermost() {
    let text = "grid: {width: [8, 4], depth: [3, 2]}\n\
                zip: [{lr: [0.1, 0.2], epochs: [1, 2]}]\nseeds: [7, 5]\n";
    let rows = rows(&with(text), &[Param::Width, Param::Depth, Param::Lr, Param::Epochs]);
    let mut expected = Vec::new();
    for width in [8, 4] {
        for depth in [3, 2] {
            for (lr, epochs) in [(0.1, 1), (0.2, 2)] {
                for seed in [7, 5] {
                    expected.push(format!("{width} {depth} {lr} {epochs} {seed}"));
                }
            }
        }
    }
    assert_eq!(rows, expected);
}

#[test]
fn a_list_of_grids_is_their_union_and_equal_configs_count_once() {
    let sweep = with(
        "grid:\n- {depth: [2, 3]}\n- {depth: [3, 4], lr: [1e-3, 0.1]}\nzip: [{width: [4, 8]}]\n",
    );
    let expected = [
        "2 0.001 4 0",
        "2 0.001 8 0",
        "3 0.001 4 0",
        "3 0.001 8 0",
        "3 0.1 4 0",
        "3 0.1 8 0",
        "4 0.001 4 0",
        "4 0.001 8 0",
        "4 0.1 4 0",
        "4 0.1 8 0",
    ];
    assert_eq!(rows(&sweep, &[Param::Depth, Param::Lr, Param::Width]), expected);
    let counts = Counts { points: 12, excluded: 0, collapsed: 2, configs: 10, trials: 10 };
    assert_eq!(sweep.counts(), counts);
}

#[test]
fn points_without_effect_collapse_at_their_first_place() {
    let sweep =
        with("base: {epochs: 20}\ngrid: {activation: [relu, grelu], tau: [1, 5, 10]}\nseeds: 2\n");
    let expected = [
        "relu - 0",
        "relu - 1",
        "grelu 1 0",
        "grelu 1 1",
        "grelu 5 0",
        "grelu 5 1",
        "grelu 10 0",
        "grelu 10 1",
    ];
    assert_eq!(rows(&sweep, &[Param::Activation, Param::Tau]), expected);
    let counts = Counts { points: 6, excluded: 0, collapsed: 2, configs: 4, trials: 8 };
    assert_eq!(sweep.counts(), counts);
    let mut expansion = sweep.expand();
    while expansion.next().is_some() {}
    assert_eq!(expansion.counts(), counts);
}

#[test]
fn effects() {
    for (lines, configs) in [
        ("grid: {dropout: [none, static, gradual], p: [0.1, 0.2], dropout_form: [rate, mix]}", 7),
        ("grid: {select: [any, after_tau], gate: [linear, step], gate_per: [epoch, step]}", 1),
        ("base: {activation: grelu}\ngrid: {select: [any, after_tau], gate_per: [epoch, step]}", 4),
        ("base: {activation: grelu, tau: 0}\ngrid: {select: [any, after_tau], gate: [step]}", 1),
        ("base: {dropout: gradual, tau: 0}\ngrid: {dropout_form: [rate, mix]}", 1),
        ("base: {dropout: gradual}\ngrid: {tau: [0, 1, 2]}", 3),
        ("grid: {init: [he, orthogonal, normal, xavier], init_gain: [1, 2]}", 8),
        ("grid: {patience: [1, null], clip_norm: [null, 1], batch_size: [10, 20]}", 8),
    ] {
        assert_eq!(with(lines).counts().configs, configs, "{lines}");
    }
}

#[test]
fn exclusion_matches_defaults_and_values_before_they_collapse() {
    let counts = with(
        "grid: {activation: [relu, grelu], tau: [1, 5]}\nexclude: [{activation: relu, tau: 1}]\n",
    )
    .counts();
    let expected = Counts { points: 4, excluded: 1, collapsed: 0, configs: 3, trials: 3 };
    assert_eq!(counts, expected);
    let counts =
        with("grid: {depth: [2, 3, 4]}\nexclude: [{lr: 0.001, depth: {range: [2, 4, 1]}}]\n")
            .counts();
    assert_eq!((counts.excluded, counts.configs), (2, 1));
}

#[test]
fn generators_give_rounded_numbers_with_the_ends_as_written() {
    let grelu = |generator: &str| {
        column(
            &with(&format!(
                "base: {{activation: grelu, select: any}}\ngrid: {{tau: {generator}}}\n"
            )),
            Param::Tau,
        )
    };
    assert_eq!(grelu("{linspace: [0, 0.3, 4]}"), [0.0, 0.1, 0.2, 0.3]);
    assert_eq!(grelu("{linspace: [1, 0, 3]}"), [1.0, 0.5, 0.0]);
    assert_eq!(grelu("{logspace: [1e-4, 1e-1, 4]}"), [1e-4, 1e-3, 1e-2, 1e-1]);
    assert_eq!(grelu("{logspace: [2, 32, 5]}"), [2.0, 4.0, 8.0, 16.0, 32.0]);
    assert_eq!(grelu("{range: [0.1, 0.4, 0.1]}"), [0.1, 0.2, 0.3]);
    assert_eq!(grelu("{range: [5, 1, -2]}"), [5.0, 3.0]);
    assert_eq!(grelu("{range: [0, 1, 0.3]}"), [0.0, 0.3, 0.6, 0.9]);
    assert_eq!(
        column(&with("grid: {depth: {linspace: [2, 10, 5]}}"), Param::Depth),
        [2.0, 4.0, 6.0, 8.0, 10.0]
    );
}

#[test]
fn overlays_and_sets_change_entries_and_the_name() {
    let lines = "base: {width: 512}\ngrid: {depth: [2, 3], τ: [1, 2]}\n\
                 zip: [{lr: [0.1, 0.2]}, {p: [0.1]}]\nseeds: 5\noverlays:\n  \
                 small: {base.width: 128, grid.depth: [2], seeds: 1}\n  \
                 nested: {base: {width: 64}, grid: {depth: 9}, zip.lr: [0.3], \
                 table: {rows: depth}}\n";
    let small = Options { overlay: Some("small".into()), ..Options::default() };
    let sweep = with_options(lines, &small);
    assert_eq!(sweep.name.as_str(), "a-small");
    assert_eq!(
        rows(&sweep, &[Param::Width, Param::Depth, Param::Lr]),
        ["128 2 0.1 0", "128 2 0.2 0"]
    );
    let text = "name: 7\nmodel: mlp\ndata: mnist\noverlays: {small: {seeds: 2}}\n";
    assert_eq!(load(text, "a.yaml", &small).unwrap().0.name.as_str(), "7-small");
    let nested = Options {
        overlay: Some("nested".into()),
        sets: vec!["seeds=[3]".into()],
        ..Options::default()
    };
    let sweep = with_options(lines, &nested);
    assert_eq!(rows(&sweep, &[Param::Width, Param::Depth, Param::Lr]), ["64 9 0.3 3"]);
    assert_eq!(sweep.table.rows, [Param::Depth]);
    let sets = [
        "a:name=b",
        "other:seeds=9",
        "grid.τ=[7]",
        "base.activation=grelu",
        "a-small:base.width=1",
    ];
    let sets = Options { sets: sets.map(String::from).into(), ..small };
    let sweep = with_options(lines, &sets);
    assert_eq!(sweep.name.as_str(), "b");
    assert_eq!(
        rows(&sweep, &[Param::Width, Param::Depth, Param::Tau, Param::Lr]),
        ["1 2 7 0.1 0", "1 2 7 0.2 0"]
    );
    let sets = Options {
        sets: vec!["exclude=[{depth: 2}]".into(), "grid={depth: [2, 3]}".into()],
        ..Options::default()
    };
    assert_eq!(with_options(lines, &sets).counts().configs, 2);
}

#[test]
fn golden_ids() {
    let golden = [
        ("", "5acb31c0eb082fee"),
        (
            "base: {depth: 80, activation: grelu, tau: 2, lr: 3e-4, clip_norm: 1, width: 128}",
            "8d7fb0a136e540b1",
        ),
        (
            "base: {patience: null, dropout: gradual, dropout_form: mix, p: 0.9, gate_per: epoch}\n\
             seeds: [41]",
            "d6b6932324db8565",
        ),
    ];
    for (lines, id) in golden {
        assert_eq!(ids(&with(lines))[0].to_string(), id, "{lines}");
    }
    let strokes = sweep("name: b\nmodel: mlp\ndata: strokes\n");
    assert_eq!(ids(&strokes)[0].to_string(), "679c0ae26607d82c");
    let (config, _, _) = with(golden[1].0).expand().next().unwrap();
    let form = "model=mlp\ndata=mnist 1\nactivation=grelu\nclip_norm=1\ndepth=80\nlr=0.0003\n\
                tau=2\nwidth=128\nschema=1\n";
    assert_eq!(config.canonical_form(), form);
}

#[test]
fn naming_a_default_changes_no_id() {
    let mut lines = String::from("base:\n");
    for param in params::of_model(common::config::Model::Mlp) {
        lines += &format!(
            "  {param}: {}\n",
            params::default(common::config::Model::Mlp, param).unwrap()
        );
    }
    assert_eq!(ids(&with(&lines)), ids(&with("")));
}

#[test]
fn spellings_of_a_number_are_one_number() {
    let first = ids(&with("base: {lr: 0.001, init_gain: 1, tau: 5, depth: 20}"));
    for lines in [
        "base: {lr: 1e-3, init_gain: 1.0, tau: 5.0, depth: 2e1}",
        "base: {depth: 20.0, tau: 5e0, lr: 1.0E-3}",
        "base: {lr: .001, depth: +20}",
    ] {
        assert_eq!(ids(&with(lines)), first, "{lines}");
    }
    let zero = ids(&with("base: {dropout: static, p: -0.0}"));
    assert_eq!(zero, ids(&with("base: {dropout: static, p: 0}")));
}

#[test]
fn the_files_in_sweeps_mean_what_they_say() {
    let load_file = |name: &str, options: &Options| {
        let path = format!("{}/../sweeps/{name}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        load(&text, name, options).unwrap_or_else(|errors| panic!("{errors}"))
    };
    let (depth, warnings) = load_file("depth.yaml", &Options::default());
    let counts = Counts { points: 28, excluded: 1, collapsed: 0, configs: 27, trials: 135 };
    assert_eq!((depth.counts(), warnings.len()), (counts, 0));
    let small = Options { overlay: Some("small".into()), ..Options::default() };
    let sets = [
        "base.width=128",
        "base.epochs=5",
        "base.tau=2",
        "grid.depth=[2,10,40,80]",
        "seeds=3",
        "expect=[]",
    ];
    let sets = Options { sets: sets.map(String::from).into(), ..Options::default() };
    let (by_overlay, _) = load_file("depth.yaml", &small);
    let (by_sets, warnings) = load_file("depth.yaml", &sets);
    assert_eq!(ids(&by_overlay), ids(&by_sets));
    assert_eq!((by_sets.counts().trials, warnings.len()), (48, 1), "the exclusion matches nothing");
    let (quickstart, warnings) = load_file("quickstart.yaml", &Options::default());
    assert_eq!((quickstart.counts().trials, warnings.len()), (24, 0));
}

#[test]
fn a_million_points_are_counted() {
    let grid = "grid:\n  tau: {linspace: [1, 100, 100]}\n  \
                lr: {logspace: [1e-4, 1e-1, 100]}\n  p: {linspace: [0, 0.9, 100]}\n";
    let counts =
        Counts { points: 1_000_000, excluded: 0, collapsed: 999_900, configs: 100, trials: 100 };
    assert_eq!(with(grid).counts(), counts);
    let sweep = with("seeds: 1000000\n");
    assert_eq!(id_set(&sweep).len(), 1_000_000);
}

#[test]
fn json_is_validated() {
    let config = Config::from_json("mlp", "mnist", "{}").unwrap();
    assert_eq!(config.trial_id(0), ids(&with(""))[0], "what is absent takes its default");
    let config = Config::from_json("mlp", "mnist", r#"{"tau": 7, "lr": 1e-3}"#).unwrap();
    assert_eq!(config.get(Param::Tau), None, "tau has no effect without anything gradual");
    for (model, data, json, message) in [
        ("mpl", "mnist", "{}", "unknown model `mpl`; accepted: mlp, cnn, stn, rnn"),
        ("mlp", "cifar10", "{}", "unknown data `cifar10`; accepted: mnist, strokes"),
        ("mlp", "mnist", "[]", "parameters are not a JSON object of scalars, each key once"),
        (
            "mlp",
            "mnist",
            r#"{"p": {}}"#,
            "parameters are not a JSON object of scalars, each key once",
        ),
        (
            "mlp",
            "mnist",
            r#"{"p": 0, "p": 0}"#,
            "parameters are not a JSON object of scalars, each key once",
        ),
        ("mlp", "mnist", r#"{"conv": "plain"}"#, "model `mlp` does not have the parameter `conv`"),
        ("mlp", "mnist", r#"{"x": 1}"#, "model `mlp` does not have the parameter `x`"),
    ] {
        assert_eq!(Config::from_json(model, data, json).unwrap_err().to_string(), message);
    }
    let error = Config::from_json("mlp", "mnist", r#"{"depth": 0}"#).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(source, "`depth` cannot be 0; accepted: a whole number from 1 to 1000");
}

#[test]
fn stored_json_may_contradict_itself() {
    let contradicts = r#"{"augment_flip": true}"#;
    Config::from_json("cnn", "strokes", contradicts).unwrap_err();
    let stored = Config::from_stored("cnn", "strokes", contradicts).unwrap();
    assert_eq!(stored.get(Param::AugmentFlip), Some(Value::Bool(true)));
    let again = Config::from_stored("cnn", "strokes", &stored.to_json()).unwrap();
    assert_eq!(again.trial_id(7), stored.trial_id(7));
    for (model, data, json) in [
        ("mlp", "strokes", r#"{"depth": 0}"#),
        ("mlp", "strokes", r#"{"depht": 2}"#),
        ("cnn", "absent", "{}"),
        ("absent", "strokes", "{}"),
    ] {
        Config::from_stored(model, data, json).unwrap_err();
    }
}

/// A valid file with every top-level key that there is.
const EVERY_KEY: &str = "name: a\nmodel: mlp\ndata: mnist\nbase: {lr: 1e-3, p: .5}\n\
    grid:\n  τ: {linspace: [0, 5, 6]}\n\
    zip:\n  - {activation: [relu, grelu], init_gain: [1, 2]}\n\
    exclude: [{tau: [1, 2]}]\nseeds: 3\nresources: {gpus: 1}\n\
    table: {rows: tau, columns: [activation], metric: test_error}\n\
    fusion: off\npriority: -2\nbudget: {hours: 2, failures: 3, same_error: 5}\n\
    keep: {top: 4}\n\
    overlays:\n  small: {base.width: 8, grid: {tau: 1}}\n";

#[test]
fn every_key_is_read() {
    let sweep = sweep(EVERY_KEY);
    assert_eq!((sweep.name.as_str(), sweep.seeds.as_slice()), ("a", &[0, 1, 2][..]));
    assert_eq!((sweep.fusion, sweep.priority, sweep.resources_gpus), (Fusion::Off, -2, 1));
    let budget = Budget { hours: Some(2.0), failures: Some(3), same_error: Some(5) };
    assert_eq!(sweep.budget, budget);
    assert_eq!(sweep.keep, Keep::Top(4));
    let (rows, columns) = (vec![Param::Tau], vec![Param::Activation]);
    let table = TableSpec { rows, columns, metric: Some("test_error".into()) };
    assert_eq!(sweep.table, table);
    for metric in common::spec::METRICS {
        let sweep = with(&format!("table: {{metric: {metric}}}"));
        assert_eq!(sweep.table.metric.as_deref(), Some(metric));
    }
    assert_eq!(with("fusion: auto").fusion, Fusion::Auto);
    assert_eq!(with("fusion: 8").fusion, Fusion::Size(8));
}

#[test]
fn what_is_kept_is_read_from_the_resolved_file_alone() {
    assert_eq!(with("seeds: 2").keep, Keep::Best, "of each config, where nothing is said");
    for keep in [Keep::Best, Keep::All, Keep::None, Keep::Top(7)] {
        let sweep = with(&format!("keep: {keep}"));
        assert_eq!((sweep.keep, keep_of(&sweep.yaml)), (keep, keep));
    }
    let sets = |flag: &str| Options { sets: vec![flag.into()], ..Options::default() };
    let (sweep, _) = load(EVERY_KEY, "a.yaml", &sets("keep=none")).expect("valid");
    assert_eq!((sweep.keep, sweep.are_points_set), (Keep::None, false));
    assert_eq!(keep_of("not: [a sweep"), Keep::Best);
}

#[test]
fn what_is_kept_is_no_part_of_a_trial() {
    let ids = |text: &str| with(text).expand().map(|(_, id, _)| id).collect::<Vec<_>>();
    assert_eq!(ids("keep: none"), ids("keep: all"));
}

/// Parameters with the spellings of some of their values: each inner list is one value.
fn spellings() -> Vec<(&'static str, Vec<Vec<&'static str>>)> {
    vec![
        ("depth", vec![vec!["2", "2.0"], vec!["30", "3e1"], vec!["7"]]),
        ("lr", vec![vec!["1e-3", "0.001", "1.0e-03"], vec!["3e-4", "0.0003"]]),
        ("activation", vec![vec!["relu"], vec!["grelu"], vec!["identity"]]),
        ("tau", vec![vec!["0", "0.0"], vec!["5", "5.0"], vec!["2.5", "25e-1"]]),
        ("dropout", vec![vec!["none"], vec!["static"], vec!["gradual"]]),
        ("p", vec![vec!["0.5", "5e-1"], vec!["0.25", ".25"]]),
        ("dropout_form", vec![vec!["rate"], vec!["mix", "\"mix\""]]),
        ("clip_norm", vec![vec!["null", "~"], vec!["1", "1.0", "1e0"]]),
        ("gate_per", vec![vec!["step"], vec!["epoch"]]),
    ]
}

/// A parameter's key and its values; a value is chosen from `spellings` by index.
type Chosen = (usize, Vec<usize>);

/// Up to four grid keys, each with some of its values, and where the rest of base goes.
fn grids() -> impl Strategy<Value = Vec<Chosen>> {
    let key = 0..spellings().len();
    prop::collection::vec((key, prop::collection::vec(0..3_usize, 1..4)), 0..5).prop_map(|keys| {
        let table = spellings();
        let mut once: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (key, values) in keys {
            let values = values.into_iter().map(|value| value % table[key].1.len()).collect();
            once.insert(key, values);
        }
        once.into_iter().collect()
    })
}

/// The file of a grid, its keys in the given order and its values spelt by `spelling`.
fn file(grid: &[Chosen], seeds: u64, spelling: usize) -> String {
    let table = spellings();
    let mut text = format!("name: a\nmodel: mlp\ndata: strokes\nseeds: {seeds}\ngrid:\n");
    for (key, values) in grid {
        let (name, known) = &table[*key];
        let values: Vec<&str> =
            values.iter().map(|value| known[*value][spelling % known[*value].len()]).collect();
        text += &format!("  {name}: [{}]\n", values.join(", "));
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn expansion_is_stable_and_counts_add_up(grid in grids(), seeds in 1..4_u64) {
        let sweep = sweep(&file(&grid, seeds, 0));
        let mut expansion = sweep.expand();
        let first: Vec<_> = expansion.by_ref().collect();
        let again: Vec<_> = sweep.expand().collect();
        prop_assert_eq!(&first, &again);
        let counts = expansion.counts();
        prop_assert_eq!(counts, sweep.counts());
        prop_assert_eq!(counts.points, counts.excluded + counts.collapsed + counts.configs);
        prop_assert_eq!(counts.trials, counts.configs * seeds);
        prop_assert_eq!(first.len() as u64, counts.trials);
    }

    #[test]
    fn no_two_trials_share_an_id_or_a_meaning(grid in grids(), seeds in 1..4_u64) {
        let sweep = sweep(&file(&grid, seeds, 0));
        let mut by_id = HashMap::new();
        let mut meanings = HashSet::new();
        for (config, id, seed) in sweep.expand() {
            let meaning = (config.to_json(), seed);
            prop_assert!(by_id.insert(id, meaning.clone()).is_none(), "id {} twice", id);
            prop_assert!(meanings.insert(meaning), "an equal trial twice");
        }
    }

    #[test]
    fn ids_survive_reordering_and_respelling(
        (grid, shuffled) in
            grids().prop_flat_map(|grid| (Just(grid.clone()), Just(grid).prop_shuffle())),
        spelling in 1..3_usize,
    ) {
        let plain = sweep(&file(&grid, 2, 0));
        let other = sweep(&file(&shuffled, 2, spelling));
        prop_assert_eq!(id_set(&plain), id_set(&other));
    }

    #[test]
    fn resolved_files_and_json_read_back(grid in grids(), spelling in 0..3_usize) {
        let first = sweep(&file(&grid, 2, spelling));
        let again = sweep(&first.yaml);
        prop_assert_eq!(&first.yaml, &again.yaml);
        prop_assert_eq!(ids(&first), ids(&again));
        for (config, id, seed) in first.expand() {
            let read = Config::from_json("mlp", "strokes", &config.to_json()).unwrap();
            prop_assert_eq!(&read, &*config);
            prop_assert_eq!(read.trial_id(seed), id);
        }
    }

    #[test]
    fn configs_hold_exactly_what_has_an_effect(grid in grids()) {
        for (config, _, _) in sweep(&file(&grid, 1, 0)).expand() {
            let get = |param| {
                config.get(param).or_else(|| params::default(config.model, param))
            };
            let expected: Vec<Param> = params::with_effect(config.model, &get).iter().collect();
            let held: Vec<Param> = config.values().map(|(param, _)| param).collect();
            prop_assert_eq!(held, expected);
            let gradual = config.get(Param::Activation) == Some(Value::Word("grelu"))
                || config.get(Param::Dropout) == Some(Value::Word("gradual"));
            prop_assert_eq!(config.get(Param::Tau).is_some(), gradual);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), flag in ".{0,30}") {
        let text = String::from_utf8_lossy(&bytes);
        let options = Options { overlay: Some(flag.clone()), sets: vec![flag], trials_max: 100 };
        if let Err(errors) = load(&text, &text, &options) {
            let _ = errors.render(true);
        }
        let _ = Config::from_json("mlp", "mnist", &text);
    }

    #[test]
    fn no_damage_to_a_file_panics(
        at in 0..1_000_usize,
        cut in 0..40_usize,
        insert in "[\\PC\n\t:{}\\[\\],&*-]{0,12}",
    ) {
        let text = EVERY_KEY;
        let start = text.floor_char_boundary(at % text.len());
        let end = text.ceil_char_boundary((start + cut).min(text.len()));
        let damaged = format!("{}{insert}{}", &text[..start], &text[end..]);
        let options = Options {
            overlay: Some("small".into()),
            sets: vec!["base.p=0".into()],
            trials_max: 1_000,
        };
        match load(&damaged, "a.yaml", &options) {
            Ok((sweep, warnings)) => {
                let again = load(&sweep.yaml, "a.yaml", &Options::default());
                let again = again.unwrap_or_else(|errors| panic!("{errors}\n{}", sweep.yaml)).0;
                prop_assert_eq!(ids(&sweep), ids(&again));
                let _ = warnings.iter().map(|warning| warning.render(true).len()).sum::<usize>();
            }
            Err(errors) => prop_assert!(errors.to_string().contains("error")),
        }
    }
}
