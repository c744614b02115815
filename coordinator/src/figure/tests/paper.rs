//! The paper's figure of depth: the sweep file and the defaults of figures fit each other.

use common::config::Param;
use common::spec;

use super::*;

const DEPTH: &str = include_str!("../../../../sweeps/depth.yaml");

/// The file's trials, with made-up values; its table as the survey of its figure.
pub(super) fn answers(overlay: Option<&str>) -> Answers {
    let options = spec::Options { overlay: overlay.map(str::to_owned), ..Default::default() };
    let (sweep, _) = spec::load(DEPTH, "depth.yaml", &options).unwrap();
    let table = &sweep.table;
    let params: Vec<Param> = table.rows.iter().chain(&table.columns).copied().collect();
    let names: Vec<String> = params.iter().map(ToString::to_string).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(names, ["depth", "activation", "init", "init_gain"]);
    let mut rows = Vec::new();
    for (config, _, seed) in sweep.expand() {
        let setting = |param: &Param| match (config.word(*param), config.number(*param)) {
            (Some(text), _) => word(text),
            (None, Some(number)) => float(number),
            (None, None) => word(""),
        };
        let value = 0.01 + 1e-4 * rows.len() as f64;
        rows.push(Row(
            params.iter().map(setting).collect(),
            seed.cast_signed(),
            "completed",
            value,
        ));
    }
    let mut answers = Answers::new(&names, &rows);
    // As the head of the sweep's own table: rows, then a column per pivoted config.
    let pivoted = TableColumn {
        name: "activation=relu init=he init_gain=1".into(),
        key: [("activation".to_owned(), "relu".to_owned())].into(),
        ..TableColumn::default()
    };
    answers.survey.columns = vec![column("depth"), pivoted];
    answers.survey.metric = table.metric.clone().unwrap();
    answers
}

#[test]
fn figure_of_depth_has_its_axis_groups_and_labels_without_any_flag() {
    for (overlay, ticks) in [
        (None, &["2", "5", "10", "20", "50", "100", "200"][..]),
        (Some("small"), &["2", "10", "40", "80"][..]),
    ] {
        let svg = answers(overlay).plot(plot(Kind::Line)).unwrap();
        assert_eq!(texts(&svg, "title"), ["tiny: test error against depth"]);
        assert_eq!(texts(&svg, "tick-x"), ticks);
        assert_eq!(texts(&svg, "label-x"), ["depth (hidden layers, log scale)"]);
        assert_eq!(texts(&svg, "label-y"), ["test error (%)"]);
        assert_eq!(texts(&svg, "legend-title"), ["activation, init, init gain"]);
        let groups = [
            "relu, orthogonal, 1",
            "relu, orthogonal, 1.414",
            "relu, he, 1",
            "grelu, orthogonal, 1",
        ];
        let mut labels = texts(&svg, "legend-label");
        labels.sort();
        let mut expected = groups.map(str::to_owned);
        expected.sort();
        assert_eq!(labels, expected);
        let points = ticks.len() * groups.len() - usize::from(overlay.is_none());
        assert_eq!(count(&svg, "mean"), points, "without the depth that the file excludes");
    }
}
