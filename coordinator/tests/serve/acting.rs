//! Clients that change what runs, against a worker that speaks the real protocol.

use common::wire::{self, report};
use coordinator::progress::AllDone;
use coordinator::query::Reader;
use coordinator::serve::End;
use tonic::Code;

use super::harness::{SWEEP, Server, Worker, attempt, epoch, hello, running, stored_trial};

fn tiny() -> wire::ActOnSweepRequest {
    wire::ActOnSweepRequest { sweep: "tiny".into() }
}

fn apply(yaml: &str, prune: bool) -> wire::ApplySweepRequest {
    let trials_max = 1_000;
    wire::ApplySweepRequest { yaml: yaml.into(), prune, points_set: false, trials_max }
}

#[tokio::test]
async fn a_paused_sweep_gets_no_lease_and_a_cancelled_one_is_over() {
    let state = tempfile::tempdir().unwrap();
    let server = Server::start(state.path(), SWEEP).await;
    let mut client = server.client().await;
    let mut worker = Worker::attach(&server, hello(1, Vec::new())).await;
    let first = worker.lease().await;
    let paused = client.pause_sweep(tiny()).await.unwrap().into_inner();
    assert_eq!(paused, wire::ActedResponse { pending: 7, running: 1 });
    worker.complete(&first).await;
    let listed = client.get_sweep(wire::GetSweepRequest { sweep: "tiny".into() }).await;
    assert_eq!(listed.unwrap().into_inner().state, "paused");
    assert!(!worker.has_lease(), "the acknowledgement would have come after it");
    let resumed = client.resume_sweep(tiny()).await.unwrap().into_inner();
    assert_eq!(resumed, wire::ActedResponse { pending: 7, running: 0 });
    let second = attempt(&worker.lease().await);
    let status = client.resume_sweep(tiny()).await.unwrap_err();
    let told = (status.code(), status.message());
    assert_eq!(told, (Code::FailedPrecondition, "sweep `tiny`: it is not paused"));
    let misspelt = wire::ActOnSweepRequest { sweep: "tinny".into() };
    let status = client.cancel_sweep(misspelt).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("did you mean `tiny`?"), "{status}");

    let cancelled = client.cancel_sweep(tiny()).await.unwrap().into_inner();
    assert_eq!(cancelled, wire::ActedResponse { pending: 6, running: 1 });
    worker.take_until(|worker| worker.stopped == [second.clone()]).await;
    let incomplete = AllDone { incomplete: 1, ..AllDone::default() };
    assert_eq!(server.ended().await, End::Done(incomplete));
    let sweep = Reader::open(state.path()).unwrap().sweep("tiny").unwrap();
    let trials = sweep.trials.unwrap();
    assert_eq!((sweep.state.as_str(), trials.completed, trials.cancelled), ("cancelled", 1, 7));
    let trial = stored_trial(state.path(), &second.trial);
    let outcome = trial.outcome.unwrap();
    assert_eq!(outcome.reason, "sweep tiny was cancelled");
    assert_eq!(trial.attempts[0].state, "cancelled");
}

#[tokio::test]
async fn an_edited_file_is_applied_while_its_sweep_runs() {
    let state = tempfile::tempdir().unwrap();
    let server = Server::start(state.path(), SWEEP).await;
    let mut client = server.client().await;
    let mut worker = Worker::attach(&server, hello(1, Vec::new())).await;
    let first = worker.lease().await;
    let edited = SWEEP.replace("depth: [2, 3]", "depth: [3, 4]");
    let done = client.apply_sweep(apply(&edited, true)).await.unwrap().into_inner();
    assert_eq!((done.again, done.added, done.removed, done.unchanged), (true, 4, 4, 4));
    let removed = attempt(&first);
    worker.take_until(|worker| worker.stopped == [removed.clone()]).await;
    for _ in 0..8 {
        let lease = worker.lease().await;
        let trial = &lease.cohort.as_ref().unwrap().trials[0];
        assert!(!trial.params.contains(r#""depth":2"#), "{}", trial.params);
        worker.complete(&lease).await;
    }
    assert_eq!(server.ended().await, End::Done(AllDone::default()));
    let trials = Reader::open(state.path()).unwrap().sweep("tiny").unwrap().trials.unwrap();
    assert_eq!((trials.completed, trials.removed), (8, 4));
}

#[tokio::test]
async fn a_new_sweep_is_applied_to_a_running_coordinator() {
    let state = tempfile::tempdir().unwrap();
    let server = Server::start(state.path(), SWEEP).await;
    let mut client = server.client().await;
    let other = SWEEP.replace("name: tiny", "name: other").replace("width: 16", "width: 8");
    let done = client.apply_sweep(apply(&other, false)).await.unwrap().into_inner();
    assert_eq!((done.sweep.as_str(), done.again, done.added), ("other", false, 8));
    let mistaken = SWEEP.replace("depth: [2, 3]", "depth: [0]");
    let status = client.apply_sweep(apply(&mistaken, false)).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("`depth` cannot be 0"), "{}", status.message());
    let mut set = apply(&SWEEP.replace("seeds: 2", "seeds: 3"), false);
    set.points_set = true;
    let status = client.apply_sweep(set).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("4 would be added and 0 removed"), "{}", status.message());
    assert_eq!(server.stop().await, End::Stopped);
}

#[tokio::test]
async fn failed_trials_are_tried_again_when_somebody_asks() {
    let state = tempfile::tempdir().unwrap();
    let server = Server::start(state.path(), SWEEP).await;
    let mut client = server.client().await;
    let mut worker = Worker::attach(&server, hello(1, Vec::new())).await;
    let first = attempt(&worker.lease().await);
    let failed = super::outcome(&first, wire::OutcomeKind::Failed);
    worker.report(vec![epoch(&first, 1), failed]).await;
    let retried = client.retry_sweep(tiny()).await.unwrap().into_inner();
    assert_eq!(retried, wire::ActedResponse { pending: 1, running: 0 });
    let mut again = None;
    for _ in 0..8 {
        let lease = worker.lease().await;
        if attempt(&lease).trial == first.trial {
            again = Some((
                attempt(&lease).attempt,
                lease.cohort.as_ref().unwrap().trials[0].epochs_stored,
            ));
        }
        worker.complete(&lease).await;
    }
    assert_eq!(again, Some((2, 1)), "the second attempt may go on after the first's epoch");
    assert_eq!(server.ended().await, End::Done(AllDone::default()));
    assert_eq!(stored_trial(state.path(), &first.trial).attempts.len(), 2);
}

#[tokio::test]
async fn a_drained_worker_is_told_and_gets_nothing_more() {
    let state = tempfile::tempdir().unwrap();
    let server = Server::start(state.path(), SWEEP).await;
    let mut client = server.client().await;
    let mut worker = Worker::attach(&server, hello(1, Vec::new())).await;
    let lease = worker.lease().await;
    let drain = || wire::DrainWorkerRequest { worker: "w1".into() };
    let drained = client.drain_worker(drain()).await.unwrap().into_inner();
    assert_eq!(drained, wire::ActedResponse { pending: 0, running: 1 });
    worker.take_until(|worker| worker.is_drain_asked).await;
    // Its stream breaks before it could obey.
    worker.vanish();
    let mut worker = Worker::attach(&server, hello(1, vec![running(&lease)])).await;
    worker.take_until(|worker| worker.is_drain_asked).await;
    let attempt = Some(attempt(&lease));
    worker
        .report(vec![report::Report::Returned(wire::AttemptReturned { attempt, epochs: 0 })])
        .await;
    assert!(!worker.has_lease(), "the acknowledgement would have come after it");
    let workers = client.list_workers(wire::ListWorkersRequest {}).await.unwrap().into_inner();
    assert_eq!(workers.workers[0].state, "draining");
    let unknown = wire::DrainWorkerRequest { worker: "w2".into() };
    let status = client.drain_worker(unknown).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(server.stop().await, End::Stopped);
}
