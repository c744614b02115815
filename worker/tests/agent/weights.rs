//! Weights that trainers left go to the coordinator, whatever happens on the way.

use std::fs;
use std::path::PathBuf;

use common::ids::AttemptId;
use common::weights::{WeightsName, folder};
use common::wire::WeightsAnswer;
use tonic::Status;

use super::coordinator::{Coordinator, Offer, Session};
use super::{Agent, Host, STORE, Stop, attached, attempt, until};

/// More than three messages.
const BYTES: usize = 1_700_000;

fn content(trial: u64) -> Vec<u8> {
    (0..BYTES).map(|index| (index as u64 % 251 + trial) as u8).collect()
}

/// Writes what the trainer of a trial's first attempt leaves.
fn left(host: &Host, trial: &str) -> PathBuf {
    let checkpoints = host.state().join("checkpoints");
    fs::create_dir_all(folder(&checkpoints)).expect("created");
    let trial: common::ids::TrialId = trial.parse().expect("an id");
    let path = WeightsName(AttemptId { trial, number: 1 }).path(&checkpoints);
    fs::write(&path, content(trial.0)).expect("written");
    path
}

fn of(trial: u64) -> String {
    attempt(trial).trial
}

/// An offer of these weights, as they are on the disk.
fn assert_of(offer: &Offer, trial: u64) {
    let request = &offer.request;
    assert_eq!((request.attempt.as_ref(), request.store.as_str()), (Some(&attempt(trial)), STORE));
    let content = content(trial);
    assert_eq!(request.bytes, content.len() as u64);
    assert_eq!(request.blake3, blake3::hash(&content).as_bytes());
}

async fn ended(host: &Host, coordinator: &mut Coordinator) -> (Agent, Session, PathBuf) {
    // What is there when the worker attaches is offered at once: then it has looked.
    left(host, &of(99));
    let (agent, mut session) = attached(host, coordinator, 1).await;
    let offer = coordinator.offer().await;
    assert_of(&offer, 99);
    offer.answer(WeightsAnswer::NotWanted);
    let path = left(host, &of(1));
    session.lease(0, 1, &[(1, 0, 1)]).await;
    let reports = session.reports_until_ended(1).await;
    coordinator.assert_nothing_offered();
    session.acknowledge(&reports).await;
    (agent, session, path)
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_are_sent_when_their_outcome_is_stored_and_then_removed() {
    let (host, mut coordinator) = (Host::prepared(), Coordinator::start().await);
    let (agent, _session, path) = ended(&host, &mut coordinator).await;
    let offer = coordinator.offer().await;
    assert_of(&offer, 1);
    let request = offer.request.clone();
    offer.answer(WeightsAnswer::Wanted);
    let mut put = coordinator.put().await;
    assert_eq!(put.received().await, (request, content(1)));
    assert!(path.exists(), "it stays until it is said to be kept");
    // A worker that is told to leave meanwhile waits for that.
    agent.stop(15).await;
    put.answer(Ok(()));
    assert_eq!(agent.end().await.expect("drained"), Stop::Signal(15));
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_that_nobody_wants_are_removed() {
    let (host, mut coordinator) = (Host::prepared(), Coordinator::start().await);
    let (_agent, _session, path) = ended(&host, &mut coordinator).await;
    coordinator.offer().await.answer(WeightsAnswer::NotWanted);
    until("the file goes", || !path.exists()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_are_offered_again_after_a_refusal_and_a_broken_call() {
    let (host, mut coordinator) = (Host::prepared(), Coordinator::start().await);
    let (_agent, _session, path) = ended(&host, &mut coordinator).await;
    coordinator.offer().await.refuse(Status::unavailable("the disk is full"));
    coordinator.offer().await.answer(WeightsAnswer::Wanted);
    // The call ends in its middle.
    drop(coordinator.put().await);
    coordinator.offer().await.answer(WeightsAnswer::Wanted);
    coordinator.put().await.answer(Err(Status::resource_exhausted("the disk is full")));
    let offer = coordinator.offer().await;
    assert_of(&offer, 1);
    assert!(path.exists());
    offer.answer(WeightsAnswer::Wanted);
    let mut put = coordinator.put().await;
    assert_eq!(put.received().await.1, content(1));
    put.answer(Ok(()));
    until("the file goes", || !path.exists()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_that_can_never_be_kept_are_dropped() {
    let (host, mut coordinator) = (Host::prepared(), Coordinator::start().await);
    let (_agent, _session, path) = ended(&host, &mut coordinator).await;
    coordinator.offer().await.answer(WeightsAnswer::Wanted);
    let mut put = coordinator.put().await;
    put.received().await;
    put.answer(Err(Status::invalid_argument("they say that they are another trial's")));
    until("the file goes", || !path.exists()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_that_are_left_over_are_offered_at_every_attachment() {
    let (host, mut coordinator) = (Host::prepared(), Coordinator::start().await);
    let paths = [left(&host, &of(7)), left(&host, &of(8))];
    // A file that is being written is nobody's yet.
    let name = WeightsName(AttemptId { trial: common::ids::TrialId(9), number: 1 });
    fs::write(name.partial_path(&host.state().join("checkpoints")), "half").expect("written");
    let (agent, session) = attached(&host, &mut coordinator, 1).await;
    let mut trials = Vec::new();
    for answer in [WeightsAnswer::NotWanted, WeightsAnswer::Unknown] {
        let offer = coordinator.offer().await;
        trials.push(offer.request.attempt.clone().expect("an attempt").trial);
        offer.answer(answer);
    }
    trials.sort_unstable();
    assert_eq!(trials, [of(7), of(8)]);
    until("one of them goes", || paths.iter().filter(|path| path.exists()).count() == 1).await;
    agent.stop(15).await;
    agent.end().await.expect("left: what is not known yet holds nobody up");
    drop(session);

    let _successor = host.start(&coordinator, 1);
    let (session, _) = coordinator.session().await;
    session.welcome(Vec::new()).await;
    coordinator.offer().await.answer(WeightsAnswer::NotWanted);
    until("the other one goes", || paths.iter().all(|path| !path.exists())).await;
}
