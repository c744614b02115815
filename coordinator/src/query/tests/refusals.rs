//! Questions with a mistake: what is wrong, what there is, what may have been meant.

use super::*;

#[track_caller]
fn says(found: (Class, String), class: Class, parts: &[&str]) {
    assert_eq!(found.0, class, "{}", found.1);
    for part in parts {
        assert!(found.1.contains(part), "`{}` does not say `{part}`", found.1);
    }
}

#[test]
fn refusal_names_the_sweeps_there_are() {
    let mut bench = Bench::new(YAML);
    bench.apply("name: other\nmodel: mlp\ndata: strokes\n");
    let found = bench.reader().sweep("dephts").expect_err("unknown");
    let parts = ["unknown sweep `dephts`", "did you mean `depths`?", "sweeps: `depths`, `other`"];
    says((found.class(), found.to_string()), Class::NotFound, &parts);
    let found = bench.reader().trial("nothing-like-it", "0000").expect_err("unknown");
    assert!(!found.to_string().contains("did you mean"), "{found}");
}

#[test]
fn refusal_of_a_state_directory_without_results() {
    let dir = tempfile::tempdir().unwrap();
    let found = Reader::open(dir.path()).err().expect("refused");
    let parts = ["no results in", &dir.path().display().to_string(), "--state"];
    says((found.class(), found.to_string()), Class::NotFound, &parts);
    fs::write(dir.path().join("gradsweep.db"), "").unwrap();
    let found = Reader::open(dir.path()).err().expect("an empty file");
    assert!(matches!(found, QueryError::NoStore { .. }), "{found}");
    fs::write(dir.path().join("gradsweep.db"), "not a database".repeat(100)).unwrap();
    let found = Reader::open(dir.path()).err().expect("no database");
    says((found.class(), chain(&found)), Class::Internal, &["it is not an SQLite database"]);
}

#[test]
fn refusal_of_other_schema_versions() {
    let bench = Bench::new(YAML);
    let file = bench.dir.path().join("gradsweep.db");
    let version = |version: i64| {
        let connection = rusqlite::Connection::open(&file).unwrap();
        connection.pragma_update(None, "user_version", version).unwrap();
        Reader::open(bench.dir.path()).err().expect("refused").to_string()
    };
    let newer = version(sqlite::VERSION + 1);
    assert!(newer.contains("use the newer program"), "{newer}");
}

#[test]
fn refusal_names_parameters_and_metrics() {
    let bench = Bench::new(YAML);
    let found = bench.refusal(&request(|request| request.rows = names(&["dept"])));
    let parts = [
        "--rows: unknown parameter `dept`",
        "did you mean `depth`?",
        "`activation`, `depth`, `lr` vary",
        "`width`",
    ];
    says(found, Class::Invalid, &parts);
    let found = bench.refusal(&request(|request| request.columns = names(&["conv"])));
    says(found, Class::Invalid, &["--columns: unknown parameter `conv`"]);
    let found = bench.refusal(&request(|request| request.metric = "tset_error".into()));
    says(
        found,
        Class::Invalid,
        &["did you mean `test_error`?", "accepted: `test_error`", "`seconds`"],
    );
    let found = bench.refusal(&request(|request| request.best_by = "seconds".into()));
    says(found, Class::Invalid, &["--best-by: unknown metric `seconds`", "`val_error`"]);
}

#[test]
fn refusal_of_a_varying_parameter_without_axis_offers_what_helps() {
    let bare = YAML.split("table:").next().unwrap();
    let found = Bench::new(bare).refusal(&request(|request| request.rows = names(&["depth"])));
    let parts = [
        "`activation`, `lr` vary on neither axis",
        "--rows or --columns",
        "--pool activation,lr",
        "--best-by val_error",
    ];
    says(found, Class::Invalid, &parts);
}

#[test]
fn refusal_of_a_parameter_in_two_places() {
    let bench = Bench::new(YAML);
    let found = bench.refusal(&request(|request| {
        request.rows = names(&["depth", "lr"]);
        request.pool = names(&["lr"]);
    }));
    says(found, Class::Invalid, &["parameter `lr` is in --rows and in --pool"]);
}

#[test]
fn refusal_of_fields_that_a_level_does_not_have() {
    let bench = Bench::new(YAML);
    let found = bench.refusal(&request(|request| {
        request.level = TableLevel::Trials.into();
        request.pool = names(&["lr"]);
    }));
    says(found, Class::Invalid, &["--pool belongs to a table of configs, not to one of trials"]);
    let found = bench.refusal(&request(|request| request.level = 7));
    says(found, Class::Invalid, &["unknown table level 7"]);
}

#[test]
fn refusal_of_a_table_that_is_too_wide() {
    let bench = Bench::new(
        "name: depths\nmodel: mlp\ndata: strokes\ngrid: {lr: {linspace: [0.001, 0.9, 2100]}}\n",
    );
    let found = bench.refusal(&request(|request| request.columns = names(&["lr"])));
    says(found, Class::Invalid, &["the table has 2100 columns", "from --columns to --rows"]);
}

#[test]
fn refusal_of_trial_ids() {
    let mut bench = Bench::new(YAML);
    let depths = bench.trials.clone();
    bench.apply("name: other\nmodel: mlp\ndata: strokes\ngrid: {width: [3, 4]}\n");
    let reader = bench.reader();
    let ask = |trial: &str| {
        let found = reader.trial("depths", trial).expect_err("refused");
        (found.class(), found.to_string())
    };
    for text in ["123", "xyz1", "01234567890123456", ""] {
        says(ask(text), Class::Invalid, &[&format!("`{text}` is not a trial id"), "4 to 16"]);
    }
    let elsewhere = bench.trials[0].id.to_string();
    let parts = [
        &*format!("no trial `{elsewhere}` in sweep `depths`"),
        "has 16 trials",
        "belongs to `other`",
        "`table depths --trials` lists them",
    ];
    says(ask(&elsewhere), Class::NotFound, &parts);
    // Two ids that begin alike.
    let id = depths[0].id;
    let twin = common::ids::TrialId(id.0 ^ 1);
    let trial = Trial { id: twin, ..depths[0].clone() };
    bench.commit([
        Change::TrialsAdded(vec![trial]),
        Change::MembersAdded {
            sweep: "depths".parse().unwrap(),
            first_index: 99,
            trials: vec![twin],
        },
    ]);
    let start = &id.to_string()[..15];
    let parts = ["could be any of", &id.to_string(), &twin.to_string(), "give more digits"];
    says(ask(start), Class::Invalid, &parts);
    assert_eq!(reader.trial("depths", &twin.to_string()).unwrap().id, twin.to_string());
}
