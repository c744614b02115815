//! Keeps a stream to the coordinator open: connects, reads, and connects again.

use std::error::Error;
use std::time::{Duration, Instant};

use common::access::{self, Access, AccessError, Authorized};
use common::telemetry::chain;
use common::wire::worker_service_client::WorkerServiceClient;
use common::wire::{self, MESSAGE_BYTES_MAX};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::agent::Input;
use crate::rpc::{FromCoordinator, from_coordinator};

/// Messages that wait for the stream. Few: what waits in the spool instead outlives it.
const OUTBOUND_WAITING_MAX: usize = 8;
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// A coordinator that comes back is found this soon.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A coordinator that takes the stream and does not answer the hello is not one.
const WELCOME_WAIT: Duration = Duration::from_secs(10);
/// One log line in this time while there is no coordinator.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// What happened to the stream.
#[derive(Debug)]
pub enum ConnectionEvent {
    /// There is a new one; the first message into it must be the hello.
    Opened(mpsc::Sender<wire::FromWorker>),
    /// The coordinator said something.
    Said(FromCoordinator),
    /// The coordinator has another store than the hello named.
    Foreign,
    /// The coordinator refuses the token, before it ever took one of this process.
    Refused(String),
    /// It is broken.
    Lost,
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error(transparent)]
    Access(AccessError),
    #[error("{0}")]
    Refused(String),
    #[error("cannot connect")]
    Connect(#[source] tonic::transport::Error),
    #[error("the coordinator does not answer")]
    Silent,
    #[error("the coordinator ended the stream")]
    Ended,
    #[error("the stream broke ({}): {}", .0.code(), .0.message())]
    Status(tonic::Status),
    #[error("the agent is leaving")]
    Leaving,
}

impl StreamError {
    /// What has the sources.
    fn cause(&self) -> &(dyn Error + 'static) {
        match self {
            StreamError::Status(status) => status,
            other => other,
        }
    }
}

/// Keeps attached until it is dropped.
pub async fn keep_attached(access: Access, inbox: mpsc::Sender<Input>) {
    let mut backoff = BACKOFF_MIN;
    let mut logged: Option<Instant> = None;
    let mut was_welcome = false;
    loop {
        let mut is_welcome = false;
        let error = match attach(&access, &inbox, &mut is_welcome).await {
            Ok(()) => StreamError::Ended,
            Err(StreamError::Leaving) => return,
            Err(error) => error,
        };
        was_welcome |= is_welcome;
        // One that was taken before trains, and waits until the tokens are put right.
        if let StreamError::Refused(reason) = &error
            && !was_welcome
        {
            let refused = ConnectionEvent::Refused(reason.clone());
            if tell(&inbox, refused).await.is_err() {
                return;
            }
        }
        if is_welcome {
            backoff = BACKOFF_MIN;
            logged = None;
        }
        if logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
            logged = Some(Instant::now());
            tracing::warn!(
                coordinator = %access,
                "not attached, trying again: {}",
                access::explain(error.cause()).unwrap_or_else(|| chain(&error))
            );
        }
        sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

/// Attaches once and passes on what the coordinator says until the stream ends.
async fn attach(
    access: &Access,
    inbox: &mpsc::Sender<Input>,
    is_welcome: &mut bool,
) -> Result<(), StreamError> {
    let (endpoint, bearer) = access.endpoint().map_err(StreamError::Access)?;
    // Numbers by which a dead peer is found in half a minute; an idle stream is normal here.
    let endpoint = endpoint
        .connect_timeout(Duration::from_secs(5))
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    let channel = endpoint.connect().await.map_err(StreamError::Connect)?;
    let channel = Authorized::new(channel, bearer);
    let (outbound, waiting) = mpsc::channel(OUTBOUND_WAITING_MAX);
    // Before the call: a server may answer only when it has the first message.
    tell(inbox, ConnectionEvent::Opened(outbound)).await?;
    let result = converse(channel, waiting, inbox, is_welcome).await;
    if let Err(StreamError::Status(status)) = &result
        && status.code() == Code::FailedPrecondition
    {
        tell(inbox, ConnectionEvent::Foreign).await?;
    }
    tell(inbox, ConnectionEvent::Lost).await?;
    if let Err(StreamError::Status(status)) = &result
        && let Some(reason) = access::refusal(status)
    {
        return Err(StreamError::Refused(reason));
    }
    result
}

async fn converse(
    channel: Authorized,
    waiting: mpsc::Receiver<wire::FromWorker>,
    inbox: &mpsc::Sender<Input>,
    is_welcome: &mut bool,
) -> Result<(), StreamError> {
    let mut client = WorkerServiceClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let call = client.attach(ReceiverStream::new(waiting));
    let answer = timeout(WELCOME_WAIT, call).await.map_err(|_| StreamError::Silent)?;
    let mut answers = answer.map_err(StreamError::Status)?.into_inner();
    loop {
        let next = if *is_welcome {
            answers.message().await
        } else {
            let first = timeout(WELCOME_WAIT, answers.message()).await;
            first.map_err(|_| StreamError::Silent)?
        };
        let Some(message) = next.map_err(StreamError::Status)? else {
            return Ok(());
        };
        match from_coordinator(message) {
            Ok(said) => {
                *is_welcome |= matches!(said, FromCoordinator::Welcome { .. });
                tell(inbox, ConnectionEvent::Said(said)).await?;
            }
            // A newer coordinator may say more than this version knows.
            Err(error) => tracing::warn!("ignored: {}", chain(&error)),
        }
    }
}

async fn tell(inbox: &mpsc::Sender<Input>, event: ConnectionEvent) -> Result<(), StreamError> {
    inbox.send(Input::Connection(event)).await.map_err(|_| StreamError::Leaving)
}
