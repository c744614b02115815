//! A coordinator that does only what a test tells it to, on the real protocol.

use std::net::SocketAddr;
use std::time::Duration;

use common::wire::worker_service_server::{WorkerService, WorkerServiceServer};
use common::wire::{self, from_worker, report, to_worker, weights_part};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

/// Deadline of everything that a test waits for.
pub const WAIT: Duration = Duration::from_secs(30);

/// Identity of the store that a coordinator has here.
pub const STORE: &str = "store-a";

struct Service {
    sessions: mpsc::Sender<Session>,
    offers: mpsc::Sender<Offer>,
    puts: mpsc::Sender<Put>,
}

/// Weights that a worker offers, and the way to answer.
pub struct Offer {
    pub request: wire::OfferWeightsRequest,
    answer: oneshot::Sender<Result<wire::WeightsAnswer, Status>>,
}

impl Offer {
    pub fn answer(self, answer: wire::WeightsAnswer) {
        self.answer.send(Ok(answer)).expect("the worker waits");
    }

    pub fn refuse(self, status: Status) {
        self.answer.send(Err(status)).expect("the worker waits");
    }
}

/// Weights that a worker sends.
pub struct Put {
    pub parts: Streaming<wire::WeightsPart>,
    answer: oneshot::Sender<Result<(), Status>>,
}

impl Put {
    /// What it is of, and the bytes; each message is small.
    pub async fn received(&mut self) -> (wire::OfferWeightsRequest, Vec<u8>) {
        let (mut offer, mut bytes) = (None, Vec::new());
        while let Some(part) =
            timeout(WAIT, self.parts.message()).await.expect("in time").expect("it goes on")
        {
            match part.part.expect("not empty") {
                weights_part::Part::Offer(of) => assert!(offer.replace(of).is_none()),
                weights_part::Part::Chunk(chunk) => {
                    assert!(!chunk.is_empty() && chunk.len() <= 512 << 10);
                    bytes.extend(chunk);
                }
            }
        }
        (offer.expect("what it is of"), bytes)
    }

    pub fn answer(self, answer: Result<(), Status>) {
        self.answer.send(answer).expect("the worker waits");
    }
}

#[tonic::async_trait]
impl WorkerService for Service {
    type AttachStream = ReceiverStream<Result<wire::ToWorker, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<wire::FromWorker>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let (to, waiting) = mpsc::channel(64);
        let session = Session { from: request.into_inner(), to, acknowledged: 0 };
        self.sessions.send(session).await.map_err(|_| Status::unavailable("closing"))?;
        Ok(Response::new(ReceiverStream::new(waiting)))
    }

    async fn offer_weights(
        &self,
        request: Request<wire::OfferWeightsRequest>,
    ) -> Result<Response<wire::OfferWeightsResponse>, Status> {
        let (answer, answered) = oneshot::channel();
        let offer = Offer { request: request.into_inner(), answer };
        self.offers.send(offer).await.map_err(|_| Status::unavailable("closing"))?;
        let answer = answered.await.map_err(|_| Status::unavailable("closing"))??;
        Ok(Response::new(wire::OfferWeightsResponse { answer: answer.into() }))
    }

    async fn put_weights(
        &self,
        request: Request<Streaming<wire::WeightsPart>>,
    ) -> Result<Response<wire::PutWeightsResponse>, Status> {
        let (answer, answered) = oneshot::channel();
        let put = Put { parts: request.into_inner(), answer };
        self.puts.send(put).await.map_err(|_| Status::unavailable("closing"))?;
        answered.await.map_err(|_| Status::unavailable("closing"))??;
        Ok(Response::new(wire::PutWeightsResponse { kept: true }))
    }
}

/// The server.
pub struct Coordinator {
    pub address: SocketAddr,
    sessions: mpsc::Receiver<Session>,
    offers: mpsc::Receiver<Offer>,
    puts: mpsc::Receiver<Put>,
    server: JoinHandle<()>,
}

impl Coordinator {
    pub async fn start() -> Coordinator {
        Coordinator::start_at("127.0.0.1:0".parse().expect("an address")).await
    }

    pub async fn start_at(address: SocketAddr) -> Coordinator {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (sender, sessions) = mpsc::channel(4);
        let (offers_sender, offers) = mpsc::channel(4);
        let (puts_sender, puts) = mpsc::channel(4);
        let service = Service { sessions: sender, offers: offers_sender, puts: puts_sender };
        let service = WorkerServiceServer::new(service);
        let server = tonic::transport::Server::builder().add_service(service);
        let server = tokio::spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            server.serve_with_incoming(incoming).await.expect("it serves");
        });
        Coordinator { address, sessions, offers, puts, server }
    }

    /// The next worker that attaches, with its hello.
    pub async fn session(&mut self) -> (Session, wire::Hello) {
        let session = timeout(WAIT, self.sessions.recv()).await.expect("a worker attaches");
        let mut session = session.expect("the server runs");
        match session.next().await {
            from_worker::Message::Hello(hello) => (session, hello),
            other => panic!("the first message is {other:?}"),
        }
    }

    /// The next weights that are offered.
    pub async fn offer(&mut self) -> Offer {
        timeout(WAIT, self.offers.recv()).await.expect("weights are offered").expect("it runs")
    }

    /// The next weights that are sent.
    pub async fn put(&mut self) -> Put {
        timeout(WAIT, self.puts.recv()).await.expect("weights are sent").expect("it runs")
    }

    /// Nobody has offered anything that was not taken.
    pub fn assert_nothing_offered(&mut self) {
        assert!(self.offers.try_recv().is_err(), "an offer too many");
    }

    /// Closes the port and every stream.
    pub async fn stop(self) {
        self.server.abort();
        assert!(self.server.await.expect_err("it was aborted").is_cancelled());
    }
}

/// One stream of a worker; dropping it breaks it.
pub struct Session {
    from: Streaming<wire::FromWorker>,
    to: mpsc::Sender<Result<wire::ToWorker, Status>>,
    acknowledged: u64,
}

impl Session {
    pub async fn next(&mut self) -> from_worker::Message {
        let message = timeout(WAIT, self.from.message()).await.expect("the worker says something");
        let message = message.expect("the stream holds").expect("the stream goes on");
        message.message.expect("not empty")
    }

    /// The next message that is no heartbeat.
    pub async fn next_said(&mut self) -> from_worker::Message {
        loop {
            match self.next().await {
                from_worker::Message::Heartbeat(_) => {}
                other => return other,
            }
        }
    }

    /// Reports, none acknowledged, until one is such; that one is the last.
    pub async fn reports_until(
        &mut self,
        is_last: impl Fn(&report::Report) -> bool,
    ) -> Vec<wire::Report> {
        let mut reports = Vec::new();
        loop {
            match self.next_said().await {
                from_worker::Message::Reports(more) => reports.extend(more.reports),
                other => panic!("instead of reports: {other:?}"),
            }
            let sequences = reports.windows(2).map(|pair| pair[0].sequence < pair[1].sequence);
            assert!(sequences.into_iter().all(|rises| rises), "out of order: {reports:?}");
            if reports.iter().filter_map(|r| r.report.as_ref()).any(&is_last) {
                return reports;
            }
        }
    }

    /// Reports until so many attempts have ended.
    pub async fn reports_until_ended(&mut self, count: usize) -> Vec<wire::Report> {
        let mut reports = Vec::new();
        while ends(&reports).len() < count {
            reports.extend(self.reports_until(is_end).await);
        }
        reports
    }

    /// Refuses the hello, as the coordinator of another store does.
    pub async fn refuse(&self) {
        let refusal = Status::failed_precondition("these attempts are of another store");
        self.to.send(Err(refusal)).await.expect("the stream holds");
    }

    pub async fn tell(&self, message: to_worker::Message) {
        let message = wire::ToWorker { message: Some(message) };
        self.to.send(Ok(message)).await.expect("the stream holds");
    }

    pub async fn welcome(&self, adopted: Vec<wire::AttemptId>) {
        // Often, so that what rides on heartbeats shows soon.
        let store = STORE.into();
        let welcome = wire::Welcome { adopted, heartbeat_interval_ms: 50, store };
        self.tell(to_worker::Message::Welcome(welcome)).await;
    }

    pub async fn lease(&self, slot: u32, cohort: u64, trials: &[(u64, u64, u32)]) {
        let trials = trials.iter().map(|(trial, seed, epochs)| wire::LeasedTrial {
            attempt: Some(attempt(*trial)),
            model: "mlp".into(),
            data: "strokes".into(),
            params: format!("{{\"epochs\": {epochs}}}"),
            seed: *seed,
            epochs_stored: 0,
            keeps_weights: false,
        });
        let cohort = Some(wire::TrainCohort { cohort, trials: trials.collect() });
        self.tell(to_worker::Message::Lease(wire::Lease { slot, cohort })).await;
    }

    pub async fn acknowledge(&mut self, reports: &[wire::Report]) {
        let through = reports.iter().map(|report| report.sequence).max().expect("some reports");
        assert!(through > self.acknowledged);
        self.acknowledged = through;
        self.tell(to_worker::Message::Acknowledge(wire::Acknowledge { through })).await;
    }
}

pub fn attempt(trial: u64) -> wire::AttemptId {
    wire::AttemptId { trial: format!("{trial:016x}"), attempt: 1 }
}

pub fn is_end(report: &report::Report) -> bool {
    !matches!(report, report::Report::Epoch(_))
}

/// Outcomes, returned attempts and failures, without the epochs.
pub fn ends(reports: &[wire::Report]) -> Vec<&report::Report> {
    reports.iter().filter_map(|r| r.report.as_ref()).filter(|report| is_end(report)).collect()
}

/// The outcome of a trial, and the process that it came from.
pub fn outcome<'a>(reports: &'a [wire::Report], trial: u64) -> &'a wire::AttemptOutcome {
    let of_trial = |report: &&'a report::Report| match report {
        report::Report::Outcome(outcome) => outcome.attempt == Some(attempt(trial)),
        report::Report::Epoch(_) | report::Report::Returned(_) | report::Report::Failed(_) => false,
    };
    let found = ends(reports).into_iter().find(of_trial);
    match found {
        Some(report::Report::Outcome(outcome)) => outcome,
        other => panic!("trial {trial}: {other:?}"),
    }
}

/// The failure of a cohort.
pub fn failure(reports: &[wire::Report]) -> &wire::CohortFailed {
    let found = ends(reports).into_iter().find_map(|report| match report {
        report::Report::Failed(failed) => Some(failed),
        report::Report::Epoch(_) | report::Report::Outcome(_) | report::Report::Returned(_) => None,
    });
    found.expect("a cohort failed")
}
