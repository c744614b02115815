//! The driver over a store that can be held up and made to fail.

use std::path::PathBuf;
use std::sync::{Condvar, Mutex};

use common::ids::{AttemptId, SweepName};
use common::spec;
use scheduler::Change;
use scheduler::event::{Device, EpochMetrics, Report, RunningCohort};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::gpus::Gpus;
use crate::rpc::outgoing::{self, Inlet};
use crate::store::{SqliteStore, Store, StoreError, Trouble};

const DEADLINE: Duration = Duration::from_secs(30);
const SWEEP: &str = "\
name: tiny
model: mlp
data: strokes
base: {width: 16, depth: 2, epochs: 50}
seeds: 3
";

/// What the store does with a commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Open,
    HeldUp,
    Full,
}

#[derive(Clone)]
struct Gate(Arc<(Mutex<Mode>, Condvar)>);

impl Gate {
    fn set(&self, mode: Mode) {
        *self.0.0.lock().expect("no panic") = mode;
        self.0.1.notify_all();
    }

    fn pass(&self) -> Mode {
        let mut mode = self.0.0.lock().expect("no panic");
        while *mode == Mode::HeldUp {
            mode = self.0.1.wait(mode).expect("no panic");
        }
        *mode
    }
}

struct GatedStore {
    inner: SqliteStore,
    gate: Gate,
}

impl Store for GatedStore {
    fn commit(&mut self, changes: &[Change], at_unix_ms: u64) -> Result<(), StoreError> {
        match self.gate.pass() {
            Mode::Open | Mode::HeldUp => self.inner.commit(changes, at_unix_ms),
            Mode::Full => {
                let path = PathBuf::from("the.db");
                let trouble = Trouble::DiskFull;
                Err(StoreError::NotCommitted { path, trouble, source: None })
            }
        }
    }

    fn restore(&mut self, sink: &mut dyn FnMut(Event)) -> Result<(), StoreError> {
        match self.gate.pass() {
            Mode::Open | Mode::HeldUp => self.inner.restore(sink),
            Mode::Full => {
                let path = PathBuf::from("the.db");
                Err(StoreError::Content { path, what: "nothing".into(), source: None })
            }
        }
    }

    fn unexpanded(&mut self) -> Result<Vec<SweepName>, StoreError> {
        self.inner.unexpanded()
    }
}

/// A driver that runs, with one worker.
struct Scene {
    gate: Gate,
    inbox: Inbox,
    driven: Driven,
    stop: CancellationToken,
    running: JoinHandle<Result<(), DriverError>>,
    sessions: u64,
    _folder: tempfile::TempDir,
}

fn worker() -> WorkerId {
    "w1".parse().expect("an id")
}

async fn in_time<F: Future>(what: &str, future: F) -> F::Output {
    timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

impl Scene {
    async fn new() -> Scene {
        let folder = tempfile::tempdir().expect("a folder");
        let gate = Gate(Arc::new((Mutex::new(Mode::Open), Condvar::new())));
        let inner = SqliteStore::open(folder.path()).expect("a new store");
        let store = Box::new(GatedStore { inner, gate: gate.clone() });
        let clock = Clock::start();
        let Ok(restored) = restore(store, clock).await else { panic!("the store is readable") };
        let (sweep, _) = spec::load(SWEEP, "tiny.yaml", &spec::Options::default()).expect("valid");
        let metrics = Metrics::new(folder.path().into(), Gpus::default());
        let metrics = Arc::new(metrics.expect("names are unique"));
        let started = Driver::start(restored, clock, vec![sweep], metrics).await;
        let (driver, inbox, driven) = started.expect("a thread");
        let stop = CancellationToken::new();
        let running = tokio::spawn(driver.run(stop.clone()));
        Scene { gate, inbox, driven, stop, running, sessions: 0, _folder: folder }
    }

    async fn attach(&mut self, running: Vec<RunningCohort>) -> (Session, Inlet) {
        self.sessions += 1;
        let session = Session(self.sessions);
        let hello = WorkerHello {
            id: worker(),
            host: "h".into(),
            program_version: String::new(),
            libtorch_version: String::new(),
            slots: vec![Device::Cpu],
            data_digests: [(common::config::Data::Strokes, "digest".into())].into(),
            running,
            draining: false,
        };
        let (outlet, inlet) = outgoing::channel();
        self.inbox.attach(session, hello, outlet).await.expect("the driver runs");
        (session, inlet)
    }

    async fn report(&self, session: Session, through: u64, attempt: AttemptId, epoch: u32) {
        let metrics = EpochMetrics {
            epoch,
            train_loss: 1.0,
            train_error: 0.5,
            val_loss: 1.0,
            val_error: 0.5,
            gate: 1.0,
            lr: 0.1,
            grad_norm: 1.0,
            examples_per_second: 10.0,
            seconds: 1.0,
            examples: 10,
        };
        let reports = vec![Report::Epoch(attempt, metrics)];
        let event = Event::Reported { worker: worker(), session, through, reports };
        self.inbox.event(event).await.expect("the driver runs");
    }

    async fn healthy(&mut self, is_wanted: impl Fn(&Health) -> bool) {
        let found = in_time("health", self.driven.health.wait_for(|health| is_wanted(health)));
        drop(found.await.expect("the driver runs"));
    }

    async fn stopped(self) -> Result<(), DriverError> {
        self.stop.cancel();
        in_time("the driver's end", self.running).await.expect("no panic")
    }
}

async fn receive(inlet: &mut Inlet) -> Outgoing {
    in_time("a message", inlet.receiver.recv()).await.expect("the stream is open")
}

async fn welcome(inlet: &mut Inlet) -> Vec<AttemptId> {
    match receive(inlet).await {
        Outgoing::Welcome { adopted } => adopted,
        other => panic!("the first message is {other:?}"),
    }
}

async fn lease(inlet: &mut Inlet) -> (AttemptId, RunningCohort) {
    match receive(inlet).await {
        Outgoing::Lease { slot, cohort, trials } => {
            let attempt = trials[0].trial.attempt;
            (attempt, RunningCohort { cohort, slot, attempts: vec![attempt] })
        }
        other => panic!("{other:?} is no lease"),
    }
}

#[tokio::test]
async fn a_message_waits_for_its_commit_and_nothing_else_does() {
    let mut scene = Scene::new().await;
    let (session, mut inlet) = scene.attach(Vec::new()).await;
    assert_eq!(welcome(&mut inlet).await, []);
    let (attempt, _) = lease(&mut inlet).await;

    scene.gate.set(Mode::HeldUp);
    for (through, epoch) in [(1, 1), (2, 2)] {
        scene.report(session, through, attempt, epoch).await;
    }
    // Answered by the driver after it applied the reports, while the writer is held up.
    let explained = in_time("an answer", scene.inbox.explain(attempt.trial)).await;
    assert_eq!(explained, Ok(None), "a running trial waits for nothing");
    assert!(inlet.receiver.try_recv().is_err(), "nothing is sent before it is stored");

    scene.gate.set(Mode::Open);
    // Reports that were committed together are acknowledged together.
    let mut acknowledged = 0;
    while acknowledged < 2 {
        let Outgoing::Acknowledge { through } = receive(&mut inlet).await else {
            panic!("only acknowledgements are due");
        };
        assert!(through > acknowledged && through <= 2, "{through} after {acknowledged}");
        acknowledged = through;
    }
    scene.stopped().await.expect("everything is stored");
}

#[tokio::test]
async fn a_full_disk_stops_the_handing_out_until_there_is_room() {
    let mut scene = Scene::new().await;
    let (session, mut inlet) = scene.attach(Vec::new()).await;
    welcome(&mut inlet).await;
    let (attempt, cohort) = lease(&mut inlet).await;
    scene.report(session, 1, attempt, 1).await;
    assert_eq!(receive(&mut inlet).await, Outgoing::Acknowledge { through: 1 });

    scene.gate.set(Mode::Full);
    scene.report(session, 2, attempt, 2).await;
    in_time("the stream's end", inlet.closed.cancelled()).await;
    scene
        .healthy(|health| match health {
            Health::StoreFailed { reason } => reason.contains("the disk is full"),
            Health::Serving | Health::Closing => false,
        })
        .await;
    let (_, refused) = scene.attach(vec![cohort.clone()]).await;
    in_time("the refusal", refused.closed.cancelled()).await;

    scene.gate.set(Mode::Open);
    scene.healthy(|health| *health == Health::Serving).await;
    let (session, mut inlet) = scene.attach(vec![cohort]).await;
    assert_eq!(welcome(&mut inlet).await, [attempt], "what was leased goes on");
    scene.report(session, 2, attempt, 2).await;
    assert_eq!(receive(&mut inlet).await, Outgoing::Acknowledge { through: 2 });
    in_time("the file", scene.driven.applied.wait_for(|applied| *applied)).await.expect("runs");
    let sweep = scene.driven.overview.borrow().sweeps[0].clone();
    assert_eq!((sweep.counts.wanted(), sweep.counts.running), (3, 1));
    scene.stopped().await.expect("everything is stored");
}

#[tokio::test]
async fn stopping_with_a_full_disk_says_that_something_is_not_stored() {
    let mut scene = Scene::new().await;
    let (session, mut inlet) = scene.attach(Vec::new()).await;
    welcome(&mut inlet).await;
    let (attempt, _) = lease(&mut inlet).await;
    scene.gate.set(Mode::Full);
    scene.report(session, 1, attempt, 1).await;
    scene.healthy(|health| *health != Health::Serving).await;
    let error = scene.stopped().await.expect_err("the report is not stored").to_string();
    assert!(error.contains("are not stored"), "{error}");
}

#[tokio::test]
async fn a_worker_that_does_not_read_is_detached() {
    let mut scene = Scene::new().await;
    let (session, mut inlet) = scene.attach(Vec::new()).await;
    welcome(&mut inlet).await;
    let (attempt, _) = lease(&mut inlet).await;
    for number in 1..=u32::try_from(outgoing::OUTGOING_MAX).expect("small") + 1 {
        scene.report(session, number.into(), attempt, number).await;
        // Each has a commit, and so an acknowledgement, of its own.
        in_time("a commit", scene.inbox.flush()).await.expect("the driver runs");
    }
    in_time("the stream's end", inlet.closed.cancelled()).await;
    scene.stopped().await.expect("everything is stored");
}
