//! The programs as they are called: what they refuse, what they say, and a sweep over mutual TLS
//! with a trainer of a few lines.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use coordinator::store::endpoint;
use tempfile::TempDir;

use crate::harness::stranger;
use crate::stub_trainer;

const DEADLINE: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(20);
const SWEEP: &str = "\
name: tiny
model: mlp
data: strokes
base: {width: 16, epochs: 3, tau: 1}
grid: {depth: [2, 3]}
";

fn beside(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_coordinator")).with_file_name(name);
    assert!(path.is_file(), "{} is missing: run `make build` first", path.display());
    path
}

/// A command that takes nothing from whoever runs the tests.
fn bare(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("GRADSWEEP_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

fn coordinator() -> Command {
    bare(env!("CARGO_BIN_EXE_coordinator"))
}

/// Exit status, standard output and standard error.
fn ended(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code().expect("no signal"), text(stdout), text(stderr))
}

/// A process that is killed when the test ends, however it ends.
struct Process(Child);

impl Process {
    fn wait(&mut self) -> i32 {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.0.try_wait().expect("a child") {
                return status.code().expect("no signal");
            }
            assert!(Instant::now() < deadline, "the process does not end");
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A folder with credentials, a sweep and a trainer.
struct Host(TempDir);

impl Host {
    fn new() -> Host {
        let host = Host(tempfile::tempdir().expect("a folder"));
        let (status, told, error) =
            ended(coordinator().arg("init-tls").arg(host.at("tls")).args(["--host", "node"]));
        assert_eq!(status, 0, "{error}");
        assert!(told.contains("tls: a CA, and certificates until"), "{told}");
        fs::write(host.at("tiny.yaml"), SWEEP).expect("writable");
        fs::create_dir_all(host.at("libtorch/lib")).expect("writable");
        fs::write(host.at("libtorch/lib/libtorch_cpu.so"), "").expect("writable");
        fs::write(host.at("libtorch/build-version"), "2.11.0+cpu\n").expect("writable");
        fs::write(host.at("pace"), "5").expect("writable");
        stub_trainer::script(&host.at("trainer"), &host.at("pace"));
        host
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn log(&self, name: &str) -> String {
        let mut text = String::new();
        let mut file = File::open(self.at(&format!("{name}.log"))).expect("a log");
        file.read_to_string(&mut text).expect("text");
        text
    }

    /// Starts it with its standard error in a log.
    fn start(&self, name: &str, command: &mut Command) -> Process {
        let log = File::create(self.at(&format!("{name}.log"))).expect("a log");
        command.env("GRADSWEEP_TRAINER", self.at("trainer")).env("LIBTORCH", self.at("libtorch"));
        Process(command.stdout(Stdio::null()).stderr(log).spawn().expect("it starts"))
    }

    /// A coordinator with the sweep that ends when it is done.
    fn coordinator(&self, more: &[&str]) -> Process {
        let mut command = coordinator();
        command.arg("--sweep").arg(self.at("tiny.yaml")).arg("--exit-when-done");
        command.arg("--state").arg(self.at("state"));
        command.arg("--credentials").arg(self.at("tls/coordinator"));
        command.args(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]).args(more);
        self.start("coordinator", &mut command)
    }

    /// Where the coordinator listens, once it does.
    fn endpoint(&self) -> endpoint::Endpoint {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Ok(Some(found)) = endpoint::read(&self.at("state")) {
                return found;
            }
            assert!(Instant::now() < deadline, "no endpoint: {}", self.log("coordinator"));
            std::thread::sleep(POLL);
        }
    }

    fn url(&self) -> String {
        format!("https://{}", self.endpoint().grpc)
    }

    fn worker(&self, url: &str) -> Command {
        let mut command = bare(beside("worker"));
        command.args(["--devices", "cpu", "--slots-per-device", "1", "--coordinator", url]);
        command.arg("--state").arg(self.at("worker"));
        command
    }

    /// `list` of the coordinator that runs here.
    fn list(&self, more: &[&str]) -> (i32, String, String) {
        ended(coordinator().arg("list").arg("--state").arg(self.at("state")).args(more))
    }
}

#[test]
fn a_sweep_runs_over_mutual_tls() {
    let host = Host::new();
    let mut serving = host.coordinator(&["--mutual-tls"]);
    let url = host.url();
    assert!(host.endpoint().tls);
    let client = host.at("tls/client").display().to_string();

    // Found by its state directory, and by its address.
    let (status, told, error) = host.list(&["--credentials", &client]);
    assert!(status == 0 && told.contains("tiny"), "{error}");
    let (status, told, error) = host.list(&["--credentials", &client, "--coordinator", &url]);
    assert!(status == 0 && told.contains("tiny"), "{error}");

    let mut worker = host.worker(&url);
    worker.arg("--credentials").arg(host.at("tls/worker"));
    let _worker = host.start("worker", &mut worker);
    assert_eq!(serving.wait(), 0, "{}\n{}", host.log("coordinator"), host.log("worker"));
    let (_, told, _) = host.list(&["--format", "json"]);
    assert!(told.contains("\"completed\": 2") || told.contains("\"completed\":2"), "{told}");
}

#[test]
fn the_local_worker_needs_no_credentials_of_its_own() {
    let host = Host::new();
    let mut serving = host.coordinator(&["--mutual-tls", "--local", "1"]);
    assert_eq!(serving.wait(), 0, "{}", host.log("coordinator"));
}

#[test]
fn a_worker_whose_token_is_refused_ends_and_says_so() {
    let host = Host::new();
    let _serving = host.coordinator(&[]);
    let url = host.url();
    let mut wrong = host.worker(&url);
    wrong.arg("--credentials").arg(host.at("tls/worker")).env("GRADSWEEP_TOKEN", stranger());
    assert_eq!(host.start("wrong", &mut wrong).wait(), 2);
    let said = host.log("wrong");
    assert!(said.contains("the coordinator refuses: the token is not known here"), "{said}");
    // However many were refused before it, a worker ends where it would be refused for ever.
    let folder = host.at("tls/client").display().to_string();
    for _ in 0..12 {
        let mut list = coordinator();
        list.args(["list", "--coordinator", &url, "--credentials", &folder]);
        let (status, _, error) = ended(list.env("GRADSWEEP_TOKEN", stranger()));
        assert!(status == 2 && error.contains("the token is not known here"), "{error}");
    }
    let mut client = host.worker(&url);
    client.arg("--credentials").arg(host.at("tls/client"));
    assert_eq!(host.start("client", &mut client).wait(), 2);
    let said = host.log("client");
    assert!(said.contains("it is a client's token, and an agent's is needed"), "{said}");
    let log = host.log("coordinator");
    let expected = "refused: the token is not known here peer=127.0.0.1:";
    assert!(log.contains(expected), "{log}");
    assert!(log.contains("(certificate CN=GradSweep worker)"), "{log}");
}

#[test]
fn clients_are_told_what_to_give() {
    let host = Host::new();
    let _serving = host.coordinator(&[]);
    let url = host.url();
    let client = host.at("tls/client").display().to_string();
    let worker = host.at("tls/worker").display().to_string();
    let tls = host.at("tls").display().to_string();
    let address = url.trim_start_matches("https://");
    let clear = format!("http://{address}");
    let remote = "http://node.example:50051";
    let cases: [(&[&str], i32, &str); 6] = [
        (&[], 2, "needs --credentials DIR with the `ca.pem` of the coordinator"),
        (&["--coordinator", &url], 2, "the system's certificates are not consulted"),
        (&["--coordinator", &url, "--credentials", &worker], 2, "it is an agent's token"),
        (&["--coordinator", &url, "--credentials", &tls], 2, "is the folder of the CA itself"),
        (&["--coordinator", &clear, "--credentials", &client], 1, "TLS is spoken at this address"),
        (&["--coordinator", remote, "--credentials", &client], 2, "would send the token unencr"),
    ];
    for (arguments, expected, words) in cases {
        let (status, _, error) = host.list(arguments);
        assert_eq!(status, expected, "{arguments:?}: {error}");
        assert!(error.contains(words), "{arguments:?}: {error}");
    }
    // Without a scheme it is TLS where there are credentials.
    let (status, _, error) = host.list(&["--coordinator", address, "--credentials", &client]);
    assert_eq!(status, 0, "{error}");
}

#[test]
fn listening_beyond_this_host_needs_credentials() {
    let host = Host::new();
    let serve = |arguments: &[&str]| {
        let state = host.at("unused");
        let answer = ended(coordinator().arg("--state").arg(&state).args(arguments));
        assert!(!state.exists(), "nothing is made");
        (answer.0, answer.2)
    };
    let (status, error) = serve(&["--listen", "0.0.0.0:0", "--http", "[::]:0"]);
    assert_eq!(status, 2, "{error}");
    for words in ["--listen 0.0.0.0:0 is reached", "--http [::]:0 is reached", "init-tls DIR"] {
        assert!(error.contains(words), "{words} in {error}");
    }
    assert!(error.contains("--insecure listens without"), "{error}");
    let (status, error) = serve(&["--mutual-tls"]);
    assert!(status == 2 && error.contains("--mutual-tls needs --credentials"), "{error}");
    let nowhere = host.at("nowhere").display().to_string();
    let (status, error) = serve(&["--credentials", &nowhere, "--insecure"]);
    assert_eq!(status, 2, "{error}");
    assert!(error.contains("agent.token`; `coordinator init-tls` makes such folders"), "{error}");
    assert!(error.contains("--insecure does not go with --credentials"), "{error}");
    let client = host.at("tls/client").display().to_string();
    let (status, error) = serve(&["--credentials", &client]);
    assert!(status == 2 && error.contains("agent.token`"), "{error}");
    fs::copy(host.at("tls/client/key.pem"), host.at("tls/coordinator/key.pem")).expect("writable");
    let coordinator = host.at("tls/coordinator").display().to_string();
    let (status, error) = serve(&["--credentials", &coordinator]);
    assert!(status == 2 && error.contains("is not the key of `cert.pem`"), "{error}");
}

#[test]
fn init_tls_says_what_it_made_and_overwrites_nothing() {
    let host = Host::new();
    let again = |more: &[&str]| ended(coordinator().arg("init-tls").arg(host.at("tls")).args(more));
    let (status, told, error) = again(&["--host", "other"]);
    assert_eq!((status, told.as_str()), (2, ""), "{error}");
    assert!(error.contains("nothing is overwritten: --renew signs"), "{error}");
    let (status, told, error) = again(&["--renew"]);
    assert_eq!(status, 0, "{error}");
    assert!(told.contains("new certificates until") && told.contains("::1, node\n"), "{told}");
    let (status, _, error) = again(&[]);
    assert!(status == 2 && error.contains("--host <NAME>"), "{error}");
    let mut elsewhere = coordinator();
    elsewhere.arg("init-tls").arg(host.at("x")).args(["--host", "http://node:1"]);
    let (status, _, error) = ended(&mut elsewhere);
    assert!(status == 2 && error.contains("is neither a name nor an address"), "{error}");
    assert!(!host.at("x").exists());
}
