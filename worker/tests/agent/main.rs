//! The agent with real processes and a real stream: a coordinator in the test, and trainers that
//! are this program in another guise.

mod coordinator;
mod fake_trainer;
mod program;
mod weights;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::access::Access;
use common::wire::{self, FailureCause, from_worker, report, to_worker};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use worker::agent::{AgentError, DRAIN_MS_MAX, Launch, Settings, Stop, run};
use worker::devices::Device;
use worker::libtorch::Places;
use worker::state::StateDirectory;

use coordinator::{Coordinator, STORE, Session, WAIT, attempt, ends, failure, is_end, outcome};
use fake_trainer::{CATCH, DIE, FOR_EVER, GARBAGE, HANG, NO_MEMORY};

/// A host with what a worker needs.
pub struct Host {
    folder: TempDir,
}

impl Host {
    /// A libtorch in name, and the fake trainer.
    pub fn prepared() -> Host {
        let host = Host { folder: tempfile::tempdir().expect("a folder") };
        fs::create_dir_all(host.libtorch().join("lib")).expect("created");
        fs::write(host.libtorch().join("lib/libtorch_cpu.so"), "").expect("written");
        fs::write(host.libtorch().join("build-version"), "2.11.0+cpu\n").expect("written");
        fake_trainer::script(&host.trainer());
        host
    }

    /// What LIBTORCH names.
    pub fn libtorch(&self) -> PathBuf {
        self.folder.path().join("libtorch")
    }

    /// The trainer program.
    pub fn trainer(&self) -> PathBuf {
        self.folder.path().join("trainer")
    }

    /// The state directory.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn start(&self, coordinator: &Coordinator, slots: usize) -> Agent {
        let places = Places {
            named: Some(self.libtorch()),
            project_below: Vec::new(),
            python: "no-python".into(),
        };
        let state = StateDirectory::open(&self.state(), "host", Duration::ZERO).expect("free");
        let access = Access::to(&format!("http://{}", coordinator.address), None);
        let settings = Settings {
            coordinator: access.expect("an address"),
            host: "host".into(),
            slots: vec![Device::Cpu; slots],
            launch: Launch {
                program: self.trainer(),
                libtorch: places.find(false).expect("it is there"),
                data: self.folder.path().join("data"),
                checkpoints: state.checkpoints(),
            },
            state,
            drain_ms_max: DRAIN_MS_MAX,
        };
        let (stops, receiver) = mpsc::channel(4);
        Agent { stops, ended: tokio::spawn(run(settings, receiver)) }
    }
}

/// A running agent.
struct Agent {
    stops: mpsc::Sender<Stop>,
    ended: JoinHandle<Result<Stop, AgentError>>,
}

impl Agent {
    async fn stop(&self, signal: i32) {
        self.stops.send(Stop::Signal(signal)).await.expect("it listens");
    }

    async fn end(self) -> Result<Stop, AgentError> {
        timeout(WAIT, self.ended).await.expect("it ends").expect("it does not panic")
    }
}

/// Attached with nothing running.
async fn attached(host: &Host, coordinator: &mut Coordinator, slots: usize) -> (Agent, Session) {
    let agent = host.start(coordinator, slots);
    let (session, hello) = coordinator.session().await;
    assert_eq!(hello.running, []);
    session.welcome(Vec::new()).await;
    (agent, session)
}

#[tokio::test]
async fn another_store_gets_nothing_of_the_one_before() {
    let host = Host::prepared();
    let mut coordinator = Coordinator::start().await;
    let (agent, mut session) = attached(&host, &mut coordinator, 1).await;
    session.lease(0, 1, &[(1, FOR_EVER, 1)]).await;
    let unacknowledged = session.reports_until(|_| true).await;
    assert!(!unacknowledged.is_empty());
    drop(session);
    let (refused, hello) = coordinator.session().await;
    assert_eq!((hello.store.as_str(), hello.running.len()), (STORE, 1));
    refused.refuse().await;
    let (mut session, hello) = coordinator.session().await;
    assert_eq!((hello.store.as_str(), hello.running), ("", Vec::new()));
    session.welcome(Vec::new()).await;
    session.lease(0, 2, &[(2, 1, 2)]).await;
    let reports = session.reports_until_ended(1).await;
    outcome(&reports, 2);
    let of_before = |report: &wire::Report| match report.report.as_ref() {
        Some(report::Report::Epoch(epoch)) => epoch.attempt == Some(attempt(1)),
        _ => false,
    };
    assert!(!reports.iter().any(of_before), "{reports:?}");
    drop(agent);
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let reached = timeout(WAIT, async {
        while !is_so() {
            sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(reached.await.is_ok(), "{what}");
}

fn running(hello: &wire::Hello) -> Vec<(u64, u32, Vec<wire::AttemptId>)> {
    let running = hello.running.iter().cloned();
    running.map(|running| (running.cohort, running.slot, running.attempts)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_trains_cohort_after_cohort_in_one_warm_process() {
    let (host, mut coordinator) = (Host::prepared(), Coordinator::start().await);
    let agent = host.start(&coordinator, 2);
    let (mut session, hello) = coordinator.session().await;
    assert!(hello.worker.starts_with("host-") && hello.host == "host", "{hello:?}");
    assert_eq!(hello.libtorch_version, "2.11.0");
    let devices = hello.slots.iter().map(|slot| slot.device.as_str()).collect::<Vec<_>>();
    assert_eq!(devices, ["cpu", "cpu"]);
    assert!(hello.data_digests.contains_key("strokes"), "{:?}", hello.data_digests);
    assert!(!hello.draining && hello.running.is_empty());
    session.welcome(Vec::new()).await;

    let checkpoints = host.state().join("checkpoints");
    let checkpoint =
        |trial: u64, number: u32| checkpoints.join(format!("{trial:016x}.{number}.1.safetensors"));
    for (trial, number) in [(1, 1), (1, 2), (3, 1)] {
        fs::write(checkpoint(trial, number), "").expect("written");
    }
    session.lease(1, 1, &[(1, 0, 2), (2, 0, 3)]).await;
    let reports = session.reports_until_ended(2).await;
    let epochs = reports.iter().filter_map(|report| match &report.report {
        Some(report::Report::Epoch(epoch)) => Some((epoch.attempt.clone()?, epoch.epoch)),
        _ => None,
    });
    let expected =
        [(1, 1), (2, 1), (1, 2), (2, 2), (2, 3)].map(|(trial, epoch)| (attempt(trial), epoch));
    assert_eq!(epochs.collect::<Vec<_>>(), expected);
    assert_eq!(outcome(&reports, 2).epochs, 3);
    let process = outcome(&reports, 1).reason.clone();

    session.acknowledge(&reports).await;
    until("the checkpoint of an ended trial goes", || !checkpoint(1, 1).exists()).await;
    assert!(checkpoint(1, 2).exists(), "the outcome of an old attempt says nothing of a newer");
    assert!(checkpoint(3, 1).exists(), "this one has not ended");
    session.lease(1, 2, &[(3, 0, 1)]).await;
    let reports = session.reports_until_ended(1).await;
    assert_eq!(outcome(&reports, 3).reason, process);
    session.acknowledge(&reports).await;
    agent.stop(2).await;
    assert_eq!(agent.end().await.expect("drained"), Stop::Signal(2));
    assert!(!checkpoint(3, 1).exists(), "a worker that leaves has cleared up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trainer_that_is_killed_fails_its_cohort_alone() {
    let (host, mut coordinator) = (Host::prepared(), Coordinator::start().await);
    let (agent, mut session) = attached(&host, &mut coordinator, 2).await;
    session.lease(0, 1, &[(1, 0, 1), (2, DIE, 3), (3, 0, 9)]).await;
    session.lease(1, 2, &[(4, 0, 20)]).await;
    let reports = session.reports_until_ended(3).await;
    let failed = failure(&reports);
    assert_eq!((failed.cohort, failed.cause()), (1, FailureCause::TrainerDied));
    assert_eq!(failed.attempts, [attempt(2), attempt(3)]);
    assert_eq!(failed.message, "the trainer was ended by SIGKILL");
    assert!(failed.stderr_tail.ends_with("about to die\n"), "{}", failed.stderr_tail);
    let dead = outcome(&reports, 1).reason.clone();
    assert_eq!(outcome(&reports, 4).epochs, 20);
    session.lease(0, 3, &[(3, 0, 1)]).await;
    let reports = session.reports_until_ended(1).await;
    assert_ne!(outcome(&reports, 3).reason, dead, "a fresh process");
    let log = fs::read_to_string(host.state().join("logs/slot-0.log")).expect("a log");
    assert!(log.contains("about to die"));
    session.acknowledge(&reports).await;
    agent.stop(15).await;
    assert_eq!(agent.end().await.expect("drained"), Stop::Signal(15));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_coordinator_drains_a_worker_as_a_signal_does() {
    let (host, mut coordinator) = (Host::prepared(), Coordinator::start().await);
    let (agent, mut session) = attached(&host, &mut coordinator, 1).await;
    session.lease(0, 1, &[(1, FOR_EVER, 1)]).await;
    session.reports_until(|report| matches!(report, report::Report::Epoch(_))).await;
    session.tell(to_worker::Message::Drain(wire::Drain {})).await;
    // A second time, as to one that attached again meanwhile.
    session.tell(to_worker::Message::Drain(wire::Drain {})).await;
    let reports = session.reports_until(is_end).await;
    assert!(matches!(ends(&reports)[..], [report::Report::Returned(_)]), "{reports:?}");
    session.acknowledge(&reports).await;
    assert_eq!(agent.end().await.expect("drained"), Stop::Coordinator);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_failure_has_its_cause() {
    let (host, mut coordinator) = (Host::prepared(), Coordinator::start().await);
    let (_agent, mut session) = attached(&host, &mut coordinator, 1).await;
    let cases = [
        (NO_MEMORY, FailureCause::OutOfMemory, "was ended by SIGABRT, out of memory"),
        (CATCH, FailureCause::Data, "no such data"),
        (GARBAGE, FailureCause::TrainerDied, "was killed because it sent a message of"),
    ];
    for (cohort, (seed, cause, message)) in (1..).zip(cases) {
        session.lease(0, cohort, &[(cohort, seed, 1)]).await;
        let reports = session.reports_until_ended(1).await;
        let failed = failure(&reports);
        assert_eq!((failed.cohort, failed.cause()), (cohort, cause));
        assert_eq!(failed.attempts, [attempt(cohort)]);
        assert!(failed.message.contains(message), "{}", failed.message);
        assert!(failed.stderr_tail.contains("fake trainer"), "{}", failed.stderr_tail);
        session.acknowledge(&reports).await;
    }
    session.lease(0, 9, &[(9, 0, 1)]).await;
    assert_eq!(outcome(&session.reports_until_ended(1).await, 9).epochs, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_attempt_ends_without_a_word_and_a_hung_trainer_is_killed() {
    let (host, mut coordinator) = (Host::prepared(), Coordinator::start().await);
    let (_agent, mut session) = attached(&host, &mut coordinator, 1).await;
    session.lease(0, 1, &[(1, FOR_EVER, 1), (2, 0, 30)]).await;
    session.reports_until(|_| true).await;
    let stop = |trial| wire::StopAttempt { attempt: Some(attempt(trial)) };
    session.tell(to_worker::Message::Stop(stop(1))).await;
    let reports = session.reports_until_ended(1).await;
    assert_eq!(ends(&reports).len(), 1);
    let process = outcome(&reports, 2).reason.clone();
    session.lease(0, 2, &[(3, HANG, 1)]).await;
    session.reports_until(|_| true).await;
    session.tell(to_worker::Message::Stop(stop(3))).await;
    session.lease(0, 3, &[(4, 0, 1)]).await;
    let reports = session.reports_until_ended(1).await;
    assert_eq!(ends(&reports).len(), 1, "nobody wants to hear of the stopped one");
    assert_ne!(outcome(&reports, 4).reason, process);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_stream_changes_nothing_but_the_stream() {
    let (host, mut coordinator) = (Host::prepared(), Coordinator::start().await);
    let (_agent, mut session) = attached(&host, &mut coordinator, 2).await;
    session.lease(0, 1, &[(1, FOR_EVER, 1), (2, 0, 2)]).await;
    session.lease(1, 2, &[(3, FOR_EVER, 1)]).await;
    let before = session.reports_until(is_end).await;
    drop(session);

    let (mut session, hello) = coordinator.session().await;
    let expected = [(1, 0, vec![attempt(1)]), (2, 1, vec![attempt(3)])];
    assert_eq!(running(&hello), expected);
    session.welcome(vec![attempt(1)]).await;
    // Before any heartbeat, which would say that there is no more.
    let again = match session.next().await {
        from_worker::Message::Reports(again) => again.reports,
        other => panic!("{other:?}"),
    };
    assert_eq!(again[..before.len()], before[..], "what was not acknowledged comes again");
    assert_eq!(ends(&again).len(), 1);
    session.acknowledge(&again).await;
    // The other one is not adopted: its slot is free for a lease.
    session.lease(1, 3, &[(4, 0, 1)]).await;
    let more = session.reports_until(is_end).await;
    assert!(more[0].sequence > again[again.len() - 1].sequence, "nothing comes a third time");
    assert_eq!(outcome(&more, 4).epochs, 1);
    session.acknowledge(&more).await;
    drop(session);

    let (_session, hello) = coordinator.session().await;
    assert_eq!(running(&hello), [(1, 0, vec![attempt(1)])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_without_a_coordinator_is_told_to_the_next() {
    let (host, mut coordinator) = (Host::prepared(), Coordinator::start().await);
    let (agent, mut session) = attached(&host, &mut coordinator, 1).await;
    session.lease(0, 1, &[(1, 0, 40)]).await;
    let first = session.reports_until(|_| true).await;
    let address = coordinator.address;
    drop(session);
    coordinator.stop().await;
    let spool = host.state().join("spool/reports");
    let spooled = |text: &str| {
        let bytes = fs::read(&spool).expect("a spool");
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    };
    // The fake trainer's outcome names its process in words that no epoch has.
    let log = fs::read_to_string(host.state().join("logs/slot-0.log")).expect("a log");
    let process = log.split_whitespace().nth_back(1).expect("its first line").to_owned();
    until("the trial ends", || spooled(&process)).await;

    let mut coordinator = Coordinator::start_at(address).await;
    let (mut session, hello) = coordinator.session().await;
    assert_eq!(running(&hello), []);
    session.welcome(Vec::new()).await;
    let reports = session.reports_until_ended(1).await;
    assert_eq!(reports[0], first[0]);
    assert_eq!((outcome(&reports, 1).epochs, reports.len()), (40, 41));
    // Not acknowledged, and the agent is told twice to leave: its successor says it again.
    agent.stop(15).await;
    agent.stop(15).await;
    assert_eq!(agent.end().await.expect("left"), Stop::Signal(15));
    drop(session);
    let _successor = host.start(&coordinator, 1);
    let (mut session, again) = coordinator.session().await;
    assert_eq!(again.worker, hello.worker);
    session.welcome(Vec::new()).await;
    assert_eq!(session.reports_until_ended(1).await, reports);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_hands_back_what_trains_and_waits_until_that_is_known() {
    let (host, mut coordinator) = (Host::prepared(), Coordinator::start().await);
    let (agent, mut session) = attached(&host, &mut coordinator, 2).await;
    session.lease(0, 1, &[(1, FOR_EVER, 1), (2, FOR_EVER, 1)]).await;
    session.reports_until(|_| true).await;
    agent.stop(15).await;
    let (mut reports, mut is_announced) = (Vec::new(), false);
    while ends(&reports).len() < 2 || !is_announced {
        match session.next().await {
            from_worker::Message::Heartbeat(heartbeat) => is_announced |= heartbeat.draining,
            from_worker::Message::Reports(more) => reports.extend(more.reports),
            other => panic!("{other:?}"),
        }
    }
    for (end, trial) in ends(&reports).into_iter().zip([1, 2]) {
        let report::Report::Returned(returned) = end else { panic!("{end:?}") };
        assert!(returned.attempt == Some(attempt(trial)) && returned.epochs > 0);
    }
    // A lease that crossed the drain comes back as it is.
    session.lease(1, 2, &[(3, 0, 1)]).await;
    let more = session.reports_until(is_end).await;
    let expected = wire::AttemptReturned { attempt: Some(attempt(3)), epochs: 0 };
    let returned = report::Report::Returned(expected);
    assert_eq!(more[more.len() - 1].report, Some(returned));
    assert!(!agent.ended.is_finished(), "the coordinator has not taken the reports yet");
    session.acknowledge(&more).await;
    assert_eq!(agent.end().await.expect("drained"), Stop::Signal(15));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_request_is_answered_with_the_trials_own_log() {
    let (host, mut coordinator) = (Host::prepared(), Coordinator::start().await);
    let (_agent, mut session) = attached(&host, &mut coordinator, 2).await;
    session.lease(1, 1, &[(1, FOR_EVER, 1)]).await;
    session.reports_until(|_| true).await;
    for (request, trial, expected) in [(7, 1, "fake trainer"), (8, 2, "")] {
        let trial = attempt(trial).trial;
        session.tell(to_worker::Message::LogRequest(wire::LogRequest { request, trial })).await;
        let log = loop {
            match session.next_said().await {
                from_worker::Message::Log(log) => break log,
                from_worker::Message::Reports(_) => {}
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(log.request, request);
        assert!(log.text.contains(expected) && log.text.is_empty() == expected.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trainer_that_cannot_start_ends_the_worker_before_it_says_hello() {
    let (host, coordinator) = (Host::prepared(), Coordinator::start().await);
    broken_trainer(&host.trainer());
    let error = host.start(&coordinator, 2).end().await.expect_err("it fails").to_string();
    for part in ["the trainer for `cpu` cannot be started", "status 127", "libtorch_cpu.so: cannot"]
    {
        assert!(error.contains(part), "{part}: {error}");
    }
    fs::remove_file(host.trainer()).expect("removed");
    let error = host.start(&coordinator, 1).end().await.expect_err("it fails").to_string();
    assert!(error.contains("cannot start `"), "{error}");
}

/// A trainer as the loader leaves it where libtorch is missing.
pub fn broken_trainer(path: &Path) {
    let text = "#!/bin/sh\necho 'libtorch_cpu.so: cannot open shared object file' >&2\nexit 127\n";
    fake_trainer::executable(path, text);
}
