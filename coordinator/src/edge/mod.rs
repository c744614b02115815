//! Who may ask: TLS and tokens of both listeners, what is refused, and how it is told.
//!
//! With credentials every listener speaks TLS, workers show an agent's token and clients a
//! client's. Without them nothing is asked of anybody, so the listeners stay on the loopback
//! unless `--insecure` is said. A web page of another site, which a browser might be led to carry
//! in, is kept out in every case.

pub mod authority;
mod guarded;
mod keys;
mod listener;
mod names;
mod peer;
mod places;
mod rates;
mod refusals;
mod sessions;
mod turns;
mod verifier;
pub mod web;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use common::credentials::CredentialsError;
use common::telemetry::chain;
use common::token::{self, Token, TokenHash};
use rustls::ServerConfig;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::metadata::MetadataValue;

pub use guarded::Guarded;
pub use listener::Listener;
pub use peer::Peer;

use crate::metrics::EdgeSeries;
use keys::{Keys, Stamp};
use names::Names;
use rates::{RATE, Rates};
use refusals::{Line, Reason, Refusals, Refused};
use sessions::Sessions;

/// How often the files are looked at for new ones, and what was refused is told: soon after
/// `init-tls --renew` or a secret's rotation, and too seldom to cost anything.
const RELOAD_INTERVAL: Duration = Duration::from_secs(5);

/// What the command line says of the edge.
#[derive(Clone, Default, Debug)]
pub struct Options {
    /// Folder of certificate, key, CA and accepted tokens.
    pub credentials: Option<PathBuf>,
    /// Both listeners want a certificate of the CA.
    pub mutual_tls: bool,
    /// Listens beyond the loopback without credentials.
    pub insecure: bool,
    /// Names by which the HTTP listener is asked, beside its own.
    pub http_names: Vec<String>,
}

impl Options {
    /// Adds what cannot be served like this to the mistakes.
    pub fn check(&self, listen: SocketAddr, http: SocketAddr, mistakes: &mut Vec<String>) {
        for name in &self.http_names {
            if rustls::pki_types::DnsName::try_from(name.as_str()).is_err() {
                mistakes.push(format!(
                    "error: --http-name `{name}` is not a name: a browser's address has it between \
                     https:// and the port, such as sweeps.example.org"
                ));
            }
        }
        if let Some(folder) = &self.credentials {
            if let Err(error) = Keys::read(folder, self.mutual_tls) {
                mistakes.push(format!("error: {}", chain(&error)));
            }
            if self.insecure {
                mistakes.push(
                    "error: --insecure does not go with --credentials: what listens has them"
                        .into(),
                );
            }
            return;
        }
        if self.mutual_tls {
            mistakes.push("error: --mutual-tls needs --credentials".into());
        }
        for (flag, address) in [("--listen", listen), ("--http", http)] {
            if !address.ip().to_canonical().is_loopback() && !self.insecure {
                mistakes.push(format!(
                    "error: {flag} {address} is reached from other hosts, and without \
                     --credentials anybody there could run and read everything: `coordinator \
                     init-tls DIR --host NAME` makes credentials, `--credentials DIR/coordinator` \
                     takes them; --insecure listens without"
                ));
            }
        }
    }
}

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// A worker.
    Agent,
    /// A person or program that asks for results or changes what runs.
    Client,
}

impl Role {
    /// The word for it, with its article in the genitive.
    fn owner(self) -> &'static str {
        match self {
            Role::Agent => "an agent's",
            Role::Client => "a client's",
        }
    }
}

/// Which of the listeners.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Port {
    /// Workers and clients.
    Grpc,
    /// Probes, Prometheus, browsers.
    Http,
}

/// Why a request is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// Nothing was shown.
    #[error("no token came with the request")]
    NoToken,
    /// What was shown is nothing here.
    #[error("the token is not known here")]
    Unknown,
    /// What was shown is for something else.
    #[error("it is {} token, and {} is needed", .shown.owner(), .needed.owner())]
    Role {
        /// Whose it is.
        shown: Role,
        /// Whose is needed.
        needed: Role,
    },
    /// Too many requests, whatever they show.
    #[error("more than {RATE} requests a second came from this address; ask again in a second")]
    Rate,
}

impl Refusal {
    fn reason(self) -> Reason {
        match self {
            Refusal::NoToken => Reason::NoToken,
            Refusal::Unknown => Reason::UnknownToken,
            Refusal::Role { .. } => Reason::WrongRole,
            Refusal::Rate => Reason::Rate,
        }
    }
}

/// A refusal as the peer is told it.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    refusal: Refusal,
    /// There were too many of late.
    is_over: bool,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Answer { refusal, is_over } = self;
        match refusal {
            Refusal::NoToken | Refusal::Unknown | Refusal::Role { .. } if *is_over => write!(
                f,
                "{refusal}; too many refused requests came from this address: wait a minute"
            ),
            _ => refusal.fmt(f),
        }
    }
}

impl Answer {
    /// For a caller by gRPC. However many there were, the code says why: by it a worker ends that
    /// would be refused for ever.
    fn status(self) -> Status {
        let told = self.to_string();
        match self.refusal {
            Refusal::NoToken | Refusal::Unknown => Status::unauthenticated(told),
            Refusal::Role { .. } => Status::permission_denied(told),
            Refusal::Rate => {
                let mut status = Status::resource_exhausted(told);
                status.metadata_mut().insert("retry-after", MetadataValue::from_static("1"));
                status
            }
        }
    }
}

/// What stands before both listeners.
pub struct Edge {
    secured: Option<Secured>,
    names: Names,
    /// The token of the worker that this process starts itself.
    local: Option<TokenHash>,
    refusals: Refusals,
    rates: Rates,
    sessions: Sessions,
    series: EdgeSeries,
}

struct Secured {
    folder: PathBuf,
    mutual_tls: bool,
    keys: RwLock<Arc<Keys>>,
    /// Of the files that were looked at last, so that a mistake in them is told once.
    looked_at: Mutex<Stamp>,
}

impl Edge {
    /// Reads the credentials, where there are some. `local` is the token of the local worker.
    pub fn open(
        options: &Options,
        local: Option<&Token>,
        series: EdgeSeries,
    ) -> Result<Edge, CredentialsError> {
        let secured = match &options.credentials {
            None => None,
            Some(folder) => {
                let keys = Keys::read(folder, options.mutual_tls)?;
                let looked_at = Mutex::new(keys.stamp);
                let keys = RwLock::new(Arc::new(keys));
                let mutual_tls = options.mutual_tls;
                Some(Secured { folder: folder.clone(), mutual_tls, keys, looked_at })
            }
        };
        // A series that begins with its first count has no increase before the second.
        for reason in Reason::ALL {
            series.refused_total.with_label_values(&[reason.name()]);
        }
        let edge = Edge {
            secured,
            names: Names::new(&options.http_names),
            local: local.map(Token::hash),
            refusals: Refusals::default(),
            rates: Rates::default(),
            sessions: Sessions::default(),
            series,
        };
        edge.show_expiry();
        Ok(edge)
    }

    /// Whether the listeners speak TLS and want tokens.
    pub fn is_secured(&self) -> bool {
        self.secured.is_some()
    }

    fn keys(&self) -> Option<Arc<Keys>> {
        let secured = self.secured.as_ref()?;
        Some(Arc::clone(&secured.keys.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// What a listener speaks; none: no TLS.
    fn tls(&self, port: Port) -> Option<Arc<ServerConfig>> {
        let keys = self.keys()?;
        Some(Arc::clone(match port {
            Port::Grpc => &keys.grpc,
            Port::Http => &keys.http,
        }))
    }

    /// Whether this peer, which shows this `authorization`, may do what the role may.
    ///
    /// A right token always counts, whatever came from the same address before: a gateway has many
    /// behind it, and no rate at which tokens are tried finds one.
    fn admit(&self, role: Role, shown: Option<&str>, peer: &Peer) -> Result<(), Answer> {
        let judged = match (self.keys(), shown.and_then(token::of_header)) {
            (None, _) => Ok(()),
            (Some(_), None) => Err(Refusal::NoToken),
            (Some(keys), Some(text)) => self.check(&keys, role, &TokenHash::of(text)),
        };
        match judged {
            Ok(()) => self.on_admitted(peer),
            Err(refusal) => return Err(self.refuse(Some(role), refusal, peer)),
        }
        Ok(())
    }

    fn on_admitted(&self, peer: &Peer) {
        if let Some(place) = &peer.place {
            place.on_admitted();
        }
    }

    /// Whether this peer does not ask too often.
    fn pace(&self, peer: &Peer) -> Result<(), Answer> {
        if self.rates.allow(peer.network(), Instant::now()) {
            return Ok(());
        }
        Err(self.refuse(None, Refusal::Rate, peer))
    }

    fn check(&self, keys: &Keys, role: Role, shown: &TokenHash) -> Result<(), Refusal> {
        let mut agents = keys.agents.clone();
        if let Some(local) = self.local {
            agents.add(local);
        }
        let is_agent = agents.accept(shown);
        let is_client = keys.clients.accept(shown);
        match role {
            Role::Agent if is_agent => Ok(()),
            Role::Client if is_client => Ok(()),
            Role::Agent if is_client => Err(Refusal::Role { shown: Role::Client, needed: role }),
            Role::Client if is_agent => Err(Refusal::Role { shown: Role::Agent, needed: role }),
            Role::Agent | Role::Client => Err(Refusal::Unknown),
        }
    }

    /// Counts and tells a refusal; gives what the peer is told.
    fn refuse(&self, asked: Option<Role>, refusal: Refusal, peer: &Peer) -> Answer {
        let (reason, text) = (refusal.reason(), format!("refused: {refusal}"));
        let is_over = self.count(Refused { peer: peer.clone(), reason, asked, text });
        Answer { refusal, is_over }
    }

    /// Counts and tells what did not come as far as to be asked for a token.
    fn turned_away(&self, peer: &Peer, reason: Reason, why: &str) {
        let text = format!("turned away: {why}");
        self.count(Refused { peer: peer.clone(), reason, asked: None, text });
    }

    fn count(&self, refused: Refused) -> bool {
        self.series.refused_total.with_label_values(&[refused.reason.name()]).inc();
        if let Some(place) = &refused.peer.place {
            place.on_refused();
        }
        let (line, is_over) = self.refusals.count(refused, Instant::now());
        line.iter().for_each(tell);
        is_over
    }

    /// Takes the files anew when they change and tells what was left untold, until shutdown.
    pub async fn watch(self: Arc<Self>, shutdown: CancellationToken) {
        let mut every = interval(RELOAD_INTERVAL);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = every.tick() => {}
            }
            self.refusals.untold(Instant::now(), false).iter().for_each(tell);
            let edge = Arc::clone(&self);
            // The folder may be on a file system that hangs.
            let looked = tokio::task::spawn_blocking(move || edge.reload());
            tokio::select! {
                () = shutdown.cancelled() => break,
                looked = looked => looked.expect("reading credentials returns errors"),
            }
            self.show_expiry();
        }
        self.refusals.untold(Instant::now(), true).iter().for_each(tell);
    }

    fn show_expiry(&self) {
        let Some(keys) = self.keys() else { return };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let unlabelled: [&str; 0] = [];
        let series = &self.series.certificate_expiry_seconds;
        series.with_label_values(&unlabelled).set(keys.ends_at - now);
    }

    fn reload(&self) {
        let Some(Secured { folder, mutual_tls, keys, looked_at }) = &self.secured else { return };
        let stamp = keys::stamp(folder);
        let last = looked_at.lock().map(|mut last| std::mem::replace(&mut *last, stamp));
        if last.is_ok_and(|last| last == stamp) {
            return;
        }
        match Keys::read(folder, *mutual_tls) {
            Ok(new) => {
                *keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
                let credentials = folder.display();
                tracing::info!(%credentials, "new certificates and tokens are taken");
            }
            Err(error) => tracing::error!(
                "new credentials are not taken, the old ones go on: {}",
                chain(&error)
            ),
        }
    }

    /// Whether a request of this `Host` is answered.
    fn is_known_host(&self, host: Option<&str>) -> bool {
        let keys = self.keys();
        self.names.has(host, keys.as_ref().map_or(&[], |keys| &keys.names))
    }
}

fn tell(line: &Line) {
    let Line { refused: Refused { peer, asked, text, .. }, times } = line;
    tracing::warn!(%peer, asked = asked.map(Role::owner), times, "{text}");
}
