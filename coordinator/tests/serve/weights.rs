//! Weights that workers offer: what is taken, what is refused, what goes again, what clients get.

use std::fs;
use std::path::{Path, PathBuf};

use common::wire::worker_service_client::WorkerServiceClient;
use common::wire::{self, WeightsAnswer, model_part, weights_part};
use tokio_stream::iter;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::harness::{Server, Worker, attempt, epoch, hello, in_time, stored_trial};

/// Two configs of two trials; the last one is never completed, so that the server goes on.
fn sweep(keep: &str) -> String {
    format!(
        "name: tiny\nmodel: mlp\ndata: strokes\nbase: {{width: 16, epochs: 2, tau: 1}}\n\
         grid: {{depth: [2, 3]}}\nseeds: 2\nfusion: off\n{keep}"
    )
}

/// A server with a worker of one slot, and calls of that worker beside its stream.
struct Scene {
    state: tempfile::TempDir,
    server: Server,
    worker: Worker,
    client: WorkerServiceClient<Channel>,
}

impl Scene {
    async fn new(keep: &str) -> Scene {
        let state = tempfile::tempdir().unwrap();
        let server = Server::start(state.path(), &sweep(keep)).await;
        let worker = Worker::attach(&server, hello(1, Vec::new())).await;
        let client = WorkerServiceClient::connect(format!("http://{}", server.grpc));
        let client = in_time("a connection", client).await.unwrap();
        Scene { state, server, worker, client }
    }

    /// Takes a lease; gives its attempt and whether its weights are to be kept.
    async fn lease(&mut self) -> (wire::AttemptId, bool) {
        let lease = self.worker.lease().await;
        (attempt(&lease), lease.cohort.unwrap().trials[0].keeps_weights)
    }

    async fn complete(&mut self, attempt: &wire::AttemptId, val_error: f64) {
        let outcome = wire::report::Report::Outcome(wire::AttemptOutcome {
            attempt: Some(attempt.clone()),
            kind: wire::OutcomeKind::Completed.into(),
            epochs: 2,
            best_epoch: Some(2),
            val_error: Some(val_error),
            test_error: Some(val_error / 2.0),
            ..Default::default()
        });
        self.worker.report(vec![epoch(attempt, 1), epoch(attempt, 2), outcome]).await;
    }

    /// The next trial, completed with this error.
    async fn completed(&mut self, val_error: f64) -> wire::AttemptId {
        let (attempt, _) = self.lease().await;
        self.complete(&attempt, val_error).await;
        attempt
    }

    fn offer_of(&self, attempt: &wire::AttemptId, bytes: &[u8]) -> wire::OfferWeightsRequest {
        wire::OfferWeightsRequest {
            attempt: Some(attempt.clone()),
            bytes: bytes.len() as u64,
            blake3: blake3::hash(bytes).as_bytes().to_vec(),
            store: self.worker.store.clone(),
        }
    }

    async fn offer(&mut self, request: wire::OfferWeightsRequest) -> Result<WeightsAnswer, Status> {
        let answer = in_time("an answer", self.client.offer_weights(request)).await?;
        Ok(answer.into_inner().answer())
    }

    async fn put(
        &mut self,
        offer: wire::OfferWeightsRequest,
        chunks: Vec<Vec<u8>>,
    ) -> Result<bool, Status> {
        let mut parts = vec![weights_part::Part::Offer(offer)];
        parts.extend(chunks.into_iter().map(weights_part::Part::Chunk));
        self.put_parts(parts).await
    }

    async fn put_parts(&mut self, parts: Vec<weights_part::Part>) -> Result<bool, Status> {
        let parts = parts.into_iter().map(|part| wire::WeightsPart { part: Some(part) });
        let call = self.client.put_weights(iter(parts.collect::<Vec<_>>()));
        Ok(in_time("an answer", call).await?.into_inner().kept)
    }

    /// Offers and sends weights that are wanted.
    async fn hand_over(&mut self, attempt: &wire::AttemptId, val_error: f64) -> Vec<u8> {
        let bytes = weights(attempt, val_error);
        let offer = self.offer_of(attempt, &bytes);
        assert_eq!(self.offer(offer.clone()).await.unwrap(), WeightsAnswer::Wanted);
        let chunks = bytes.chunks(500_000).map(<[u8]>::to_vec).collect();
        assert!(self.put(offer, chunks).await.unwrap());
        bytes
    }

    async fn answer(&mut self, attempt: &wire::AttemptId, val_error: f64) -> WeightsAnswer {
        let offer = self.offer_of(attempt, &weights(attempt, val_error));
        self.offer(offer).await.unwrap()
    }

    async fn model(&self, trial: &str) -> Result<(wire::ModelHeader, Vec<u8>), Status> {
        let request = wire::GetModelRequest { sweep: "tiny".into(), trial: trial.into() };
        let mut client = self.server.client().await;
        let mut parts = in_time("an answer", client.get_model(request)).await?.into_inner();
        let (mut header, mut bytes) = (None, Vec::new());
        while let Some(part) = in_time("a part", parts.message()).await? {
            match part.part.unwrap() {
                model_part::Part::Header(found) => assert!(header.replace(found).is_none()),
                model_part::Part::Chunk(chunk) => bytes.extend(chunk),
            }
        }
        Ok((header.unwrap(), bytes))
    }

    fn files(&self) -> Vec<String> {
        files(self.state.path())
    }
}

fn folder(state: &Path) -> PathBuf {
    state.join("weights")
}

fn files(state: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder(state)) else { return Vec::new() };
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<_> = entries.map(name).map(|name| name.into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

fn file_of(attempt: &wire::AttemptId) -> String {
    format!("{}.safetensors", attempt.trial)
}

/// A file that says that it is of this attempt, of more than one message.
fn weights(attempt: &wire::AttemptId, val_error: f64) -> Vec<u8> {
    let test_error = (val_error / 2.0).to_string();
    let head = serde_json::json!({"__metadata__": {
        "format": "gradsweep-weights-1",
        "trial": attempt.trial,
        "attempt": attempt.attempt.to_string(),
        "best_epoch": "2",
        "val_error": val_error.to_string(),
        "test_error": test_error,
    }});
    let head = head.to_string();
    let mut bytes = (head.len() as u64).to_le_bytes().to_vec();
    bytes.extend(head.as_bytes());
    bytes.extend((0..1_200_000).map(|index| (index % 251) as u8));
    bytes
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let holds = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    in_time(what, holds).await;
}

#[tokio::test]
async fn the_best_of_each_config_is_kept_and_what_it_displaces_goes() {
    let mut scene = Scene::new("").await;
    let (first, keeps) = scene.lease().await;
    assert!(keeps);
    let running = scene.answer(&first, 0.4).await;
    assert_eq!(running, WeightsAnswer::Unknown, "it has no outcome yet");
    scene.complete(&first, 0.4).await;
    let kept = scene.hand_over(&first, 0.4).await;
    assert_eq!(scene.files(), [file_of(&first)]);
    assert_eq!(scene.answer(&first, 0.4).await, WeightsAnswer::NotWanted, "they are kept already");
    let (header, bytes) = scene.model("").await.unwrap();
    assert_eq!((header.trial.as_str(), header.attempt), (first.trial.as_str(), 1));
    assert_eq!((header.val_error, header.test_error), (Some(0.4), Some(0.2)));
    assert_eq!((header.bytes, header.note.as_str()), (kept.len() as u64, ""));
    assert!(bytes == kept, "the same bytes");

    // Seeds are innermost: the second is of the same config.
    let second = scene.completed(0.3).await;
    scene.hand_over(&second, 0.3).await;
    let (state, expected) = (scene.state.path().to_owned(), vec![file_of(&second)]);
    until("the first goes", || files(&state) == expected).await;
    let refused = scene.model(&first.trial).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let expected = format!(
        "no weights of trial {}: `tiny` keeps those of the best trial of each config, here {}",
        first.trial, second.trial
    );
    assert_eq!(refused.message(), expected);
    assert_eq!(stored_trial(&state, &first.trial).weights_bytes, None);
    assert!(stored_trial(&state, &second.trial).weights_bytes.is_some());

    // Another config has a best trial of its own; the best of the sweep stays the second.
    let third = scene.completed(0.5).await;
    assert!(scene.model(&third.trial).await.unwrap_err().message().contains("on their way"));
    scene.hand_over(&third, 0.5).await;
    assert_eq!(scene.model("").await.unwrap().0.trial, second.trial);
    assert_eq!(scene.model(&third.trial[..8]).await.unwrap().0.trial, third.trial);

    // The next start removes what an earlier process left half.
    scene.server.stop().await;
    let half = folder(&state).join("00000000000000ff.partial-0");
    fs::write(&half, "half").unwrap();
    let server = Server::start(&state, &sweep("")).await;
    assert!(!half.exists());
    assert_eq!(files(&state).len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn the_best_of_the_sweep_are_kept_where_it_asks_for_those() {
    let mut scene = Scene::new("keep: {top: 1}").await;
    let first = scene.completed(0.4).await;
    scene.hand_over(&first, 0.4).await;
    let second = scene.completed(0.4).await;
    let answer = scene.answer(&second, 0.4).await;
    assert_eq!(answer, WeightsAnswer::NotWanted, "of equal ones the earlier is kept");
    let third = scene.completed(0.1).await;
    let (header, _) = scene.model("").await.unwrap();
    assert_eq!(header.note, "1 trial with a lower val_error has no weights here");
    scene.hand_over(&third, 0.1).await;
    let (state, expected) = (scene.state.path().to_owned(), vec![file_of(&third)]);
    until("the first goes", || files(&state) == expected).await;
    let refused = scene.model(&second.trial).await.unwrap_err();
    assert!(refused.message().ends_with("`tiny` does not keep them (`keep: {top: 1}`)"));
}

#[tokio::test]
async fn a_sweep_that_keeps_none_has_none_written() {
    let mut scene = Scene::new("keep: none").await;
    let (first, keeps) = scene.lease().await;
    assert!(!keeps);
    scene.complete(&first, 0.4).await;
    assert_eq!(scene.answer(&first, 0.4).await, WeightsAnswer::NotWanted);
    let refused = scene.model("").await.unwrap_err();
    assert_eq!(refused.message(), "no weights of sweep `tiny`: it keeps none (`keep: none`)");
    let offer = scene.offer_of(&first, b"");
    assert!(!scene.put(offer, Vec::new()).await.unwrap(), "sent all the same, it is not kept");
    assert_eq!(scene.files(), Vec::<String>::new());
    // The sweep says it after a restart as well.
    scene.worker.vanish();
    scene.server.stop().await;
    let state = scene.state;
    let server = Server::start(state.path(), &sweep("keep: none")).await;
    let mut worker = Worker::attach(&server, hello(1, Vec::new())).await;
    assert!(!worker.lease().await.cohort.unwrap().trials[0].keeps_weights);
}

#[tokio::test]
async fn only_the_attempt_with_the_outcome_is_heard() {
    let mut scene = Scene::new("keep: all").await;
    let first = scene.completed(0.4).await;
    let bytes = weights(&first, 0.4);
    let good = scene.offer_of(&first, &bytes);
    let later = wire::AttemptId { attempt: 2, ..first.clone() };
    assert_eq!(scene.answer(&later, 0.4).await, WeightsAnswer::NotWanted);
    let nobody = wire::AttemptId { trial: "0".repeat(16), attempt: 1 };
    assert_eq!(scene.answer(&nobody, 0.4).await, WeightsAnswer::NotWanted);
    let huge = wire::OfferWeightsRequest { bytes: 5 << 30, ..good.clone() };
    assert_eq!(scene.offer(huge).await.unwrap(), WeightsAnswer::NotWanted);
    let foreign = wire::OfferWeightsRequest { store: "another".into(), ..good.clone() };
    let refused = scene.offer(foreign.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(scene.put(foreign, Vec::new()).await.unwrap_err().code(), Code::FailedPrecondition);
    let named = wire::AttemptId { trial: "../../../../tmp/x".into(), attempt: 1 };
    for bad in [
        wire::OfferWeightsRequest { blake3: vec![0; 31], ..good.clone() },
        wire::OfferWeightsRequest { attempt: None, ..good.clone() },
        wire::OfferWeightsRequest { attempt: Some(named), ..good.clone() },
    ] {
        assert_eq!(scene.offer(bad.clone()).await.unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(scene.put(bad, Vec::new()).await.unwrap_err().code(), Code::InvalidArgument);
    }
    // One that runs: nothing comes of sending its weights now.
    let (running, _) = scene.lease().await;
    let early = scene.offer_of(&running, &bytes);
    assert_eq!(scene.put(early, vec![bytes]).await.unwrap_err().code(), Code::Aborted);
    assert_eq!(scene.files(), Vec::<String>::new());
}

#[tokio::test]
async fn weights_that_are_not_what_was_said_are_refused_and_leave_nothing() {
    let mut scene = Scene::new("keep: all").await;
    let first = scene.completed(0.4).await;
    let bytes = weights(&first, 0.4);
    let good = scene.offer_of(&first, &bytes);
    let half = bytes[..600_000].to_vec();
    let mut other = bytes.clone();
    *other.last_mut().unwrap() ^= 1;
    let refusals = [
        (vec![half.clone()], Code::Aborted, "600000 of"),
        (vec![], Code::Aborted, "0 of"),
        (vec![other[..600_000].to_vec(), other[600_000..].to_vec()], Code::InvalidArgument, "hash"),
        (vec![half.clone(), half.clone(), half], Code::InvalidArgument, "more than the"),
    ];
    for (chunks, code, text) in refusals {
        let refused = scene.put(good.clone(), chunks).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.message().contains(text), "{refused}");
        assert_eq!(scene.files(), Vec::<String>::new(), "{text}");
    }
    let chunk = weights_part::Part::Chunk(vec![1, 2, 3]);
    let refused = scene.put_parts(vec![chunk.clone()]).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let twice = vec![weights_part::Part::Offer(good.clone()), weights_part::Part::Offer(good)];
    assert_eq!(scene.put_parts(twice).await.unwrap_err().code(), Code::InvalidArgument);
    // Whole, and of another result.
    let second = wire::AttemptId { trial: "0".repeat(16), attempt: 1 };
    for stranger in [weights(&first, 0.3), weights(&second, 0.4), b"no head".to_vec()] {
        let offer = scene.offer_of(&first, &stranger);
        let chunks = stranger.chunks(500_000).map(<[u8]>::to_vec).collect();
        let refused = scene.put(offer, chunks).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
    let state = scene.state.path().to_owned();
    until("what broke off goes", || files(&state).is_empty()).await;
    scene.hand_over(&first, 0.4).await;
    assert_eq!(scene.files(), [file_of(&first)]);
}

#[tokio::test]
async fn a_disk_that_refuses_weights_holds_up_no_work() {
    let mut scene = Scene::new("keep: all").await;
    fs::write(folder(scene.state.path()), "no folder").unwrap();
    let first = scene.completed(0.4).await;
    let bytes = weights(&first, 0.4);
    let offer = scene.offer_of(&first, &bytes);
    assert_eq!(scene.offer(offer.clone()).await.unwrap(), WeightsAnswer::Wanted);
    let chunks = bytes.chunks(500_000).map(<[u8]>::to_vec).collect();
    let refused = scene.put(offer, chunks).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("cannot make the folder of"), "{refused}");
    // Trials go on; and once there is room again, so do weights.
    scene.completed(0.3).await;
    fs::remove_file(folder(scene.state.path())).unwrap();
    scene.hand_over(&first, 0.4).await;
}
