//! The gRPC server: both services, health and reflection on one listener.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use common::wire;
use common::wire::sweep_service_server::SweepServiceServer;
use common::wire::worker_service_server::WorkerServiceServer;
use prometheus::HistogramVec;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Server;
use tonic_health::server::HealthReporter;

use super::sweeps::Sweeps;
use super::timed::Timed;
use super::worker::Workers;
use crate::answers::Answers;
use crate::driver::{Driven, Health, Inbox};
use crate::edge::{Edge, Guarded, Listener, Role};
use crate::gpus::Gpus;

/// A connection without traffic is asked whether it lives.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// And closed where it does not answer for this long.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Calls of one connection at a time: a worker has one, a client few.
const STREAMS_MAX: u32 = 128;
/// Flow control: one stream must not use up the connection.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// A call's headers: a token, and what gRPC adds.
const HEADER_BYTES_MAX: u32 = 16 << 10;
/// How long open calls may take to end at shutdown; then they are cut.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(5);

/// Why the server does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The descriptors cannot be read: a fault of the build.
    #[error("cannot set up gRPC reflection")]
    Reflection(#[source] tonic_reflection::server::Error),
    /// The listener failed.
    #[error("the gRPC server failed")]
    Serve(#[source] tonic::transport::Error),
}

/// What the services need.
pub struct Services {
    /// The way into the driver.
    pub inbox: Inbox,
    /// What the driver shows.
    pub driven: Driven,
    /// What readers are told.
    pub answers: Answers,
    /// Figures of the workers' GPUs.
    pub gpus: Gpus,
    /// Identity of the store.
    pub store: String,
    /// Seconds by method and code.
    pub rpc_seconds: HistogramVec,
    /// Who may call.
    pub edge: Arc<Edge>,
}

/// Serves until shutdown.
pub async fn serve(
    listener: Listener,
    services: Services,
    shutdown: CancellationToken,
) -> Result<(), ServerError> {
    let Services { inbox, driven, answers, gpus, store, rpc_seconds, edge } = services;
    let readers = TaskTracker::new();
    let store = store.into();
    let workers = Workers::new(inbox.clone(), &answers, gpus, readers.clone(), store);
    let workers = WorkerServiceServer::new(workers)
        .max_decoding_message_size(wire::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(wire::MESSAGE_BYTES_MAX);
    let sweeps = SweepServiceServer::new(Sweeps::new(inbox, answers))
        .max_decoding_message_size(wire::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(wire::MESSAGE_BYTES_MAX);
    let (reporter, health) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(wire::DESCRIPTORS)
        .build_v1()
        .map_err(ServerError::Reflection)?;
    let server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .add_service(guarded(Timed::new(workers, rpc_seconds.clone()), Some(Role::Agent), &edge))
        .add_service(guarded(Timed::new(sweeps, rpc_seconds), Some(Role::Client), &edge))
        // A probe has no token, and learns nothing but whether the services work.
        .add_service(guarded(health, None, &edge))
        .add_service(guarded(reflection, Some(Role::Client), &edge));
    let serving = server.serve_with_incoming_shutdown(listener, shutdown.clone().cancelled_owned());
    let late = async {
        shutdown.cancelled().await;
        tokio::time::sleep(SHUTDOWN_WAIT).await;
    };
    let result = tokio::select! {
        result = serving => result.map_err(ServerError::Serve),
        () = late => Ok(()),
        never = report_health(reporter, driven) => match never {},
    };
    readers.close();
    result
}

fn guarded<S>(service: S, role: Option<Role>, edge: &Arc<Edge>) -> Guarded<S> {
    Guarded::new(service, role, Arc::clone(edge))
}

/// Keeps gRPC health as `/ready` is.
async fn report_health(reporter: HealthReporter, driven: Driven) -> Infallible {
    let mut health = driven.health;
    loop {
        let serving = match &*health.borrow_and_update() {
            Health::Serving => true,
            Health::Closing | Health::StoreFailed { .. } => false,
        };
        type Worker = WorkerServiceServer<Workers>;
        type Sweep = SweepServiceServer<Sweeps>;
        if serving {
            reporter.set_serving::<Worker>().await;
            reporter.set_serving::<Sweep>().await;
        } else {
            reporter.set_not_serving::<Worker>().await;
            reporter.set_not_serving::<Sweep>().await;
        }
        if health.changed().await.is_err() {
            // The driver has ended; what was said last holds.
            std::future::pending::<Infallible>().await;
        }
    }
}
