//! Hands the weights of best epochs to the coordinator.
//!
//! Trainers leave them beside the checkpoints. Once the outcome of an attempt is stored its file is
//! offered; the coordinator takes it or says that nobody wants it, and then it is removed. What is
//! left over from before, and what other hosts of a shared folder left, is found when the worker
//! attaches and every few minutes. A task with a connection of its own does it, a file at a time:
//! nothing that the agent says or hears waits for it. What fails is tried again; an attempt's
//! result never depends on it.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::access::{Access, AccessError, Authorized};
use common::ids::AttemptId;
use common::telemetry::chain;
use common::weights::{self, WeightsName};
use common::wire::worker_service_client::WorkerServiceClient;
use common::wire::{self, MESSAGE_BYTES_MAX, WeightsAnswer, weights_part};
use tokio::sync::mpsc;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::rpc::to_wire;

/// News that wait for a slow file system; the files of more are found by looking.
const NEWS_WAITING_MAX: usize = 65_536;
/// How often the folder is looked through for what nobody told of.
const LOOK_INTERVAL: Duration = Duration::from_secs(600);
/// When an attempt is offered again that had no stored outcome.
const UNKNOWN_WAIT: Duration = Duration::from_secs(30);
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A coordinator that does not answer within this time is tried again.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// The slowest connection over which weights arrive.
const BYTES_PER_SECOND_MIN: u64 = 128 << 10;
/// Of a file in one message.
const CHUNK_BYTES: usize = 512 << 10;
/// Pieces of a file that are read ahead of the connection.
const CHUNKS_WAITING_MAX: usize = 2;

/// What the agent tells the task.
#[derive(Debug)]
enum News {
    /// The outcome of this attempt is stored.
    Ended(AttemptId),
    /// The worker is attached to the coordinator of this store.
    Attached(String),
}

/// The agent's end of the task, which ends when this is dropped.
#[derive(Debug)]
pub struct Weights {
    news: mpsc::Sender<News>,
    /// News and files that are not dealt with.
    open: Arc<AtomicUsize>,
}

/// The task's end.
#[derive(Debug)]
pub struct Inlet {
    news: mpsc::Receiver<News>,
    open: Arc<AtomicUsize>,
}

impl Weights {
    /// Both ends.
    pub fn new() -> (Weights, Inlet) {
        let (sender, receiver) = mpsc::channel(NEWS_WAITING_MAX);
        let open = Arc::new(AtomicUsize::new(0));
        (Weights { news: sender, open: Arc::clone(&open) }, Inlet { news: receiver, open })
    }

    /// The outcome of this attempt is stored: its weights may be offered.
    pub fn offer(&self, attempt: AttemptId) {
        self.tell(News::Ended(attempt));
    }

    /// The worker is attached to the coordinator of this store.
    pub fn attached(&self, store: &str) {
        self.tell(News::Attached(store.into()));
    }

    /// Files and news that the task has not dealt with.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    fn tell(&self, news: News) {
        self.open.fetch_add(1, Ordering::AcqRel);
        if self.news.try_send(news).is_err() {
            self.open.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Why weights are not handed over.
#[derive(Debug, thiserror::Error)]
enum OfferError {
    #[error(transparent)]
    Access(AccessError),
    #[error("cannot connect")]
    Connect(#[source] tonic::transport::Error),
    #[error("the coordinator does not answer")]
    Silent,
    #[error("the coordinator refused ({}): {}", .0.code(), .0.message())]
    Status(tonic::Status),
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("reading a file panicked")]
    Panicked(#[source] JoinError),
}

/// What became of a file.
enum Fate {
    /// It is not there any more, or there never was one.
    Gone,
    /// Its attempt has no stored outcome yet.
    Unknown,
}

/// Hands weights over until the other end is dropped.
pub async fn run(inlet: Inlet, access: Access, checkpoints: PathBuf) {
    let mut task = Task {
        access,
        checkpoints,
        client: None,
        store: None,
        inlet,
        due: VecDeque::new(),
        known: BTreeSet::new(),
        unknown: BTreeSet::new(),
    };
    task.run().await;
}

struct Task {
    access: Access,
    checkpoints: PathBuf,
    client: Option<WorkerServiceClient<Authorized>>,
    /// None before the worker was attached.
    store: Option<String>,
    inlet: Inlet,
    /// To be offered, in this order.
    due: VecDeque<AttemptId>,
    /// The same, to be found.
    known: BTreeSet<AttemptId>,
    /// Without a stored outcome when they were offered.
    unknown: BTreeSet<AttemptId>,
}

impl Task {
    async fn run(&mut self) {
        let mut backoff = BACKOFF_MIN;
        let mut is_failing = false;
        let mut look_at = Instant::now() + LOOK_INTERVAL;
        let mut again_at = Instant::now();
        loop {
            while let Ok(news) = self.inlet.news.try_recv() {
                self.take(news).await;
            }
            let attempt = self.due.front().copied().filter(|_| self.store.is_some());
            let Some(attempt) = attempt else {
                let until = if self.unknown.is_empty() { look_at } else { look_at.min(again_at) };
                match timeout(
                    until.saturating_duration_since(Instant::now()),
                    self.inlet.news.recv(),
                )
                .await
                {
                    Ok(Some(news)) => self.take(news).await,
                    Ok(None) => return,
                    Err(_) if look_at <= Instant::now() => {
                        look_at = Instant::now() + LOOK_INTERVAL;
                        self.look().await;
                    }
                    Err(_) => {
                        for attempt in std::mem::take(&mut self.unknown) {
                            self.add(attempt);
                        }
                    }
                }
                continue;
            };
            match self.hand_over(attempt).await {
                Ok(fate) => {
                    (backoff, is_failing) = (BACKOFF_MIN, false);
                    self.due.pop_front();
                    self.known.remove(&attempt);
                    self.done();
                    if let Fate::Unknown = fate {
                        again_at = Instant::now() + UNKNOWN_WAIT;
                        self.unknown.insert(attempt);
                    }
                }
                Err(error) => {
                    if !is_failing {
                        let error = chain(&error);
                        tracing::warn!(%attempt, "its weights are offered again later: {error}");
                    }
                    is_failing = true;
                    self.client = None;
                    // Another one may be readable.
                    self.due.rotate_left(1);
                    if self.pause(backoff).await.is_none() {
                        return;
                    }
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
            }
        }
    }

    /// Waits; an attachment ends the wait. None where the agent is gone.
    async fn pause(&mut self, backoff: Duration) -> Option<()> {
        let wait = sleep(backoff);
        tokio::pin!(wait);
        loop {
            tokio::select! {
                () = &mut wait => return Some(()),
                news = self.inlet.news.recv() => {
                    let news = news?;
                    let is_attached = matches!(news, News::Attached(_));
                    self.take(news).await;
                    if is_attached {
                        return Some(());
                    }
                }
            }
        }
    }

    async fn take(&mut self, news: News) {
        match news {
            News::Ended(attempt) => {
                self.unknown.remove(&attempt);
                self.add(attempt);
            }
            News::Attached(store) => {
                self.store = Some(store);
                self.look().await;
            }
        }
        self.done();
    }

    fn add(&mut self, attempt: AttemptId) {
        if self.known.insert(attempt) {
            self.due.push_back(attempt);
            self.inlet.open.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn done(&self) {
        self.inlet.open.fetch_sub(1, Ordering::AcqRel);
    }

    /// Finds files that nobody told of.
    async fn look(&mut self) {
        let checkpoints = self.checkpoints.clone();
        let found = spawn_blocking(move || weights::files(&checkpoints)).await;
        let found = found.map_err(io::Error::other).flatten();
        match found {
            Ok(files) => {
                for file in files.into_iter().filter(|file| file.is_whole) {
                    if !self.unknown.contains(&file.name.0) {
                        self.add(file.name.0);
                    }
                }
            }
            Err(error) => tracing::warn!("weights that were left cannot be listed: {error}"),
        }
    }

    /// Offers one file, sends it where it is wanted, and removes it where it is done with.
    async fn hand_over(&mut self, attempt: AttemptId) -> Result<Fate, OfferError> {
        let path = WeightsName(attempt).path(&self.checkpoints);
        let Some((bytes, hash)) = on_disk(path.clone(), hashed).await? else {
            return Ok(Fate::Gone);
        };
        let offer = wire::OfferWeightsRequest {
            attempt: Some(to_wire(attempt)),
            bytes,
            blake3: hash.as_bytes().to_vec(),
            store: self.store.clone().unwrap_or_default(),
        };
        let mut client = self.client().await?;
        let answer = timeout(ANSWER_WAIT, client.offer_weights(offer.clone())).await;
        let answer = answer.map_err(|_| OfferError::Silent)?.map_err(OfferError::Status)?;
        match answer.into_inner().answer() {
            WeightsAnswer::Wanted => {
                if !self.send(client, offer, &path).await? {
                    return Ok(Fate::Gone);
                }
                tracing::debug!(%attempt, bytes, "its weights are kept");
            }
            WeightsAnswer::NotWanted => {}
            // A newer coordinator may say more than this version knows.
            WeightsAnswer::Unknown | WeightsAnswer::Unspecified => return Ok(Fate::Unknown),
        }
        on_disk(path, |path| std::fs::remove_file(path)).await?;
        Ok(Fate::Gone)
    }

    /// Sends a file; false where another host was quicker and it is gone.
    async fn send(
        &mut self,
        mut client: WorkerServiceClient<Authorized>,
        offer: wire::OfferWeightsRequest,
        path: &Path,
    ) -> Result<bool, OfferError> {
        let Some(file) = on_disk(path.into(), |path| File::open(path)).await? else {
            return Ok(false);
        };
        let wait = ANSWER_WAIT + Duration::from_secs(offer.bytes / BYTES_PER_SECOND_MIN);
        let attempt = offer.attempt.clone().unwrap_or_default();
        let (parts, waiting) = mpsc::channel(CHUNKS_WAITING_MAX);
        let reading = spawn_blocking(move || read(file, offer, &parts));
        let sent = timeout(wait, client.put_weights(ReceiverStream::new(waiting))).await;
        // It ends with the call, which takes what it reads.
        let read = reading.await.map_err(OfferError::Panicked)?;
        match sent.map_err(|_| OfferError::Silent)? {
            Ok(_) => Ok(true),
            Err(status) if status.code() == Code::InvalidArgument && read.is_ok() => {
                // It would be refused every time.
                let (trial, number) = (attempt.trial, attempt.attempt);
                tracing::error!(trial, number, "its weights are dropped: {}", status.message());
                Ok(true)
            }
            Err(status) => {
                read.map_err(|source| OfferError::Read { path: path.into(), source })?;
                Err(OfferError::Status(status))
            }
        }
    }

    async fn client(&mut self) -> Result<WorkerServiceClient<Authorized>, OfferError> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let (endpoint, bearer) = self.access.endpoint().map_err(OfferError::Access)?;
        let endpoint = endpoint.connect_timeout(CONNECT_TIMEOUT);
        let channel = endpoint.connect().await.map_err(OfferError::Connect)?;
        let client = WorkerServiceClient::new(Authorized::new(channel, bearer))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        self.client = Some(client.clone());
        Ok(client)
    }
}

/// Off the async threads; none where there is no such file.
async fn on_disk<T: Send + 'static>(
    path: PathBuf,
    act: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> Result<Option<T>, OfferError> {
    let acted = spawn_blocking(move || match act(&path) {
        Ok(done) => Ok(Some(done)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(OfferError::Read { path, source }),
    });
    acted.await.map_err(OfferError::Panicked)?
}

fn hashed(path: &Path) -> io::Result<(u64, blake3::Hash)> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok((hasher.count(), hasher.finalize()))
}

/// Reads the parts of a file until its end, or until nobody takes them.
fn read(
    mut file: File,
    offer: wire::OfferWeightsRequest,
    parts: &mpsc::Sender<wire::WeightsPart>,
) -> io::Result<()> {
    let send = |part| parts.blocking_send(wire::WeightsPart { part: Some(part) }).is_ok();
    if !send(weights_part::Part::Offer(offer)) {
        return Ok(());
    }
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        file.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
        if chunk.is_empty() || !send(weights_part::Part::Chunk(chunk)) {
            return Ok(());
        }
    }
}
