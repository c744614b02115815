//! The client's commands as processes: what they print, to where, and their exit status. Results
//! are read from a state directory that no coordinator serves.
#![allow(clippy::unwrap_used, reason = "tests")]

mod bench;
mod formats;
mod model;

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::Command;
use bench::{Bench, YAML, command, json, printed, refused, run_in};
use common::spec;

#[test]
fn plan_shows_what_would_run_in_each_format() {
    let bench = Bench::new();
    let text = printed(bench.run(&["plan", "tiny.yaml"]));
    assert!(text.contains("\nconfigs     4\n") && text.contains("\ntrials      8\n"), "{text}");
    let text = printed(bench.run(&["plan", "tiny.yaml", "--trials"]));
    assert!((0..8).all(|at| text.contains(&format!("\n{} ", bench.trial(at)))), "{text}");
    let value = json(bench.run(&["plan", "tiny.yaml", "--trials", "--format", "json"]));
    assert_eq!(value["trial_list"][0]["trial"], bench.trial(0), "{value}");
    let text = printed(bench.run(&["plan", "tiny.yaml", "--trials", "--format", "csv"]));
    assert_eq!(csv::Reader::from_reader(text.as_bytes()).records().count(), 8);
    let set = ["plan", "tiny.yaml", "--set", "grid.depth=[7]", "--set", "tiny:seeds=3"];
    let set = [&set[..], &["--set", "expect=[]"]].concat();
    let text = printed(bench.run(&set));
    assert!(text.contains("\ntrials      6\n"), "{text}");
}

#[test]
fn plan_refuses_with_every_mistake() {
    let bench = Bench::new();
    let text = refused(bench.run(&["plan", "absent.yaml"]), 2);
    assert!(text.starts_with("error: cannot read the sweep file absent.yaml: "), "{text}");
    let bad = "name: bad\nmodel: mlp\ndata: strokes\nbase: {wdith: 3, lr: fast}\n";
    fs::write(bench.folder.path().join("bad.yaml"), bad).unwrap();
    let text = refused(bench.run(&["plan", "bad.yaml"]), 2);
    for expected in ["bad.yaml:4:", "`wdith`", "`width`", "fast"] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
    let text = refused(bench.run(&["plan", "tiny.yaml", "--max-trials", "7"]), 2);
    assert!(text.contains("--max-trials"), "{text}");
    let text = refused(bench.run(&["plan", "tiny.yaml", "--overlay", "small"]), 2);
    assert!(text.contains("small"), "{text}");
    let text = refused(bench.run(&["plan", "tiny.yaml", "--set", "other:seeds=3"]), 2);
    assert!(text.contains("no sweep `other` is given; accepted: `tiny`"), "{text}");
    let text = refused(bench.run(&["plan", "tiny.yaml", "--format", "xml"]), 2);
    assert!(text.contains("[possible values: text, csv, json]"), "{text}");
}

#[test]
fn data_check_says_what_a_data_set_holds() {
    let folder = tempfile::tempdir().unwrap();
    let text = printed(run_in(folder.path(), &["data", "check", "strokes"]));
    assert!(text.starts_with("strokes: 1x28x28\n"), "{text}");
    assert!(text.contains("train: 10000 examples") && text.contains("digest "), "{text}");
}

#[test]
fn data_check_names_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let check = |arguments: &[&str], status| {
        refused(run_in(folder.path(), &[&["data", "check"], arguments].concat()), status)
    };
    let text = check(&["mnist", "--data", "here"], 1);
    assert!(text.contains("no `train-images-idx3-ubyte` or") && text.contains("here"), "{text}");
    fs::create_dir_all(folder.path().join("data/mnist")).unwrap();
    let image_file = folder.path().join("data/mnist/train-images-idx3-ubyte");
    fs::write(&image_file, [0, 0, 8, 3, 0, 0, 0, 9, 0, 0, 0, 28, 0, 0, 0, 28, 1]).unwrap();
    let text = check(&["mnist"], 1);
    assert!(text.contains("train-images-idx3-ubyte"), "{text}");
    fs::write(&image_file, "no IDX file").unwrap();
    let text = check(&["mnist"], 1);
    assert!(text.contains("train-images-idx3-ubyte"), "{text}");
    let text = check(&["mnits"], 2);
    assert_eq!(
        text,
        "error: unknown data set `mnits`; accepted: `mnist`, `cifar10`, \
         `cluttered-mnist`, `strokes`\n"
    );
    let text = check(&["cifar10"], 1);
    assert!(text.contains("`coordinator data fetch cifar10` downloads it"), "{text}");
    fs::create_dir_all(folder.path().join("data/cifar-10")).unwrap();
    for name in ["data_batch_1.bin", "test_batch.bin"] {
        fs::write(folder.path().join("data/cifar-10").join(name), "no records").unwrap();
    }
    let text = check(&["cifar10"], 1);
    let expected = "error: ./data/cifar-10/data_batch_1.bin has 10 bytes of content, not a \
                    multiple of 3073 (a label and an image)\n";
    assert_eq!(text, expected);
}

#[test]
fn data_check_says_where_a_data_set_is_a_subset() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("data/cifar-10")).unwrap();
    for (name, records) in [("data_batch_1.bin", 10), ("test_batch.bin", 3)] {
        let records = vec![1; records * 3073];
        fs::write(folder.path().join("data/cifar-10").join(name), records).unwrap();
    }
    let text = printed(run_in(folder.path(), &["data", "check", "cifar10"]));
    for expected in [
        "cifar10: 3x32x32\n",
        "data_batch_1.bin: 30730 bytes, MD5 ",
        ", not checked: a part of the file\n",
        "  train: 8 examples; per class 0 8 0",
        "  val: 2 examples;",
        "  test: 3 examples;",
        "  a subset: the full set has 40000, 10000 and 10000 examples;",
    ] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
}

/// What the download itself does is tested with its library; here is what the command says of it.
#[test]
fn data_fetch_says_what_it_did_or_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let fetch =
        |arguments: &[&str]| run_in(folder.path(), &[&["data", "fetch"], arguments].concat());
    let text = printed(fetch(&["strokes"]));
    assert_eq!(text, "strokes is drawn by the program: nothing to fetch\n");
    let text = refused(fetch(&["mnits"]), 2);
    assert!(text.starts_with("error: unknown data set `mnits`; accepted: `mnist`"), "{text}");
    let text = refused(fetch(&["mnist", "--mirror", "ftp://x"]), 2);
    let expected = "error: --mirror `ftp://x` is not an address; accepted: http://… or https://…\n";
    assert_eq!(text, expected);
    // Nobody listens there any more.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mirrors = format!("http://{closed}/a,http://{closed}/b/");
    let mut command = command(folder.path(), &["data", "fetch", "cifar10", "--data", "here"]);
    command.env("GRADSWEEP_MIRRORS", &mirrors);
    let text = refused(Command::from_std(command).assert(), 1);
    for expected in [
        &format!("http://{closed}/a/cifar-10-binary.tar.gz: "),
        &format!("http://{closed}/b/cifar-10-binary.tar.gz: "),
        "\nerror: no mirror gave `cifar-10-binary.tar.gz`\n",
        "\nname others with --mirror or GRADSWEEP_MIRRORS, or unpack it yourself into ",
    ] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
}

#[test]
fn list_status_and_workers_show_where_things_stand() {
    let bench = Bench::new();
    let text = printed(bench.read(&["list"]));
    assert!(
        text.contains("tiny        7 of 8        0         1       1          0              2.50"),
        "{text}"
    );
    let value = json(bench.read(&["list", "--format", "json"]));
    assert_eq!((&value[0]["name"], &value[0]["trials"]["completed"]), (&"tiny".into(), &5.into()));
    let text = printed(bench.read(&["status", "tiny"]));
    assert!(
        text.contains("\ntrials   8: 5 completed, 1 pending, 1 diverged, 1 failed\n"),
        "{text}"
    );
    assert!(text.contains(&format!("  {}: as the test says\n", bench.trial(6))), "{text}");
    let value = json(bench.read(&["status", "tiny", "--format", "json"]));
    assert_eq!(value["best_trial"], bench.trial(0));
    let text = printed(bench.read(&["workers"]));
    assert!(text.contains("w1      host1  lost   cpu          0 of 2"), "{text}");
    let value = json(bench.read(&["workers", "--format", "json"]));
    assert_eq!(value[0]["slots"].as_array().unwrap().len(), 2);
}

#[test]
fn table_is_the_sweep_files_own_unless_asked_otherwise() {
    let bench = Bench::new();
    let text = printed(bench.read(&["table", "tiny"]));
    let expected = "\
test_error in %: mean ± standard deviation (trials); * best of its column

activation  relu                         grelu
     depth
────────────────────────────────────────────────────────────────────────────────
         2  5.50 ± 0.71 (2)*             7.50 ± 0.71 (2)*
        30  9.00        (1, 1 diverged)     -        (0, 1 failed, 1 unfinished)
";
    assert_eq!(text, expected, "\n{text}");
    let pooled =
        ["table", "tiny", "--rows", "activation", "--pool", "depth", "--metric", "seconds"];
    let text = printed(bench.read(&pooled));
    assert!(text.contains("\nrelu        4.5 ± 0.0 (3, 1 diverged)\n"), "{text}");
    let value =
        json(bench.read(&["table", "tiny", "--rows", "depth,activation", "--format", "json"]));
    assert_eq!(value[0]["depth"], 2);
    let mean = value[0]["test_error"]["mean"].as_f64().unwrap();
    assert!((mean - 0.055).abs() < 1e-12, "a fraction: {value}");
}

#[test]
fn tables_of_trials_and_epochs_have_a_row_for_each() {
    let bench = Bench::new();
    let value = json(bench.read(&["table", "tiny", "--trials", "--format", "json"]));
    let rows = value.as_array().unwrap();
    assert_eq!(rows.len(), 8);
    assert_eq!(rows[0]["trial"], bench.trial(0));
    let keys = ["state", "test_error", "val_error", "best_epoch", "train_loss", "attempts", "seed"];
    for row in rows {
        assert!(keys.iter().all(|key| row.get(key).is_some()), "{row}");
    }
    assert_eq!((&rows[0]["state"], &rows[0]["test_error"]), (&"completed".into(), &0.05.into()));
    assert_eq!((&rows[0]["attempts"], &rows[0]["best_epoch"]), (&1.into(), &1.into()));
    assert_eq!((&rows[7]["state"], &rows[7]["attempts"]), (&"pending".into(), &0.into()));
    assert_eq!(rows[7]["test_error"], serde_json::Value::Null);
    let text = printed(bench.read(&["table", "tiny", "--epochs", "--format", "csv"]));
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let loss = reader.headers().unwrap().iter().position(|name| name == "train_loss").unwrap();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!((rows.len(), &rows[6][loss]), (7, "2"));
}

#[test]
fn table_goes_to_a_file_when_it_is_whole() {
    let bench = Bench::new();
    let read = |name: &str| fs::read_to_string(bench.folder.path().join(name)).unwrap();
    assert_eq!(printed(bench.read(&["table", "tiny", "--trials", "-o", "out.csv"])), "");
    assert!(read("out.csv").starts_with("trial,"), "{}", read("out.csv"));
    printed(bench.read(&["table", "tiny", "-o", "out.csv", "--format", "json"]));
    assert!(read("out.csv").starts_with("[\n{\"depth\":2,"), "{}", read("out.csv"));
    refused(bench.read(&["table", "tiny", "--metric", "wrong", "-o", "none.json"]), 2);
    let text = refused(bench.read(&["table", "tiny", "-o", "absent/out.csv"]), 2);
    assert!(text.starts_with("error: --output: cannot write absent/out.csv: "), "{text}");
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(bench.folder.path()).unwrap() {
        names.push(entry.unwrap().file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["out.csv", "state", "tiny.yaml"], "nothing else is left");
}

#[test]
fn trial_and_logs_tell_one_trials_story() {
    let bench = Bench::new();
    let text = printed(bench.read(&["trial", "tiny", &bench.trial(0)]));
    for expected in ["state        completed", "test_error   5.00 %", "device       cpu, 1 thread"]
    {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
    let value = json(bench.read(&["trial", "tiny", &bench.trial(6)[..8], "--format", "json"]));
    assert_eq!(value["outcome"]["kind"], "failed");
    assert_eq!(value["attempts"][0]["message"], "signal 11");
    let text = printed(bench.read(&["trial", "tiny", &bench.trial(7)]));
    assert!(text.contains("why pending  waits for a free slot"), "{text}");
    let done = bench.read(&["logs", "tiny", &bench.trial(6)]).code(0);
    assert_eq!(done.get_output().stdout, b"the last line\n");
    assert_eq!(done.get_output().stderr, b"attempt 1\n");
    let done = bench.read(&["logs", "tiny", &bench.trial(7)]).code(0);
    assert_eq!(done.get_output().stdout, b"");
    assert_eq!(done.get_output().stderr, b"no attempt has left a log\n");
}

#[test]
fn mistakes_in_what_is_asked_are_named() {
    let bench = Bench::new();
    let cases: [(&[&str], &str); 11] = [
        (&["status", "tinny"], "error: unknown sweep `tinny` (did you mean `tiny`?)"),
        (&["table", "tinny"], "error: unknown sweep `tinny`"),
        (&["trial", "tiny", "0123456789abcdef"], "error: no trial `0123456789abcdef` in sweep"),
        (&["logs", "tiny", "xyz"], "error: `xyz` is not a trial id"),
        (&["table", "tiny", "--rows", "dept"], "error: --rows: unknown parameter `dept`"),
        (&["table", "tiny", "--metric", "f1"], "error: --metric: unknown metric `f1`"),
        (&["table", "tiny", "--rows", "activation"], "error: `depth` varies on neither axis"),
        (&["table", "tiny", "-o", "t.xlsx"], "error: --output t.xlsx: a table is written as .txt"),
        (&["table", "tiny", "--trials", "--rows", "depth"], "error: --rows belongs to a table"),
        (&["table", "tiny", "--trials", "--epochs"], "error: the argument '--trials' cannot"),
        (&["list", "--coordinator", "ftp://x"], "error: --coordinator `ftp://x` is not an addr"),
    ];
    for (arguments, expected) in cases {
        let text = refused(bench.read(arguments), 2);
        assert!(text.starts_with(expected), "{arguments:?}: {text}");
    }
}

#[test]
fn state_without_results_is_named_with_both_flags() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    for state in ["absent", "empty"] {
        for command in [&["list"][..], &["table", "x"], &["trial", "x", "1234"], &["workers"]] {
            let text = refused(run_in(folder.path(), &[command, &["--state", state]].concat()), 2);
            for expected in [state, "--state", "--coordinator"] {
                assert!(text.contains(expected), "{expected} in {text}");
            }
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is made");
    }
    fs::write(folder.path().join("empty/gradsweep.db"), "not a database, but long enough").unwrap();
    let text = refused(run_in(folder.path(), &["list", "--state", "empty"]), 1);
    assert!(text.contains("gradsweep.db"), "{text}");
}

#[test]
fn a_coordinator_that_does_not_answer_is_a_failure() {
    let bench = Bench::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let text = refused(bench.run(&["list", "--coordinator", &url]), 1);
    assert!(text.contains(&format!("no coordinator answers at {url}")), "{text}");
}

/// A coordinator that serves the bench's state until it is dropped.
struct Server(Child);

impl Server {
    fn start(bench: &Bench) -> Server {
        let ports = ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"];
        let arguments = [&["--state", "state"], &ports[..]].concat();
        let mut command = command(bench.folder.path(), &arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Server(command.spawn().unwrap());
        let endpoint = bench.folder.path().join("state/endpoint.json");
        let deadline = Instant::now() + Duration::from_secs(60);
        while !endpoint.exists() {
            assert!(Instant::now() < deadline, "the coordinator does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_running_coordinator_and_its_directory_give_the_same_answers() {
    let bench = Bench::new();
    let trial = bench.trial(6);
    let questions: [&[&str]; 11] = [
        &["table", "tiny"],
        &["table", "tiny", "--trials", "--format", "json"],
        &["table", "tiny", "--epochs", "--format", "csv"],
        &["table", "tiny", "--rows", "depth"],
        &["trial", "tiny", &trial],
        &["trial", "tiny", "0123"],
        &["expect", "tiny"],
        &["expect", "tiny", "--strict", "--format", "json"],
        &["probe", "tiny"],
        &["logs", "tiny", &trial],
        &["status", "tinny"],
    ];
    let answers = |extra: &[&str]| -> Vec<(Option<i32>, String, String)> {
        let mut answers = Vec::new();
        for question in questions {
            let done = bench.run(&[question, extra].concat());
            let output = done.get_output();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            answers.push((output.status.code(), text(&output.stdout), text(&output.stderr)));
        }
        answers
    };
    let stored = answers(&["--state", "state"]);
    let server = Server::start(&bench);
    assert_eq!(answers(&["--state", "state"]), stored);
    let endpoint = fs::read(bench.folder.path().join("state/endpoint.json")).unwrap();
    let endpoint: serde_json::Value = serde_json::from_slice(&endpoint).unwrap();
    let url = endpoint["grpc"].as_str().unwrap();
    assert_eq!(answers(&["--coordinator", url, "--state", "absent"]), stored);
    let worker = &json(bench.run(&["workers", "--coordinator", url, "--format", "json"]))[0];
    assert_eq!(worker["reason"], serde_json::Value::Null, "a coordinator runs: {worker}");
    drop(server);
    assert_eq!(answers(&["--state", "state"]), stored, "a killed one is passed over");
}

#[test]
fn expect_judges_the_claims_of_the_sweep_file() {
    let bench = Bench::new();
    let text = printed(bench.read(&["expect", "tiny"]));
    assert!(text.starts_with("sweep tiny, claims: 1 supported, 1 undecided\n"), "{text}");
    assert!(text.contains("`less` has no value, 2 are needed"), "{text}");
    let value = json(bench.read(&["expect", "tiny", "--strict", "--format", "json"]));
    assert_eq!(value[0]["verdict"], "supported", "{value}");
    assert_eq!(value[0]["sides"][0]["summary"]["n"], 2);
    let text = printed(bench.run(&["plan", "tiny.yaml"]));
    assert!(text.contains("\nexpects     2 claims about the results"), "{text}");
}

#[test]
fn strict_makes_a_contradiction_a_failure() {
    let bench = Bench::new();
    let (stated, swapped) =
        ("less: {activation: relu},\n   than:", "than: {activation: relu}, less:");
    let wrong = YAML.replace(stated, swapped);
    assert_ne!(wrong, YAML);
    let (sweep, _) = spec::load(&wrong, "tiny.yaml", &spec::Options::default()).unwrap();
    let file = bench.folder.path().join("state/gradsweep.db");
    let connection = rusqlite::Connection::open(file).unwrap();
    connection.execute("UPDATE sweeps SET yaml = ?", [sweep.yaml]).unwrap();
    drop(connection);
    assert!(printed(bench.read(&["expect", "tiny"])).contains("contradicted: shallow relu wins"));
    let done = bench.read(&["expect", "tiny", "--strict"]).code(1);
    let stderr = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
    assert_eq!(stderr, "error: --strict: 1 claim is contradicted\n");
    assert!(!done.get_output().stdout.is_empty(), "the claims are shown all the same");
}

#[test]
fn probe_refuses_a_sweep_without_probes() {
    let text = refused(Bench::new().read(&["probe", "tiny"]), 2);
    assert!(text.starts_with("error: sweep `tiny` has no probe trials"), "{text}");
}

#[test]
fn endpoint_of_a_dead_coordinator_is_passed_over() {
    let bench = Bench::new();
    let content = "{\"grpc\":\"127.0.0.1:9\",\"http\":\"127.0.0.1:9\",\"pid\":1}";
    fs::write(bench.folder.path().join("state/endpoint.json"), content).unwrap();
    assert!(printed(bench.read(&["list"])).contains("tiny"));
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let bench = Bench::new();
    for format in ["text", "csv", "json"] {
        let arguments = ["table", "tiny", "--trials", "--format", format, "--state", "state"];
        let mut command = command(bench.folder.path(), &arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
}

#[test]
fn every_command_has_help() {
    let folder = tempfile::tempdir().unwrap();
    let commands =
        "plan list status workers table expect probe trial logs data plot curves".split(' ');
    for command in commands.chain(["data check", "data fetch"]) {
        let arguments: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        let text = printed(run_in(folder.path(), &arguments));
        assert!(text.contains(&format!("Usage: coordinator {command} ")), "{text}");
    }
    let text = printed(run_in(folder.path(), &["plan", "--help"]));
    for param in ["activation", "tau", "width"] {
        assert!(text.contains(&format!("\n  {param} ")), "{param} in\n{text}");
    }
}
