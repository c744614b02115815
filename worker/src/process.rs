//! One trainer process: its pipes, its end, and its being killed with its process group.

use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use common::credentials::TOKEN_VARIABLE;
use common::telemetry::chain;
use common::wire;
use prost::Message;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::agent::Input;
use crate::devices::Device;
use crate::exit::{classify, oom_kills};
use crate::frames;
use crate::libtorch::Libtorch;
use crate::rpc::{self, FromTrainer, to_trainer};
use crate::stderr::SlotLog;
use crate::supervisor::{Exit, FailureCause, Order, Run, TrainerEvent};

/// Orders that wait for a trainer to read them: a stop per trial of a large cohort. One that reads
/// none of so many hangs.
pub const ORDERS_WAITING_MAX: usize = 4096;
/// How long the pipes of a process that is gone may stay open (a grandchild may hold them).
const PIPE_WAIT: Duration = Duration::from_secs(2);

/// How every trainer of this worker is started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// For its library path.
    pub libtorch: Libtorch,
    /// Folder of the data sets.
    pub data: PathBuf,
    /// Folder of the checkpoints.
    pub checkpoints: PathBuf,
}

/// Which process of which slot.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The slot.
    pub slot: usize,
    /// The process.
    pub run: Run,
    /// Its device.
    pub device: Device,
    /// The slot's log.
    pub log: Arc<SlotLog>,
}

/// The agent's end of a trainer. Dropping it closes the trainer's stdin, on which it exits.
#[derive(Debug)]
pub struct Handle {
    /// The process.
    pub run: Run,
    orders: mpsc::Sender<wire::ToTrainer>,
    kill: CancellationToken,
}

impl Handle {
    /// A handle, and what `run` needs of it; `kill_all` kills this one too.
    pub fn new(
        run: Run,
        kill_all: &CancellationToken,
    ) -> (Handle, mpsc::Receiver<wire::ToTrainer>, CancellationToken) {
        let (orders, waiting) = mpsc::channel(ORDERS_WAITING_MAX);
        let kill = kill_all.child_token();
        (Handle { run, orders, kill: kill.clone() }, waiting, kill)
    }

    /// Passes an order on. A trainer that reads none is killed; one that is gone needs none.
    pub fn order(&self, order: Order) {
        match self.orders.try_send(to_trainer(order)) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(_)) => self.kill.cancel(),
        }
    }

    /// Kills the process group.
    pub fn kill(&self) {
        self.kill.cancel();
    }
}

/// Runs a trainer process to its end and says what it does; `Exited` comes last in any case.
pub async fn run(
    launch: Launch,
    seat: Seat,
    orders: mpsc::Receiver<wire::ToTrainer>,
    kill: CancellationToken,
    inbox: mpsc::WeakSender<Input>,
) {
    let exit = match live(&launch, &seat, orders, kill, &inbox).await {
        Ok(exit) => exit,
        Err(error) => Exit {
            cause: FailureCause::TrainerDied,
            message: format!("cannot start `{}`: {error}", launch.program.display()),
            stderr_tail: String::new(),
        },
    };
    let said = FromTrainer::Event(TrainerEvent::Exited(exit));
    if let Some(inbox) = inbox.upgrade() {
        // An agent that has left hears no more.
        let _ = inbox.send(Input::Trainer { slot: seat.slot, run: seat.run, said }).await;
    }
}

async fn live(
    launch: &Launch,
    seat: &Seat,
    orders: mpsc::Receiver<wire::ToTrainer>,
    kill: CancellationToken,
    inbox: &mpsc::WeakSender<Input>,
) -> io::Result<Exit> {
    let (stderr, stderr_end) = io::pipe()?;
    // Of its own process group: an interrupt from the terminal is for the agent to act on.
    let mut command = Command::new(&launch.program);
    command
        .args(["--device", &seat.device.to_string(), "--threads", "1"])
        .arg("--data")
        .arg(&launch.data)
        .arg("--checkpoints")
        .arg(&launch.checkpoints)
        .env("LD_LIBRARY_PATH", launch.libtorch.library_path())
        // It asks nobody.
        .env_remove(TOKEN_VARIABLE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(stderr_end)
        .process_group(0)
        .kill_on_drop(true);
    if std::env::var_os("CUDA_DEVICE_ORDER").is_none() {
        // As the driver and nvidia-smi number GPUs; CUDA's own order differs where they are unlike.
        command.env("CUDA_DEVICE_ORDER", "PCI_BUS_ID");
    }
    let oom_kills_before = oom_kills();
    let mut child = command.spawn()?;
    // It holds the pipe's writing end, without which the log would never end.
    drop(command);
    let log_ended = seat.log.follow(stderr);
    let stdin = child.stdin.take().expect("stdin is piped");
    let stdout = child.stdout.take().expect("stdout is piped");
    let writer = tokio::spawn(write(stdin, orders));
    let mut reader = Reader { stdout, buffer: Vec::new() };
    let (status, fault) = attend(&mut child, &mut reader, kill, seat, inbox).await;
    writer.abort();
    let status = status?;
    // Reports that were written before the end count.
    let rest = async { while reader.next(seat, inbox).await.is_ok_and(|more| more) {} };
    if fault.is_none() && timeout(PIPE_WAIT, rest).await.is_err() {
        tracing::warn!(slot = seat.slot, "a trainer is gone and its pipe is still open");
    }
    if timeout(PIPE_WAIT, log_ended).await.is_err() {
        tracing::debug!(slot = seat.slot, "a trainer is gone and its stderr is still open");
    }
    let oom_kills = oom_kills().zip(oom_kills_before).map_or(0, |(now, then)| now - then.min(now));
    let mut exit = classify(status, oom_kills, seat.log.tail());
    if let Some(fault) = fault {
        exit.message = format!("the trainer was killed because it sent {fault}");
    }
    Ok(exit)
}

/// Listens until the process ends; kills it when asked to, or when it sends what is no message.
async fn attend(
    child: &mut Child,
    reader: &mut Reader,
    kill: CancellationToken,
    seat: &Seat,
    inbox: &mpsc::WeakSender<Input>,
) -> (io::Result<ExitStatus>, Option<String>) {
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let mut fault = None;
    let mut is_reading = true;
    let mut is_killed = false;
    loop {
        tokio::select! {
            status = child.wait() => return (status, fault),
            () = kill.cancelled(), if !is_killed => is_killed = true,
            read = reader.next(seat, inbox), if is_reading => match read {
                Ok(true) => continue,
                Ok(false) => is_reading = false,
                Err(error) => {
                    is_reading = false;
                    is_killed = true;
                    fault = Some(error);
                }
            },
            // Nobody could hear it any more.
            () = sleep(PIPE_WAIT), if !is_reading && !is_killed => is_killed = true,
        }
        // The process is not reaped before `wait` returns above, so the group is still its own.
        if is_killed && let Some(group) = group {
            // It may have ended this moment.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

async fn write(mut stdin: ChildStdin, mut orders: mpsc::Receiver<wire::ToTrainer>) {
    while let Some(order) = orders.recv().await {
        let bytes = order.encode_length_delimited_to_vec();
        if stdin.write_all(&bytes).await.is_err() {
            // The trainer is gone; its end says why.
            return;
        }
    }
}

struct Reader {
    stdout: ChildStdout,
    buffer: Vec<u8>,
}

impl Reader {
    /// Reads a piece and passes on the messages that are complete; false at the end. Nothing is
    /// lost when it is cancelled: a message leaves the buffer only when it has a place in the
    /// inbox.
    async fn next(&mut self, seat: &Seat, inbox: &mpsc::WeakSender<Input>) -> Result<bool, String> {
        loop {
            let Some(inbox) = inbox.upgrade() else {
                return Ok(false);
            };
            let Ok(place) = inbox.reserve().await else {
                return Ok(false);
            };
            let message = frames::take(&mut self.buffer).map_err(|error| chain(&error))?;
            let Some(message) = message else { break };
            let said = rpc::from_trainer(message).map_err(|error| chain(&error))?;
            place.send(Input::Trainer { slot: seat.slot, run: seat.run, said });
        }
        match self.stdout.read_buf(&mut self.buffer).await {
            // Half a message at the end is that of a process that died writing.
            Ok(0) => Ok(false),
            Ok(_) => Ok(true),
            Err(error) => Err(format!("nothing that can be read: {error}")),
        }
    }
}
