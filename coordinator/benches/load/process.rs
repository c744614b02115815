//! The coordinator under test: a process of its own in a state directory of its own, and what the
//! system says of it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use common::wire::sweep_service_client::SweepServiceClient;
use coordinator::store::endpoint::{self, Endpoint};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tonic::transport::Channel;

use crate::Bench;

/// The longest that any state of the coordinator is waited for.
const DEADLINE: Duration = Duration::from_secs(900);
/// How often a state is looked at.
const POLL_EVERY: Duration = Duration::from_millis(5);
/// Clock ticks of `/proc` in a second: fixed by Linux for programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// A state directory that is removed at the end.
pub struct State {
    directory: TempDir,
}

impl State {
    /// A new one with this sweep file beside it.
    pub fn new(bench: &Bench, sweep: &str) -> anyhow::Result<State> {
        let directory = tempfile::Builder::new()
            .prefix("load-")
            .tempdir_in(&bench.folder)
            .with_context(|| format!("a state directory in {}", bench.folder.display()))?;
        fs::write(directory.path().join("sweep.yaml"), sweep)?;
        Ok(State { directory })
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("coordinator.log")
    }

    /// Leaves the state directory somewhere else.
    pub fn keep(&self, folder: &Path) -> anyhow::Result<()> {
        fs::rename(self.directory.path().join("state"), folder)
            .with_context(|| format!("--keep {}", folder.display()))
    }

    /// What the store takes on disk.
    pub fn bytes(&self) -> anyhow::Result<u64> {
        let mut bytes = 0;
        for entry in fs::read_dir(self.directory.path().join("state"))? {
            bytes += entry?.metadata()?.len();
        }
        Ok(bytes)
    }
}

/// A running coordinator; killed when it is dropped.
pub struct Coordinator {
    child: Child,
    endpoint: Endpoint,
    /// From its start until it said that it is ready.
    pub ready_seconds: f64,
    log: PathBuf,
    /// Where its own lines begin: the log goes on over restarts.
    log_begin: usize,
}

impl Coordinator {
    /// Starts one with the sweep file and waits until it is ready.
    pub async fn start(bench: &Bench, state: &State) -> anyhow::Result<Coordinator> {
        let (folder, log) = (state.directory.path(), state.log());
        let output = OpenOptions::new().create(true).append(true).open(&log)?;
        let log_begin = usize::try_from(output.metadata()?.len())?;
        let started = Instant::now();
        let child = Command::new(&bench.coordinator)
            .arg("--sweep")
            .arg(folder.join("sweep.yaml"))
            .arg("--state")
            .arg(folder.join("state"))
            .args(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| bench.coordinator.display().to_string())?;
        let id = child.id().context("it ended at once")?;
        let nowhere = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
        let endpoint = Endpoint { grpc: nowhere, http: nowhere, pid: id, tls: false };
        let mut coordinator = Coordinator { child, endpoint, ready_seconds: 0.0, log, log_begin };
        let state = folder.join("state");
        coordinator
            .wait("its ports", |this| match endpoint::read(&state) {
                Ok(Some(found)) if found.pid == id => {
                    this.endpoint = found;
                    Ok(this.page("/ready").is_ok_and(|page| page.starts_with("ready")))
                }
                Ok(_) | Err(_) => Ok(false),
            })
            .await?;
        coordinator.ready_seconds = started.elapsed().as_secs_f64();
        Ok(coordinator)
    }

    /// Where workers and clients reach it.
    pub fn url(&self) -> String {
        format!("http://{}", self.endpoint.grpc)
    }

    /// Where pages are.
    pub fn http(&self) -> std::net::SocketAddr {
        self.endpoint.http
    }

    /// A client's connection.
    pub async fn client(&self) -> anyhow::Result<SweepServiceClient<Channel>> {
        Ok(SweepServiceClient::connect(self.url()).await?)
    }

    /// Ends it as a crash would.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("kill -9")
    }

    /// The body of an HTTP page.
    pub fn page(&self, path: &str) -> anyhow::Result<String> {
        let mut stream = TcpStream::connect(self.endpoint.http)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (_, body) = text.split_once("\r\n\r\n").context("an HTTP answer without a body")?;
        Ok(body.to_owned())
    }

    /// A series of its metrics, by its whole name with labels; 0 where it is absent.
    pub fn series(&self, name: &str) -> anyhow::Result<f64> {
        let page = self.page("/metrics")?;
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(Ok(0.0), |value| value.parse().context("a metric's value"))
    }

    /// Waits until a series has this value.
    pub async fn wait_for_series(&mut self, name: &str, value: f64) -> anyhow::Result<()> {
        self.wait(name, |this| Ok(this.series(name)? >= value)).await
    }

    /// Waits until it has logged this text.
    pub async fn wait_for_log(&mut self, text: &str) -> anyhow::Result<()> {
        self.wait(text, |this| {
            let log = fs::read_to_string(&this.log)?;
            Ok(log.get(this.log_begin..).is_some_and(|log| log.contains(text)))
        })
        .await
    }

    /// Waits for a state; fails where the coordinator ends meanwhile.
    pub async fn wait(
        &mut self,
        what: &str,
        mut holds: impl FnMut(&mut Coordinator) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let started = Instant::now();
        while !holds(self)? {
            let ended = self.child.try_wait()?;
            ensure!(ended.is_none(), "the coordinator ended ({ended:?}): {}", self.last_words());
            let in_time = started.elapsed() < DEADLINE;
            ensure!(in_time, "waited too long for {what}: {}", self.last_words());
            tokio::time::sleep(POLL_EVERY).await;
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().rev().take(5).collect::<Vec<_>>().join("\n")
    }

    /// Its memory and processor time so far.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        let folder = PathBuf::from(format!("/proc/{}", self.endpoint.pid));
        let status = fs::read_to_string(folder.join("status"))?;
        let mebibytes = |field: &str| -> anyhow::Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
            let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
            let kibibytes: f64 = kibibytes.with_context(|| field.to_owned())?.parse()?;
            Ok(kibibytes / 1024.0)
        };
        let stat = fs::read_to_string(folder.join("stat"))?;
        // The program's name, in brackets, may have spaces of its own.
        let (_, fields) = stat.rsplit_once(')').context("a process without a name")?;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
        let ticks: f64 = ticks.sum::<Result<f64, _>>()?;
        let io = fs::read_to_string(folder.join("io"))?;
        let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
        let written: f64 = written.context("write_bytes")?.parse()?;
        Ok(Usage {
            written_mib: written / f64::from(1 << 20),
            resident_mib: mebibytes("VmRSS")?,
            peak_mib: mebibytes("VmHWM")?,
            cpu_seconds: ticks / TICKS_PER_SECOND,
        })
    }
}

/// What a process takes.
#[derive(Clone, Copy)]
pub struct Usage {
    /// Resident memory now.
    pub resident_mib: f64,
    /// Resident memory at its highest so far.
    pub peak_mib: f64,
    /// What it gave to the disk so far.
    pub written_mib: f64,
    /// User and system time so far.
    pub cpu_seconds: f64,
}

/// How long the disk takes to make a small write durable, and what else the machine does.
pub fn describe_disk(folder: &Path) -> anyhow::Result<String> {
    const WRITES: usize = 51;
    let path = folder.join("load-disk");
    let mut file = File::create(&path)?;
    let mut seconds = Vec::with_capacity(WRITES);
    for _ in 0..WRITES {
        let started = Instant::now();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    fs::remove_file(&path)?;
    seconds.sort_by(f64::total_cmp);
    let median_ms = 1e3 * seconds[WRITES / 2];
    let load = fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    Ok(format!("4 KiB durable in {median_ms:.2} ms (median); load average before {load}"))
}
