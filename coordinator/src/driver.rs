//! The one task that owns the scheduler: events in, changes to the writer, and messages out once
//! their changes are committed. Applying goes on while the writer works.
//!
//! When the store fails, what is in memory is dropped, every worker's stream is closed and the
//! store is read again; until that works nothing is handed out.

mod actions;
mod commits;
mod expansion;
mod failures;
mod inbox;
mod points;
mod restore;
mod unkept;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::ids::WorkerId;
use common::spec::Sweep;
use common::telemetry::chain;
use scheduler::event::{Event, Message, Session, Time, WorkerHello};
use scheduler::{Acted, Overview, Scheduler};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::rpc::outgoing::{Outgoing, Outlet};
use commits::{Answer, Commits, Failed, Then};
use failures::Failures;
use inbox::{Application, Request};
use unkept::Unkept;

pub use inbox::{Done, Driven, Health, Inbox, Stopped};
pub use points::mistakes;
pub use restore::{NotRestored, Restored, restore};

/// How often the scheduler looks at its clocks.
const TICK: Duration = Duration::from_millis(250);
/// Time between two ticks after which the coordinator itself is taken to have been stopped: what
/// workers said meanwhile still waits. Half of a lease: the other half is more than the two seconds
/// between heartbeats.
const ABSENCE: Duration = Duration::from_secs(4);
/// The picture is made at most this often.
const PUBLISH_EVERY: Duration = Duration::from_millis(200);
/// Requests that are taken in one go: fewer turns of the loop under load, and still a commit, a
/// tick or the end is seen within a millisecond.
const REQUESTS_AT_ONCE_MAX: usize = 64;
/// Wait before the store is read again; doubles up to the longest.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// The clock of this process.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    started_unix_ms: u64,
}

impl Clock {
    /// Starts now.
    pub fn start() -> Clock {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Clock { started: Instant::now(), started_unix_ms: milliseconds(since) }
    }

    /// Milliseconds since the start.
    pub fn now(&self) -> Time {
        Time(milliseconds(self.started.elapsed()))
    }

    /// A moment of this clock in milliseconds since 1970.
    pub fn unix_ms(&self, time: Time) -> u64 {
        self.started_unix_ms.saturating_add(time.0)
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Why the driver does not start, or ended otherwise than as it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The system gives no thread.
    #[error("cannot start the store's writer")]
    Writer(#[source] std::io::Error),
    /// It was stopped while the store was failing.
    #[error("the last changes are not stored; the next start continues before them: {reason}")]
    NotStored {
        /// What is wrong with the store.
        reason: String,
    },
}

/// Owns the scheduler.
pub struct Driver {
    scheduler: Scheduler,
    clock: Clock,
    commits: Commits,
    requests: mpsc::Receiver<Request>,
    /// The stream of every attached worker.
    streams: BTreeMap<WorkerId, (Session, Outlet)>,
    /// Streams that were closed because their workers do not read them.
    unread: Vec<(WorkerId, Session)>,
    /// The sweep files to apply, also again after the store failed.
    sweeps: Vec<Sweep>,
    /// What is left of their events, or of those of `applying`.
    expansion: Option<mpsc::Receiver<Event>>,
    /// What clients want applied next.
    applications: VecDeque<Application>,
    /// The one whose members come now.
    applying: Option<Application>,
    closing: bool,
    failures: Failures,
    unkept: Unkept,
    metrics: Arc<Metrics>,
    publisher: Publisher,
}

/// What the driver shows.
struct Publisher {
    overview: watch::Sender<Arc<Overview>>,
    health: watch::Sender<Health>,
    applied: watch::Sender<bool>,
    /// Something happened since the last picture.
    stale: bool,
    last: Instant,
}

impl Driver {
    /// A driver of what was restored, with the sweep files to apply.
    pub async fn start(
        restored: Restored,
        clock: Clock,
        sweeps: Vec<Sweep>,
        metrics: Arc<Metrics>,
    ) -> Result<(Driver, Inbox, Driven), DriverError> {
        let (inbox, requests) = inbox::inbox();
        let overview = Arc::new(restored.scheduler.overview(clock.now()));
        let (overview_sender, overview) = watch::channel(overview);
        let (health_sender, health) = watch::channel(Health::Serving);
        let (applied_sender, applied) = watch::channel(false);
        let publisher = Publisher {
            overview: overview_sender,
            health: health_sender,
            applied: applied_sender,
            stale: true,
            last: Instant::now(),
        };
        let seconds = metrics.store_commit_seconds.clone();
        let mut driver = Driver {
            scheduler: restored.scheduler,
            clock,
            commits: Commits::start(restored.store, seconds).map_err(DriverError::Writer)?,
            requests,
            streams: BTreeMap::new(),
            unread: Vec::new(),
            sweeps,
            expansion: None,
            applications: VecDeque::new(),
            applying: None,
            closing: false,
            failures: Failures::default(),
            unkept: restored.unkept,
            metrics,
            publisher,
        };
        driver.commits.push(restored.effects, Vec::new()).await;
        driver.apply_sweeps(restored.unexpanded);
        Ok((driver, inbox, Driven { overview, health, applied, clock }))
    }

    /// Works until `shutdown`, then commits what is left.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), DriverError> {
        loop {
            match self.serve(&shutdown).await {
                Ok(()) => break,
                Err(failed) => self.recover(failed, &shutdown).await?,
            }
        }
        self.commits.close().await;
        Ok(())
    }

    async fn serve(&mut self, shutdown: &CancellationToken) -> Result<(), Failed> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ticked = Instant::now();
        loop {
            let room = self.commits.has_room();
            let room_for_chunk = self.commits.has_room_for_chunk();
            if room && let Some((worker, session)) = self.unread.pop() {
                self.apply(Event::WorkerDetached(worker, session)).await;
                continue;
            }
            tokio::select! {
                committed = self.commits.next() => self.on_committed(committed?),
                Some(request) = self.requests.recv(), if room => {
                    self.on_request(request).await;
                    self.take_waiting().await;
                }
                event = next(&mut self.expansion), if room_for_chunk => {
                    self.on_expansion(event).await;
                }
                _ = tick.tick(), if room => {
                    if ticked.elapsed() > ABSENCE {
                        self.apply(Event::Stalled).await;
                    }
                    ticked = Instant::now();
                    self.apply(Event::Tick).await;
                }
                () = shutdown.cancelled() => return self.finish().await,
            }
            self.publish();
        }
    }

    /// Takes requests that wait already, as far as there is room.
    async fn take_waiting(&mut self) {
        for _ in 1..REQUESTS_AT_ONCE_MAX {
            if !self.commits.has_room() || !self.unread.is_empty() {
                return;
            }
            let Ok(request) = self.requests.try_recv() else { return };
            self.on_request(request).await;
        }
    }

    /// Takes what waits in the inbox and commits everything.
    async fn finish(&mut self) -> Result<(), Failed> {
        self.expansion = None;
        self.requests.close();
        loop {
            while !self.commits.has_room() {
                let committed = self.commits.next().await?;
                self.on_committed(committed);
            }
            let Ok(request) = self.requests.try_recv() else { break };
            self.on_request(request).await;
        }
        while !self.commits.is_empty() {
            let committed = self.commits.next().await?;
            self.on_committed(committed);
        }
        self.streams.clear();
        self.publisher.stale = true;
        self.publisher.publish(&self.scheduler, self.clock.now());
        Ok(())
    }

    fn apply_sweeps(&mut self, unexpanded: Vec<Sweep>) {
        let mut sweeps = unexpanded;
        sweeps.retain(|sweep| !self.sweeps.iter().any(|given| given.name == sweep.name));
        sweeps.extend(self.sweeps.iter().cloned());
        self.publisher.applied.send_replace(false);
        self.expansion = Some(expansion::start(sweeps));
    }

    async fn on_expansion(&mut self, event: Option<Event>) {
        match event {
            Some(Event::SweepExpanded(name)) => {
                self.apply(Event::SweepExpanded(name.clone())).await;
                let applied = self.scheduler.applied(&name).expect("it was just applied");
                tracing::info!("{}", expansion::told(&name, applied));
                self.on_applied(&name, applied).await;
            }
            Some(event) => {
                if let Event::SweepApplied(header) = &event {
                    self.unkept.note(&header.name, &header.yaml);
                }
                self.apply(event).await;
            }
            None => {
                self.expansion = None;
                self.publisher.stale = true;
                // The picture first: whoever waits for `applied` reads it then.
                self.publisher.publish(&self.scheduler, self.clock.now());
                self.publisher.applied.send_replace(true);
                self.apply_next();
            }
        }
    }

    async fn on_request(&mut self, request: Request) {
        match request {
            Request::Attach { session, hello, outlet } => {
                self.on_attach(session, *hello, outlet).await;
            }
            Request::Event(event) => {
                if let Event::WorkerDetached(worker, session) = &event
                    && self.streams.get(worker).is_some_and(|(current, _)| current == session)
                {
                    self.streams.remove(worker);
                }
                self.apply(event).await;
            }
            Request::AskLog { worker, request, trial } => {
                let session = self.streams.get(&worker).map(|(session, _)| *session);
                if let Some(session) = session {
                    self.send(&worker, session, Outgoing::LogRequest { request, trial });
                }
            }
            Request::Explain { trial, answer } => {
                drop(answer.send(self.scheduler.explain(self.clock.now(), trial)));
            }
            Request::Flush { answer } => self.commits.push_answer(Answer::new((), answer)).await,
            Request::Act { event, answer } => self.on_act(event, answer).await,
            Request::Apply { application } => self.on_apply(*application),
            Request::Close => {
                self.closing = true;
                self.publisher.health.send_replace(Health::Closing);
                self.apply(Event::Closing).await;
            }
        }
    }

    /// A second stream of a worker replaces the first, which closes.
    async fn on_attach(&mut self, session: Session, hello: WorkerHello, outlet: Outlet) {
        tracing::info!(
            worker = %hello.id, host = hello.host, slots = hello.slots.len(),
            running = hello.running.len(), "worker attached"
        );
        self.streams.insert(hello.id.clone(), (session, outlet));
        self.apply(Event::WorkerAttached(session, hello)).await;
    }

    async fn apply(&mut self, event: Event) {
        self.apply_action(event).await;
    }

    /// As `apply`; gives what came of an action.
    async fn apply_action(&mut self, event: Event) -> Option<Acted> {
        let started = Instant::now();
        let effects = self.scheduler.apply(self.clock.now(), event);
        self.metrics.scheduler_apply_seconds.observe(started.elapsed().as_secs_f64());
        self.publisher.stale = true;
        let failed = failures::among(&effects.changes, &self.scheduler);
        let acted = effects.acted.clone();
        self.commits.push(effects, failed).await;
        acted
    }

    /// A worker's last acknowledgement stands for those before it in the same commit.
    fn on_committed(&mut self, committed: Vec<Then>) {
        let mut acknowledged = BTreeMap::new();
        for then in committed {
            match then {
                Then::Send { messages, failed } => {
                    for message in messages {
                        if let Message::Acknowledge { worker, session, through } = message {
                            acknowledged.insert((worker, session), through);
                        } else {
                            self.deliver(message);
                        }
                    }
                    for line in failed.into_iter().filter_map(|trial| self.failures.line(trial)) {
                        tracing::warn!("{line}");
                    }
                }
                Then::Answer(answer) => answer.tell(),
            }
        }
        for ((worker, session), through) in acknowledged {
            self.deliver(Message::Acknowledge { worker, session, through });
        }
    }

    fn deliver(&mut self, message: Message) {
        match message {
            Message::Welcome { worker, session, adopted } => {
                self.send(&worker, session, Outgoing::Welcome { adopted });
            }
            Message::Lease { worker, session, slot, cohort, trials } => {
                let trials = self.unkept.marked(trials, &self.scheduler);
                self.send(&worker, session, Outgoing::Lease { slot, cohort, trials });
            }
            Message::Stop { worker, session, attempt } => {
                self.send(&worker, session, Outgoing::Stop(attempt));
            }
            Message::Acknowledge { worker, session, through } => {
                self.send(&worker, session, Outgoing::Acknowledge { through });
            }
            Message::Drain { worker, session } => self.send(&worker, session, Outgoing::Drain),
            Message::SweepCompleted(sweep) => tracing::info!(%sweep, "sweep ended"),
        }
    }

    /// A worker that does not read its stream is detached: nobody else waits for it.
    fn send(&mut self, worker: &WorkerId, session: Session, message: Outgoing) {
        let Some((current, outlet)) = self.streams.get(worker) else { return };
        if *current != session || outlet.send(message) {
            return;
        }
        tracing::warn!(%worker, "a worker reads too slowly; its stream is closed");
        self.streams.remove(worker);
        self.unread.push((worker.clone(), session));
    }

    fn publish(&mut self) {
        if self.publisher.last.elapsed() >= PUBLISH_EVERY {
            self.publisher.publish(&self.scheduler, self.clock.now());
        }
    }

    /// Drops what is in memory and reads the store until that works.
    async fn recover(
        &mut self,
        failed: Failed,
        shutdown: &CancellationToken,
    ) -> Result<(), DriverError> {
        let Failed { error, mut store } = failed;
        let mut reason = chain(&error);
        let mut wait = BACKOFF_FIRST;
        self.streams.clear();
        self.unread.clear();
        self.expansion = None;
        // Whoever waits is told by the end of the channel.
        self.applications.clear();
        self.applying = None;
        let restored = loop {
            tracing::error!("the store failed, nothing is handed out: {reason}");
            self.publisher.health.send_replace(Health::StoreFailed { reason: reason.clone() });
            self.refuse_requests(wait, shutdown).await;
            if shutdown.is_cancelled() {
                return Err(DriverError::NotStored { reason });
            }
            match restore(store, self.clock).await {
                Ok(restored) => break restored,
                Err(error) => {
                    reason = chain(&error.error);
                    store = error.store;
                }
            }
            wait = (wait * 2).min(BACKOFF_MAX);
        };
        self.resume(restored).await
    }

    async fn resume(&mut self, restored: Restored) -> Result<(), DriverError> {
        let seconds = self.metrics.store_commit_seconds.clone();
        self.commits = Commits::start(restored.store, seconds).map_err(DriverError::Writer)?;
        self.scheduler = restored.scheduler;
        self.unkept = restored.unkept;
        self.commits.push(restored.effects, Vec::new()).await;
        self.apply_sweeps(restored.unexpanded);
        self.publisher.stale = true;
        tracing::info!("the store was read again");
        if self.closing {
            self.publisher.health.send_replace(Health::Closing);
            self.apply(Event::Closing).await;
        } else {
            self.publisher.health.send_replace(Health::Serving);
        }
        Ok(())
    }

    /// For a while, drops what comes: dropped outlets and answers tell whoever asked.
    async fn refuse_requests(&mut self, wait: Duration, shutdown: &CancellationToken) {
        let enough = tokio::time::sleep(wait);
        tokio::pin!(enough);
        loop {
            tokio::select! {
                () = &mut enough => return,
                () = shutdown.cancelled() => return,
                request = self.requests.recv() => match request {
                    Some(Request::Close) => self.closing = true,
                    Some(_) => {}
                    None => return,
                },
            }
        }
    }
}

impl Publisher {
    fn publish(&mut self, scheduler: &Scheduler, now: Time) {
        if self.stale {
            self.overview.send_replace(Arc::new(scheduler.overview(now)));
            self.stale = false;
            self.last = Instant::now();
        }
    }
}

/// The next event of the expansion; never where there is none.
async fn next(expansion: &mut Option<mpsc::Receiver<Event>>) -> Option<Event> {
    match expansion {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
