//! A server in this process and a worker that speaks the real protocol without a trainer.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::spec::{self, Sweep};
use common::wire::sweep_service_client::SweepServiceClient;
use common::wire::worker_service_client::WorkerServiceClient;
use common::wire::{self, from_worker, report, to_worker};
use coordinator::config::Config;
use coordinator::edge;
use coordinator::progress::Bars;
use coordinator::query::Reader;
use coordinator::serve::{self, Display, End, Listeners, ServeError};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// The slowest wait of these tests, on a machine that does other things.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Eight trials of two epochs.
pub const SWEEP: &str = "\
name: tiny
model: mlp
data: strokes
base: {width: 16, epochs: 2, tau: 1}
grid: {depth: [2, 3], activation: [relu, grelu]}
seeds: 2
";

/// Waits for something, with the deadline.
pub async fn in_time<F: Future>(what: &str, future: F) -> F::Output {
    timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("waited too long for {what}"))
}

/// Text that is written while it is read.
#[derive(Clone, Default)]
pub struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A coordinator in this process.
pub struct Server {
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    pub output: Output,
    stop: CancellationToken,
    running: JoinHandle<Result<End, ServeError>>,
}

fn sweep(yaml: &str) -> Sweep {
    spec::load(yaml, "test.yaml", &spec::Options::default()).expect("a valid sweep").0
}

impl Server {
    /// Serves from a state directory; ends by itself when its sweeps are done.
    pub async fn start(state: &Path, yaml: &str) -> Server {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = Config {
            sweeps: vec![sweep(yaml)],
            state: state.into(),
            local: None,
            exit_when_done: true,
            listen: any,
            http: any,
            edge: edge::Options::default(),
        };
        let opened = serve::open(state).await.expect("the state directory is free");
        let listeners = Listeners::bind(any, any).await.expect("free ports");
        let grpc = listeners.grpc.local_addr().unwrap();
        let http = listeners.http.local_addr().unwrap();
        let output = Output::default();
        let display = Display { bars: Bars::new(), output: Box::new(output.clone()) };
        let stop = CancellationToken::new();
        let running = serve::run(config, opened, listeners, display, stop.clone());
        let server = Server { grpc, http, output, stop, running: tokio::spawn(running) };
        server.page_has("/ready", "ready").await;
        server
    }

    /// Waits for its end.
    pub async fn ended(self) -> End {
        in_time("the server's end", self.running).await.unwrap().expect("no error")
    }

    /// Stops it as the first signal does.
    pub async fn stop(self) -> End {
        self.stop.cancel();
        self.ended().await
    }

    pub async fn client(&self) -> SweepServiceClient<Channel> {
        let client = SweepServiceClient::connect(format!("http://{}", self.grpc));
        in_time("a connection", client).await.unwrap()
    }

    /// Status and body of a page.
    pub async fn page(&self, path: &str) -> (u16, String) {
        let (address, path) = (self.http, path.to_owned());
        let page = tokio::task::spawn_blocking(move || -> io::Result<String> {
            let mut stream = std::net::TcpStream::connect(address)?;
            stream.set_read_timeout(Some(DEADLINE))?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        });
        let text = page.await.unwrap().unwrap();
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        (status, body.to_owned())
    }

    /// Waits until a page has a line.
    pub async fn page_has(&self, path: &str, line: &str) {
        let has = async {
            while !self.page(path).await.1.lines().any(|found| found == line) {
                tokio::task::yield_now().await;
            }
        };
        in_time(line, has).await;
    }
}

pub fn stored_trial(state: &Path, trial: &str) -> wire::Trial {
    Reader::open(state).unwrap().trial("tiny", trial).unwrap()
}

/// A worker's end of one stream.
pub struct Worker {
    outgoing: mpsc::Sender<wire::FromWorker>,
    incoming: Streaming<wire::ToWorker>,
    leases: VecDeque<wire::Lease>,
    pub adopted: Vec<wire::AttemptId>,
    /// Identity of the server's store.
    pub store: String,
    pub acknowledged: u64,
    pub log_requests: VecDeque<wire::LogRequest>,
    pub stopped: Vec<wire::AttemptId>,
    pub is_drain_asked: bool,
    sequence: u64,
    heart: AbortOnDropHandle<()>,
}

/// Signs of life as often as the server asks for them, until the stream ends.
async fn beat(outgoing: mpsc::Sender<wire::FromWorker>, heartbeat: wire::Heartbeat) {
    let mut every = tokio::time::interval(Duration::from_secs(2));
    loop {
        every.tick().await;
        let message = Some(from_worker::Message::Heartbeat(heartbeat.clone()));
        let message = wire::FromWorker { message };
        if outgoing.send(message).await.is_err() {
            return;
        }
    }
}

/// What worker `w1` says first.
pub fn hello(slot_count: usize, running: Vec<wire::RunningCohort>) -> wire::Hello {
    wire::Hello {
        worker: "w1".into(),
        host: "test".into(),
        program_version: "1".into(),
        slots: vec![wire::Slot { device: "cpu".into() }; slot_count],
        data_digests: [("strokes".into(), "digest".into())].into(),
        running,
        ..Default::default()
    }
}

/// What a worker says of a cohort that it still runs.
pub fn running(lease: &wire::Lease) -> wire::RunningCohort {
    let cohort = lease.cohort.as_ref().unwrap();
    let attempts = cohort.trials.iter().map(|trial| trial.attempt.clone().unwrap());
    let attempts = attempts.collect();
    wire::RunningCohort { cohort: cohort.cohort, slot: lease.slot, attempts }
}

/// The only attempt of a lease.
pub fn attempt(lease: &wire::Lease) -> wire::AttemptId {
    let trials = &lease.cohort.as_ref().unwrap().trials;
    assert_eq!(trials.len(), 1, "a cohort on a CPU has one trial");
    trials[0].attempt.clone().unwrap()
}

impl Worker {
    /// Opens a stream whose first message is this.
    pub async fn open(
        server: &Server,
        first: from_worker::Message,
    ) -> Result<(mpsc::Sender<wire::FromWorker>, Streaming<wire::ToWorker>), Status> {
        let client = WorkerServiceClient::connect(format!("http://{}", server.grpc));
        let mut client = in_time("a connection", client).await.expect("the server listens");
        let (outgoing, messages) = mpsc::channel(16);
        outgoing.send(wire::FromWorker { message: Some(first) }).await.unwrap();
        let attached = client.attach(ReceiverStream::new(messages));
        Ok((outgoing, in_time("the stream", attached).await?.into_inner()))
    }

    /// Attaches and takes the welcome.
    pub async fn attach(server: &Server, hello: wire::Hello) -> Worker {
        Worker::attach_beating(server, hello, wire::Heartbeat::default()).await
    }

    /// As `attach`, with this sign of life.
    pub async fn attach_beating(
        server: &Server,
        hello: wire::Hello,
        heartbeat: wire::Heartbeat,
    ) -> Worker {
        let stream = Worker::open(server, from_worker::Message::Hello(hello)).await;
        let (outgoing, incoming) = stream.expect("attached");
        let heart = AbortOnDropHandle::new(tokio::spawn(beat(outgoing.clone(), heartbeat)));
        let mut worker = Worker {
            heart,
            outgoing,
            incoming,
            leases: VecDeque::new(),
            adopted: Vec::new(),
            store: String::new(),
            acknowledged: 0,
            log_requests: VecDeque::new(),
            stopped: Vec::new(),
            is_drain_asked: false,
            sequence: 0,
        };
        let first = worker.receive().await.expect("a welcome");
        let Some(to_worker::Message::Welcome(welcome)) = first.message else {
            panic!("the first answer is {first:?}");
        };
        assert_eq!(welcome.heartbeat_interval_ms, 2_000);
        worker.adopted = welcome.adopted;
        worker.store = welcome.store;
        worker
    }

    async fn receive(&mut self) -> Result<wire::ToWorker, Status> {
        in_time("a message", self.incoming.message()).await.map(|message| message.expect("open"))
    }

    async fn take(&mut self) {
        let message = self.receive().await.expect("the stream is open");
        match message.message.expect("a known message") {
            to_worker::Message::Lease(lease) => self.leases.push_back(lease),
            to_worker::Message::Acknowledge(acknowledge) => {
                self.acknowledged = acknowledge.through;
            }
            to_worker::Message::LogRequest(request) => self.log_requests.push_back(request),
            to_worker::Message::Stop(stop) => self.stopped.extend(stop.attempt),
            to_worker::Message::Drain(_) => self.is_drain_asked = true,
            to_worker::Message::Welcome(_) => panic!("not expected here"),
        }
    }

    /// Breaks the stream off, as a network does.
    pub fn vanish(self) {
        self.heart.abort();
    }

    /// How the server ends the stream.
    pub async fn closed(&mut self) -> Status {
        loop {
            if let Err(status) = self.receive().await {
                return status;
            }
        }
    }

    pub async fn lease(&mut self) -> wire::Lease {
        while self.leases.is_empty() {
            self.take().await;
        }
        self.leases.pop_front().unwrap()
    }

    /// Takes messages until this holds.
    pub async fn take_until(&mut self, holds: impl Fn(&Worker) -> bool) {
        while !holds(self) {
            self.take().await;
        }
    }

    /// Whether a lease came.
    pub fn has_lease(&self) -> bool {
        !self.leases.is_empty()
    }

    pub async fn log_request(&mut self) -> wire::LogRequest {
        while self.log_requests.is_empty() {
            self.take().await;
        }
        self.log_requests.pop_front().unwrap()
    }

    pub async fn say(&self, message: from_worker::Message) {
        self.outgoing.send(wire::FromWorker { message: Some(message) }).await.expect("open");
    }

    /// Sends reports and waits until they are acknowledged.
    pub async fn report(&mut self, reports: Vec<report::Report>) {
        let mut numbered = Vec::new();
        for report in reports {
            self.sequence += 1;
            numbered.push(wire::Report { sequence: self.sequence, report: Some(report) });
        }
        self.say(from_worker::Message::Reports(wire::Reports { reports: numbered })).await;
        while self.acknowledged < self.sequence {
            self.take().await;
        }
    }

    /// Reports both epochs and the outcome of a lease's trial.
    pub async fn complete(&mut self, lease: &wire::Lease) {
        let attempt = attempt(lease);
        let outcome = outcome(&attempt, wire::OutcomeKind::Completed);
        self.report(vec![epoch(&attempt, 1), epoch(&attempt, 2), outcome]).await;
    }
}

pub fn epoch(attempt: &wire::AttemptId, epoch: u32) -> report::Report {
    report::Report::Epoch(wire::EpochReport {
        attempt: Some(attempt.clone()),
        epoch,
        train_loss: 1.0 / f64::from(epoch),
        val_error: 0.5 / f64::from(epoch),
        gate: 1.0,
        examples: 100,
        examples_per_second: 50.0,
        seconds: 2.0,
        ..Default::default()
    })
}

pub fn outcome(attempt: &wire::AttemptId, kind: wire::OutcomeKind) -> report::Report {
    report::Report::Outcome(wire::AttemptOutcome {
        attempt: Some(attempt.clone()),
        kind: kind.into(),
        epochs: 2,
        seconds: 4.0,
        best_epoch: Some(2),
        test_error: Some(0.25),
        val_error: Some(0.25),
        reason: "trained to the last epoch".into(),
        ..Default::default()
    })
}
