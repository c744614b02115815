//! The server, top to bottom: the state directory is locked, the store read, the listeners bound;
//! then every task runs until the work is done, a task fails or the stop is asked for.

mod tasks;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;

use common::credentials::CredentialsError;
use common::ids::SweepName;
use common::spec::Sweep;
use common::telemetry::chain;
use common::token::Token;
use common::wire::{TablePart, TableRequest};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::answers::Answers;
use crate::config::{Config, Mistakes};
use crate::driver::{self, Clock, Driver, DriverError, Restored};
use crate::edge::{self, Edge, Listener, Port};
use crate::gpus::Gpus;
use crate::http::{self, Web};
use crate::local::{Local, LocalError};
use crate::metrics::Metrics;
use crate::progress::{AllDone, Announcement, Bars, Progress, Tables};
use crate::query::{Class, Metric, QueryError, Reader};
use crate::render::{self, Style};
use crate::rpc::server::{self, ServerError, Services};
use crate::store::endpoint::{self, Endpoint, EndpointError};
use crate::store::lock::{self, Lock, LockError};
use crate::store::{SqliteStore, StoreError};
use tasks::Tasks;

/// Why the server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The state directory is not ours.
    #[error(transparent)]
    Lock(LockError),
    /// The store cannot be opened or read.
    #[error(transparent)]
    Store(StoreError),
    /// What was asked does not go with what the store holds.
    #[error("{}", .0.0.join("\n\n"))]
    Mistakes(Mistakes),
    /// An address cannot be listened on.
    #[error("cannot listen on {flag} {address}{hint}")]
    Bind {
        /// The flag.
        flag: &'static str,
        /// Its value.
        address: SocketAddr,
        /// What to do.
        hint: &'static str,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// The system does not tell which port was bound.
    #[error("cannot tell which port was bound")]
    Address(#[source] io::Error),
    /// The bound ports cannot be written.
    #[error(transparent)]
    Endpoint(EndpointError),
    /// Two series have one name: a fault of the program.
    #[error("cannot set up the metrics")]
    Metrics(#[source] prometheus::Error),
    /// The driver ended.
    #[error(transparent)]
    Driver(DriverError),
    /// The gRPC listener ended.
    #[error(transparent)]
    Rpc(ServerError),
    /// The credentials cannot be used.
    #[error(transparent)]
    Credentials(CredentialsError),
    /// The local worker does not run.
    #[error(transparent)]
    Local(LocalError),
    /// A task panicked.
    #[error("a task of the coordinator panicked")]
    Panicked(#[source] tokio::task::JoinError),
}

/// A state directory that is ours, and what it held.
pub struct Opened {
    state: PathBuf,
    restored: Restored,
    /// Identity of the store.
    store: String,
    clock: Clock,
    lock: Lock,
}

/// Locks the state directory and reads its store.
pub async fn open(state: &Path) -> Result<Opened, ServeError> {
    let lock = lock::acquire(state).map_err(ServeError::Lock)?;
    let store = SqliteStore::open(state).map_err(ServeError::Store)?;
    let id = store.id().map_err(ServeError::Store)?;
    let clock = Clock::start();
    let restored = driver::restore(Box::new(store), clock).await;
    let restored = restored.map_err(|not_restored| ServeError::Store(not_restored.error))?;
    Ok(Opened { state: state.into(), restored, store: id, clock, lock })
}

impl Opened {
    /// Refuses sweeps whose `--set` flags would change the points of one that is stored.
    pub fn check(&self, sweeps: &[Sweep]) -> Result<(), ServeError> {
        let mistakes = driver::mistakes(&self.restored, sweeps);
        if mistakes.is_empty() { Ok(()) } else { Err(ServeError::Mistakes(Mistakes(mistakes))) }
    }
}

/// Both listeners, bound.
pub struct Listeners {
    /// For workers and clients.
    pub grpc: TcpListener,
    /// For probes and Prometheus.
    pub http: TcpListener,
}

impl Listeners {
    /// Binds both; the error names the flag.
    pub async fn bind(listen: SocketAddr, http: SocketAddr) -> Result<Listeners, ServeError> {
        let grpc = bind("--listen", listen).await?;
        Ok(Listeners { grpc, http: bind("--http", http).await? })
    }
}

async fn bind(flag: &'static str, address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| {
        let hint = match source.kind() {
            io::ErrorKind::AddrInUse => ": another program uses the port; port 0 takes a free one",
            _ => "",
        };
        ServeError::Bind { flag, address, hint, source }
    })
}

/// How serving ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Every sweep given is done.
    Done(AllDone),
    /// It was asked to stop.
    Stopped,
}

/// Where progress and tables go.
pub struct Display {
    /// Progress.
    pub bars: Bars,
    /// Tables of completed sweeps.
    pub output: Box<dyn io::Write + Send>,
}

/// Serves until everything is done or `stop`; in both cases nothing that was reported is lost.
pub async fn run(
    config: Config,
    opened: Opened,
    listeners: Listeners,
    display: Display,
    stop: CancellationToken,
) -> Result<End, ServeError> {
    let Opened { state, restored, store, clock, lock } = opened;
    let gpus = Gpus::default();
    let metrics = Metrics::new(state.clone(), gpus.clone()).map_err(ServeError::Metrics)?;
    let metrics = Arc::new(metrics);
    let Doors { edge, grpc, http, local, _endpoint } =
        Doors::open(&state, &config.edge, listeners, config.local, &metrics).await?;
    let names: Vec<SweepName> = config.sweeps.iter().map(|sweep| sweep.name.clone()).collect();
    let driver = Driver::start(restored, clock, config.sweeps, Arc::clone(&metrics)).await;
    let (driver, inbox, driven) = driver.map_err(ServeError::Driver)?;

    let mut tasks = Tasks::new();
    let end = tasks.driver.clone();
    tasks.spawn_driver(async { driver.run(end).await.map_err(ServeError::Driver) });
    let answers = Answers::new(inbox.clone(), driven.clone(), gpus.clone(), state.clone());
    let services = Services {
        inbox: inbox.clone(),
        driven: driven.clone(),
        answers: answers.clone(),
        gpus,
        store,
        rpc_seconds: metrics.rpc_seconds.clone(),
        edge,
    };
    let web = Web::new(answers, metrics);
    spawn_listeners(&mut tasks, grpc, http, services, web);
    if let Some((local, url, token)) = local {
        let end = tasks.local.clone();
        tasks.spawn_local(async { local.run(url, token, end).await.map_err(ServeError::Local) });
    }
    let progress = Progress {
        bars: display.bars,
        driven,
        inbox: inbox.clone(),
        tables: tables(state),
        output: display.output,
        given: names,
        until_done: config.exit_when_done,
        stop: stop.clone(),
    };
    tasks.spawn_progress(progress.run(tasks.listeners.clone()));

    let end = tokio::select! {
        done = tasks.first() => done.map(End::Done),
        () = stop.cancelled() => Ok(End::Stopped),
    };
    // Refused only where the driver has ended, which the shutdown finds out.
    drop(inbox.close().await);
    let ended = tasks.shut_down().await;
    drop(lock);
    // What went wrong first is what is told.
    end.and_then(|end| ended.map(|()| end))
}

/// Starts what answers others, and what keeps it in order.
fn spawn_listeners(
    tasks: &mut Tasks,
    grpc: Listener,
    http: Listener,
    services: Services,
    web: Web,
) {
    let (edge, weights) = (Arc::clone(&services.edge), services.answers.weights());
    let end = tasks.listeners.clone();
    tasks.spawn_listener(async {
        server::serve(grpc, services, end).await.map_err(ServeError::Rpc)
    });
    let (before, end) = (Arc::clone(&edge), tasks.listeners.clone());
    tasks.spawn_listener(async {
        http::serve(http, web, before, end).await;
        Ok(())
    });
    let end = tasks.listeners.clone();
    tasks.spawn_listener(async {
        weights.prune(end).await;
        Ok(())
    });
    let end = tasks.listeners.clone();
    tasks.spawn_listener(async {
        edge.watch(end).await;
        Ok(())
    });
}

/// The listeners with what stands before them, and whom they are told to.
struct Doors {
    edge: Arc<Edge>,
    grpc: Listener,
    http: Listener,
    /// The local worker, where it reaches the coordinator, and what it shows there.
    local: Option<(Local, String, Option<Token>)>,
    _endpoint: EndpointFile,
}

impl Doors {
    async fn open(
        state: &Path,
        options: &edge::Options,
        listeners: Listeners,
        local: Option<Local>,
        metrics: &Metrics,
    ) -> Result<Doors, ServeError> {
        let bound = (address(&listeners.grpc)?, address(&listeners.http)?);
        let wants_token = local.is_some() && options.credentials.is_some();
        let token = wants_token.then(Token::generate);
        let edge = Edge::open(options, token.as_ref(), metrics.edge.clone());
        let edge = Arc::new(edge.map_err(ServeError::Credentials)?);
        let mut grpc = Listener::start(listeners.grpc, Port::Grpc, Arc::clone(&edge));
        let http = Listener::start(listeners.http, Port::Http, Arc::clone(&edge));
        let local = match local {
            Some(local) => Some((local, worker_url(bound.0, &mut grpc, &edge).await?, token)),
            None => None,
        };
        let endpoint = EndpointFile::write(state.to_owned(), bound, edge.is_secured())?;
        Ok(Doors { edge, grpc, http, local, _endpoint: endpoint })
    }
}

/// The table of a sweep as its own file asks for it, and what became of its claims.
fn tables(state: PathBuf) -> Tables {
    let table = move |name: &SweepName| -> Result<Announcement, String> {
        let told = |error: QueryError| chain(&error);
        let reader = Reader::open(&state).map_err(told)?;
        let sweep = reader.sweep(name.as_str()).map_err(told)?;
        let (parts, note) = own_table(&reader, name).map_err(told)?;
        let claims = reader.expectations(name.as_str()).map_err(told)?.expectations;
        let style = Style::of_stdout();
        let text = render::sweep_table(&sweep, parts, &claims, style);
        let mut text = text.map_err(|error| chain(&error))?;
        if let Some(note) = note {
            text.push_str(&format!("\n{note}\n"));
        }
        Ok(Announcement { text, contradicted: render::contradicted(&claims) })
    };
    Arc::new(table)
}

/// The table as the sweep's file has it, and what is to be said of it. An edit of the file may have
/// left a parameter without a place, which must not keep claims from being judged.
fn own_table(
    reader: &Reader,
    name: &SweepName,
) -> Result<(Vec<TablePart>, Option<String>), QueryError> {
    let read = |best_by: &str| {
        let (sweep, best_by) = (name.to_string(), best_by.to_owned());
        let request = TableRequest { sweep, best_by, ..TableRequest::default() };
        let mut parts = Vec::new();
        let mut keep = |part| {
            parts.push(part);
            ControlFlow::Continue(())
        };
        reader.table(&request, &mut keep).map(|()| parts)
    };
    match read("") {
        Ok(parts) => Ok((parts, None)),
        Err(error @ QueryError::NoAxis { .. }) => {
            let best_by = Metric::ValError.name();
            let note = format!("Each cell is the best config by {best_by}: {error}.");
            Ok((read(best_by)?, Some(note)))
        }
        Err(error) if error.class() == Class::Invalid => {
            Ok((Vec::new(), Some(format!("There is no table: {error}."))))
        }
        Err(error) => Err(error),
    }
}

/// Where the worker of this host reaches the coordinator. Where TLS is spoken it gets a port of its
/// own on the loopback without: whatever address, names and certificates are served elsewhere, it
/// needs none of them but its token, which this process made and tells nobody else.
async fn worker_url(
    mut bound: SocketAddr,
    listener: &mut Listener,
    edge: &Edge,
) -> Result<String, ServeError> {
    if edge.is_secured() {
        let own = bind("--local", (Ipv4Addr::LOCALHOST, 0).into()).await?;
        bound = address(&own)?;
        listener.also_plainly(own);
    }
    if bound.ip().is_unspecified() {
        bound.set_ip(match bound.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    Ok(format!("http://{bound}"))
}

fn address(listener: &TcpListener) -> Result<SocketAddr, ServeError> {
    listener.local_addr().map_err(ServeError::Address)
}

/// `endpoint.json` for as long as this lives.
struct EndpointFile {
    state: PathBuf,
}

impl EndpointFile {
    fn write(
        state: PathBuf,
        (grpc, http): (SocketAddr, SocketAddr),
        tls: bool,
    ) -> Result<EndpointFile, ServeError> {
        let content = Endpoint { grpc, http, tls, pid: process::id() };
        endpoint::write(&state, &content).map_err(ServeError::Endpoint)?;
        tracing::info!(%grpc, %http, tls, state = %state.display(), "serving");
        Ok(EndpointFile { state })
    }
}

impl Drop for EndpointFile {
    fn drop(&mut self) {
        if let Err(error) = endpoint::remove(&self.state) {
            tracing::warn!("{}", chain(&error));
        }
    }
}
