//! A worker's end of the protocol, as `worker/src` keeps it: a hello first, a sign of life as
//! often as the welcome asks, reports with growing numbers, each sent once on a stream. A stream
//! that breaks ends the measurement: its figures would be of the break.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, bail};
use common::wire::worker_service_client::WorkerServiceClient;
use common::wire::{self, MESSAGE_BYTES_MAX, from_worker, report, to_worker};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Endpoint;

/// Messages that wait for the stream, as in the worker.
const OUTBOUND_WAITING_MAX: usize = 8;
/// Any digest: the sweep is pinned to what its first worker has.
const DIGEST: &str = "load";

/// An attached worker.
pub struct Worker {
    outbound: mpsc::Sender<wire::FromWorker>,
    answers: Streaming<wire::ToWorker>,
    heart: Interval,
    sequence: u64,
    /// The last number of each message of reports, with what its sender wants back.
    unacknowledged: VecDeque<(u64, Sent)>,
}

/// A message of reports that is not acknowledged.
#[derive(Clone, Copy)]
pub struct Sent {
    /// When it was due to be sent.
    pub due: Instant,
    /// Reports in it.
    pub reports: usize,
    /// Outcomes among them.
    pub outcomes: usize,
}

/// What happened to a worker.
pub enum Said {
    /// It has a cohort to train.
    Lease(wire::TrainCohort),
    /// These are safe.
    Acknowledged(Vec<Sent>),
    /// It is to end an attempt.
    Stopped,
    /// Nothing that concerns its owner.
    Other,
}

impl Worker {
    /// Attaches and waits for the welcome.
    pub async fn attach(url: &str, id: &str, slots: usize) -> anyhow::Result<Worker> {
        let endpoint = Endpoint::from_shared(url.to_owned())?.tcp_nodelay(true);
        let channel = endpoint.connect().await.context("a worker cannot connect")?;
        let mut client = WorkerServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let (outbound, waiting) = mpsc::channel(OUTBOUND_WAITING_MAX);
        let hello = wire::Hello {
            worker: id.into(),
            host: "load".into(),
            program_version: env!("CARGO_PKG_VERSION").into(),
            slots: vec![wire::Slot { device: "cpu".into() }; slots],
            data_digests: [("strokes".into(), DIGEST.into())].into(),
            ..wire::Hello::default()
        };
        let hello = from_worker::Message::Hello(hello);
        outbound.send(wire::FromWorker { message: Some(hello) }).await?;
        let answers = client.attach(ReceiverStream::new(waiting)).await.context("attach")?;
        let mut answers = answers.into_inner();
        let first = answers.message().await?.and_then(|first| first.message);
        let Some(to_worker::Message::Welcome(welcome)) = first else {
            bail!("the first answer is not a welcome: {first:?}");
        };
        let every = Duration::from_millis(welcome.heartbeat_interval_ms.max(1).into());
        let mut heart = interval_at(Instant::now(), every);
        heart.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Worker { outbound, answers, heart, sequence: 0, unacknowledged: VecDeque::new() })
    }

    /// Sends reports as one message; `due` is when that was to happen.
    pub async fn report(
        &mut self,
        reports: Vec<report::Report>,
        due: Instant,
    ) -> anyhow::Result<()> {
        let is_outcome = |report: &&report::Report| matches!(report, report::Report::Outcome(_));
        let outcomes = reports.iter().filter(is_outcome).count();
        let sent = Sent { due, reports: reports.len(), outcomes };
        let reports = reports.into_iter().map(|report| {
            self.sequence += 1;
            wire::Report { sequence: self.sequence, report: Some(report) }
        });
        let reports = wire::Reports { reports: reports.collect() };
        self.unacknowledged.push_back((self.sequence, sent));
        self.send(from_worker::Message::Reports(reports)).await
    }

    async fn send(&mut self, message: from_worker::Message) -> anyhow::Result<()> {
        let message = wire::FromWorker { message: Some(message) };
        self.outbound.send(message).await.context("a worker's stream is closed")
    }

    /// Waits for what the coordinator says; gives signs of life meanwhile. May be dropped between.
    pub async fn next(&mut self) -> anyhow::Result<Said> {
        let message = tokio::select! {
            message = self.answers.message() => message.context("a worker's stream broke")?,
            _ = self.heart.tick() => {
                let heartbeat = wire::Heartbeat::default();
                // Without a place the stream is full of reports, which are signs of life too.
                let message = Some(from_worker::Message::Heartbeat(heartbeat));
                drop(self.outbound.try_send(wire::FromWorker { message }));
                return Ok(Said::Other);
            }
        };
        match message.and_then(|message| message.message) {
            Some(to_worker::Message::Lease(lease)) => {
                Ok(Said::Lease(lease.cohort.context("a lease without a cohort")?))
            }
            Some(to_worker::Message::Acknowledge(acknowledge)) => {
                Ok(Said::Acknowledged(self.acknowledge(acknowledge.through)))
            }
            Some(to_worker::Message::LogRequest(asked)) => {
                let log = wire::Log { request: asked.request, text: String::new() };
                self.send(from_worker::Message::Log(log)).await?;
                Ok(Said::Other)
            }
            Some(to_worker::Message::Welcome(_)) => bail!("a second welcome"),
            Some(to_worker::Message::Stop(_)) => Ok(Said::Stopped),
            Some(to_worker::Message::Drain(_)) => bail!("the worker was drained"),
            None => bail!("the coordinator ended a worker's stream"),
        }
    }

    fn acknowledge(&mut self, through: u64) -> Vec<Sent> {
        let mut safe = Vec::new();
        while let Some((sequence, sent)) = self.unacknowledged.front()
            && *sequence <= through
        {
            safe.push(*sent);
            self.unacknowledged.pop_front();
        }
        safe
    }
}

/// The attempts of a cohort.
pub fn attempts(cohort: wire::TrainCohort) -> anyhow::Result<Vec<wire::AttemptId>> {
    let attempts = cohort.trials.into_iter().map(|trial| trial.attempt);
    attempts.collect::<Option<_>>().context("a leased trial without an attempt")
}

/// An epoch as a trainer reports it.
pub fn epoch(attempt: wire::AttemptId, epoch: u32) -> report::Report {
    report::Report::Epoch(wire::EpochReport {
        attempt: Some(attempt),
        epoch,
        train_loss: 0.5,
        train_error: 0.25,
        val_loss: 0.625,
        val_error: 0.125,
        gate: 1.0,
        lr: 1e-3,
        grad_norm: 0.75,
        examples_per_second: 1e4,
        seconds: 1.0,
        examples: 10_000,
    })
}

/// The outcome of a trial that trained this many epochs.
pub fn outcome(attempt: wire::AttemptId, epochs: u32, cohort_size: usize) -> report::Report {
    report::Report::Outcome(wire::AttemptOutcome {
        attempt: Some(attempt),
        kind: wire::OutcomeKind::Completed.into(),
        epochs,
        seconds: 1.0,
        best_epoch: (epochs > 0).then_some(epochs),
        test_error: Some(0.125),
        test_loss: Some(0.5),
        val_error: Some(0.125),
        val_loss: Some(0.625),
        train_loss: Some(0.5),
        reason: format!("all {epochs} epochs trained"),
        provenance: Some(wire::Provenance {
            program_version: env!("CARGO_PKG_VERSION").into(),
            libtorch_version: "2.11.0".into(),
            device: "cpu".into(),
            precision: "fp32".into(),
            cohort_size: u32::try_from(cohort_size).unwrap_or(u32::MAX),
            data_digest: DIGEST.into(),
            threads: 1,
        }),
    })
}
