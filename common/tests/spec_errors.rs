//! Every bad sweep file is refused with a message that shows file, line, column, the line itself
//! and what is accepted.
#![allow(clippy::unwrap_used, reason = "tests")]

use common::spec::{Options, load};

/// A valid file whose last lines are the given ones, from line 4 on.
fn with(lines: &str) -> String {
    format!("name: a\nmodel: mlp\ndata: mnist\n{lines}")
}

fn errors(text: &str) -> String {
    errors_with(text, &Options::default())
}

fn errors_with(text: &str, options: &Options) -> String {
    match load(text, "a.yaml", options) {
        Ok((sweep, _)) => panic!("accepted:\n{}", sweep.yaml),
        Err(errors) => errors.to_string(),
    }
}

/// Fails unless a text holds every part.
#[track_caller]
fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is missing in\n{text}");
    }
}

fn warnings(text: &str) -> Vec<String> {
    let (_, warnings) = load(text, "a.yaml", &Options::default()).unwrap_or_else(|e| panic!("{e}"));
    warnings.iter().map(ToString::to_string).collect()
}

fn set(flag: &str) -> Options {
    Options { sets: vec![flag.into()], ..Options::default() }
}

#[test]
fn the_whole_message_of_a_misspelt_parameter() {
    let expected = "\
error: unknown parameter `detph`
 --> a.yaml:5:3
  |
5 |   detph: 5
  |   ^^^^^ did you mean `depth`?
  |
  = note: accepted: activation, batch_size, clip_norm, depth, dropout, dropout_form, epochs, \
gate, gate_per, init, init_gain, lr, p, patience, precision, select, tau, train_examples, \
val_examples, width

1 error in a.yaml";
    assert_eq!(errors(&with("base:\n  detph: 5\n")), expected);
}

#[test]
fn all_errors_are_shown_in_the_order_of_the_file() {
    let text = with("base:\n  detph: 5\n  p: 1.5\ngrid:\n  init: [he, hee]\nseeds: 0\n");
    let shown = errors(&text);
    let lines: Vec<&str> = shown.lines().filter(|line| line.contains("--> ")).collect();
    let expected = [" --> a.yaml:5:3", " --> a.yaml:6:6", " --> a.yaml:8:14", " --> a.yaml:9:8"];
    assert_eq!(lines, expected);
    has(&shown, &["4 errors in a.yaml"]);
}

#[test]
fn unknown_top_level_key() {
    let shown = errors(&with("gird: {depth: [2]}\n"));
    has(&shown, &["unknown key `gird`", "a.yaml:4:1", "4 | gird:", "did you mean `grid`?"]);
    has(&shown, &["accepted: name, model, data, base"]);
    let shown = errors(&with("width: 5\n"));
    has(&shown, &["`width` is a parameter, not a top-level key", "accepted: base.width"]);
}

#[test]
fn missing_keys() {
    let shown = errors("seeds: 5\n");
    has(&shown, &["`name` is missing", "`model` is missing", "`data` is missing", "3 errors"]);
    has(&shown, &["accepted: mnist, cifar10, cluttered-mnist, strokes"]);
    has(&errors(""), &["the file is empty", "a.yaml:1:1"]);
    has(&errors("- a\n"), &["a sweep file cannot be a list"]);
}

#[test]
fn names() {
    let long = "x".repeat(64);
    for name in ["Depth", "a b", "\"\"", "a_b", "1.5", long.as_str()] {
        let shown = errors(&format!("name: {name}\nmodel: mlp\ndata: mnist\n"));
        has(&shown, &["`name` cannot be", "a.yaml:1:7", "accepted: 1 to 63 of a-z, 0-9 and -"]);
    }
}

#[test]
fn wrong_types() {
    let shown = errors(&with("base:\n  depth: two\n  lr: \"1e-3\"\n  patience: off\n"));
    has(&shown, &["`depth` cannot be the text \"two\"", "a.yaml:5:10", "a whole number from 1"]);
    has(&shown, &["`lr` cannot be the text \"1e-3\"", "accepted: a number above 0"]);
    has(&shown, &["`patience` cannot be the text \"off\"", "or null (off)"]);
    let shown = errors(&with("base: [1]\ngrid: 5\nzip: x\nexclude: 1\ntable: []\nseeds: x\n"));
    has(&shown, &["`base` cannot be a list", "`grid` cannot be 5", "`zip` cannot be the text"]);
    has(&shown, &["`exclude` cannot be 1", "`table` cannot be a list", "`seeds` cannot be"]);
    let shown = errors(&with("base: {depth: [2, 3], activation: {relu: 1}}\n"));
    has(&shown, &["`depth` takes one value here, not a list", "several values stand in `grid`"]);
    has(&shown, &["`activation` takes one value here, not a mapping"]);
    has(&errors(&with("base: {depth: 2.5}\n")), &["`depth` cannot be 2.5"]);
    // YAML 1.1 readings of other parsers stay text here.
    has(&errors(&with("base: {width: 010, epochs: 1_000}\n")), &["the text \"010\"", "\"1_000\""]);
}

#[test]
fn values_out_of_range() {
    for (bad, accepted) in [
        ("p: 1", "accepted: a number from 0 to below 1"),
        ("p: -0.1", "accepted: a number from 0 to below 1"),
        ("tau: -1", "accepted: a number from 0"),
        ("tau: .inf", "accepted: a number from 0"),
        ("tau: .nan", "accepted: a number from 0"),
        ("tau: 1e999", "accepted: a number from 0"),
        ("lr: 0", "accepted: a number above 0"),
        ("lr: -.inf", "accepted: a number above 0"),
        ("clip_norm: 0", "or null (off)"),
        ("init_gain: -1", "accepted: a number above 0"),
        ("depth: 0", "accepted: a whole number from 1 to 1000"),
        ("depth: 1001", "accepted: a whole number from 1 to 1000"),
        ("depth: 99999999999999999999999", "accepted: a whole number from 1 to 1000"),
        ("epochs: 0", "accepted: a whole number from 1"),
        ("patience: 0", "accepted: a whole number from 1"),
        ("train_examples: 50001", "accepted: a whole number from 1 to 50000, or null (all)"),
        ("val_examples: 10001", "accepted: a whole number from 1 to 10000, or null (all)"),
        ("lr: null", "accepted: a number above 0"),
    ] {
        for text in [format!("base: {{{bad}}}\n"), format!("grid: {{{bad}}}\n")] {
            let shown = errors(&with(&text));
            has(
                &shown,
                &["cannot be", "a.yaml:4:", "1 error in", &text[..text.len() - 1], accepted],
            );
        }
    }
}

#[test]
fn duplicate_keys() {
    let shown = errors(&with("base:\n  lr: 1e-3\n  lr: 1e-4\nseeds: 1\nseeds: 2\n"));
    has(&shown, &["duplicate key `lr`", "a.yaml:6:3", "a.yaml:5:3", "first here"]);
    has(&shown, &["duplicate key `seeds`", "a.yaml:8:1", "2 errors"]);
    has(&errors(&with("grid: {tau: 1, τ: 2}\n")), &["duplicate key `τ`", "a.yaml:4:16"]);
    let shown = errors(&with("overlays:\n  small: {seeds: 2}\n  small: {seeds: 3}\n"));
    has(&shown, &["duplicate key `small`", "a.yaml:6:3"]);
}

#[test]
fn keys_in_two_places() {
    let text = with("base: {depth: 2}\ngrid: {depth: [2], lr: [1]}\nzip: [{lr: [1]}, {lr: [2]}]\n");
    let shown = errors(&text);
    has(&shown, &["`depth` stands in both `base` and `grid`", "a.yaml:5:8", "a.yaml:4:8"]);
    has(&shown, &["`lr` stands in both `grid` and `zip`", "accepted: a key in one place"]);
    let shown = errors(&with("zip: [{lr: [1, 2]}, {lr: [2, 3]}]\n"));
    has(&shown, &["`lr` stands in two groups of `zip`"]);
    let text = with("base: {lr: 1e-3}\ngrid: [{depth: 2}, {depth: 3, lr: 1e-4}]\n");
    has(&errors(&text), &["`lr` stands in both `base` and `grid`", "a.yaml:5:31"]);
}

#[test]
fn zip_of_unequal_lengths() {
    let shown = errors(&with("zip:\n  - {lr: [1e-3, 1e-4], tau: [1, 2, 3]}\n"));
    has(&shown, &["`tau` has 3 values, but `lr` of the same zip has 2", "a.yaml:5:29", "2 values"]);
}

#[test]
fn parameters_that_the_model_does_not_have() {
    let text = with("base: {norm: batch}\ngrid: {pooling: [max, mean]}\ntable: {rows: conv}\n");
    let shown = errors(&text);
    has(&shown, &["model `mlp` does not have the parameter `norm`", "a.yaml:4:8"]);
    has(&shown, &["does not have the parameter `pooling`", "a.yaml:5:8", "accepted: activation"]);
    has(&shown, &["unknown parameter `conv`", "a.yaml:6:15"]);
}

#[test]
fn what_is_not_built_yet() {
    let shown = errors(&with("base: {precision: bf16}\nresources: {gpus: 2}\n"));
    has(&shown, &["`precision: bf16` is not available yet", "accepted: fp32"]);
    has(&shown, &["`gpus` cannot be 2 yet", "several devices for one trial are not built yet"]);
    let shown = errors("name: a\nmodel: mpl\ndata: mnits\n");
    has(&shown, &["`mpl` is not a value of `model`", "did you mean `mlp`?"]);
    has(&shown, &["`mnits` is not a value of `data`", "did you mean `mnist`?"]);
}

#[test]
fn components_that_there_are_not() {
    let file = "name: a\nmodel: cnn\ndata: mnist\nbase: {augment_flip: false}\n";
    let shown = errors(&format!("{file}grid: {{pooling: [max, median], conv: [resnet]}}\n"));
    has(&shown, &["`median` is not a value of `pooling`", "a.yaml:5:23", "mixed, gated, gradual"]);
    has(&shown, &["`resnet` is not a value of `conv`", "conv_to_nin", "2 errors"]);
    let shown = errors("name: a\nmodel: stn\ndata: mnist\n");
    has(&shown, &["model `stn` cannot read `mnist`", "a.yaml:3:7", "accepted: cluttered-mnist"]);
}

#[test]
fn combinations_that_make_no_sense() {
    let cnn = |base: &str| format!("name: a\nmodel: cnn\ndata: mnist\nbase: {base}\n");
    let shown = errors(&cnn("{conv: nin, activation: identity, augment_flip: false}"));
    has(&shown, &["a 1×1 convolution after a linear one is no network in network", "a.yaml:4:14"]);
    let shown = errors(&cnn("{augment_flip: true}"));
    has(&shown, &["a mirrored digit is not that digit", "a.yaml:4:22", "augment_flip: false with"]);
    let shown = errors(&with("base: {dropout: probe, activation: grelu, p: 0.95}\n"));
    has(&shown, &["a probe raises the dropout over all epochs", "a.yaml:4:17"]);
    let shown = errors(&with("base: {dropout: probe, p: 1}\ngrid: {tau: [-1]}\n"));
    has(&shown, &["`p` cannot be 1", "from 0 to below 1", "`tau` cannot be -1", "a.yaml:5:14"]);
}

#[test]
fn near_words() {
    let shown = errors(&with("base: {activation: leaky-relu, dropout: gradul, gate: Cosine}\n"));
    has(&shown, &["`leaky-relu` is not a value of `activation`", "did you mean `leaky_relu`?"]);
    has(&shown, &["did you mean `gradual`?", "did you mean `cosine`?"]);
    let shown = errors(&with("base: {activation: zzz}\n"));
    assert!(!shown.contains("did you mean"), "{shown}");
}

#[test]
fn products_that_are_too_large() {
    let wide = "grid:\n  lr: {linspace: [1e-4, 1e-2, 1000]}\n  p: {linspace: [0, 0.9, 1000]}\n";
    let shown = errors(&with(&format!("{wide}seeds: 2\n")));
    has(&shown, &["the sweep has 2000000 trials, before `exclude` and collapsing", "a.yaml:4:1"]);
    has(&shown, &["accepted: at most 1000000 (--max-trials)"]);
    // Each factor is small, the product overflows any counter.
    let mut text = String::from("grid:\n");
    for param in ["lr", "p", "tau", "clip_norm", "init_gain"] {
        text.push_str(&format!("  {param}: {{linspace: [0.1, 0.9, 900000]}}\n"));
    }
    has(&errors(&with(&text)), &["the sweep has 590490000000000000000000000000 trials"]);
    has(&errors(&with("seeds: 1000001\n")), &["1000001 seeds are more", "a.yaml:4:8"]);
    has(&errors(&with("seeds: 99999999999999999999\n")), &["`seeds` cannot be 1e20"]);
    let shown = errors(&with("grid: {lr: {range: [0.1, 1, 1e-9]}}\n"));
    has(&shown, &["gives", "values, and a sweep has at most 1000000 trials", "a.yaml:4:20"]);
    let shown = errors(&with("grid: {lr: {linspace: [0.1, 1, 1e12]}}\n"));
    has(&shown, &["`linspace` gives 1000000000000 values"]);
    let options = Options { trials_max: 3, ..Options::default() };
    has(&errors_with(&with("grid: {depth: [1, 2]}\nseeds: 2\n"), &options), &["has 4 trials"]);
}

#[test]
fn gates_that_never_open() {
    let grelu = "  activation: grelu\n";
    let shown = errors(&with(&format!("base:\n{grelu}  epochs: 4\n  tau: 4.5\n")));
    has(&shown, &["with `epochs: 4` and `tau: 4.5` the gate never reaches 1", "a.yaml:6:11"]);
    has(&shown, &["the first eligible epoch is 5", "a smaller tau, or select: any"]);
    let shown = errors(&with("base: {dropout: gradual, epochs: 5, tau: 5, gate_per: epoch}\n"));
    has(&shown, &["with `gate_per: epoch` the first eligible epoch is 6"]);
    let shown =
        errors(&with("grid: {tau: [1, 2, 50], epochs: [3, 100]}\nbase: {activation: grelu}"));
    has(&shown, &["with `epochs: 3` and `tau: 50`", "1 error"]);
    for fine in [
        "base: {activation: grelu, epochs: 5, tau: 4.5}",
        "base: {activation: grelu, epochs: 6, tau: 5, gate_per: epoch}",
        "base: {activation: grelu, epochs: 1, tau: 0, gate_per: epoch}",
        "base: {activation: grelu, epochs: 1, tau: 5, select: any}",
        "base: {activation: relu, epochs: 1, tau: 5}",
        "base: {dropout: static, epochs: 1, tau: 5}",
        "grid: {activation: [relu, grelu], epochs: [1, 9]}\n\
         exclude: {activation: grelu, epochs: 1}",
    ] {
        warnings(&with(fine));
    }
}

#[test]
fn exclusions() {
    let text = with("grid: {depth: [2, 3]}\nexclude:\n  - {depth: 2}\n  - {depth: [7, 8]}\n");
    let shown = warnings(&text);
    assert_eq!(shown.len(), 1, "{shown:?}");
    has(&shown[0], &["warning: this item of `exclude` matches no point", "a.yaml:7:5"]);
    // An item that only matches what an earlier one has left out still matches.
    assert_eq!(
        warnings(&with("grid: {depth: [2, 3]}\nexclude: [{depth: 2}, {depth: 2, p: 0.5}]")).len(),
        0
    );
    let shown = errors(&with("grid: {depth: [2, 3]}\nexclude: [{depth: [2, 3]}]\n"));
    has(&shown, &["`exclude` leaves no point of the sweep", "a.yaml:5:1"]);
    let shown = errors(&with("exclude: [{}, {dpth: 2}, {depth: x}, 5]\n"));
    has(&shown, &["an item of `exclude` without keys", "unknown parameter `dpth`", "4 errors"]);
}

#[test]
fn seeds() {
    let shown = errors(&with("seeds: [1, 2, 1, -1, x, 1.5]\n"));
    has(&shown, &["duplicate seed 1", "first here", "a seed cannot be -1", "a seed cannot be 1.5"]);
    has(&errors(&with("seeds: 0\n")), &["`seeds` cannot be 0", "accepted: a count from 1"]);
    has(&errors(&with("seeds: []\n")), &["`seeds` has no values"]);
}

#[test]
fn generators() {
    for (bad, why) in [
        ("{linspce: [0, 1, 2]}", "did you mean `linspace`?"),
        ("{linspace: [0.1, 1]}", "accepted: {linspace: [low, high, count]}"),
        ("{linspace: [0.1, .inf, 3]}", "takes three finite numbers"),
        ("{linspace: [0.1, x, 3]}", "takes three finite numbers"),
        ("{linspace: [0.1, 1, 1]}", "takes a count of at least 2, not 1"),
        ("{linspace: [0.1, 1, 2.5]}", "takes a count of at least 2, not 2.5"),
        ("{logspace: [0, 1, 3]}", "takes ends above 0"),
        ("{range: [1, 2, 0]}", "takes a step other than 0"),
        ("{range: [2, 1, 1]}", "has no values from 2 to 1 in steps of 1"),
        ("{range: [1, 1.00000000000001, 1]}", "are equal to 12 digits"),
        ("{range: 5}", "accepted: {range: [start, stop, step]}"),
        ("{}", "a generator is a mapping with one key"),
        ("{linspace: [-1, 1, 3]}", "it is value 1 of 3 generated"),
        ("[]", "`lr` has no values"),
    ] {
        has(&errors(&with(&format!("grid:\n  lr: {bad}\n"))), &[why, "a.yaml:5:"]);
    }
    has(&errors(&with("grid: {depth: {linspace: [1, 2, 3]}}\n")), &["`depth` cannot be 1.5"]);
    has(&errors(&with("grid: {init: {range: [1, 3, 1]}}\n")), &["`init` cannot be 1.0"]);
}

#[test]
fn tables() {
    let text =
        with("table: {row: depth, rows: [depth, depth], columns: [width], metric: accuracy}\n");
    let shown = errors(&text);
    has(&shown, &["unknown key `row` of `table`", "did you mean `rows`?"]);
    has(&shown, &["`depth` stands twice in `table`", "first here"]);
    has(&shown, &["`accuracy` is not a value of `metric`", "accepted: test_error, val_error"]);
    let text = with("grid: {depth: [1, 2], lr: [1e-3, 1e-4]}\ntable: {rows: depth}\n");
    let shown = warnings(&text);
    has(&shown[0], &["`lr` varies and is on neither axis of `table`", "a.yaml:4:23", "--pool"]);
}

#[test]
fn further_top_level_keys() {
    let text = with("fusion: on\npriority: 1.5\nbudget: {hours: 0, failures: 0, days: 1}\n");
    let shown = errors(&text);
    has(&shown, &["`fusion` cannot be the text \"on\"", "accepted: auto, off, or a cohort size"]);
    has(&shown, &["`priority` cannot be 1.5", "`hours` cannot be 0", "`failures` cannot be 0"]);
    has(&shown, &["unknown key `days` of `budget`", "accepted: hours, failures"]);
    has(&errors(&with("fusion: 0\n")), &["`fusion` cannot be 0"]);
    has(&errors(&with("resources: {gpu: 1}\n")), &["did you mean `gpus`?"]);
}

#[test]
fn what_is_kept_is_a_word_or_a_number_of_the_best() {
    let accepted = "accepted: best (of each config), all, none, or {top: K}";
    let shown = errors(&with("keep: bset\n"));
    has(&shown, &["`keep` cannot be the text \"bset\"", "a.yaml:4:7", accepted]);
    has(&shown, &["did you mean `best`?"]);
    for wrong in ["keep: null\n", "keep: 3\n", "keep: [best]\n", "keep: true\n"] {
        has(&errors(&with(wrong)), &["`keep` cannot be", accepted]);
    }
    for wrong in ["0", "-1", "1.5", "all", "1000001"] {
        let shown = errors(&with(&format!("keep: {{top: {wrong}}}\n")));
        has(&shown, &["`top` cannot be", "accepted: a whole number from 1 to 1000000"]);
    }
    has(&errors(&with("keep: {}\n")), &["`keep` does not say how many", "accepted: {top: K}"]);
    let shown = errors(&with("keep: {top: 3, tpo: 4}\n"));
    has(&shown, &["unknown key `tpo` of `keep`", "did you mean `top`?"]);
    let shown = errors_with(&with("keep: best\n"), &set("keep.top=3"));
    has(&shown, &["`keep` has no entry `top`", "accepted: `keep` as a whole"]);
}

#[test]
fn overlays() {
    let text = with("overlays:\n  small: {base.width: 8}\n  tiny: {seeds: 1}\n");
    let options = Options { overlay: Some("smal".into()), ..Options::default() };
    let shown = errors_with(&text, &options);
    has(&shown, &["unknown overlay `smal`", "--> --overlay:1:1", "did you mean `small`?"]);
    has(&shown, &["accepted: small, tiny"]);
    has(&errors_with(&with(""), &options), &["unknown overlay `smal`", "accepted: none"]);
    // Those that are not chosen are validated too.
    let text = with(
        "overlays:\n  a: {base.wdth: 8}\n  b: {grid: {depth: [x]}}\n  c: 5\n  d: {sedes: 1}\n  \
         e: {base.p: 2}\n  f: {seeds.x: 1}\n  g: {table: {row: p}}\n",
    );
    let shown = errors(&text);
    has(&shown, &["unknown parameter `wdth`", "a.yaml:5:7", "`depth` cannot be the text \"x\""]);
    has(&shown, &["overlay `c` cannot be 5", "unknown key `sedes`", "`p` cannot be 2"]);
    has(&shown, &["`seeds` has no entry `x`", "unknown key `row` of `table`", "7 errors"]);
    has(&errors(&with("overlays: 5\n")), &["`overlays` cannot be 5"]);
    // The name with the overlay's is a name too.
    let text = with("overlays: {Small: {seeds: 1}}\n");
    let options = Options { overlay: Some("Small".into()), ..Options::default() };
    has(&errors_with(&text, &options), &["`name` cannot be the text \"a-Small\""]);
}

#[test]
fn sets_point_at_the_flag() {
    let text = with("base: {width: 8}\nzip: [{lr: [1e-3, 1e-4]}]\n");
    for (flag, parts) in [
        ("base.width=wide", ["--> --set:1:12", "1 | base.width=wide", "a whole number from 1"]),
        ("base.wdth=5", ["--> --set:1:1", "unknown parameter `wdth`", "did you mean `width`?"]),
        ("width=5", ["--> --set:1:1", "`width` is a parameter", "base.width, grid.width"]),
        ("a:base.width=wide", ["--> --set:1:14", "a:base.width=wide", "cannot be the text"]),
        ("base.width", ["`base.width` sets nothing", "--> --set:1:1", "accepted: key=value"]),
        ("=5", ["`=5` sets nothing", "--> --set:1:1", "accepted: key=value"]),
        ("grid.depth=[1", ["--> --set:1:12", "the YAML cannot be read", "1 | grid.depth=[1"]),
        ("grid.width=[1]", ["--> --set:1:1", "`width` stands in both", "first here"]),
        ("zip.tau=[1, 2]", ["--> --set:1:1", "none of which has `tau`", "`zip` as a whole"]),
        ("zip.lr={a: 1, a: 2}", ["--> --set:1:15", "duplicate key `a`", "first here"]),
        ("overlays={}", ["--> --set:1:1", "unknown key `overlays`", "accepted: name"]),
        ("seeds=", ["--> --set:1:7", "`seeds` cannot be null", "a count from 1"]),
    ] {
        has(&errors_with(&text, &set(flag)), &parts);
    }
    assert!(load(&text, "a.yaml", &set("b:base.width=wide")).is_ok(), "meant for another sweep");
}

#[test]
fn yaml_that_cannot_be_read() {
    let shown = errors("name: a\nbase: {depth: [1, 2\n");
    has(&shown, &["the YAML cannot be read", "a.yaml:2:"]);
    has(&errors("name: a\n---\nname: b\n"), &["the YAML cannot be read"]);
    has(&errors("name: *b\n"), &["the YAML cannot be read", "a.yaml:1:7"]);
    has(&errors(&with("base: {<<: {lr: 1}}\n")), &["unknown parameter `<<`", "merge keys"]);
    has(&errors(&with("? [a]\n: 5\n5: 6\n")), &["unknown key `a list`", "unknown key `5`"]);
}

#[test]
fn budgets_refuse_instead_of_hanging() {
    let mut bomb = String::from("a: &a [x, x, x, x, x, x, x, x, x]\n");
    for (name, last) in ["b", "c", "d", "e", "f", "g", "h", "i"].iter().zip("abcdefgh".chars()) {
        let items = vec![format!("*{last}"); 9].join(", ");
        bomb.push_str(&format!("{name}: &{name} [{items}]\n"));
    }
    has(&errors(&bomb), &["the YAML cannot be read"]);
    has(
        &errors(&format!("name: {}1{}\n", "[".repeat(10_000), "]".repeat(10_000))),
        &["cannot be read"],
    );
    let mut deep = String::new();
    for level in 0..2_000 {
        deep.push_str(&" ".repeat(level));
        deep.push_str("a:\n");
    }
    has(&errors(&deep[..deep.len().min(1 << 20)]), &["1 error in a.yaml"]);
    let huge = format!("name: a\n# {}\n", "x".repeat(1 << 20));
    has(&errors(&huge), &["bytes are too much for a sweep file", "accepted: at most 1048576"]);
    let many = format!("name: [{}]\n", ["1"; 200_000].join(","));
    has(&errors(&many), &["the YAML cannot be read"]);
    // Thousands of errors are counted, and the first are shown.
    let wrong = with(&format!("seeds: [{}]\n", ["x"; 20_000].join(", ")));
    has(&errors(&wrong), &["20000 errors in a.yaml; the first 50 are shown"]);
}

#[test]
fn colour_is_for_those_who_ask() {
    let text = with("seeds: x\n");
    let errors = load(&text, "a.yaml", &Options::default()).unwrap_err();
    assert!(!errors.to_string().contains('\u{1b}'));
    assert!(errors.render(true).contains('\u{1b}'));
    assert_eq!(errors.len(), 1);
    let escape = errors_with(&with("\"\\e[31m\": 5\n"), &Options::default());
    assert!(!escape.contains('\u{1b}'), "what a file says is not sent to the terminal as it is");
}
