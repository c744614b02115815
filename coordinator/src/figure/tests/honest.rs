//! What a reader must not take for something else.

use super::*;

/// Pairs of values of a metric: seeds of one config by depth.
fn of_pairs(pairs: &[(f64, f64)]) -> Answers {
    let mut rows = Vec::new();
    for ((a, b), depth) in pairs.iter().zip(1..) {
        for (seed, value) in [(0, *a), (1, *b)] {
            rows.push(Row(vec![whole(depth)], seed, "completed", value));
        }
    }
    Answers::new(&["depth"], &rows)
}

fn loss(y_scale: YScale) -> Plot {
    Plot { y: Some("train_loss".into()), y_scale, ..plot(Kind::Line) }
}

#[test]
fn logarithmic_axes_say_so_and_can_be_refused() {
    let answers = of_pairs(&[(1e-4, 1e-4), (0.01, 0.01), (1.0, 1.0)]);
    let label = |plot: Plot| texts(&answers.plot(plot).unwrap(), "label-y");
    assert_eq!(label(loss(YScale::Auto)), ["training loss (log scale)"]);
    assert_eq!(label(loss(YScale::Linear)), ["training loss"]);
    let low = Look { size: Some(Size { width: 280, height: 200 }), ..Look::default() };
    let svg = answers.draw(Request::Plot(loss(YScale::Auto)), low).unwrap();
    assert!(texts(&svg, "label-y")[0].contains("(log"), "in little room as well");
    let error = Plot { y: Some("test_error".into()), ..loss(YScale::Log) };
    assert_eq!(label(error), ["test error (%, log scale)"]);
    let curves = |y_scale| {
        let curves = Curves { metrics: vec!["loss".into()], y_scale, ..curves() };
        let svg = answers.draw(Request::Curves(curves), Look::default()).unwrap();
        texts(&svg, "label-y").swap_remove(0)
    };
    assert_eq!(curves(YScale::Auto), "loss (log scale)");
    assert_eq!(curves(YScale::Linear), "loss");
    let metric = |y_scale| {
        let svg = answers.plot(Plot { y_scale, ..plot(Kind::Parallel) }).unwrap();
        texts(&svg, "axis-name").pop().unwrap()
    };
    assert_eq!(metric(YScale::Auto), "test error (%, log scale)");
    assert_eq!(metric(YScale::Linear), "test error (%)");
    let rows: Vec<Row> = (0..4)
        .map(|at| {
            let settings = vec![whole(at % 2), whole(at / 2)];
            Row(settings, 0, "completed", 0.001 * 9f64.powi(at as i32))
        })
        .collect();
    let answers = Answers::new(&["depth", "width"], &rows);
    let bar =
        |y_scale| texts(&answers.plot(Plot { y_scale, ..plot(Kind::Heat) }).unwrap(), "bar-label");
    assert_eq!(bar(YScale::Auto), ["test error (%, log scale)"]);
    assert_eq!(bar(YScale::Linear), ["test error (%)"]);
}

/// A deviation larger than the mean has no lower end on a logarithmic axis.
#[test]
fn spreads_beyond_an_axis_have_no_end_on_it() {
    let answers = of_pairs(&[(0.001, 0.5), (0.3, 0.31)]);
    let svg = answers.plot(loss(YScale::Log)).unwrap();
    assert_eq!((count(&svg, "spread"), count(&svg, "cap")), (2, 3));
    assert!(notes(&svg).contains("A deviation down to 0 or less goes beyond"), "{}", notes(&svg));
    // On a linear axis of errors it is cut at 0 as well, and at 100 %.
    let svg = of_pairs(&[(0.0, 0.9), (0.6, 1.0)]).plot(plot(Kind::Line)).unwrap();
    assert_eq!((count(&svg, "spread"), count(&svg, "cap")), (2, 1));
    let svg = of_pairs(&[(0.5, 0.6), (0.6, 0.7)]).plot(plot(Kind::Line)).unwrap();
    assert_eq!((count(&svg, "spread"), count(&svg, "cap")), (2, 4));
}

#[test]
fn bands_of_curves_do_not_fall_to_the_floor_of_a_logarithmic_axis() {
    let answers = of_pairs(&[(0.001, 0.5), (0.3, 0.31)]);
    let metrics = vec!["val_loss".into()];
    let curves = Curves { metrics, y_scale: YScale::Log, ..curves() };
    let svg = answers.draw(Request::Curves(curves), Look::default()).unwrap();
    let document = Document::parse(&svg).unwrap();
    let panel = of_class(&document, "val_loss")[0];
    let axis = panel.descendants().find(|it| it.attribute("class") == Some("axis")).unwrap();
    let floor: f64 = axis.attribute("y2").unwrap().parse().unwrap();
    let bands = of_class(&document, "band");
    assert_eq!(bands.len(), 2);
    for band in bands {
        let points = band.attribute("points").unwrap().split(' ');
        let lowest = points.map(|it| it.split_once(',').unwrap().1.parse::<f64>().unwrap());
        assert!(lowest.fold(0.0, f64::max) < floor - 1.0, "{band:?} {floor}");
    }
    assert!(notes(&svg).contains("A deviation down to 0 or less goes beyond"), "{}", notes(&svg));
}

#[test]
fn axes_of_errors_end_at_a_hundred_percent() {
    let answers = of_pairs(&[(0.5, 1.0), (0.9, 0.9)]);
    let svg = answers.plot(plot(Kind::Line)).unwrap();
    assert_eq!(texts(&svg, "tick-y").last().unwrap(), "100");
    let svg = answers.draw(Request::Curves(curves()), Look::default()).unwrap();
    assert!(texts(&svg, "tick-y").iter().all(|it| it != "120"), "{:?}", texts(&svg, "tick-y"));
}

/// Depth and activation, where both activations fail at a depth.
#[test]
fn equal_points_of_groups_lie_beside_each_other_on_an_axis_of_numbers() {
    let rows: Vec<Row> = [("relu", 2), ("grelu", 2), ("relu", 20), ("grelu", 20)]
        .into_iter()
        .map(|(activation, depth)| Row(vec![word(activation), whole(depth)], 0, "completed", 0.9))
        .collect();
    let svg = Answers::new(&["activation", "depth"], &rows).plot(line("depth")).unwrap();
    let document = Document::parse(&svg).unwrap();
    let lines = of_class(&document, "mean-line");
    let points = |at: usize| lines[at].attribute("points").unwrap();
    let x = |at: usize| points(at).split_once(',').unwrap().0.parse::<f64>().unwrap();
    assert!((4.0..8.0).contains(&(x(1) - x(0))), "{} {}", points(0), points(1));
    let svg = Answers::new(&["activation", "depth"], &rows[..1]);
    assert!(svg.plot(line("depth")).is_ok());
}

#[test]
fn parallel_lines_of_equal_settings_and_configs_without_a_value_are_told() {
    let mut rows: Vec<Row> = (0..3)
        .map(|at| {
            let settings = vec![whole(2), whole(5), whole(at)];
            Row(settings, 0, "completed", 0.1 + 0.1 * at as f64)
        })
        .collect();
    rows.push(Row(vec![whole(20), whole(10), whole(0)], 0, "diverged", f64::NAN));
    rows.push(Row(vec![whole(20), whole(10), whole(1)], 0, "diverged", f64::NAN));
    let svg = Answers::new(&["depth", "width", "p"], &rows).plot(plot(Kind::Parallel)).unwrap();
    let document = Document::parse(&svg).unwrap();
    let lines = of_class(&document, "config");
    let mut starts: Vec<&str> =
        lines.iter().map(|it| it.attribute("points").unwrap().split(' ').next().unwrap()).collect();
    starts.sort_unstable();
    starts.dedup();
    assert_eq!(starts.len(), 3, "{starts:?}");
    assert!(notes(&svg).contains("2 configs without a value have no line."), "{}", notes(&svg));
}

/// Eight configs of two schedules: one of them diverged at once, one has no epoch.
fn schedules() -> Answers {
    let mut rows = Vec::new();
    for (at, depth) in [2, 10, 20].into_iter().enumerate() {
        for activation in ["relu", "grelu"] {
            rows.push(Row(vec![word(activation), whole(depth)], 0, "completed", 0.1 * at as f64));
        }
    }
    rows.push(Row(vec![word("relu"), whole(80)], 0, "diverged", f64::NAN));
    rows.push(Row(vec![word("grelu"), whole(80)], 0, "running", f64::NAN));
    let mut answers = Answers::new(&["activation", "depth"], &rows);
    let gate = answers.epochs[0].columns.iter().position(|it| it.name == "gate").unwrap();
    for row in &mut answers.epochs[0].rows {
        if row.cells[1] == word("relu") {
            row.cells[gate] = float(1.0);
        }
    }
    let of_running = word(&rows[7].id(7));
    answers.epochs[0].rows.retain(|row| row.cells[0] != of_running);
    answers
}

#[test]
fn curves_have_a_gate_per_schedule_and_say_why_a_config_has_no_line() {
    let svg = schedules().draw(Request::Curves(curves()), Look::default()).unwrap();
    let document = Document::parse(&svg).unwrap();
    let gate = of_class(&document, "gate")[0];
    let lines = gate.children().filter(|node| node.attribute("class") == Some("curve"));
    let dashes: Vec<Option<&str>> = lines.map(|it| it.attribute("stroke-dasharray")).collect();
    assert_eq!(dashes, [Some("2 2.5"), Some("9 3 2 3")]);
    let labels = texts(&svg, "legend-label");
    assert_eq!(labels[6], "grelu, 80: no epoch yet", "of seven the one that may have a line");
    assert_eq!(labels[9..], ["gate: activation relu", "gate: activation grelu"]);
    assert!(notes(&svg).contains("7 of 8 configs are drawn"), "{}", notes(&svg));
    let conditions = vec!["activation=relu".into()];
    let narrow = Request::Curves(Curves { conditions, ..curves() });
    let svg = schedules().draw(narrow, Look::default()).unwrap();
    assert_eq!(texts(&svg, "legend-label")[3], "80: diverged");
    assert!(texts(&svg, "legend-label").iter().all(|it| !it.contains("gate")), "one schedule");
}

/// Without colours a line is known by its markers, of training as well.
#[test]
fn every_curve_ends_in_a_marker() {
    let svg = schedules().draw(Request::Curves(curves()), Look::default()).unwrap();
    let document = Document::parse(&svg).unwrap();
    let panel = of_class(&document, "loss")[0];
    let ends: Vec<&str> = panel
        .children()
        .filter(|node| node.attribute("class") == Some("curve"))
        .map(|node| node.attribute("points").unwrap().rsplit(' ').next().unwrap())
        .collect();
    assert_eq!(ends.len(), 12);
    let nodes: Vec<Node<'_, '_>> = panel.children().filter(Node::is_element).collect();
    let is_marked = |at: usize| {
        let after = nodes[at + 1..].iter().map(|node| node.attribute("class"));
        after.take_while(|class| *class == Some("point")).count() > 0
    };
    let curves = nodes.iter().enumerate().filter(|it| it.1.attribute("class") == Some("curve"));
    assert!(curves.into_iter().all(|(at, _)| is_marked(at)));
}

#[test]
fn early_stopping_is_told_from_trials_that_still_run() {
    let of = |state: &'static str| {
        let rows = [
            Row(vec![whole(2)], 0, "completed", 0.2),
            Row(vec![whole(2)], 1, state, 0.2),
            Row(vec![whole(10)], 0, "completed", 0.2),
        ];
        let mut answers = Answers::new(&["depth"], &rows);
        answers.epochs[0].rows.remove(5);
        if state == "running" {
            answers.trials[0].rows[1].cells[3] = word("running");
        }
        notes(&answers.draw(Request::Curves(curves()), Look::default()).unwrap())
    };
    assert!(of("completed").contains("After early stopping the mean is of the trials that go on."));
    let running = of("running");
    assert!(!running.contains("early") && running.contains("some are unfinished"), "{running}");
}

fn trial(state: &str, epochs: impl Iterator<Item = u32>) -> Answers {
    let epochs =
        epochs.map(|epoch| EpochReport { epoch, val_error: 0.5, ..EpochReport::default() });
    let state = state.to_owned();
    let trial = wire::Trial { state, epochs: epochs.collect(), ..wire::Trial::default() };
    Answers { trial, ..Answers::default() }
}

#[test]
fn curves_of_a_trial_say_what_is_not_in_them() {
    let one = Curves { trial: Some("00ab".into()), ..curves() };
    let draw = |answers: &Answers, curves: &Curves| {
        answers.draw(Request::Curves(curves.clone()), Look::default()).unwrap()
    };
    let svg = draw(&trial("diverged", 0..0), &one);
    assert_eq!(texts(&svg, "empty"), ["The trial diverged before the end of an epoch."]);
    let svg = draw(&trial("running", 0..0), &one);
    assert_eq!(texts(&svg, "empty"), ["No epoch is recorded yet."]);
    let svg = draw(&trial("completed", 1_001..=6_000), &one);
    let text = notes(&svg);
    assert!(text.contains("The newest 5000 epochs are drawn, not the 1000 before."), "{text}");
    let metrics = ["loss", "error", "lr", "grad_norm", "val_loss"].map(str::to_owned).to_vec();
    let svg = draw(&trial("completed", 1..=3), &Curves { metrics, ..one });
    assert!(notes(&svg).contains("The first 4 of 5 metrics are drawn."), "{}", notes(&svg));
}
