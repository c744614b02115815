//! Coordinator, workers and trainers as processes: started, killed, stopped, and known by a
//! variable in their environment, so that nothing of a test outlives it and nothing else is killed.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::stub_trainer;

/// The slowest wait: a busy machine that trains everything again.
pub const DEADLINE: Duration = Duration::from_secs(240);
pub const POLL: Duration = Duration::from_millis(100);
/// Names the folder of the test that a process belongs to.
const MARK: &str = "GRADSWEEP_CHAOS_FOLDER";

/// Waits until it is so; what `is_so` costs is paid at every look.
pub fn wait_for(what: &str, is_so: impl FnMut() -> bool) {
    let in_time = wait_within(DEADLINE, is_so);
    assert!(in_time, "waited {DEADLINE:?} for {what}");
}

/// The same with another deadline; false when it passes.
pub fn wait_within(limit: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !is_so() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(POLL);
    }
    true
}

/// Which trainer the workers have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Training {
    Stub,
    Real,
}

/// A folder of a test with its processes. All of them are killed when it is dropped; the folder
/// stays where the test failed.
pub struct Host {
    pub folder: PathBuf,
    pub port: u16,
    /// What stands before a client's command (`ip netns exec …`).
    pub before: Vec<String>,
    training: Training,
}

impl Host {
    pub fn new(name: &str, training: Training) -> Host {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chaos").join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).expect("the folder of an earlier run is removed");
        }
        fs::create_dir_all(folder.join("libtorch/lib")).expect("created");
        fs::write(folder.join("libtorch/lib/libtorch_cpu.so"), "").expect("written");
        fs::write(folder.join("libtorch/build-version"), "2.11.0+cpu\n").expect("written");
        let host = Host { folder, port: free_port(), before: Vec::new(), training };
        host.set_pace(60);
        stub_trainer::script(&host.folder.join("trainer"), &host.folder.join("pace"));
        beside("worker");
        if training == Training::Real {
            beside("trainer");
        }
        host
    }

    /// Milliseconds of the stub's epochs from now on.
    pub fn set_pace(&self, ms: u64) {
        let path = self.folder.join("pace");
        let temporary = self.folder.join("pace.new");
        fs::write(&temporary, ms.to_string()).expect("written");
        fs::rename(&temporary, &path).expect("renamed");
    }

    /// A sweep file.
    pub fn write(&self, name: &str, yaml: &str) -> PathBuf {
        let path = self.folder.join(format!("{name}.yaml"));
        fs::write(&path, yaml).expect("written");
        path
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Marks a command as this test's and sends its stderr to a log.
    pub fn mark(&self, command: &mut Command, log: &str) {
        let path = self.folder.join(format!("{log}.log"));
        let file = File::options().create(true).append(true).open(path).expect("a log");
        command.env(MARK, &self.folder).env("GRADSWEEP_LOG", "info").env("OMP_NUM_THREADS", "1");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        for option in ["GRADSWEEP_COORDINATOR", "GRADSWEEP_STATE", "GRADSWEEP_TRAINER"] {
            command.env_remove(option);
        }
    }

    /// A coordinator of a state directory, beside the clients.
    pub fn coordinator(&self, state: &str) -> Process {
        let mut command = led(&self.before, Path::new(program()));
        command.arg("--state").arg(self.folder.join(state));
        let listen = if self.before.is_empty() { "127.0.0.1" } else { "0.0.0.0" };
        command.args(["--listen", &format!("{listen}:{}", self.port)]);
        command.args(["--http", "127.0.0.1:0"]);
        if !self.before.is_empty() {
            command.arg("--insecure");
        }
        self.mark(&mut command, state);
        Process::start(state, &mut command)
    }

    /// A worker with this many slots on the CPU.
    pub fn worker(&self, name: &str, slots: u32, before: &[String], url: &str) -> Process {
        let mut command = led(before, &beside("worker"));
        command.args(["--coordinator", url, "--devices", "cpu"]);
        command.args(["--slots-per-device", &slots.to_string()]);
        command.arg("--state").arg(self.folder.join(name));
        if self.training == Training::Stub {
            command.arg("--trainer").arg(self.folder.join("trainer"));
            command.env("LIBTORCH", self.folder.join("libtorch"));
        }
        self.mark(&mut command, name);
        Process::start(name, &mut command)
    }

    /// Has a worker's checkpoints in a folder that others have, too.
    pub fn share_checkpoints(&self, name: &str) {
        let shared = self.folder.join("checkpoints");
        fs::create_dir_all(&shared).expect("created");
        fs::create_dir_all(self.folder.join(name)).expect("created");
        let link = self.folder.join(name).join("checkpoints");
        std::os::unix::fs::symlink(shared, link).expect("a new link");
    }

    /// What a worker calls itself; none before its first start has come so far.
    pub fn worker_id(&self, name: &str) -> Option<String> {
        let bytes = fs::read(self.folder.join(name).join("worker.json")).ok()?;
        let identity = serde_json::from_slice::<serde_json::Value>(&bytes).expect("whole");
        Some(identity["worker"].as_str().expect("a name").to_owned())
    }

    /// Processes of this test, whoever started them; a zombie is none.
    pub fn living(&self) -> Vec<Pid> {
        let entries = fs::read_dir("/proc").expect("/proc").flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        numbers.filter_map(Pid::from_raw).filter(|pid| self.is_ours(*pid)).collect()
    }

    pub fn is_ours(&self, pid: Pid) -> bool {
        let path = format!("/proc/{}/environ", pid.as_raw_nonzero());
        let mark = format!("{MARK}={}", self.folder.display());
        let environment = fs::read(path).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes())
    }

    /// Waits until every process has left by itself.
    pub fn expect_none_left(&self) {
        let none_left = wait_within(Duration::from_secs(30), || self.living().is_empty());
        assert!(none_left, "processes are left over: {:?}", self.living());
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for pid in self.living() {
            // It may have ended this moment.
            let _ = kill_process(pid, Signal::KILL);
        }
        if !std::thread::panicking() {
            // What stays is in the target folder.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// A program, with what stands before it.
pub fn led(before: &[String], program: &Path) -> Command {
    let Some((first, rest)) = before.split_first() else { return Command::new(program) };
    let mut command = Command::new(first);
    command.args(rest).arg(program);
    command
}

/// The coordinator's program.
pub fn program() -> &'static str {
    env!("CARGO_BIN_EXE_coordinator")
}

/// A program beside the coordinator's: `make build` puts them there.
fn beside(name: &str) -> PathBuf {
    let path = Path::new(program()).with_file_name(name);
    assert!(path.is_file(), "{} is missing: run `make build` first", path.display());
    path
}

/// Below the ports that the system gives to connections: a restarted coordinator finds it free.
fn free_port() -> u16 {
    let start = u16::try_from(std::process::id() % 8_000).expect("small");
    let mut ports = (0..8_000).map(|step| 20_000 + (start + step) % 8_000);
    let free = ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.expect("one of 8,000 ports is free")
}

/// A child. It is killed with its `Host`.
pub struct Process {
    pub name: String,
    child: Child,
}

impl Process {
    fn start(name: &str, command: &mut Command) -> Process {
        let child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        Process { name: name.into(), child }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// How it ended, where it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }

    /// It is not reaped yet, so the number is still its own.
    pub fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            kill_process(self.pid(), signal).expect("a child of ours can be signalled");
        }
    }

    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().expect("the process is reaped");
    }

    /// Waits for its end and gives its exit status.
    pub fn wait(&mut self) -> Option<i32> {
        let what = format!("the end of {}", self.name);
        wait_for(&what, || self.ended().is_some());
        self.ended().expect("it has ended").code()
    }

    /// Its children: of a worker the trainers.
    pub fn children(&self) -> Vec<Pid> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let tasks = tasks.into_iter().flatten().flatten();
        let texts = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        let texts = texts.collect::<Vec<_>>().join(" ");
        let mut pids: Vec<i32> =
            texts.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
        pids.sort_unstable();
        pids.dedup();
        pids.into_iter().filter_map(Pid::from_raw).collect()
    }
}
