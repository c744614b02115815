//! How the rest of the coordinator speaks to the driver: a bounded inbox in, snapshots out.

use std::sync::Arc;

use common::ids::{TrialId, WorkerId};
use common::spec::Sweep;
use scheduler::event::{Event, Session, WorkerHello};
use scheduler::{Acted, Applied, Overview};
use tokio::sync::{mpsc, oneshot, watch};

use super::Clock;
use crate::rpc::outgoing::Outlet;

/// Requests that wait for the driver: a few per worker of a large cluster. When it is full the
/// workers' streams are read no further, which is the back-pressure that reaches them.
const INBOX_MAX: usize = 1024;

/// Whether the coordinator does its work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Health {
    /// All is well.
    Serving,
    /// Nothing more is handed out.
    Closing,
    /// The store refused; nothing is handed out until it can be read again.
    StoreFailed {
        /// The error and its causes.
        reason: String,
    },
}

/// What the driver is asked to do.
#[derive(Debug)]
pub(super) enum Request {
    /// A worker opened a stream.
    Attach { session: Session, hello: Box<WorkerHello>, outlet: Outlet },
    /// Something that the scheduler is to know.
    Event(Event),
    /// To be passed to the worker's current stream.
    AskLog { worker: WorkerId, request: u64, trial: TrialId },
    /// Why a trial is where it is.
    Explain { trial: TrialId, answer: oneshot::Sender<Option<String>> },
    /// Answered when everything applied before it is committed.
    Flush { answer: oneshot::Sender<()> },
    /// Somebody acts on a sweep or a worker; answered when what came of it is committed.
    Act { event: Event, answer: oneshot::Sender<Acted> },
    /// A sweep file to apply; answered when its members are committed.
    Apply { application: Box<Application> },
    /// Nothing more is handed out from here on.
    Close,
}

/// A sweep file that a client applies.
#[derive(Debug)]
pub(super) struct Application {
    pub sweep: Sweep,
    pub prune: bool,
    pub answer: oneshot::Sender<Result<Done, String>>,
}

/// A sweep file was applied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Done {
    /// What that changed.
    pub applied: Applied,
    /// What holds the sweep back all the same.
    pub held: Option<String>,
}

/// The driver has ended, or dropped what it had in memory because the store failed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the coordinator stops, or its store failed meanwhile")]
pub struct Stopped;

/// The way into the driver.
#[derive(Clone, Debug)]
pub struct Inbox(mpsc::Sender<Request>);

/// An inbox and the driver's end of it.
pub(super) fn inbox() -> (Inbox, mpsc::Receiver<Request>) {
    let (sender, receiver) = mpsc::channel(INBOX_MAX);
    (Inbox(sender), receiver)
}

impl Inbox {
    /// A worker opened a stream and said hello.
    pub async fn attach(
        &self,
        session: Session,
        hello: WorkerHello,
        outlet: Outlet,
    ) -> Result<(), Stopped> {
        self.send(Request::Attach { session, hello: Box::new(hello), outlet }).await
    }

    /// Tells the scheduler.
    pub async fn event(&self, event: Event) -> Result<(), Stopped> {
        self.send(Request::Event(event)).await
    }

    /// Passes a question for log lines to a worker, where it is attached.
    pub async fn ask_log(
        &self,
        worker: WorkerId,
        request: u64,
        trial: TrialId,
    ) -> Result<(), Stopped> {
        self.send(Request::AskLog { worker, request, trial }).await
    }

    /// Why a trial is pending, where it is.
    pub async fn explain(&self, trial: TrialId) -> Result<Option<String>, Stopped> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Explain { trial, answer }).await?;
        answered.await.map_err(|_| Stopped)
    }

    /// Waits until everything that was applied before is committed.
    pub async fn flush(&self) -> Result<(), Stopped> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Flush { answer }).await?;
        answered.await.map_err(|_| Stopped)
    }

    /// Acts on a sweep or a worker; returns when what came of it is committed.
    pub async fn act(&self, event: Event) -> Result<Acted, Stopped> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Act { event, answer }).await?;
        answered.await.map_err(|_| Stopped)
    }

    /// Applies a sweep file; with `prune`, what runs and is not named any more ends. Returns when
    /// every member is committed, or why nothing was applied.
    pub async fn apply(&self, sweep: Sweep, prune: bool) -> Result<Result<Done, String>, Stopped> {
        let (answer, answered) = oneshot::channel();
        let application = Box::new(Application { sweep, prune, answer });
        self.send(Request::Apply { application }).await?;
        answered.await.map_err(|_| Stopped)
    }

    /// Stops the handing out of work.
    pub async fn close(&self) -> Result<(), Stopped> {
        self.send(Request::Close).await
    }

    async fn send(&self, request: Request) -> Result<(), Stopped> {
        self.0.send(request).await.map_err(|_| Stopped)
    }
}

/// What the driver publishes.
#[derive(Clone, Debug)]
pub struct Driven {
    /// The scheduler's picture, at most a quarter of a second old.
    pub overview: watch::Receiver<Arc<Overview>>,
    /// Whether work is handed out.
    pub health: watch::Receiver<Health>,
    /// Every sweep file that was given is applied; the picture has it.
    pub applied: watch::Receiver<bool>,
    /// The clock of the picture's times.
    pub clock: Clock,
}
