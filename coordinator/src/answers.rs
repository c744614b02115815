//! What readers are told, whoever asks: gRPC and HTTP give the same answers. They come from the
//! store, read off the async threads; what only the running coordinator knows is added from the
//! driver's picture.
//!
//! No reader holds anything up: a slow one gives its turn away while it is waited for, and one
//! that takes nothing for long is cut off.

mod live;
mod logs;

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use common::ids::WorkerId;
use common::wire;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_stream::Stream;

use crate::driver::{Driven, Inbox};
use crate::gpus::Gpus;
use crate::query::{QueryError, Reader};
use crate::rpc::gpus;
use crate::weights::Weights;

pub use live::sweep_of;
pub use logs::Logs;

/// Readers of the store at one time: each has a connection and a thread. Others wait their turn.
const READERS_MAX: usize = 8;
/// Answers in parts that are on their way: each has a thread.
const STREAMS_MAX: usize = 256;
/// Parts after which an answer is a long one, which gives way to the handing out of work.
const PARTS_AT_ONCE: usize = 4;
/// Of whoever sends a long answer: a tenth of what others get of a busy processor.
const NICENESS: i32 = 10;
/// Parts of an answer that wait for a slow reader; each is below the largest message.
const PARTS_WAITING_MAX: usize = 2;
/// A reader that takes no part for this long is cut off.
const STALLED_MAX: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// A mistake in what was asked, or the store.
    #[error(transparent)]
    Query(QueryError),
    /// Too many readers.
    #[error("{STREAMS_MAX} tables and figures are being read already; try again in a while")]
    Busy,
    /// The reader took no part of the answer for too long, or reading the store panicked.
    #[error("the answer was cut off: nothing of it was taken for {} s", STALLED_MAX.as_secs())]
    Cut,
    /// The system gives no thread.
    #[error("cannot start a thread to read the store")]
    Thread(#[source] io::Error),
    /// A fault of the program.
    #[error("reading the store panicked")]
    Panicked,
}

/// Answers from the store of a state directory and the driver.
#[derive(Clone)]
pub struct Answers {
    inbox: Inbox,
    driven: Driven,
    gpus: Gpus,
    state: Arc<PathBuf>,
    logs: Arc<Logs>,
    weights: Arc<Weights>,
    turns: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

/// Takes the parts of an answer.
pub type Parts<'s, T> = &'s mut dyn FnMut(T) -> ControlFlow<()>;

impl Answers {
    /// For a running server.
    pub fn new(inbox: Inbox, driven: Driven, gpus: Gpus, state: PathBuf) -> Answers {
        Answers {
            inbox,
            driven,
            gpus,
            weights: Arc::new(Weights::new(state.clone())),
            state: Arc::new(state),
            logs: Arc::default(),
            turns: Arc::new(Semaphore::new(READERS_MAX)),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        }
    }

    /// Questions to workers for their logs.
    pub fn logs(&self) -> Arc<Logs> {
        Arc::clone(&self.logs)
    }

    /// The weights that are kept.
    pub fn weights(&self) -> Arc<Weights> {
        Arc::clone(&self.weights)
    }

    /// The weights of a trial of a sweep, or of its best one where `trial` is empty: what they are
    /// of, then their bytes.
    pub async fn model(
        &self,
        sweep: String,
        trial: String,
    ) -> Result<InParts<wire::ModelPart>, AnswerError> {
        let request = wire::GetModelRequest { sweep, trial };
        self.stream(move |reader, send| reader.model(&request, send)).await
    }

    /// What the driver shows.
    pub fn driven(&self) -> &Driven {
        &self.driven
    }

    /// Reads the store with a connection of its own.
    pub async fn read<T, F>(&self, read: F) -> Result<T, AnswerError>
    where
        T: Send + 'static,
        F: FnOnce(&Reader) -> Result<T, QueryError> + Send + 'static,
    {
        let turn = turn(&self.turns).await;
        let state = Arc::clone(&self.state);
        let (answer, answered) = oneshot::channel();
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            // Who asked may have gone.
            drop(answer.send(Reader::open(&state).and_then(|reader| read(&reader))));
        });
        answered.await.map_err(|_| AnswerError::Panicked)?.map_err(AnswerError::Query)
    }

    /// As `read`, of an answer that comes in parts.
    pub async fn stream<T, F>(&self, read: F) -> Result<InParts<T>, AnswerError>
    where
        T: Send + 'static,
        F: FnOnce(&Reader, Parts<'_, T>) -> Result<(), QueryError> + Send + 'static,
    {
        let stream = Arc::clone(&self.streams).try_acquire_owned();
        let stream = stream.map_err(|_| AnswerError::Busy)?;
        let (state, turns) = (Arc::clone(&self.state), Arc::clone(&self.turns));
        let (sender, receiver) = mpsc::channel(PARTS_WAITING_MAX);
        let is_whole = Arc::new(AtomicBool::new(false));
        let parts = InParts { receiver, is_whole: Arc::clone(&is_whole) };
        let runtime = Handle::current();
        // A thread of its own: its priority cannot be raised again.
        let spawned = thread::Builder::new().name("reader".into()).spawn(move || {
            let _stream = stream;
            let mut held = Some(runtime.block_on(turn(&turns)));
            let (mut is_stalled, mut sent) = (false, 0);
            let mut send = |part| {
                sent += 1;
                if sent == PARTS_AT_ONCE {
                    give_way();
                }
                match sender.try_send(Ok(part)) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(mpsc::error::TrySendError::Closed(_)) => ControlFlow::Break(()),
                    Err(mpsc::error::TrySendError::Full(part)) => {
                        held = None;
                        is_stalled =
                            runtime.block_on(sender.send_timeout(part, STALLED_MAX)).is_err();
                        held = Some(runtime.block_on(turn(&turns)));
                        if is_stalled { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                    }
                }
            };
            let read = Reader::open(&state).and_then(|reader| read(&reader, &mut send));
            drop(held);
            if let Err(error) = read {
                let error = Err(AnswerError::Query(error));
                is_stalled |= runtime.block_on(sender.send_timeout(error, STALLED_MAX)).is_err();
            }
            is_whole.store(!is_stalled, Ordering::Release);
        });
        spawned.map(|_| parts).map_err(AnswerError::Thread)
    }

    /// Every sweep, oldest first.
    pub async fn sweeps(&self) -> Result<Vec<wire::Sweep>, AnswerError> {
        let mut sweeps = self.read(Reader::sweeps).await?;
        let overview = Arc::clone(&self.driven.overview.borrow());
        let health = self.driven.health.borrow().clone();
        for sweep in &mut sweeps {
            live::complete_sweep(sweep, &overview, &health);
        }
        Ok(sweeps)
    }

    /// One sweep.
    pub async fn sweep(&self, name: String) -> Result<wire::Sweep, AnswerError> {
        let mut sweep = self.read(move |reader| reader.sweep(&name)).await?;
        let health = self.driven.health.borrow().clone();
        live::complete_sweep(&mut sweep, &self.driven.overview.borrow(), &health);
        Ok(sweep)
    }

    /// One trial, with why it waits where it does.
    pub async fn trial(&self, sweep: String, trial: String) -> Result<wire::Trial, AnswerError> {
        let mut trial = self.read(move |reader| reader.trial(&sweep, &trial)).await?;
        if trial.state == "pending" {
            let explained = match trial.id.parse() {
                Ok(id) => self.inbox.explain(id).await.ok().flatten(),
                Err(_) => None,
            };
            trial.pending_reason = explained.unwrap_or(trial.pending_reason);
        }
        Ok(trial)
    }

    /// The end of what a trial's trainer wrote: what its worker has now, else what is stored.
    pub async fn log(
        &self,
        sweep: String,
        trial: String,
    ) -> Result<wire::GetLogResponse, AnswerError> {
        let (of_sweep, of_trial) = (sweep.clone(), trial.clone());
        let stored = self.read(move |reader| reader.trial(&of_sweep, &of_trial)).await?;
        let running = stored.attempts.last().filter(|attempt| attempt.state == "running");
        let worker = running.and_then(|attempt| attempt.worker.parse::<WorkerId>().ok());
        if let (Some(worker), Ok(id)) = (worker, stored.id.parse())
            && let Some(text) = self.logs.ask(&self.inbox, worker, id).await
        {
            return Ok(wire::GetLogResponse { text, source: "live".into() });
        }
        self.read(move |reader| reader.log(&sweep, &trial)).await
    }

    /// Every worker.
    pub async fn workers(&self) -> Result<Vec<wire::Worker>, AnswerError> {
        let mut workers = self.read(Reader::workers).await?;
        let overview = Arc::clone(&self.driven.overview.borrow());
        live::complete_workers(&mut workers, &overview, self.driven.clock);
        gpus::complete_workers(&mut workers, &self.gpus);
        Ok(workers)
    }
}

/// Lowers the priority of the calling thread, which on Linux is its alone, until its end.
fn give_way() {
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!("a reader's priority stays as it is: {error}");
    }
}

async fn turn(turns: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    let turn = Arc::clone(turns).acquire_owned().await;
    turn.expect("the readers' turns are never closed")
}

/// An answer in parts. One that was cut off ends with an error, so that it is never taken for a
/// whole one.
pub struct InParts<T> {
    receiver: mpsc::Receiver<Result<T, AnswerError>>,
    is_whole: Arc<AtomicBool>,
}

impl<T> Stream for InParts<T> {
    type Item = Result<T, AnswerError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.receiver.poll_recv(context) {
            Poll::Ready(None) if !self.is_whole.swap(true, Ordering::AcqRel) => {
                Poll::Ready(Some(Err(AnswerError::Cut)))
            }
            polled => polled,
        }
    }
}
