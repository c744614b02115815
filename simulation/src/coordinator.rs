//! The coordinator: the real scheduler in a model of its shell. It mirrors
//! `coordinator/src/driver.rs` (`serve`, `on_request`, `recover`, `resume`), `driver/commits.rs`,
//! `driver/restore.rs`, `store/writer.rs` (what waits when a commit begins is committed together)
//! and `rpc/worker.rs` (hello, session, the end of a stream).

use std::collections::{BTreeMap, VecDeque};

use common::ids::WorkerId;
use common::wire;
use scheduler::event::{LeasedTrial, Session, Time, WorkerHello};
use scheduler::{Change, Effects, Event, Message, Scheduler};
use worker::supervisor::Cohort;

use crate::ledger::Ledger;
use crate::network::{End, FromWorker, StreamId, ToWorker};
use crate::store::Committed;
use crate::trials::to_wire;
use crate::world::{Happening, World};

const BACKOFF_MS_FIRST: u64 = 250;
const BACKOFF_MS_MAX: u64 = 10_000;
/// Batches that a chunk of an expansion may wait behind.
const UNCOMMITTED_BEFORE_CHUNK_MAX: usize = 4;

/// The process, where there is one.
#[derive(Debug)]
pub(crate) struct Coordinator {
    /// Counts the processes.
    pub life: u64,
    started_at: u64,
    session_last: u64,
    /// The sweeps whose files it was started with.
    pub given: Vec<usize>,
    pub state: State,
}

/// What it does.
#[derive(Debug)]
pub(crate) enum State {
    Down,
    /// The store failed; it is read again after this wait.
    Failing {
        wait_ms: u64,
    },
    Serving(Box<Serving>),
}

/// What one `apply` gave.
#[derive(Debug)]
struct Batch {
    changes: Vec<Change>,
    messages: Vec<Message>,
}

/// A coordinator that works.
#[derive(Debug)]
pub(crate) struct Serving {
    pub scheduler: Scheduler,
    /// What the store will hold once everything that waits is committed.
    pub decided: Ledger,
    waiting: VecDeque<Batch>,
    /// In the writer's hands.
    group: Vec<Batch>,
    pub streams: BTreeMap<WorkerId, (Session, StreamId)>,
    requests: VecDeque<Request>,
    expansion: VecDeque<Event>,
}

/// What it is asked to do.
#[derive(Debug)]
enum Request {
    Attach(Session, WorkerHello, StreamId),
    Event(Event),
}

impl Serving {
    fn uncommitted(&self) -> usize {
        self.waiting.len() + self.group.len()
    }

    /// Nothing waits to be done.
    pub fn is_settled(&self) -> bool {
        self.uncommitted() == 0 && self.requests.is_empty() && self.expansion.is_empty()
    }
}

impl Coordinator {
    pub fn new() -> Coordinator {
        let (given, state) = (Vec::new(), State::Down);
        Coordinator { life: 0, started_at: 0, session_last: 0, given, state }
    }

    pub fn is_listening(&self) -> bool {
        !matches!(self.state, State::Down)
    }

    pub fn serving(&self) -> Option<&Serving> {
        match &self.state {
            State::Serving(serving) => Some(serving),
            State::Down | State::Failing { .. } => None,
        }
    }

    fn serving_mut(&mut self) -> Option<&mut Serving> {
        match &mut self.state {
            State::Serving(serving) => Some(serving),
            State::Down | State::Failing { .. } => None,
        }
    }
}

impl World {
    pub(crate) fn start_coordinator(&mut self) {
        if self.coordinator.is_listening() {
            return;
        }
        let coordinator = &mut self.coordinator;
        coordinator.life += 1;
        coordinator.started_at = self.now;
        coordinator.session_last = 0;
        let life = coordinator.life;
        self.log.add(self.now, format_args!("the coordinator starts"));
        self.restore();
        self.after(self.swarm.coordinator_tick_ms, Happening::CoordinatorTick(life));
    }

    /// It is told to stop.
    pub(crate) fn close_coordinator(&mut self) {
        self.request(Request::Event(Event::Closing));
    }

    /// It gives up the stream of a worker.
    pub(crate) fn give_up_stream(&mut self, agent: usize) {
        let worker = &self.agents[agent].id;
        let streams = self.coordinator.serving_mut().map(|serving| &mut serving.streams);
        if let Some((_, stream)) = streams.and_then(|streams| streams.remove(worker)) {
            self.stop_reading(stream);
        }
    }

    /// It is killed.
    pub(crate) fn end_coordinator(&mut self) {
        if !self.coordinator.is_listening() {
            return;
        }
        self.log.add(self.now, format_args!("the coordinator is killed"));
        self.see_counters();
        self.coordinator.state = State::Down;
        self.close_streams();
        let back_ms = self.random.agents.between(200, self.swarm.coordinator_back_ms_max);
        self.after(back_ms, Happening::CoordinatorStarts);
    }

    fn close_streams(&mut self) {
        for index in 0..self.streams.len() {
            if self.streams[index].coordinator_end {
                self.close(StreamId(index), End::Coordinator);
            }
        }
    }

    /// Reads the store, as `restore` and `resume` do.
    fn restore(&mut self) {
        let time = self.coordinator_time();
        let mut scheduler = Scheduler::new(self.swarm.settings);
        let mut changes = Vec::new();
        for event in self.store.ledger.restoration() {
            let effects = scheduler.apply(time, event);
            assert_eq!(effects.messages, [], "violated: a restoration sends nothing");
            changes.extend(effects.changes);
        }
        let mut decided = self.store.ledger.clone();
        decided.commit(&changes);
        let mut serving = Serving {
            scheduler,
            decided,
            waiting: VecDeque::new(),
            group: Vec::new(),
            streams: BTreeMap::new(),
            requests: VecDeque::new(),
            expansion: VecDeque::new(),
        };
        if !changes.is_empty() {
            serving.waiting.push_back(Batch { changes, messages: Vec::new() });
        }
        let unexpanded = self.store.ledger.unexpanded();
        self.coordinator.state = State::Serving(Box::new(serving));
        for (name, yaml) in unexpanded {
            self.audit.see("an expansion was cut off");
            let is_given = |sweep: &usize| self.files[*sweep].name == name;
            if !self.coordinator.given.iter().any(is_given) {
                self.expand(&name, &yaml);
            }
        }
        for sweep in self.coordinator.given.clone() {
            self.apply_file(sweep);
        }
        self.is_decided = true;
    }

    /// The latest file of a sweep is applied, where somebody listens.
    pub(crate) fn apply_file(&mut self, sweep: usize) {
        let file = &self.files[sweep];
        let (name, version) = (file.name.clone(), file.versions.len() - 1);
        self.expand(&name, &version.to_string());
    }

    /// Its events, in chunks: `yaml` is the version of the file.
    fn expand(&mut self, name: &common::ids::SweepName, yaml: &str) {
        let file = self.files.iter().find(|file| file.name == *name).expect("an own sweep");
        let header = file.header(yaml);
        let trials = file.trials(yaml).iter().map(|id| self.trials.trial(*id)).collect::<Vec<_>>();
        let chunk = self.swarm.chunk_trials;
        let Some(serving) = self.coordinator.serving_mut() else { return };
        serving.expansion.push_back(Event::SweepApplied(header));
        for chunk in trials.chunks(chunk) {
            serving.expansion.push_back(Event::TrialsAdded(name.clone(), chunk.to_vec()));
        }
        serving.expansion.push_back(Event::SweepExpanded(name.clone()));
    }

    /// Somebody acts on a sweep or a worker, where a coordinator serves.
    pub(crate) fn act(&mut self, event: Event) {
        self.log.add(self.now, format_args!("somebody: {event:?}"));
        self.request(Request::Event(event));
    }

    /// After the latest application of a sweep.
    pub(crate) fn prune(&mut self, sweep: usize) {
        let name = self.files[sweep].name.clone();
        if let Some(serving) = self.coordinator.serving_mut() {
            serving.expansion.push_back(Event::SweepPruned(name));
        }
    }

    fn coordinator_time(&self) -> Time {
        Time(self.now - self.coordinator.started_at)
    }

    pub(crate) fn on_coordinator_tick(&mut self, life: u64) {
        if self.coordinator.life != life || !self.coordinator.is_listening() {
            return;
        }
        self.after(self.swarm.coordinator_tick_ms, Happening::CoordinatorTick(life));
        self.request(Request::Event(Event::Tick));
    }

    /// A coordinator whose store fails refuses everything.
    fn request(&mut self, request: Request) {
        match (self.coordinator.serving_mut(), request) {
            (Some(serving), request) => serving.requests.push_back(request),
            (None, Request::Attach(_, _, stream)) => self.close(stream, End::Coordinator),
            (None, Request::Event(_)) => {}
        }
    }

    /// After each happening: takes what waits while there is room for what it leads to.
    pub(crate) fn work(&mut self) {
        loop {
            let room = self.swarm.uncommitted_max;
            let Some(serving) = self.coordinator.serving_mut() else { return };
            let uncommitted = serving.uncommitted();
            let next = if uncommitted >= room { None } else { serving.requests.pop_front() };
            if let Some(request) = next {
                self.serve(request);
            } else if uncommitted < UNCOMMITTED_BEFORE_CHUNK_MAX
                && let Some(event) = serving.expansion.pop_front()
            {
                self.apply(event);
            } else {
                return self.commit();
            }
        }
    }

    fn serve(&mut self, request: Request) {
        match request {
            Request::Attach(session, hello, stream) => {
                let serving = self.coordinator.serving_mut().expect("it serves");
                let replaced = serving.streams.insert(hello.id.clone(), (session, stream));
                if let Some((_, replaced)) = replaced {
                    self.stop_reading(replaced);
                }
                self.apply(Event::WorkerAttached(session, hello));
            }
            Request::Event(event) => {
                if let Event::WorkerDetached(worker, session) = &event {
                    let streams = &mut self.coordinator.serving_mut().expect("it serves").streams;
                    if streams.get(worker).is_some_and(|(current, _)| current == session) {
                        streams.remove(worker);
                    }
                }
                self.apply(event);
            }
        }
    }

    fn apply(&mut self, event: Event) {
        let time = self.coordinator_time();
        let is_tick = matches!(event, Event::Tick);
        let adoptable = self.adoptable(&event);
        let mut heard = None;
        if let Event::Heartbeat { worker, .. } = &event {
            heard = Some(worker.clone());
        }
        if !is_tick {
            self.log.add(self.now, format_args!("apply {event:?}"));
        }
        let serving = self.coordinator.serving_mut().expect("it serves");
        let Effects { changes, messages, acted: _ } = serving.scheduler.apply(time, event);
        self.is_decided |= !is_tick || !changes.is_empty();
        self.check_adopted(&adoptable, &messages);
        if let Some(worker) = heard {
            self.check_ended_by_heartbeat(&worker, &changes);
        }
        if changes.is_empty() && messages.is_empty() {
            return;
        }
        for change in &changes {
            self.log.add(self.now, format_args!("    {change:?}"));
        }
        self.audit.see_changes(&changes);
        let serving = self.coordinator.serving_mut().expect("it serves");
        serving.decided.commit(&changes);
        serving.waiting.push_back(Batch { changes, messages });
    }

    /// The writer takes everything that waits, where it has nothing in its hands.
    fn commit(&mut self) {
        let Some(serving) = self.coordinator.serving_mut() else { return };
        if !serving.group.is_empty() || serving.waiting.is_empty() {
            return;
        }
        serving.group = std::mem::take(&mut serving.waiting).into();
        let slow_ms = if self.now < self.store.slow_until { 5_000 } else { 0 };
        let commit_ms = 1 + self.random.store.skewed(self.swarm.commit_ms_max + slow_ms);
        self.after(commit_ms, Happening::CommitEnds(self.coordinator.life));
    }

    pub(crate) fn on_commit_ends(&mut self, life: u64) {
        if self.coordinator.life != life {
            return;
        }
        let Some(serving) = self.coordinator.serving_mut() else { return };
        let group = std::mem::take(&mut serving.group);
        let batches = group.iter().map(|batch| batch.changes.as_slice());
        let committed = self.store.commit(self.now, batches);
        self.log.add(self.now, format_args!("commit of {}: {committed:?}", group.len()));
        match committed {
            Committed::Yes => {}
            Committed::No => self.audit.see("a commit is refused"),
            Committed::Unknown => self.audit.see("a commit's fate is not told"),
        }
        if committed != Committed::Yes {
            self.see_counters();
            return self.fail(BACKOFF_MS_FIRST);
        }
        for message in group.into_iter().flat_map(|batch| batch.messages) {
            if !self.is_healed && self.random.store.chance(self.swarm.crash_per_mille) {
                self.audit.see("a crash between commit and send");
                return self.end_coordinator();
            }
            self.deliver(message);
        }
    }

    /// The memory is dropped, and nobody is attached.
    fn fail(&mut self, wait_ms: u64) {
        self.coordinator.state = State::Failing { wait_ms };
        self.close_streams();
        self.after(wait_ms, Happening::StoreRetry(self.coordinator.life));
    }

    pub(crate) fn on_store_retry(&mut self, life: u64) {
        let State::Failing { wait_ms } = self.coordinator.state else { return };
        if self.coordinator.life != life {
            return;
        }
        if self.now < self.store.refuses_until {
            return self.fail((wait_ms * 2).min(BACKOFF_MS_MAX));
        }
        self.restore();
    }

    fn deliver(&mut self, message: Message) {
        self.check_message(&message);
        let (worker, session, said) = match message {
            Message::Welcome { worker, session, adopted } => {
                (worker, session, ToWorker::Welcome { adopted, store: self.store.identity })
            }
            Message::Lease { worker, session, slot, cohort, trials } => {
                let trials = trials.iter().map(leased).collect();
                let cohort = Cohort { id: cohort, trials };
                let slot = usize::try_from(slot).expect("few slots");
                (worker, session, ToWorker::Lease { slot, cohort })
            }
            Message::Stop { worker, session, attempt } => {
                (worker, session, ToWorker::Stop(attempt))
            }
            Message::Acknowledge { worker, session, through } => {
                (worker, session, ToWorker::Acknowledge { through })
            }
            Message::Drain { worker, session } => (worker, session, ToWorker::Drain),
            Message::SweepCompleted(sweep) => {
                return self.log.add(self.now, format_args!("sweep {sweep} completed"));
            }
        };
        let serving = self.coordinator.serving().expect("it serves");
        if let Some(&(current, stream)) = serving.streams.get(&worker)
            && current == session
        {
            self.send_down(stream, said);
        }
    }

    /// Its driver dropped the stream: the reader stops and says so.
    fn stop_reading(&mut self, stream: StreamId) {
        if self.streams[stream.0].coordinator_end {
            self.close(stream, End::Coordinator);
            self.detach(stream);
        }
    }

    fn detach(&mut self, stream: StreamId) {
        let ended = &self.streams[stream.0];
        let worker = self.agents[ended.agent].id.clone();
        if let Some(session) = ended.session {
            self.request(Request::Event(Event::WorkerDetached(worker, session)));
        }
    }

    /// The coordinator hears that a stream ended.
    pub(crate) fn on_stream_ended(&mut self, stream: StreamId) {
        let ended = &mut self.streams[stream.0];
        if ended.coordinator_life == self.coordinator.life && ended.coordinator_end {
            ended.coordinator_end = false;
            self.detach(stream);
        }
    }

    /// A message of a worker arrives. One of a stream that was given up meanwhile may be in the
    /// inbox already: its session tells.
    pub(crate) fn hear(&mut self, stream: StreamId, said: FromWorker) {
        let from = &self.streams[stream.0];
        let is_other = from.coordinator_life != self.coordinator.life;
        if is_other || !self.coordinator.is_listening() {
            return;
        }
        let worker = self.agents[from.agent].id.clone();
        if !from.coordinator_end {
            self.audit.see("a message arrives on a stream that was given up");
        }
        match (said, from.session) {
            (FromWorker::Hello { hello, store }, None) => {
                if store != 0 && store != self.store.identity {
                    self.audit.see("attempts of another store are refused");
                    self.send_down(stream, ToWorker::Foreign);
                    return self.close(stream, End::Coordinator);
                }
                self.coordinator.session_last += 1;
                let session = Session(self.coordinator.session_last);
                self.streams[stream.0].session = Some(session);
                self.request(Request::Attach(session, hello, stream));
            }
            (FromWorker::Heartbeat { draining }, Some(session)) => {
                self.request(Request::Event(Event::Heartbeat { worker, session, draining }));
            }
            (FromWorker::Reports(entries), Some(session)) => {
                let through = entries.last().expect("a message has reports").0;
                let reports = entries.iter().map(|(_, report)| crate::convert::report(report));
                let reports = reports.collect();
                let event = Event::Reported { worker, session, through, reports };
                self.request(Request::Event(event));
            }
            // Its hello was refused.
            (FromWorker::Heartbeat { .. } | FromWorker::Reports(_), None) => {}
            (FromWorker::Hello { .. }, Some(_)) => panic!("one stream carries one hello"),
        }
    }
}

fn leased(trial: &LeasedTrial) -> worker::supervisor::LeasedTrial {
    let payload = wire::LeasedTrial {
        attempt: Some(to_wire(trial.attempt)),
        epochs_stored: trial.epochs_stored,
        ..wire::LeasedTrial::default()
    };
    worker::supervisor::LeasedTrial {
        attempt: trial.attempt,
        epochs_stored: trial.epochs_stored,
        payload,
    }
}
