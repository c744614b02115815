//! Figures of tables made by hand: what is drawn, what is said, and that nothing breaks them.

use common::wire::{
    self, EpochReport, TableColumn, TableLevel, TablePart, TableRequest, TableRow, cell,
};
use proptest::prelude::*;
use roxmltree::{Document, Node};

use super::*;
use crate::query::{EPOCH_METRICS, Metric};

mod honest;
mod paper;
mod sizes;

/// What a source would answer.
#[derive(Clone, Default)]
struct Answers {
    survey: TablePart,
    trials: Vec<TablePart>,
    epochs: Vec<TablePart>,
    trial: wire::Trial,
}

fn column(name: &str) -> TableColumn {
    TableColumn { name: name.into(), ..TableColumn::default() }
}

fn word(text: &str) -> wire::Cell {
    wire::Cell { value: Some(cell::Value::Text(text.into())) }
}

fn float(number: f64) -> wire::Cell {
    wire::Cell { value: Some(cell::Value::Number(number)) }
}

fn whole(number: i64) -> wire::Cell {
    wire::Cell { value: Some(cell::Value::Integer(number)) }
}

/// A trial: its settings, seed, state, and the value of every metric.
#[derive(Debug)]
struct Row(Vec<wire::Cell>, i64, &'static str, f64);

impl Row {
    fn id(&self, at: usize) -> String {
        format!("{:016x}", at + 1)
    }
}

impl Answers {
    fn new(params: &[&str], rows: &[Row]) -> Answers {
        let of_trial = || ["trial"].iter().chain(params).chain(&["seed"]).map(|it| column(it));
        let mut trials = TablePart::default();
        trials.columns.extend(of_trial());
        trials.columns.push(column("state"));
        trials.columns.extend(Metric::ALL.map(|metric| column(metric.name())));
        let mut epochs = TablePart::default();
        epochs.columns.extend(of_trial());
        epochs.columns.push(column("epoch"));
        epochs.columns.extend(EPOCH_METRICS.map(column));
        for (at, row) in rows.iter().enumerate() {
            let mut start = vec![word(&row.id(at))];
            start.extend(row.0.clone());
            start.push(whole(row.1));
            let mut cells = start.clone();
            cells.push(word(row.2));
            cells.extend(Metric::ALL.map(|metric| match metric {
                Metric::Epochs | Metric::BestEpoch => whole(3),
                _ if row.3.is_nan() => word(""),
                _ => float(row.3),
            }));
            trials.rows.push(TableRow { cells });
            for epoch in 1..=3 {
                let mut cells = start.clone();
                cells.push(whole(epoch));
                cells.extend(EPOCH_METRICS.map(|metric| match metric {
                    "gate" => float(f64::min(1.0, epoch as f64 / 2.0)),
                    _ => float(row.3 / epoch as f64),
                }));
                epochs.rows.push(TableRow { cells });
            }
        }
        let columns = params.iter().map(|it| column(it)).chain([column("test_error")]).collect();
        let survey = TablePart { columns, metric: "test_error".into(), ..TablePart::default() };
        let (trials, epochs) = (vec![trials], vec![epochs]);
        Answers { survey, trials, epochs, trial: wire::Trial::default() }
    }

    /// Depth 2 and 20 with relu and grelu, two seeds each; the deep relu of seed 1 diverged.
    fn small() -> Answers {
        let mut rows = Vec::new();
        for (at, (depth, activation)) in
            [(2, "relu"), (2, "grelu"), (20, "relu"), (20, "grelu")].into_iter().enumerate()
        {
            for seed in 0..2 {
                let is_lost = (depth, activation, seed) == (20, "relu", 1);
                let value = 0.1 * (at as f64 + 1.0) + 0.02 * seed as f64;
                let (state, value) =
                    if is_lost { ("diverged", f64::NAN) } else { ("completed", value) };
                rows.push(Row(vec![word(activation), whole(depth)], seed, state, value));
            }
        }
        Answers::new(&["activation", "depth"], &rows)
    }

    fn draw(&self, request: Request, look: Look) -> Result<String, FigureError> {
        let mut drawing = Drawing::new(request, look)?;
        while let Some(question) = drawing.question() {
            let parts = match question {
                Question::Trial(_) => {
                    drawing.trial(self.trial.clone());
                    continue;
                }
                Question::Table(TableRequest { level, .. }) => match level.try_into().unwrap() {
                    TableLevel::Configs => std::slice::from_ref(&self.survey),
                    TableLevel::Trials => &self.trials,
                    TableLevel::Epochs => &self.epochs,
                },
            };
            for part in parts {
                if drawing.part(part).is_break() {
                    break;
                }
            }
        }
        drawing.finish()
    }

    fn plot(&self, plot: Plot) -> Result<String, FigureError> {
        self.draw(Request::Plot(plot), Look::default())
    }
}

fn plot(kind: Kind) -> Plot {
    Plot { sweep: "tiny".into(), kind, ..Plot::default() }
}

fn line(x: &str) -> Plot {
    Plot { x: Some(x.into()), ..plot(Kind::Line) }
}

fn curves() -> Curves {
    Curves { sweep: "tiny".into(), ..Curves::default() }
}

fn requests() -> Vec<Request> {
    let mut requests: Vec<Request> = vec![Request::Curves(curves())];
    requests.extend([Kind::Line, Kind::Heat, Kind::Parallel].map(|it| Request::Plot(plot(it))));
    requests
}

/// Elements of a class, in the order of the document.
fn of_class<'d>(document: &'d Document<'_>, class: &str) -> Vec<Node<'d, 'd>> {
    let is_one = |node: &Node<'_, '_>| {
        node.attribute("class").is_some_and(|it| it.split(' ').any(|known| known == class))
    };
    document.descendants().filter(is_one).collect()
}

fn count(svg: &str, class: &str) -> usize {
    of_class(&Document::parse(svg).unwrap(), class).len()
}

fn texts(svg: &str, class: &str) -> Vec<String> {
    let document = Document::parse(svg).unwrap();
    let text = |node: Node<'_, '_>| node.text().unwrap_or_default().to_owned();
    of_class(&document, class).into_iter().map(text).collect()
}

fn notes(svg: &str) -> String {
    texts(svg, "note").join(" ")
}

#[test]
fn figures_ask_for_the_tables_that_they_need() {
    let asked = |request: Request| {
        let mut drawing = Drawing::new(request, Look::default()).unwrap();
        let mut levels = Vec::new();
        while let Some(question) = drawing.question() {
            match question {
                Question::Table(table) => levels.push(table.level().as_str_name().to_owned()),
                Question::Trial(trial) => levels.push(trial.trial),
            }
        }
        levels
    };
    let plots = asked(Request::Plot(plot(Kind::Line)));
    assert_eq!(plots, ["TABLE_LEVEL_CONFIGS", "TABLE_LEVEL_TRIALS"]);
    let (y, by) = (Some("seconds".into()), Some(Vec::new()));
    let plots = asked(Request::Plot(Plot { y, by, ..line("depth") }));
    assert_eq!(plots, ["TABLE_LEVEL_TRIALS"], "nothing is left to the sweep's file");
    let all = asked(Request::Curves(curves()));
    assert_eq!(all, ["TABLE_LEVEL_TRIALS", "TABLE_LEVEL_EPOCHS"]);
    let one = Curves { trial: Some("00ab".into()), ..curves() };
    assert_eq!(asked(Request::Curves(one)), ["00ab"]);
}

#[test]
fn line_figure_has_a_marker_per_mean_and_a_dot_per_trial() {
    let svg = Answers::small().plot(plot(Kind::Line)).unwrap();
    assert_eq!(texts(&svg, "title"), ["tiny: test error against depth"], "the first of numbers");
    assert_eq!(count(&svg, "mean"), 4);
    assert_eq!(count(&svg, "mean-line"), 2);
    assert_eq!(count(&svg, "spread"), 3, "a single value has no spread");
    assert_eq!(count(&svg, "trial"), 6, "and its mean is its dot");
    assert_eq!(texts(&svg, "legend-label"), ["relu", "grelu", "diverged or failed"]);
    assert_eq!(count(&svg, "lost-trials"), 1);
    assert!(notes(&svg).contains("Mean of 1 to 2 trials ± sample standard deviation"));
    assert!(notes(&svg).contains("Not in the mean: 1 diverged trial."), "{}", notes(&svg));
    assert_eq!(texts(&svg, "label-y"), ["test error (%)"]);
    assert_eq!(texts(&svg, "tick-x"), ["2", "20"]);
    let document = Document::parse(&svg).unwrap();
    let described = document.descendants().find(|node| node.has_tag_name("desc")).unwrap();
    let text = described.text().unwrap();
    assert!(text.contains("relu: 11.0 at 2, 30.0 at 20."), "{text}");
}

#[test]
fn outcomes_are_drawn_as_percentages_of_the_trials_that_ended() {
    let y = |name: &str| Some(name.to_owned());
    let svg = Answers::small().plot(Plot { y: y("diverged"), ..plot(Kind::Line) }).unwrap();
    let document = Document::parse(&svg).unwrap();
    let described = document.descendants().find(|node| node.has_tag_name("desc")).unwrap();
    let text = described.text().unwrap();
    assert!(text.contains("relu: 0.00 at 2, 50.00 at 20. grelu: 0.00 at 2, 0.00 at 20."), "{text}");
    assert_eq!(texts(&svg, "label-y"), ["diverged trials (%)"]);
    assert_eq!(["mean", "spread", "trial", "lost-trials"].map(|it| count(&svg, it)), [4, 0, 0, 0]);
    assert_eq!(notes(&svg), "Percentage of 2 trials.");
    let svg = Answers::small().plot(Plot { y: y("completed"), ..plot(Kind::Heat) }).unwrap();
    assert_eq!(texts(&svg, "value"), ["100.0", "50.0", "100.0", "100.0"], "relu 2, 20; grelu");
    let mut answers = Answers::small();
    answers.survey.metric = "failed".into();
    let svg = answers.plot(plot(Kind::Line)).unwrap();
    assert_eq!(texts(&svg, "label-y"), ["failed trials (%)"], "as the sweep's file says");
}

#[test]
fn logarithmic_axes_are_refused_by_zero_alone() {
    let of = |value: f64| {
        let settings = [1, 2].map(|depth| vec![whole(depth)]);
        let rows: Vec<Row> = settings
            .into_iter()
            .zip([0.5, value])
            .map(|(settings, value)| Row(settings, 0, "completed", value))
            .collect();
        Answers::new(&["depth"], &rows)
            .plot(Plot { y_scale: YScale::Log, ..plot(Kind::Line) })
            .unwrap()
    };
    let svg = of(0.005);
    assert_eq!(texts(&svg, "tick-y"), ["0.5", "1", "2", "5", "10", "20", "50"]);
    assert!(!notes(&svg).contains("logarithmic"));
    let svg = of(0.0);
    assert!(notes(&svg).contains("Values of 0 have no place on a logarithmic axis."));
    assert_eq!(texts(&svg, "tick-y")[0], "0");
}

#[test]
fn words_stand_beside_each_other_in_the_order_of_the_file() {
    let svg = Answers::small().plot(line("activation")).unwrap();
    assert_eq!(texts(&svg, "tick-x"), ["relu", "grelu"]);
    assert_eq!(texts(&svg, "legend-label"), ["2", "20", "diverged or failed"]);
}

/// A config in which the parameter of the axis has no effect is the same everywhere.
#[test]
fn configs_without_the_parameter_of_the_axis_are_a_line_across() {
    let rows: Vec<Row> = [("relu", word("")), ("grelu", whole(1)), ("grelu", whole(5))]
        .into_iter()
        .map(|(activation, tau)| Row(vec![word(activation), tau], 0, "completed", 0.2))
        .collect();
    let svg = Answers::new(&["activation", "tau"], &rows).plot(line("tau")).unwrap();
    assert_eq!(count(&svg, "level"), 1);
    assert_eq!(texts(&svg, "label-x"), ["τ (epochs)"]);
    assert_eq!(count(&svg, "mean"), 3);
}

#[test]
fn more_groups_than_can_be_told_apart_are_cut_with_a_note() {
    let rows: Vec<Row> = (0..60)
        .map(|at| Row(vec![whole(at % 3 + 1), whole(at / 3)], 0, "completed", 0.2))
        .collect();
    let answers = Answers::new(&["depth", "width"], &rows);
    let svg = answers.plot(line("depth")).unwrap();
    assert_eq!(count(&svg, "legend-entry"), 12);
    assert_eq!(count(&svg, "mean"), 36, "of no other group");
    assert!(notes(&svg).contains("12 of 20 groups are drawn"), "{}", notes(&svg));
    let svg = answers.draw(Request::Curves(curves()), Look::default()).unwrap();
    assert!(notes(&svg).contains("7 of 60 configs are drawn"), "{}", notes(&svg));
}

#[test]
fn heat_map_has_a_cell_per_pair_with_its_value() {
    let svg = Answers::small().plot(plot(Kind::Heat)).unwrap();
    assert_eq!(texts(&svg, "title"), ["tiny: test error by activation and depth"]);
    assert_eq!(count(&svg, "cell"), 4);
    assert_eq!(texts(&svg, "value"), ["11.0", "30.0", "21.0", "41.0"]);
    assert_eq!(count(&svg, "std"), 3);
    assert_eq!(count(&svg, "best"), 1);
    assert!(notes(&svg).contains("the lowest is framed"), "{}", notes(&svg));
    let rows = vec![
        Row(vec![whole(1), whole(1)], 0, "diverged", f64::NAN),
        Row(vec![whole(2), whole(2)], 0, "completed", 0.5),
    ];
    let svg = Answers::new(&["depth", "width"], &rows).plot(plot(Kind::Heat)).unwrap();
    assert_eq!(texts(&svg, "why"), ["diverged"]);
    assert_eq!(count(&svg, "cell"), 2, "no cell where the sweep has no config");
}

#[test]
fn parallel_figure_has_an_axis_per_parameter_and_a_line_per_config() {
    let svg = Answers::small().plot(plot(Kind::Parallel)).unwrap();
    assert_eq!(texts(&svg, "axis-name"), ["activation", "depth", "test error (%)"]);
    assert_eq!(count(&svg, "config"), 4);
}

#[test]
fn curves_have_the_gate_beneath_on_an_axis_of_its_own() {
    let svg = Answers::small().draw(Request::Curves(curves()), Look::default()).unwrap();
    let document = Document::parse(&svg).unwrap();
    let panels = of_class(&document, "panel");
    let names: Vec<&str> = panels.iter().filter_map(|panel| panel.attribute("class")).collect();
    assert_eq!(names, ["panel val_error", "panel loss", "panel gate"]);
    let curves = |panel: &Node<'_, '_>| {
        panel.children().filter(|node| node.attribute("class") == Some("curve")).count()
    };
    let counted: Vec<usize> = panels.iter().map(curves).collect();
    assert_eq!(counted, [4, 8, 1], "validation and training in the second, one schedule");
    assert_eq!(texts(&svg, "label-x"), ["epoch"], "shared");
    assert_eq!(texts(&svg, "label-y"), ["validation error (%)", "loss", "gate"]);
    assert_eq!(count(&svg, "legend-entry"), 4 + 2);
    assert!(notes(&svg).contains("Not in the mean: 1 diverged trial."), "{}", notes(&svg));
    let one = Curves { metrics: vec!["lr".into(), "lr".into()], ..self::curves() };
    let svg = Answers::small().draw(Request::Curves(one), Look::default()).unwrap();
    assert_eq!(texts(&svg, "label-y"), ["learning rate", "gate"]);
}

#[test]
fn conditions_narrow_trials_and_epochs() {
    let conditions = vec!["depth=20".to_owned()];
    let narrow = Curves { conditions: conditions.clone(), ..curves() };
    let svg = Answers::small().draw(Request::Curves(narrow), Look::default()).unwrap();
    assert_eq!(texts(&svg, "title"), ["tiny (depth 20): learning curves"]);
    assert_eq!(texts(&svg, "legend-label")[..2], ["relu", "grelu"]);
    assert!(notes(&svg).contains("Mean of 1 to 2 trials"), "{}", notes(&svg));
    let svg = Answers::small().plot(Plot { conditions, ..plot(Kind::Line) }).unwrap();
    assert_eq!(texts(&svg, "tick-x"), ["relu", "grelu"], "what still varies");
}

#[test]
fn curves_of_one_trial_have_its_parameters() {
    let epochs: Vec<EpochReport> = (1..=5)
        .map(|epoch| EpochReport { epoch, val_error: 0.5, gate: 0.5, ..EpochReport::default() })
        .collect();
    let trial = wire::Trial {
        id: "00ab".into(),
        params: r#"{"depth":2,"activation":"relu"}"#.into(),
        state: "running".into(),
        epochs,
        ..wire::Trial::default()
    };
    let answers = Answers { trial, ..Answers::default() };
    let request = Curves { trial: Some("00ab".into()), ..curves() };
    let svg = answers.draw(Request::Curves(request), Look::default()).unwrap();
    assert_eq!(texts(&svg, "title"), ["tiny, trial 00ab: learning curves"]);
    assert_eq!(notes(&svg), "activation relu, depth 2, seed 0; running.");
    assert_eq!(count(&svg, "band"), 0);
}

#[test]
fn parameters_without_a_place_need_one() {
    let answers = Answers::small();
    let by = |names: &[&str]| Some(names.iter().map(|it| (*it).to_owned()).collect());
    let error = answers.plot(Plot { by: by(&[]), ..line("depth") }).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("`activation` varies in neither --x nor --by"), "{text}");
    for way in ["--where activation=VALUE", "--pool activation", "--best-by val_error"] {
        assert!(text.contains(way), "{way} in {text}");
    }
    let pool = vec!["activation".to_owned()];
    let svg = answers.plot(Plot { pool, ..line("depth") }).unwrap();
    assert_eq!(count(&svg, "mean"), 2);
    assert!(notes(&svg).contains("Replicates are seeds and activation."), "{}", notes(&svg));
    let best = Plot { by: by(&[]), best_by: Some("val_error".into()), ..line("depth") };
    let svg = answers.plot(best).unwrap();
    let text = notes(&svg);
    assert!(
        text.contains("Of activation those with the lowest validation error are shown"),
        "{text}"
    );
    let document = Document::parse(&svg).unwrap();
    let described = document.descendants().find(|node| node.has_tag_name("desc")).unwrap();
    assert!(described.text().unwrap().contains("11.0 at 2, 30.0 at 20"), "the best of each");
}

#[test]
fn mistakes_name_what_is_accepted() {
    let answers = Answers::small();
    let text = |plot: Plot| answers.plot(plot).unwrap_err().to_string();
    let unknown = text(line("dept"));
    let expected = "--x: `dept` does not vary in this sweep (did you mean `depth`?); `activation`, \
                    `depth` vary";
    assert_eq!(unknown, expected);
    let metric = text(Plot { y: Some("test_eror".into()), ..plot(Kind::Line) });
    assert!(metric.contains("(did you mean `test_error`?); accepted: `test_error`"), "{metric}");
    let twice = text(Plot { by: Some(vec!["depth".into()]), ..line("depth") });
    assert_eq!(twice, "parameter `depth` is in --x and in --by; leave it in one");
    let rows = Some(vec!["depth".into(), "activation".into()]);
    assert!(text(Plot { by: rows, ..plot(Kind::Heat) }).contains("--by names 2"));
    let x = text(Plot { x: Some("depth".into()), ..plot(Kind::Parallel) });
    assert!(x.starts_with("--x is not for a parallel figure"), "{x}");
    let condition = |it: &str| text(Plot { conditions: vec![it.into()], ..plot(Kind::Line) });
    assert!(condition("depth").contains("PARAMETER=VALUE is accepted"));
    let value = condition("activation=rellu");
    assert!(value.ends_with("no trial has that; values: `grelu`, `relu`"), "{value}");
    assert!(condition("dept=2").contains("did you mean `depth`?"));
    let size = Look { size: Some(Size { width: 10, height: 9_999 }), ..Look::default() };
    let error = answers.draw(Request::Plot(plot(Kind::Line)), size).unwrap_err();
    assert!(error.to_string().contains("280x200 to 4000x3000"), "{error}");
    let curves = Curves { metrics: vec!["gate".into()], ..curves() };
    let error = answers.draw(Request::Curves(curves), Look::default()).unwrap_err();
    assert!(error.is_mistake() && error.to_string().contains("`val_error`"), "{error}");
    let one = Answers::new(&[], &[Row(vec![], 0, "completed", 0.2)]);
    for kind in [Kind::Line, Kind::Heat, Kind::Parallel] {
        let error = one.plot(plot(kind)).unwrap_err();
        assert!(error.to_string().ends_with("no parameter varies"), "{error}");
    }
}

#[test]
fn tables_of_another_shape_are_told() {
    let mut answers = Answers::small();
    answers.trials[0].rows[3].cells.pop();
    let error = answers.plot(plot(Kind::Line)).unwrap_err();
    assert!(error == FigureError::Shape && !error.is_mistake(), "{error}");
    let mut answers = Answers::small();
    answers.epochs[0].columns.remove(0);
    let error = answers.draw(Request::Curves(curves()), Look::default()).unwrap_err();
    assert_eq!(error, FigureError::Shape);
}

#[test]
fn sweeps_without_results_are_figures_that_say_so() {
    let mut answers = Answers::small();
    for row in &mut answers.trials[0].rows {
        row.cells[4] = word("pending");
    }
    answers.epochs[0].rows.clear();
    for request in requests() {
        let svg = answers.draw(request, Look::default()).unwrap();
        let text = texts(&svg, "empty").join(" ");
        assert!(text.contains("yet"), "{text}");
    }
    let none = Answers::new(&["depth", "width"], &[]);
    let svg = none.draw(Request::Curves(curves()), Look::default()).unwrap();
    assert_eq!(texts(&svg, "empty"), ["There are no such trials."]);
}

#[test]
fn figures_need_nothing_but_themselves() {
    for theme in [Theme::Light, Theme::Dark] {
        for request in requests() {
            let svg = Answers::small().draw(request, Look { theme, size: None }).unwrap();
            let document = Document::parse(&svg).unwrap();
            let root = document.root_element();
            assert_eq!(root.attribute("role"), Some("img"));
            let first: Vec<&str> = root
                .children()
                .filter(Node::is_element)
                .take(2)
                .map(|node| node.tag_name().name())
                .collect();
            assert_eq!(first, ["title", "desc"]);
            for node in document.descendants().filter(Node::is_element) {
                let name = node.tag_name().name();
                assert!(!["script", "style", "image", "use", "a"].contains(&name), "{name}");
                for attribute in node.attributes() {
                    let name = attribute.name();
                    assert!(!["href", "id", "style"].contains(&name), "{name}");
                    assert!(!name.starts_with("on") && !attribute.value().contains("url("));
                }
            }
        }
    }
}

#[test]
fn large_sweeps_are_drawn_in_bounded_size() {
    let rows: Vec<Row> = (0..30_000)
        .map(|at| {
            let settings = vec![whole(at % 100 + 1), whole(at / 100), whole(at % 7)];
            Row(settings, 0, "completed", 0.1 + at as f64 * 1e-6)
        })
        .collect();
    let answers = Answers::new(&["depth", "width", "batch_size"], &rows);
    for (request, note) in [
        (plot(Kind::Parallel), "The 1500 lowest of 20000 configs are drawn."),
        (Plot { pool: vec!["batch_size".into()], ..plot(Kind::Heat) }, "The first 60 columns"),
        (
            line("depth"),
            "The first 20000 configs and 1000000 values are shown; 10000 trials beyond",
        ),
    ] {
        let svg = answers.plot(request).unwrap();
        assert!(svg.len() < 2 << 20, "{}", svg.len());
        assert!(notes(&svg).contains(note), "{note} in {}", notes(&svg));
    }
    let svg = answers.draw(Request::Curves(curves()), Look::default()).unwrap();
    assert!(svg.len() < 1 << 20, "{}", svg.len());
}

fn any_cell() -> impl Strategy<Value = wire::Cell> {
    prop_oneof![
        any::<String>().prop_map(|text| word(&text)),
        Just(word("")),
        any::<f64>().prop_map(float),
        (0.0..1.0f64).prop_map(float),
        any::<i64>().prop_map(whole),
        (1..200i64).prop_map(whole),
        Just(wire::Cell { value: None }),
    ]
}

prop_compose! {
    fn any_row()(
        a in any_cell(), b in any_cell(), c in any_cell(), seed in 0..3i64,
        state in prop_oneof![
            4 => Just("completed"), 1 => Just("diverged"), 1 => Just("failed"), 1 => Just("running")
        ],
        value in prop_oneof![any::<f64>(), 0.0..1.0f64],
    ) -> Row {
        Row(vec![a, b, c], seed, state, value)
    }
}

prop_compose! {
    fn any_look()(dark in any::<bool>(), width in 280..1_000u32, height in 200..1_200u32) -> Look {
        let theme = if dark { Theme::Dark } else { Theme::Light };
        Look { theme, size: Some(Size { width, height }) }
    }
}

proptest! {
    /// Whatever a table has, the figure is well-formed and its coordinates are numbers.
    #[test]
    fn figures_of_anything_are_well_formed(
        rows in prop::collection::vec(any_row(), 0..12),
        name in any::<String>(), look in any_look(), scale in 0..3usize, at in 0..4usize,
    ) {
        let answers = Answers::new(&["depth", "tau", "activation"], &rows);
        let y_scale = [YScale::Auto, YScale::Linear, YScale::Log][scale];
        let request = match requests().swap_remove(at) {
            Request::Plot(plot) => {
                // A heat map has room for two of three parameters.
                let best_by = (plot.kind == Kind::Heat).then(|| "val_error".to_owned());
                Request::Plot(Plot { sweep: name, y_scale, best_by, ..plot })
            }
            Request::Curves(curves) => Request::Curves(Curves { sweep: name, y_scale, ..curves }),
        };
        match answers.draw(request, look) {
            Ok(svg) => {
                let document = Document::parse(&svg).unwrap();
                prop_assert!(!svg.contains("NaN") || rows.iter().any(|row| format!("{:?}", row.0)
                    .contains("NaN")), "{svg}");
                for node in document.descendants().filter(Node::is_element) {
                    for attribute in node.attributes() {
                        let value = attribute.value();
                        prop_assert!(!value.contains("inf") && !value.contains("NaN"), "{value}");
                    }
                }
            }
            Err(error) => prop_assert!(error.is_mistake(), "{error}"),
        }
    }
}
