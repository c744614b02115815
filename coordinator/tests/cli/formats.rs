//! Tables in the formats of papers and notebooks, read by what papers and notebooks read them with.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use parquet::basic::{ConvertedType, Type};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

use crate::bench::{Bench, printed, refused};

/// What a program prints; none, with a message, where it is not installed.
fn installed(program: &str, arguments: &[&str], folder: &Path) -> Option<String> {
    let output = match Command::new(program).args(arguments).current_dir(folder).output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("skipped: {program} does not start: {error}");
            return None;
        }
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {text}\n{error}");
    Some(text)
}

#[test]
fn parquet_has_typed_columns_that_may_be_null() {
    let bench = Bench::new();
    printed(bench.read(&["table", "tiny", "--trials", "--provenance", "-o", "trials.parquet"]));
    let reader = SerializedFileReader::new(File::open(bench.path("trials.parquet")).unwrap());
    let reader = reader.unwrap();
    let schema = reader.metadata().file_metadata().schema_descr();
    let kind = |name: &str| {
        let column = schema.columns().iter().find(|column| column.name() == name);
        let column = column.unwrap_or_else(|| panic!("a column {name}"));
        (column.physical_type(), column.converted_type())
    };
    let text = (Type::BYTE_ARRAY, ConvertedType::UTF8);
    let number = (Type::DOUBLE, ConvertedType::NONE);
    let integer = (Type::INT64, ConvertedType::NONE);
    assert_eq!(kind("trial"), text);
    assert_eq!(kind("depth"), integer);
    assert_eq!(kind("activation"), text);
    assert_eq!(kind("seed"), (Type::INT64, ConvertedType::UINT_64));
    assert_eq!(kind("test_error"), number);
    assert_eq!(kind("best_epoch"), integer);
    assert_eq!(kind("device"), text);
    assert_eq!(kind("threads"), integer);
    let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 8);
    let field = |row: usize, name: &str| {
        let mut columns = rows[row].get_column_iter();
        columns.find(|(column, _)| *column == name).map(|(_, field)| field.clone()).unwrap()
    };
    assert_eq!(field(0, "trial"), Field::Str(bench.trial(0)));
    assert_eq!(field(3, "test_error"), Field::Double(0.05 + 0.03));
    assert_eq!(field(5, "test_error"), Field::Null);
    assert_eq!(field(5, "state"), Field::Str("diverged".into()));
    assert_eq!(field(7, "device"), Field::Null);
}

#[test]
fn parquet_opens_in_pandas_and_polars() {
    let bench = Bench::new();
    printed(bench.read(&["table", "tiny", "--trials", "-o", "trials.parquet"]));
    printed(bench.read(&["table", "tiny", "-o", "table.parquet"]));
    let python = std::env::var("GRADSWEEP_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    for (library, text) in [("pandas", "str"), ("polars", "String")] {
        let probe = format!("import {library}");
        let found = Command::new(&python).args(["-c", &probe]).output();
        if !found.is_ok_and(|found| found.status.success()) {
            eprintln!("skipped: {python} has no {library}");
            continue;
        }
        let script = format!(
            "import {library} as library\n\
             trials = library.read_parquet('trials.parquet')\n\
             assert trials.shape[0] == 8, trials\n\
             kind = lambda name: str(trials[name].dtype).lower()\n\
             assert kind('depth') == 'int64', kind('depth')\n\
             assert kind('seed') == 'uint64', kind('seed')\n\
             assert kind('test_error') == 'float64', kind('test_error')\n\
             assert kind('activation') in ('{text}', 'object', 'string'), kind('activation')\n\
             assert abs(trials['test_error'].mean() - 0.07) < 1e-12\n\
             table = library.read_parquet('table.parquet')\n\
             assert 'test_error_mean[activation=grelu]' in table.columns, table.columns\n",
            text = text.to_lowercase(),
        );
        installed(&python, &["-c", &script], bench.folder.path());
    }
}

#[test]
fn latex_compiles() {
    let bench = Bench::new();
    let requests: [&[&str]; 4] = [
        &["table", "tiny"],
        &["table", "tiny", "--columns", "depth,activation"],
        &["table", "tiny", "--metric", "diverged"],
        &["table", "tiny", "--trials"],
    ];
    let mut document = String::from(
        "\\documentclass{article}\n\\usepackage{booktabs}\n\\usepackage{longtable}\n\
         \\usepackage[landscape]{geometry}\n\\begin{document}\n",
    );
    for request in requests {
        let table = printed(bench.read(&[request, &["--format", "latex"]].concat()));
        assert!(table.contains("\\toprule") && table.contains("\\bottomrule"), "{table}");
        document.push_str(&format!("{table}\n\n\\bigskip\n"));
    }
    document.push_str("\\end{document}\n");
    std::fs::write(bench.path("table.tex"), document).unwrap();
    let arguments = ["-interaction=nonstopmode", "-halt-on-error", "table.tex"];
    if let Some(text) = installed("pdflatex", &arguments, bench.folder.path()) {
        assert!(text.contains("Output written on table.pdf"), "{text}");
    }
}

#[test]
fn markdown_is_a_pipe_table() {
    let bench = Bench::new();
    let text = printed(bench.read(&["table", "tiny", "--format", "markdown"]));
    let expected = "\
test\\_error in %: mean ± standard deviation (trials); bold: best of its column

| activation \\ depth | relu | grelu |
| ---: | ---: | ---: |
| 2 | **5.50 ± 0.71** (2) | **7.50 ± 0.71** (2) |
| 30 | 9.00 (1, 1 diverged) | - (0, 1 failed, 1 unfinished) |
";
    assert_eq!(text, expected);
}

#[test]
fn outcomes_are_counted() {
    let bench = Bench::new();
    let text = printed(bench.read(&["table", "tiny", "--metric", "diverged", "--format", "csv"]));
    let expected = "\
depth,diverged[activation=relu],diverged[activation=grelu]
2,0,0
30,1,0
";
    assert_eq!(text, expected);
    let text = printed(bench.read(&["table", "tiny", "--metric", "failed"]));
    assert!(text.starts_with("failed: number of trials\n"), "{text}");
    let text = refused(bench.read(&["table", "tiny", "--metric", "faild"]), 2);
    assert!(text.contains("did you mean `failed`"), "{text}");
}

#[test]
fn provenance_belongs_to_trials() {
    let bench = Bench::new();
    let text = refused(bench.read(&["table", "tiny", "--provenance"]), 2);
    assert!(text.contains("--trials"), "{text}");
    let text = printed(bench.read(&["table", "tiny", "--trials", "--provenance"]));
    assert!(text.contains("libtorch_version") && text.contains("data_digest"), "{text}");
    assert!(text.contains(r#""batch_size":"#), "defaults are parameters, too: {text}");
}

#[test]
fn an_export_has_everything_and_appears_when_it_is_whole() {
    let bench = Bench::new();
    bench.read(&["export", "tiny", "out"]).code(0);
    let files = [
        "sweep.yaml",
        "provenance.json",
        "expectations.json",
        "table.md",
        "table.tex",
        "table.csv",
        "trials.parquet",
        "epochs.parquet",
        "figures/plot.svg",
        "figures/heat.svg",
        "figures/parallel.svg",
        "figures/curves.svg",
        "figures/plot.png",
        "figures/heat.png",
        "figures/parallel.png",
        "figures/curves.png",
    ];
    for file in files {
        let length = bench.path("out").join(file).metadata().unwrap().len();
        assert!(length > 0, "{file}");
    }
    assert!(std::fs::read_to_string(bench.path("out/sweep.yaml")).unwrap().contains("name: tiny"));
    let text = std::fs::read_to_string(bench.path("out/provenance.json")).unwrap();
    let provenance: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(provenance["sweep"]["trials"]["completed"], 5);
    assert_eq!(provenance["origins"][0]["trials"], 7);
    assert_eq!(provenance["origins"][0]["device"], "cpu");
    assert_eq!(provenance["origins"][0].get("params"), None, "a column of trials.parquet");

    let text = refused(bench.read(&["export", "tiny", "out"]), 2);
    assert!(text.contains("--force replaces it"), "{text}");
    bench.read(&["export", "tiny", "out", "--force"]).code(0);
    // What is no export is never replaced.
    std::fs::create_dir(bench.path("mine")).unwrap();
    std::fs::write(bench.path("mine/thesis.tex"), "years").unwrap();
    let text = refused(bench.read(&["export", "tiny", "mine", "--force"]), 2);
    assert!(text.contains("is no export"), "{text}");
    refused(bench.read(&["export", "tinny", "new"]), 2);
    let left = std::fs::read_dir(bench.folder.path()).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("partial")), "{left:?}");
    assert!(!bench.path("new").exists());
}

#[test]
fn watch_without_a_coordinator_tells_where_the_sweep_was_left() {
    let bench = Bench::new();
    let text = printed(bench.read(&["watch", "tiny"]));
    assert!(text.starts_with("tiny: 7/8 done, 0 running, 1 failed, 1 diverged"), "{text}");
    assert!(refused(bench.read(&["watch", "tinny"]), 2).contains("did you mean `tiny`"));
}
