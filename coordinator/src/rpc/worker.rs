//! `WorkerService`: one stream per attached worker. It reads and converts; the driver decides.
//! Weights come by calls of their own (`weights`).

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use common::ids::WorkerId;
use common::wire::worker_service_server::WorkerService;
use common::wire::{self, from_worker};
use scheduler::event::{Event, Session};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

use super::outgoing::{self, Outgoing};
use super::{convert, gpus, weights};
use crate::answers::{Answers, Logs};
use crate::driver::Inbox;
use crate::gpus::Gpus;
use crate::weights::Weights;

/// How often a worker gives a sign of life.
pub const HEARTBEAT_INTERVAL_MS: u32 = 2_000;
/// A stream that says nothing for this long at its start is no worker.
const HELLO_WAIT: Duration = Duration::from_secs(10);

/// The service.
pub struct Workers {
    inbox: Inbox,
    logs: Arc<Logs>,
    gpus: Gpus,
    /// The next stream's number; no two streams of this process share one.
    sessions: AtomicU64,
    /// The tasks that read the streams.
    readers: TaskTracker,
    /// Identity of the store.
    store: Arc<str>,
    /// Those that are kept.
    weights: Arc<Weights>,
}

impl Workers {
    /// A service that feeds the driver, whose store has this identity, and the table of GPUs.
    pub fn new(
        inbox: Inbox,
        answers: &Answers,
        gpus: Gpus,
        readers: TaskTracker,
        store: Arc<str>,
    ) -> Workers {
        let (logs, weights) = (answers.logs(), answers.weights());
        Workers { inbox, logs, gpus, sessions: AtomicU64::new(1), readers, store, weights }
    }
}

#[tonic::async_trait]
impl WorkerService for Workers {
    type AttachStream = WorkerStream;

    async fn attach(
        &self,
        request: Request<Streaming<wire::FromWorker>>,
    ) -> Result<Response<WorkerStream>, Status> {
        let mut messages = request.into_inner();
        let first = tokio::time::timeout(HELLO_WAIT, messages.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no hello came"))??;
        let Some(from_worker::Message::Hello(hello)) = first.and_then(|first| first.message) else {
            return Err(Status::invalid_argument("the first message is not a hello"));
        };
        if !hello.store.is_empty() && hello.store != *self.store {
            tracing::warn!(worker = hello.worker, "a worker brings attempts of another store");
            return Err(Status::failed_precondition("these attempts are of another store"));
        }
        let hello = convert::hello(hello)?;
        let session = Session(self.sessions.fetch_add(1, Ordering::Relaxed));
        let (outlet, inlet) = outgoing::channel();
        let fault = Arc::new(OnceLock::new());
        let reader = Reader {
            worker: hello.id.clone(),
            session,
            inbox: self.inbox.clone(),
            logs: Arc::clone(&self.logs),
            gpus: self.gpus.clone(),
            closed: inlet.closed.clone(),
            fault: Arc::clone(&fault),
        };
        let attached = self.inbox.attach(session, hello, outlet).await;
        attached.map_err(|stopped| Status::unavailable(stopped.to_string()))?;
        self.readers.spawn(reader.run(messages));
        Ok(Response::new(WorkerStream {
            store: Arc::clone(&self.store),
            receiver: inlet.receiver,
            closed: Box::pin(inlet.closed.clone().cancelled_owned()),
            fault,
            ended: false,
            _closes: inlet.closed.drop_guard(),
        }))
    }

    async fn offer_weights(
        &self,
        request: Request<wire::OfferWeightsRequest>,
    ) -> Result<Response<wire::OfferWeightsResponse>, Status> {
        let answer = weights::offered(&self.weights, &self.store, request.into_inner()).await?;
        Ok(Response::new(wire::OfferWeightsResponse { answer: answer.into() }))
    }

    async fn put_weights(
        &self,
        request: Request<Streaming<wire::WeightsPart>>,
    ) -> Result<Response<wire::PutWeightsResponse>, Status> {
        let kept = weights::sent(&self.weights, &self.store, request.into_inner()).await?;
        Ok(Response::new(wire::PutWeightsResponse { kept }))
    }
}

/// Reads one worker's messages until its stream ends, from either side.
struct Reader {
    worker: WorkerId,
    session: Session,
    inbox: Inbox,
    logs: Arc<Logs>,
    gpus: Gpus,
    closed: CancellationToken,
    fault: Arc<OnceLock<Status>>,
}

impl Reader {
    async fn run(self, mut messages: Streaming<wire::FromWorker>) {
        let closed = self.closed.clone();
        let result = tokio::select! {
            result = self.read(&mut messages) => result,
            () = closed.cancelled() => Ok(()),
        };
        if let Err(status) = result {
            tracing::warn!(worker = %self.worker, %status, "a worker's stream is closed");
            drop(self.fault.set(status));
        }
        closed.cancel();
        self.gpus.forget(&self.worker, self.session);
        let detached = Event::WorkerDetached(self.worker, self.session);
        drop(self.inbox.event(detached).await);
    }

    /// Until the stream ends; fails with what the worker is told.
    async fn read(&self, messages: &mut Streaming<wire::FromWorker>) -> Result<(), Status> {
        loop {
            let message = match messages.message().await {
                Ok(Some(message)) => message,
                Ok(None) => return Ok(()),
                Err(status) => {
                    tracing::debug!(worker = %self.worker, %status, "a worker's stream broke");
                    return if too_large(&status) { Err(status) } else { Ok(()) };
                }
            };
            // A message of a newer version's kind is passed over.
            if let Some(message) = message.message {
                self.on_message(message).await?;
            }
        }
    }

    async fn on_message(&self, message: from_worker::Message) -> Result<(), Status> {
        let (worker, session) = (self.worker.clone(), self.session);
        let event = match message {
            from_worker::Message::Hello(_) => {
                return Err(Status::invalid_argument("a second hello on one stream"));
            }
            from_worker::Message::Heartbeat(heartbeat) => {
                self.gpus.set(&worker, session, gpus::gpus(heartbeat.gpus)?);
                Event::Heartbeat { worker, session, draining: heartbeat.draining }
            }
            from_worker::Message::Reports(message) => match convert::reports(message)? {
                Some((through, reports)) => Event::Reported { worker, session, through, reports },
                None => return Ok(()),
            },
            from_worker::Message::Log(log) => {
                self.logs.answer(log.request, log.text);
                return Ok(());
            }
        };
        self.inbox.event(event).await.map_err(|stopped| Status::unavailable(stopped.to_string()))
    }
}

/// Whether a message was refused for its size, which the worker has to hear.
fn too_large(status: &Status) -> bool {
    status.code() == tonic::Code::OutOfRange
}

/// What goes to one worker.
pub struct WorkerStream {
    store: Arc<str>,
    receiver: mpsc::Receiver<Outgoing>,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
    fault: Arc<OnceLock<Status>>,
    ended: bool,
    /// The worker is gone when this is dropped: its reader has nothing to wait for.
    _closes: DropGuard,
}

impl Stream for WorkerStream {
    type Item = Result<wire::ToWorker, Status>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<wire::ToWorker, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if self.closed.as_mut().poll(cx).is_pending()
            && let Some(message) = ready!(self.receiver.poll_recv(cx))
        {
            let message = convert::to_worker(message, HEARTBEAT_INTERVAL_MS, &self.store);
            return Poll::Ready(Some(Ok(message)));
        }
        self.ended = true;
        let closed = || Status::unavailable("the coordinator closed the stream; attach again");
        Poll::Ready(Some(Err(self.fault.get().cloned().unwrap_or_else(closed))))
    }
}
