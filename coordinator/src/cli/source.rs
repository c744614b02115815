//! Who answers a reading command: a running coordinator, or the state directory of one.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use common::access::{self, Access, AccessError, Authorized};
use common::telemetry::chain;
use common::wire::sweep_service_client::SweepServiceClient;
use common::wire::{self, TablePart, TableRequest};
use tonic::{Code, Status};

use super::Failure;
use crate::options::Global;
use crate::query::Reader;
use crate::store::{endpoint, lock};

/// A coordinator that is named may be far away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// One on this host is quick, or not there.
const CONNECT_LOCAL_TIMEOUT: Duration = Duration::from_secs(1);
/// A connection that goes silent in the middle of a table is given up after twice this time.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// A running coordinator, which is shown the token with every call.
pub(super) type Client = SweepServiceClient<Authorized>;

/// Who answers. Both give the same answers; only a server knows why nothing runs, an estimate of
/// the time left, and live logs.
pub(super) enum Source {
    /// A running coordinator.
    Server(Box<Client>),
    /// What one left in its state directory.
    Files(Box<Reader>),
}

impl Source {
    /// The coordinator of this address, else the one that runs on the state directory, else the
    /// directory itself.
    pub async fn open(coordinator: Option<&str>, global: &Global) -> Result<Source, Failure> {
        let (state_dir, credentials) = (&global.state, global.credentials.as_deref());
        if let Some(url) = coordinator {
            return Source::at(url, credentials).await;
        }
        match running(state_dir, credentials).await? {
            Some(Ok(client)) => return Ok(Source::Server(Box::new(client))),
            Some(Err(silence)) => {
                let text = format!("note: {silence}; reading {}\n", state_dir.display());
                io::stderr().lock().write_all(text.as_bytes())?;
            }
            None => {}
        }
        Source::files(state_dir)
    }

    /// As `open`, for one that is sought until it is there: it says nothing on stderr, and a
    /// coordinator that runs and does not answer is a failure.
    pub async fn reopen(coordinator: Option<&str>, global: &Global) -> Result<Source, Failure> {
        let (state_dir, credentials) = (&global.state, global.credentials.as_deref());
        if let Some(url) = coordinator {
            return Source::at(url, credentials).await;
        }
        match running(state_dir, credentials).await? {
            Some(Ok(client)) => Ok(Source::Server(Box::new(client))),
            Some(Err(silence)) => Err(Failure::Failed(anyhow::anyhow!(silence))),
            None => Source::files(state_dir),
        }
    }

    async fn at(url: &str, credentials: Option<&Path>) -> Result<Source, Failure> {
        let access = Access::to(url, credentials)?;
        let client = connect(&access, CONNECT_TIMEOUT).await.map_err(|error| {
            let context = format!("no coordinator answers at {access}");
            match access::explain(&error) {
                Some(why) => Failure::Failed(anyhow::anyhow!(why).context(context)),
                None => Failure::Failed(anyhow::Error::new(error).context(context)),
            }
        })?;
        Ok(Source::Server(Box::new(client)))
    }

    fn files(state_dir: &Path) -> Result<Source, Failure> {
        match Reader::open(state_dir) {
            Ok(reader) => Ok(Source::Files(Box::new(reader))),
            Err(crate::query::QueryError::NoStore { .. }) => Err(Failure::Mistake(format!(
                "no results in {}: no coordinator has run there; name its directory with --state \
                 or a running one with --coordinator",
                state_dir.display()
            ))),
            Err(error) => Err(error.into()),
        }
    }

    /// As `open`, where only a running coordinator will do.
    pub async fn running(coordinator: Option<&str>, global: &Global) -> Result<Client, Failure> {
        if let Source::Server(client) = Source::open(coordinator, global).await? {
            return Ok(*client);
        }
        Err(Failure::Failed(anyhow::anyhow!(
            "no coordinator runs on {}: this needs one; `coordinator --state {}` starts it (with \
             --local it also trains here)",
            global.state.display(),
            global.state.display(),
        )))
    }

    /// Every sweep, oldest first.
    pub async fn sweeps(&mut self) -> Result<Vec<wire::Sweep>, Failure> {
        match self {
            Source::Server(client) => {
                Ok(answer(client.list_sweeps(wire::ListSweepsRequest {}).await)?.sweeps)
            }
            Source::Files(reader) => Ok(reader.sweeps()?),
        }
    }

    /// One sweep.
    pub async fn sweep(&mut self, name: &str) -> Result<wire::Sweep, Failure> {
        match self {
            Source::Server(client) => {
                answer(client.get_sweep(wire::GetSweepRequest { sweep: name.into() }).await)
            }
            Source::Files(reader) => Ok(reader.sweep(name)?),
        }
    }

    /// Every worker.
    pub async fn workers(&mut self) -> Result<Vec<wire::Worker>, Failure> {
        match self {
            Source::Server(client) => {
                Ok(answer(client.list_workers(wire::ListWorkersRequest {}).await)?.workers)
            }
            Source::Files(reader) => Ok(reader.workers()?),
        }
    }

    /// One trial.
    pub async fn trial(&mut self, sweep: &str, trial: &str) -> Result<wire::Trial, Failure> {
        match self {
            Source::Server(client) => {
                let request = wire::GetTrialRequest { sweep: sweep.into(), trial: trial.into() };
                answer(client.get_trial(request).await)
            }
            Source::Files(reader) => Ok(reader.trial(sweep, trial)?),
        }
    }

    /// The end of a trial's log.
    pub async fn log(&mut self, sweep: &str, trial: &str) -> Result<wire::GetLogResponse, Failure> {
        match self {
            Source::Server(client) => {
                let request = wire::GetLogRequest { sweep: sweep.into(), trial: trial.into() };
                answer(client.get_log(request).await)
            }
            Source::Files(reader) => Ok(reader.log(sweep, trial)?),
        }
    }

    /// The weights of a trial, part by part as they come.
    pub async fn model(
        &mut self,
        request: wire::GetModelRequest,
        take: &mut dyn FnMut(wire::ModelPart) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        match self {
            Source::Server(client) => {
                let mut parts = answer(client.get_model(request).await)?;
                while let Some(part) = parts.message().await.map_err(failure)? {
                    take(part)?;
                }
                Ok(())
            }
            Source::Files(reader) => {
                let mut taken = Ok(());
                reader.model(&request, &mut |part| {
                    taken = take(part);
                    if taken.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                })?;
                taken
            }
        }
    }

    /// A table, part by part as it comes.
    pub async fn table(
        &mut self,
        request: TableRequest,
        take: &mut dyn FnMut(TablePart) -> io::Result<()>,
    ) -> Result<(), Failure> {
        match self {
            Source::Server(client) => {
                let mut parts = answer(client.get_table(request).await)?;
                while let Some(part) = parts.message().await.map_err(failure)? {
                    take(part)?;
                }
                Ok(())
            }
            Source::Files(reader) => {
                let mut written = Ok(());
                reader.table(&request, &mut |part| {
                    written = take(part);
                    taken(&written)
                })?;
                Ok(written?)
            }
        }
    }

    /// What became of a sweep's claims.
    pub async fn expectations(&mut self, sweep: &str) -> Result<Vec<wire::Expectation>, Failure> {
        let answer = match self {
            Source::Server(client) => {
                let request = wire::GetExpectationsRequest { sweep: sweep.into() };
                answer(client.get_expectations(request).await)?
            }
            Source::Files(reader) => reader.expectations(sweep)?,
        };
        Ok(answer.expectations)
    }

    /// The probes of a sweep, config by config as they come.
    pub async fn probe(
        &mut self,
        request: wire::GetProbeRequest,
        take: &mut dyn FnMut(wire::ProbeConfig) -> io::Result<()>,
    ) -> Result<(), Failure> {
        match self {
            Source::Server(client) => {
                let mut configs = answer(client.get_probe(request).await)?;
                while let Some(config) = configs.message().await.map_err(failure)? {
                    take(config)?;
                }
                Ok(())
            }
            Source::Files(reader) => {
                let mut written = Ok(());
                reader.probe(&request, &mut |config| {
                    written = take(config);
                    taken(&written)
                })?;
                Ok(written?)
            }
        }
    }
}

/// Hands a part on; what could not be written ends the answer.
fn taken(written: &io::Result<()>) -> ControlFlow<()> {
    if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

async fn connect(access: &Access, wait: Duration) -> Result<Client, ConnectError> {
    let (endpoint, bearer) = access.endpoint().map_err(ConnectError::Access)?;
    let endpoint = endpoint
        .connect_timeout(wait)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE);
    let channel = endpoint.connect().await.map_err(ConnectError::Connect)?;
    let client = SweepServiceClient::new(Authorized::new(channel, bearer));
    Ok(client.max_decoding_message_size(wire::MESSAGE_BYTES_MAX))
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum ConnectError {
    #[error(transparent)]
    Access(AccessError),
    #[error(transparent)]
    Connect(tonic::transport::Error),
}

/// The coordinator that holds the state directory, where one does: or that it does not answer.
async fn running(
    state_dir: &Path,
    credentials: Option<&Path>,
) -> Result<Option<Result<Client, String>>, Failure> {
    // An endpoint without an owner is what a killed coordinator left; its port may be another's.
    let owner = lock::owner(state_dir);
    if !matches!(owner, Ok(Some(_))) {
        return Ok(None);
    }
    let found = endpoint::read(state_dir).context("cannot find the running coordinator");
    let Some(found) = found.map_err(Failure::Failed)? else { return Ok(None) };
    let access = Access::to_own(reachable(found.grpc), found.tls, credentials)?;
    Ok(Some(connect(&access, CONNECT_LOCAL_TIMEOUT).await.map_err(|error| {
        let why = access::explain(&error).unwrap_or_else(|| chain(&error));
        format!("the coordinator at {access} does not answer ({why})")
    })))
}

/// An address to connect to of one to listen on.
fn reachable(listens: SocketAddr) -> SocketAddr {
    let ip = match listens.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listens.port())
}

pub(super) fn answer<T>(answered: Result<tonic::Response<T>, Status>) -> Result<T, Failure> {
    answered.map(tonic::Response::into_inner).map_err(failure)
}

/// The server's words for mistakes are those of the query.
pub(super) fn failure(status: Status) -> Failure {
    if let Some(refused) = access::refusal(&status) {
        return Failure::Mistake(refused);
    }
    if let Some(why) = access::explain(&status) {
        return Failure::Failed(anyhow::anyhow!(why));
    }
    match status.code() {
        Code::NotFound | Code::InvalidArgument | Code::FailedPrecondition => {
            Failure::Mistake(status.message().to_owned())
        }
        Code::Unimplemented => Failure::Failed(anyhow::anyhow!(
            "the coordinator does not know this request; it is of another version"
        )),
        // What answers there is something, and speaks no gRPC.
        Code::Unknown if status.message() == "transport error" => Failure::Failed(anyhow::anyhow!(
            "no gRPC is spoken at this address; is it the port of the page (--http)? That of \
             --listen is 50051 unless another was given"
        )),
        code => Failure::Failed(anyhow::anyhow!("the coordinator: {} ({code})", status.message())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_to_listen_on_are_reached_through_the_host_itself() {
        let cases =
            [("0.0.0.0:5", "127.0.0.1:5"), ("[::]:5", "[::1]:5"), ("10.1.2.3:5", "10.1.2.3:5")];
        for (listens, expected) in cases {
            assert_eq!(reachable(listens.parse().unwrap()).to_string(), expected);
        }
    }

    #[test]
    fn statuses_of_mistakes_keep_the_words() {
        match failure(Status::not_found("unknown sweep `x`")) {
            Failure::Mistake(text) => assert_eq!(text, "unknown sweep `x`"),
            other => panic!("{other:?}"),
        }
        match failure(Status::internal("disk")) {
            Failure::Failed(error) => assert!(error.to_string().contains("disk"), "{error}"),
            other => panic!("{other:?}"),
        }
    }
}
