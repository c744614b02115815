//! `--local`: one worker on this host as a child that ends with the coordinator.
//!
//! The worker is told where its parent is by the pipe of its standard input: when that closes,
//! however the coordinator ended, it drains and leaves. A worker that dies is started again,
//! unless it says by its status, as soon as it is started, that it cannot run here.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use common::credentials::{CREDENTIALS_VARIABLE, TOKEN_FILE_VARIABLE, TOKEN_VARIABLE};
use common::token::Token;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

/// How long a draining worker may take: an epoch's end and a checkpoint per slot.
pub const DRAIN_SECONDS_MAX: u64 = 20;
/// A worker that ends sooner than this did not come up.
const START: Duration = Duration::from_secs(10);
/// Failed starts in a row after which another one is pointless.
const STARTS_FAILED_MAX: u32 = 5;
/// Wait after the first failed start; doubles with each further one.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
/// Bytes of the worker's log that are shown when it does not start.
const LOG_TAIL_BYTES: usize = 2048;
/// The worker's own statuses: an error of its host or files, and a mistake in what was asked of
/// it. Right after a start no restart cures either.
const STATUSES_BROKEN: [i32; 2] = [1, 2];
/// Overrides the trainer program; the worker reads it too.
const TRAINER_VARIABLE: &str = "GRADSWEEP_TRAINER";

/// Why there is no local worker.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The program is not there.
    #[error(
        "--local: no worker program at `{}`; `cargo build --release -p worker -p trainer` builds \
         it", path.display()
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The trainer program is not there.
    #[error(
        "--local: no trainer program at `{}`{named}; `cargo build --release -p worker -p trainer` \
         builds it", path.display()
    )]
    MissingTrainer {
        /// Where it was looked for.
        path: PathBuf,
        /// What named the place, in brackets; empty where nothing did.
        named: &'static str,
    },
    /// This program's own place is unknown.
    #[error("--local: cannot find this program's folder")]
    OwnPath(#[source] io::Error),
    /// Its folder or log cannot be made.
    #[error("--local: cannot write `{}`", path.display())]
    Log {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be started.
    #[error("--local: cannot start `{}`", path.display())]
    Start {
        /// The program.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Waiting for it failed.
    #[error("--local: lost track of the worker")]
    Wait(#[source] io::Error),
    /// It ends again and again, or says at once that it cannot run.
    #[error(
        "--local: the worker does not run ({status}); its log, `{}`, ends:\n{tail}", log.display()
    )]
    DoesNotRun {
        /// How it ended last.
        status: ExitStatus,
        /// Its log.
        log: PathBuf,
        /// The end of the log.
        tail: String,
    },
}

/// The worker beside this program.
pub fn program() -> Result<PathBuf, LocalError> {
    let own = std::env::current_exe().map_err(LocalError::OwnPath)?;
    let path = own.with_file_name("worker");
    if path.is_file() { Ok(path) } else { Err(LocalError::Missing { path }) }
}

/// Fails where the worker would find no trainer.
pub fn check_trainer() -> Result<(), LocalError> {
    let own = std::env::current_exe().map_err(LocalError::OwnPath)?;
    trainer_is_there(std::env::var_os(TRAINER_VARIABLE).map(PathBuf::from), &own)
}

fn trainer_is_there(named: Option<PathBuf>, own: &Path) -> Result<(), LocalError> {
    let (path, named) = match named {
        Some(path) => (path, " (GRADSWEEP_TRAINER)"),
        None => (own.with_file_name("trainer"), ""),
    };
    if path.is_file() { Ok(()) } else { Err(LocalError::MissingTrainer { path, named }) }
}

/// How the worker is started.
#[derive(Clone, Debug)]
pub struct Local {
    /// The worker program.
    pub program: PathBuf,
    /// Slots per device, where asked for.
    pub slots_per_device: Option<u32>,
    /// The data directory.
    pub data: Option<PathBuf>,
    /// Folder of the checkpoints; none: the worker's own.
    pub artifacts: Option<PathBuf>,
    /// The worker's own state directory.
    pub state: PathBuf,
}

impl Local {
    /// Keeps a worker running until `stop`, then drains it. `url` is the coordinator's, which wants
    /// the token where there is one.
    pub async fn run(
        self,
        url: String,
        token: Option<Token>,
        stop: CancellationToken,
    ) -> Result<(), LocalError> {
        let log = self.state.join("worker.log");
        let write = |source| LocalError::Log { path: log.clone(), source };
        fs::create_dir_all(&self.state).map_err(write)?;
        let mut starts_failed = 0;
        while !stop.is_cancelled() {
            let started = Instant::now();
            let log_start = fs::metadata(&log).map_or(0, |metadata| metadata.len());
            let mut child = self.start(&url, token.as_ref(), &log)?;
            // `Child::wait` closes a pipe that the child still holds, and the worker ends with it.
            let _lifeline = child.stdin.take();
            tracing::info!(pid = child.id(), log = %log.display(), "local worker started");
            let status = tokio::select! {
                status = child.wait() => status.map_err(LocalError::Wait)?,
                () = stop.cancelled() => return drain(child).await,
            };
            if status.success() {
                tracing::info!("the local worker was drained and has left");
                stop.cancelled().await;
                return Ok(());
            }
            starts_failed = if started.elapsed() < START { starts_failed + 1 } else { 0 };
            let says_broken = status.code().is_some_and(|code| STATUSES_BROKEN.contains(&code));
            if starts_failed > 0 && (says_broken || starts_failed >= STARTS_FAILED_MAX) {
                let tail = tail(&log, log_start);
                return Err(LocalError::DoesNotRun { status, log, tail });
            }
            let wait = BACKOFF_FIRST * 2_u32.pow(starts_failed.saturating_sub(1));
            tracing::warn!(%status, "the local worker ended; it is started again in {wait:?}");
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => {}
            }
        }
        Ok(())
    }

    fn start(&self, url: &str, token: Option<&Token>, log: &Path) -> Result<Child, LocalError> {
        let open = File::options().create(true).append(true).open(log);
        let file = open.map_err(|source| LocalError::Log { path: log.into(), source })?;
        let mut command = Command::new(&self.program);
        command.arg("--coordinator").arg(url);
        command.arg("--state").arg(&self.state).arg("--exit-with-parent");
        if let Some(data) = &self.data {
            command.arg("--data").arg(data);
        }
        if let Some(artifacts) = &self.artifacts {
            command.arg("--artifacts").arg(artifacts);
        }
        if let Some(count) = self.slots_per_device {
            command.arg("--slots-per-device").arg(count.to_string());
        }
        // The coordinator's own credentials are for the coordinator.
        for variable in [CREDENTIALS_VARIABLE, TOKEN_VARIABLE, TOKEN_FILE_VARIABLE] {
            command.env_remove(variable);
        }
        if let Some(token) = token {
            command.env(TOKEN_VARIABLE, token.secret());
        }
        // A group of its own: an interrupt from the terminal is the coordinator's to act on.
        command.process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(file);
        let path = || self.program.clone();
        command.spawn().map_err(|source| LocalError::Start { path: path(), source })
    }
}

/// Asks the worker to hand back what it trains and leave; kills it at the deadline.
async fn drain(mut child: Child) -> Result<(), LocalError> {
    let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    if let Some(pid) = pid
        && let Err(error) = kill_process(pid, Signal::TERM)
    {
        tracing::debug!(%error, "the local worker has left already");
    }
    let deadline = Duration::from_secs(DRAIN_SECONDS_MAX);
    match tokio::time::timeout(deadline, child.wait()).await {
        Ok(status) => status.map(drop).map_err(LocalError::Wait),
        Err(_) => {
            tracing::warn!("the local worker does not leave; it is killed after {deadline:?}");
            child.kill().await.map_err(LocalError::Wait)
        }
    }
}

/// The end of what was logged since `start`.
fn tail(log: &Path, start: u64) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let start = usize::try_from(start).unwrap_or(0).min(bytes.len());
    let text = String::from_utf8_lossy(&bytes[start..]);
    let cut = text.ceil_char_boundary(text.len().saturating_sub(LOG_TAIL_BYTES));
    text[cut..].trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const DEADLINE: Duration = Duration::from_secs(30);

    fn local(folder: &Path, script: &str) -> Local {
        let program = folder.join("worker");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("writable");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("ours");
        let state = folder.join("state");
        let artifacts = Some("shared".into());
        Local { program, slots_per_device: Some(3), data: None, artifacts, state }
    }

    async fn run(local: Local, stop: CancellationToken) -> Result<(), LocalError> {
        tokio::time::timeout(DEADLINE, local.run("http://h:7".into(), None, stop))
            .await
            .expect("in time")
    }

    #[tokio::test]
    async fn a_worker_that_was_asked_for_the_impossible_ends_the_run() {
        let folder = tempfile::tempdir().expect("a folder");
        let local = local(folder.path(), "echo \"args $*\" >&2; exit 2");
        let state = local.state.display().to_string();
        let error = run(local, CancellationToken::new()).await.expect_err("it does not run");
        let text = error.to_string();
        let arguments = format!(
            "args --coordinator http://h:7 --state {state} --exit-with-parent \
             --artifacts shared --slots-per-device 3"
        );
        assert!(text.contains(&arguments), "{text}");
    }

    #[tokio::test]
    async fn only_a_worker_that_is_killed_is_started_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let starts = folder.path().join("starts");
        // The first is killed; the second says that it cannot run here.
        let script = format!(
            "echo start >> {0}\n[ $(wc -l < {0}) -gt 1 ] || kill -9 $$\n\
             echo wrong libtorch >&2\nexit 1",
            starts.display()
        );
        let local = local(folder.path(), &script);
        let error = run(local, CancellationToken::new()).await.expect_err("it does not run");
        let text = error.to_string();
        assert!(text.contains("exit status: 1") && text.ends_with("wrong libtorch"), "{text}");
        assert_eq!(fs::read_to_string(starts).expect("written"), "start\nstart\n");
    }

    #[tokio::test]
    async fn stopping_drains_the_worker() {
        let folder = tempfile::tempdir().expect("a folder");
        let ready = folder.path().join("ready");
        let drained = folder.path().join("drained");
        let closed = folder.path().join("closed");
        let script = format!(
            "trap 'echo drained > {}; exit 143' TERM\necho ready > {}\nread line\necho > {}",
            drained.display(),
            ready.display(),
            closed.display()
        );
        let stop = CancellationToken::new();
        let running = tokio::spawn(run(local(folder.path(), &script), stop.clone()));
        let deadline = Instant::now() + DEADLINE;
        while !ready.is_file() {
            assert!(Instant::now() < deadline, "the worker does not start");
            tokio::task::yield_now().await;
        }
        stop.cancel();
        running.await.expect("no panic").expect("drained");
        assert_eq!(fs::read_to_string(drained).expect("written"), "drained\n");
        assert!(!closed.exists(), "its input stays open while it runs");
    }

    #[test]
    fn a_missing_worker_program_says_how_to_build_it() {
        let error = program().expect_err("no worker stands beside a test");
        assert!(error.to_string().contains("cargo build --release -p worker -p trainer"));
    }

    #[test]
    fn a_missing_trainer_program_is_told_with_its_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let own = folder.path().join("coordinator");
        let text = |named| match trainer_is_there(named, &own) {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        };
        let beside = folder.path().join("trainer");
        let missing = text(None);
        assert!(missing.contains(&format!("no trainer program at `{}`;", beside.display())));
        assert!(missing.contains("cargo build --release -p worker -p trainer"), "{missing}");
        let named = text(Some("/nowhere/t".into()));
        assert!(named.contains("at `/nowhere/t` (GRADSWEEP_TRAINER);"), "{named}");
        fs::write(&beside, "").expect("writable");
        assert_eq!(text(None), "");
        assert_eq!(text(Some(beside)), "");
    }
}
