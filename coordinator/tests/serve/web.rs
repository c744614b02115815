//! The HTTP listener of a running server: the API as its document says, and pages whose every link
//! leads somewhere.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::harness::{DEADLINE, SWEEP, Server, Worker, attempt, epoch, hello, in_time, outcome};
use common::wire;

/// An answer.
struct Answer {
    status: u16,
    kind: String,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("text")
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// Opens a request; in the old form, whose answer ends with the connection.
fn open(address: SocketAddr, path: &str) -> io::Result<BufReader<TcpStream>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    Ok(BufReader::new(stream))
}

fn fetch_from(address: SocketAddr, path: &str) -> io::Result<Answer> {
    let mut stream = open(address, path)?;
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|it| it.parse().ok()).expect("a status");
    let mut kind = String::new();
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let header = line.trim_end();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-type: ") {
            kind = value.to_owned();
        }
    }
    let mut body = Vec::new();
    stream.read_to_end(&mut body)?;
    Ok(Answer { status, kind, body })
}

async fn fetch(server: &Server, path: &str) -> Answer {
    let (address, path) = (server.http, path.to_owned());
    let fetched = tokio::task::spawn_blocking(move || fetch_from(address, &path));
    fetched.await.expect("no panic").expect("an answer")
}

async fn api(server: &Server, path: &str) -> Answer {
    fetch(server, &format!("/api/v1{path}")).await
}

/// Stands for a model's.
const WEIGHTS: &[u8] = b"weights";

/// A server with a sweep of which one trial completed, one diverged, one failed and one runs.
struct Busy {
    _state: tempfile::TempDir,
    server: Server,
    worker: Worker,
    /// The completed trial.
    trial: String,
    running: wire::AttemptId,
}

async fn busy() -> Busy {
    let state = tempfile::tempdir().expect("a folder");
    let claims = "expect: [{claim: c, where: {depth: 2}, less: {activation: relu}, \
                  than: {activation: grelu}}]\n";
    let server = Server::start(state.path(), &format!("{SWEEP}{claims}")).await;
    let mut worker = Worker::attach(&server, hello(1, Vec::new())).await;
    let lease = worker.lease().await;
    let trial = attempt(&lease).trial;
    worker.complete(&lease).await;
    // As if its worker had handed them over.
    let weights = state.path().join("weights");
    std::fs::create_dir_all(&weights).expect("a folder");
    std::fs::write(weights.join(format!("{trial}.safetensors")), WEIGHTS).expect("written");
    for kind in [wire::OutcomeKind::Diverged, wire::OutcomeKind::Failed] {
        let lease = worker.lease().await;
        worker.report(vec![outcome(&attempt(&lease), kind)]).await;
    }
    let running = attempt(&worker.lease().await);
    worker.report(vec![epoch(&running, 1)]).await;
    Busy { _state: state, server, worker, trial, running }
}

#[tokio::test]
async fn api_answers_as_its_document_says() {
    let Busy { server, trial, _state, worker: _worker, .. } = busy().await;
    let document = api(&server, "/openapi.json").await.json();
    let paths = document["paths"].as_object().expect("paths");
    for (path, operations) in paths {
        let content = &operations["get"]["responses"]["200"]["content"];
        for format in ["json", "csv", "md", "tex", "txt", "parquet"] {
            let has_formats = path.contains("{format}") || path.contains("{picture}");
            if format != "json" && !has_formats || path == "/events" {
                continue;
            }
            let asked = path.replace("{sweep}", "tiny").replace("{trial}", &trial);
            let picture = if format == "txt" { "png" } else { "svg" };
            let asked = asked.replace("{format}", format).replace("{picture}", picture);
            let answer = api(&server, &asked).await;
            assert_eq!(answer.status, 200, "{asked}: {}", answer.text());
            let kind = answer.kind.split(';').next().expect("a type");
            assert!(content.get(kind).is_some(), "{asked} is {kind}");
            let schema = &content[kind]["schema"];
            if schema.is_object() {
                check(&document, schema, &answer.json(), &asked);
            }
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn api_takes_every_field_that_its_document_has() {
    let Busy { server, trial, _state, worker: _worker, .. } = busy().await;
    let document = api(&server, "/openapi.json").await.json();
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().expect("paths") {
        let fields = operations["get"]["parameters"].as_array().map_or(&[][..], Vec::as_slice);
        let queries = || fields.iter().filter(|field| field["in"] == "query");
        // What has no place on an axis is chosen.
        let chooses = queries().any(|field| field["name"] == "best_by");
        let path = path.replace("{sweep}", "tiny").replace("{format}", "csv");
        let path = path.replace("{picture}", "svg");
        for field in queries() {
            let name = field["name"].as_str().expect("a name");
            let example = match name {
                "trial" => Value::from(trial.as_str()),
                _ => field["example"].clone(),
            };
            let values = field["schema"]["enum"].as_array().cloned().unwrap_or(vec![example]);
            for value in values {
                let value = value.as_str().map_or(value.to_string(), str::to_owned);
                let mut query = format!("{path}?{name}={value}");
                if chooses && name != "best_by" {
                    query.push_str("&best_by=val_error");
                }
                let answer = api(&server, &query).await;
                assert_eq!(answer.status, 200, "{query}: {}", answer.text());
                asked += 1;
            }
        }
    }
    assert!(asked > 50, "{asked}");
    server.stop().await;
}

/// Holds a value against a schema of the document.
fn check(document: &Value, schema: &Value, value: &Value, what: &str) {
    let mut whole = schema.clone();
    whole["components"] = document["components"].clone();
    let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    compiler.add_resource("schema.json", whole).expect("a resource");
    let schema = compiler.compile("schema.json", &mut schemas).expect("a schema");
    if let Err(error) = schemas.validate(value, schema) {
        panic!("{what}: {error:#}\n{value:#}");
    }
}

/// As in a notebook.
#[tokio::test]
async fn pandas_reads_a_table_by_its_address() {
    let Busy { server, _state, worker: _worker, .. } = busy().await;
    let python = std::env::var("GRADSWEEP_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let run = async |script: String| {
        let run = tokio::process::Command::new(&python).args(["-c", &script]).output();
        in_time("pandas", run).await
    };
    if !run("import pandas, pyarrow".into()).await.is_ok_and(|found| found.status.success()) {
        eprintln!("skipped: {python} has no pandas with pyarrow");
    } else {
        let script = format!(
            "import pandas\n\
             table = pandas.read_parquet('http://{}/api/v1/sweeps/tiny/table.parquet\
             ?rows=depth&columns=activation')\n\
             assert list(table['depth']) == [2, 3], table\n\
             assert table['test_error_n[activation=relu]'].dtype == 'int64', table.dtypes\n\
             assert table['test_error_best[activation=relu]'].dtype == 'bool', table.dtypes\n",
            server.http
        );
        let done = run(script).await.expect("it starts");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    server.stop().await;
}

#[tokio::test]
async fn api_says_what_is_wrong() {
    let Busy { server, _state, worker: _worker, .. } = busy().await;
    let document = api(&server, "/openapi.json").await.json();
    let schema = &document["components"]["schemas"]["Problem"];
    let cases = [
        ("/sweeps/tinny", 404, "did you mean `tiny`"),
        ("/sweeps/tiny/table.xls", 404, "unknown format `xls`"),
        ("/sweeps/tiny/table.csv?metric=test_eror", 400, "did you mean `test_error`"),
        ("/sweeps/tiny/table.csv?row=depth", 400, "unknown field `row`"),
        ("/sweeps/tiny/table.csv?rows=depth&best_by=x", 400, "best_by"),
        ("/sweeps/tiny/table.csv?rows=depth&rows=lr", 400, "duplicate field"),
        ("/sweeps/tiny/trials.csv?metric=seconds", 400, "metric belongs to a table of configs"),
        ("/sweeps/tiny/trials/zz", 400, "zz"),
        ("/sweeps/tiny/trials/0000000000000000", 404, "0000000000000000"),
        ("/sweeps/..%2f..%2fetc%2fpasswd", 404, "unknown sweep"),
        ("/sweeps/tiny/..%2f..%2f..%2fgradsweep.db", 404, "no such resource"),
        ("/sweeps/tiny/plot.svg?y_scale=root", 400, "auto, linear, log are accepted"),
        ("/sweeps/tiny/plot.svg?log_y=true", 400, "unknown field `log_y`"),
        ("/sweeps/tiny/plot.png?size=9x9", 400, "280x200 to 4000x3000"),
        ("/nothing", 404, "openapi.json"),
    ];
    for (path, status, text) in cases {
        let answer = api(&server, path).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        check(&document, schema, &answer.json(), path);
        let error = answer.json()["error"].to_string();
        assert!(error.contains(text), "{path}: {error}");
    }
    server.stop().await;
}

#[tokio::test]
async fn every_link_of_every_page_leads_somewhere() {
    let Busy { server, trial, _state, worker: _worker, .. } = busy().await;
    let mut seen = BTreeSet::new();
    let mut open = vec!["/".to_owned()];
    while let Some(path) = open.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let answer = fetch(&server, &path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        if !answer.kind.starts_with("text/html") {
            continue;
        }
        let text = answer.text();
        for attribute in ["href=\"", "src=\"", "srcset=\"", "action=\""] {
            for link in text.split(attribute).skip(1) {
                let link = link.split('"').next().expect("an end").replace("&amp;", "&");
                assert!(link.starts_with(['/', '#']), "{path} links to {link}");
                if link.starts_with('/') {
                    open.push(link);
                }
            }
        }
    }
    for page in ["/sweeps/tiny", "/workers", &format!("/sweeps/tiny/trials/{trial}")] {
        assert!(seen.contains(page), "{page} is not linked: {seen:#?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn weights_are_downloaded_as_they_are() {
    let Busy { server, trial, _state, worker: _worker, .. } = busy().await;
    for of in [trial.as_str(), "best"] {
        let answer = api(&server, &format!("/sweeps/tiny/trials/{of}/model.safetensors")).await;
        assert_eq!((answer.status, answer.body.as_slice()), (200, WEIGHTS), "{of}");
    }
    server.stop().await;
}

#[tokio::test]
async fn pages_show_what_there_is() {
    let Busy { server, trial, _state, worker: _worker, .. } = busy().await;
    let expected = [
        ("/", "3 of 8 trials, 1 running"),
        ("/sweeps/tiny", "1 completed, 1 running, 4 pending, 1 diverged, 1 failed"),
        ("/sweeps/tiny?rows=depth&columns=activation&metric=failed", "failed: number of trials"),
        ("/sweeps/tiny?rows=dept", "did you mean `depth`"),
        ("/sweeps/tiny/trials?state=diverged", "1–1 of 1"),
        ("/sweeps/tiny/trials?find=depth%3D3", " of 4"),
        ("/workers", "w1"),
    ];
    for (path, text) in expected {
        let page = fetch(&server, path).await.text();
        assert!(page.contains(text), "{path}: no `{text}` in {page}");
    }
    let page = fetch(&server, &format!("/sweeps/tiny/trials/{trial}")).await.text();
    assert!(page.contains("completed in attempt 1"), "{page}");
    for path in ["/sweeps/none", "/sweeps/tiny/trials/ffffffffffffffff", "/none"] {
        let answer = fetch(&server, path).await;
        assert_eq!((answer.status, answer.kind.as_str()), (404, "text/html; charset=utf-8"));
    }
    server.stop().await;
}

#[tokio::test]
async fn events_tell_what_has_changed() {
    let Busy { server, _state, mut worker, running, .. } = busy().await;
    let document = api(&server, "/openapi.json").await.json();
    let address = server.http;
    let (sender, mut events) = tokio::sync::mpsc::channel(64);
    let reading = tokio::task::spawn_blocking(move || {
        let stream = open(address, "/api/v1/events").expect("a stream");
        for line in stream.lines() {
            let Ok(line) = line else { return };
            let Some(data) = line.strip_prefix("data: ") else { continue };
            let event: Value = serde_json::from_str(data).expect("JSON");
            if sender.blocking_send(event).is_err() {
                return;
            }
        }
    });
    let schema = &document["components"]["schemas"]["Event"];
    let mut event = Value::Null;
    while event["sweeps"][0]["trials"]["pending"] != 4 {
        event = in_time("an event", events.recv()).await.expect("an event");
        check(&document, schema, &event, "an event");
    }
    // The running trial ends, and the next one begins.
    worker.report(vec![outcome(&running, wire::OutcomeKind::Completed)]).await;
    let has_changed = async {
        while let Some(event) = events.recv().await {
            if event["sweeps"][0]["trials"]["completed"] == 2 {
                return;
            }
        }
        panic!("the stream has ended");
    };
    in_time("the change", has_changed).await;
    // A reader that listens does not hold up the end.
    server.stop().await;
    reading.await.expect("no panic");
}
