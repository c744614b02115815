//! The server against a worker that speaks the real protocol over the loopback: no trainer, no
//! libtorch. Whatever happens to streams and servers, every trial ends once.
#![allow(clippy::unwrap_used, reason = "a test says by its panic what is wrong")]

mod acting;
mod harness;
mod web;
mod weights;

use common::wire::{self, from_worker};
use coordinator::progress::AllDone;
use coordinator::query::Reader;
use coordinator::serve::{self, End};
use coordinator::store::endpoint;
use harness::{
    SWEEP, Server, Worker, attempt, epoch, hello, in_time, outcome, running, stored_trial,
};
use tonic::Code;

const TRIALS: usize = 8;

#[tokio::test]
async fn a_sweep_completes_and_its_table_is_printed() {
    let state = tempfile::tempdir().unwrap();
    let server = Server::start(state.path(), SWEEP).await;
    assert_eq!(endpoint::read(state.path()).unwrap().unwrap().grpc, server.grpc);
    let mut worker = Worker::attach(&server, hello(2, Vec::new())).await;
    for _ in 0..TRIALS {
        let lease = worker.lease().await;
        let trial = &lease.cohort.as_ref().unwrap().trials[0];
        assert_eq!((trial.model.as_str(), trial.data.as_str()), ("mlp", "strokes"));
        assert!(trial.params.contains(r#""width":16"#), "{}", trial.params);
        worker.complete(&lease).await;
    }
    let output = server.output.clone();
    assert_eq!(server.ended().await, End::Done(AllDone::default()));
    let table = output.text();
    assert!(table.contains("tiny") && table.contains("25.0"), "{table}");
    assert_eq!(endpoint::read(state.path()).unwrap(), None, "no endpoint is left behind");
    let sweep = Reader::open(state.path()).unwrap().sweep("tiny").unwrap();
    assert_eq!(sweep.trials.unwrap().completed, TRIALS as u64);
    assert_eq!((sweep.state.as_str(), sweep.configs_done), ("completed", 4));

    // The same command again has nothing to do, and says the same.
    let again = Server::start(state.path(), SWEEP).await;
    let output = again.output.clone();
    assert_eq!(again.ended().await, End::Done(AllDone::default()));
    assert_eq!(output.text(), table);
}

#[tokio::test]
async fn claims_are_judged_below_the_table() {
    let state = tempfile::tempdir().unwrap();
    let claims = "expect: [{claim: depth does not matter, similar: {depth: 2}, to: {depth: 3}, \
                  where: {width: 16}, within: 0.1, best_by: val_error}]\n";
    let server = Server::start(state.path(), &format!("{SWEEP}{claims}")).await;
    let mut worker = Worker::attach(&server, hello(1, Vec::new())).await;
    for _ in 0..TRIALS {
        let lease = worker.lease().await;
        worker.complete(&lease).await;
    }
    let output = server.output.clone();
    assert_eq!(server.ended().await, End::Done(AllDone::default()));
    let text = output.text();
    let judged = "\n\nsweep tiny, claims: 1 supported\n\nsupported: depth does not matter\n";
    assert!(text.contains(judged), "{text}");

    // A table without a place for a parameter, as an edit of the grid may leave it.
    let narrow = format!("{SWEEP}{claims}table: {{rows: depth}}\n").replace("tiny", "narrow");
    let server = Server::start(state.path(), &narrow).await;
    let output = server.output.clone();
    assert_eq!(server.ended().await, End::Done(AllDone::default()));
    let text = output.text();
    assert!(text.contains(&judged.replace("tiny", "narrow")), "{text}");
    let note = "Each cell is the best config by val_error: `activation` varies on neither axis";
    assert!(text.contains(note) && text.contains("\n    3  25.0"), "{text}");
}

#[tokio::test]
async fn failed_trials_are_told_at_the_end() {
    let state = tempfile::tempdir().unwrap();
    let server = Server::start(state.path(), SWEEP).await;
    let mut worker = Worker::attach(&server, hello(1, Vec::new())).await;
    for index in 0..TRIALS {
        let lease = worker.lease().await;
        if index == 3 {
            let attempt = attempt(&lease);
            worker.report(vec![outcome(&attempt, wire::OutcomeKind::Failed)]).await;
        } else {
            worker.complete(&lease).await;
        }
    }
    assert_eq!(server.ended().await, End::Done(AllDone { failed: 1, ..AllDone::default() }));
}

#[tokio::test]
async fn what_is_acknowledged_is_stored() {
    let state = tempfile::tempdir().unwrap();
    let server = Server::start(state.path(), SWEEP).await;
    let mut worker = Worker::attach(&server, hello(1, Vec::new())).await;
    let attempt = attempt(&worker.lease().await);
    for number in 1..=40 {
        worker.report(vec![epoch(&attempt, number)]).await;
        let stored = stored_trial(state.path(), &attempt.trial);
        assert_eq!(stored.epochs.len(), number as usize);
    }
    assert_eq!(server.stop().await, End::Stopped);
}

#[tokio::test]
async fn a_broken_stream_is_attached_again_with_what_runs() {
    let state = tempfile::tempdir().unwrap();
    let server = Server::start(state.path(), SWEEP).await;
    let mut first = Worker::attach(&server, hello(1, Vec::new())).await;
    let lease = first.lease().await;
    first.report(vec![epoch(&attempt(&lease), 1)]).await;
    first.vanish();
    let mut second = Worker::attach(&server, hello(1, vec![running(&lease)])).await;
    assert_eq!(second.adopted, [attempt(&lease)]);
    let rest = vec![epoch(&attempt(&lease), 2), outcome(&attempt(&lease), completed())];
    second.report(rest).await;
    for _ in 1..TRIALS {
        let lease = second.lease().await;
        second.complete(&lease).await;
    }
    assert_eq!(server.ended().await, End::Done(AllDone::default()));
    let trial = stored_trial(state.path(), &attempt(&lease).trial);
    assert_eq!((trial.attempts.len(), trial.epochs.len()), (1, 2));
}

fn completed() -> wire::OutcomeKind {
    wire::OutcomeKind::Completed
}

#[tokio::test]
async fn a_second_stream_of_a_worker_closes_the_first() {
    let state = tempfile::tempdir().unwrap();
    let server = Server::start(state.path(), SWEEP).await;
    let mut first = Worker::attach(&server, hello(1, Vec::new())).await;
    let lease = first.lease().await;
    let second = Worker::attach(&server, hello(1, vec![running(&lease)])).await;
    assert_eq!(second.adopted, [attempt(&lease)]);
    assert_eq!(first.closed().await.code(), Code::Unavailable);
    assert_eq!(server.stop().await, End::Stopped);
}

#[tokio::test]
async fn reports_of_a_stale_attempt_are_counted_and_dropped() {
    let state = tempfile::tempdir().unwrap();
    let one = "name: tiny\nmodel: mlp\ndata: strokes\nbase: {width: 16, depth: 2, epochs: 2}\n";
    let server = Server::start(state.path(), one).await;
    let mut first = Worker::attach(&server, hello(1, Vec::new())).await;
    let old = attempt(&first.lease().await);
    first.vanish();
    // It comes back without its trial, which is leased again.
    let mut worker = Worker::attach(&server, hello(1, Vec::new())).await;
    let lease = worker.lease().await;
    assert_eq!((attempt(&lease).trial, attempt(&lease).attempt), (old.trial.clone(), 2));
    worker.report(vec![epoch(&old, 1), outcome(&old, wire::OutcomeKind::Diverged)]).await;
    server.page_has("/metrics", "gradsweep_stale_reports_total 2").await;
    worker.complete(&lease).await;
    assert_eq!(server.ended().await, End::Done(AllDone::default()));
    let trial = stored_trial(state.path(), &old.trial);
    assert_eq!((trial.state.as_str(), trial.attempts.len()), ("completed", 2));
    let epochs = trial.epochs.iter().map(|epoch| epoch.attempt.as_ref().unwrap().attempt);
    assert_eq!(epochs.collect::<Vec<_>>(), [2, 2]);
}

#[tokio::test]
async fn a_server_that_starts_again_goes_on() {
    let state = tempfile::tempdir().unwrap();
    let server = Server::start(state.path(), SWEEP).await;
    let mut worker = Worker::attach(&server, hello(1, Vec::new())).await;
    for _ in 0..3 {
        let lease = worker.lease().await;
        worker.complete(&lease).await;
    }
    let lease = worker.lease().await;
    worker.report(vec![epoch(&attempt(&lease), 1)]).await;
    assert_eq!(server.stop().await, End::Stopped);

    let server = Server::start(state.path(), SWEEP).await;
    let mut worker = Worker::attach(&server, hello(1, vec![running(&lease)])).await;
    assert_eq!(worker.adopted, [attempt(&lease)]);
    let rest = vec![epoch(&attempt(&lease), 2), outcome(&attempt(&lease), completed())];
    worker.report(rest).await;
    for _ in 4..TRIALS {
        let lease = worker.lease().await;
        worker.complete(&lease).await;
    }
    assert_eq!(server.ended().await, End::Done(AllDone::default()));
    let sweep = Reader::open(state.path()).unwrap().sweep("tiny").unwrap();
    assert_eq!((sweep.trials.unwrap().completed, sweep.epochs), (TRIALS as u64, 16));
}

#[tokio::test]
async fn a_server_that_stops_hands_out_nothing_more() {
    let state = tempfile::tempdir().unwrap();
    let server = Server::start(state.path(), SWEEP).await;
    let mut worker = Worker::attach(&server, hello(1, Vec::new())).await;
    let lease = worker.lease().await;
    let stopping = tokio::spawn(server.stop());
    assert_eq!(worker.closed().await.code(), Code::Unavailable);
    assert_eq!(in_time("the end", stopping).await.unwrap(), End::Stopped);
    let trial = stored_trial(state.path(), &attempt(&lease).trial);
    assert_eq!((trial.state.as_str(), trial.attempts.len()), ("running", 1));
}

#[tokio::test]
async fn probes_and_metrics_answer() {
    let state = tempfile::tempdir().unwrap();
    let server = Server::start(state.path(), SWEEP).await;
    assert_eq!(server.page("/live").await, (200, "live\n".into()));
    assert_eq!(server.page("/ready").await, (200, "ready\n".into()));
    assert_eq!(server.page("/nothing").await.0, 404);
    let mut worker = Worker::attach(&server, hello(2, Vec::new())).await;
    let lease = worker.lease().await;
    worker.lease().await;
    worker.report(vec![epoch(&attempt(&lease), 1)]).await;
    let trial = attempt(&lease).trial;
    for line in [
        r#"gradsweep_trials{state="running",sweep="tiny"} 2"#,
        r#"gradsweep_trials{state="pending",sweep="tiny"} 6"#,
        r#"gradsweep_workers{state="connected"} 1"#,
        r#"gradsweep_slots{state="busy",worker="w1"} 2"#,
        r#"gradsweep_epochs_total{sweep="tiny"} 1"#,
        r#"gradsweep_examples_total{sweep="tiny"} 100"#,
        r#"gradsweep_rpc_seconds_count{code="Ok",method="Attach"} 1"#,
    ] {
        server.page_has("/metrics", line).await;
    }
    let (_, metrics) = server.page("/metrics").await;
    let of_trial = metrics.lines().find(|line| line.starts_with("gradsweep_trial_val_error"));
    let of_trial = of_trial.expect("a series of the running trial");
    assert!(of_trial.contains(&format!("trial=\"{trial}\"")), "{of_trial}");
    assert!(of_trial.ends_with(" 0.5"), "{of_trial}");
    assert_eq!(server.stop().await, End::Stopped);
}

#[tokio::test]
async fn clients_see_what_is_stored_and_what_runs() {
    let state = tempfile::tempdir().unwrap();
    let server = Server::start(state.path(), SWEEP).await;
    let mut client = server.client().await;
    let mut worker = Worker::attach(&server, hello(1, Vec::new())).await;
    let lease = worker.lease().await;
    let running = attempt(&lease).trial;

    let sweeps = client.list_sweeps(wire::ListSweepsRequest {}).await.unwrap().into_inner();
    assert_eq!(sweeps.sweeps[0].trials.unwrap().running, 1);
    server.page_has("/metrics", r#"gradsweep_slots{state="busy",worker="w1"} 1"#).await;
    let workers = client.list_workers(wire::ListWorkersRequest {}).await.unwrap().into_inner();
    let slot = &workers.workers[0].slots[0];
    assert_eq!((slot.device.as_str(), slot.state.as_str(), slot.attempts), ("cpu", "busy", 1));
    assert_eq!(workers.workers[0].state, "connected");

    let table = wire::TableRequest {
        sweep: "tiny".into(),
        level: wire::TableLevel::Trials.into(),
        ..Default::default()
    };
    let mut parts = client.get_table(table).await.unwrap().into_inner();
    let mut rows = Vec::new();
    while let Some(part) = parts.message().await.unwrap() {
        rows.extend(part.rows);
    }
    assert_eq!(rows.len(), TRIALS);
    let ids = rows.iter().map(|row| match row.cells[0].value.as_ref().unwrap() {
        wire::cell::Value::Text(id) => id.clone(),
        other => panic!("{other:?} is no id"),
    });
    let pending = ids.into_iter().find(|id| *id != running).unwrap();
    let request = wire::GetTrialRequest { sweep: "tiny".into(), trial: pending };
    let trial = client.get_trial(request).await.unwrap().into_inner();
    assert_eq!(trial.state, "pending");
    assert!(!trial.pending_reason.is_empty());

    let request = wire::GetLogRequest { sweep: "tiny".into(), trial: running.clone() };
    let asked = tokio::spawn(async move { client.get_log(request).await });
    let request = worker.log_request().await;
    assert_eq!(request.trial, running);
    let text = "epoch 1\n".to_owned();
    worker.say(from_worker::Message::Log(wire::Log { request: request.request, text })).await;
    let log = in_time("the log", asked).await.unwrap().unwrap().into_inner();
    assert_eq!((log.text.as_str(), log.source.as_str()), ("epoch 1\n", "live"));

    let mut client = server.client().await;
    let request = wire::GetSweepRequest { sweep: "tinny".into() };
    let status = client.get_sweep(request).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("did you mean `tiny`"), "{}", status.message());
    assert_eq!(server.stop().await, End::Stopped);
}

#[tokio::test]
async fn a_worker_that_talks_nonsense_is_told() {
    let state = tempfile::tempdir().unwrap();
    let server = Server::start(state.path(), SWEEP).await;
    let heartbeat = from_worker::Message::Heartbeat(wire::Heartbeat::default());
    let status = Worker::open(&server, heartbeat).await.map(drop).unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("not a hello"), "{}", status.message());
    let nameless = wire::Hello { worker: "no name".into(), ..hello(1, Vec::new()) };
    let status = Worker::open(&server, from_worker::Message::Hello(nameless)).await;
    assert_eq!(status.map(drop).unwrap_err().code(), Code::InvalidArgument);

    let mut worker = Worker::attach(&server, hello(1, Vec::new())).await;
    let nobody = wire::AttemptId { trial: "nobody".into(), attempt: 1 };
    let reports = vec![wire::Report { sequence: 1, report: Some(epoch(&nobody, 1)) }];
    worker.say(from_worker::Message::Reports(wire::Reports { reports })).await;
    let status = worker.closed().await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("`nobody` is not a trial id"), "{}", status.message());

    let mut worker = Worker::attach(&server, hello(1, Vec::new())).await;
    let text = "x".repeat(wire::MESSAGE_BYTES_MAX);
    worker.say(from_worker::Message::Log(wire::Log { request: 1, text })).await;
    assert_eq!(worker.closed().await.code(), Code::OutOfRange);
    assert_eq!(server.page("/ready").await.0, 200, "the server is unharmed");
    assert_eq!(server.stop().await, End::Stopped);
}

#[tokio::test]
async fn gpus_are_shown_while_their_worker_is_attached() {
    let state = tempfile::tempdir().unwrap();
    let server = Server::start(state.path(), SWEEP).await;
    let gpu = wire::Gpu {
        index: 3,
        name: "NVIDIA Test".into(),
        utilization: Some(0.5),
        power_watts: Some(f64::NAN),
        ..Default::default()
    };
    let heartbeat = wire::Heartbeat { gpus: vec![gpu.clone()], ..Default::default() };
    let mut worker = Worker::attach_beating(&server, hello(1, Vec::new()), heartbeat).await;
    let busy = r#"gradsweep_gpu_utilization_ratio{gpu="3",worker="w1"} 0.5"#;
    server.page_has("/metrics", busy).await;
    assert!(!server.page("/metrics").await.1.contains("gradsweep_gpu_power_watts"));
    let mut client = server.client().await;
    let workers = client.list_workers(wire::ListWorkersRequest {}).await.unwrap().into_inner();
    assert_eq!(workers.workers[0].gpus, [wire::Gpu { power_watts: None, ..gpu.clone() }]);

    let heartbeat = wire::Heartbeat { gpus: vec![gpu.clone(), gpu], ..Default::default() };
    worker.say(from_worker::Message::Heartbeat(heartbeat)).await;
    let status = worker.closed().await;
    assert_eq!(status.message(), "gpu: `index` is 3; accepted: each once");
    let gone = async {
        while server.page("/metrics").await.1.contains(busy) {
            tokio::task::yield_now().await;
        }
    };
    in_time("the GPU's end", gone).await;
    assert_eq!(server.stop().await, End::Stopped);
}

#[tokio::test]
async fn health_and_reflection_are_served() {
    let state = tempfile::tempdir().unwrap();
    let server = Server::start(state.path(), SWEEP).await;
    let url = format!("http://{}", server.grpc);
    let channel = tonic::transport::Endpoint::from_shared(url).unwrap().connect().await.unwrap();
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    let service = "gradsweep.v1.WorkerService".to_owned();
    let request = tonic_health::pb::HealthCheckRequest { service };
    let answer = health.check(request).await.unwrap().into_inner();
    assert_eq!(answer.status(), tonic_health::pb::health_check_response::ServingStatus::Serving);
    use tonic_reflection::pb::v1 as reflection;
    let mut client = reflection::server_reflection_client::ServerReflectionClient::new(channel);
    let list = reflection::server_reflection_request::MessageRequest::ListServices(String::new());
    let request =
        reflection::ServerReflectionRequest { message_request: Some(list), ..Default::default() };
    let answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap();
    let answer = in_time("an answer", answers.into_inner().message()).await.unwrap().unwrap();
    let text = format!("{answer:?}");
    assert!(text.contains("gradsweep.v1.SweepService"), "{text}");
    assert_eq!(server.stop().await, End::Stopped);
}

#[tokio::test]
async fn a_state_directory_has_one_server() {
    let state = tempfile::tempdir().unwrap();
    let server = Server::start(state.path(), SWEEP).await;
    let error = serve::open(state.path()).await.map(drop).unwrap_err().to_string();
    assert!(error.contains(&format!("in use by process {}", std::process::id())), "{error}");
    assert_eq!(server.stop().await, End::Stopped);
    serve::open(state.path()).await.map(drop).expect("free again");
}
