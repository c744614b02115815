//! Who may ask: TLS and tokens of both listeners, what is refused, and how it is told.
//!
//! With credentials every listener speaks TLS, workers show an agent's token and clients a
//! client's. Without them nothing is asked of anybody, so the listeners stay on the loopback
//! unless `--insecure` is said; there only a web page of another site is kept out, which a browser
//! on this host might be led to carry in.

pub mod authority;
mod guarded;
mod keys;
mod listener;
mod peer;
mod refusals;
mod sessions;
mod verifier;
pub mod web;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use common::access::is_loopback;
use common::credentials::CredentialsError;
use common::telemetry::chain;
use common::token::{self, Token, TokenHash};
use rustls::ServerConfig;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tonic::Status;

pub use guarded::Guarded;
pub use listener::Listener;
pub use peer::Peer;

use keys::{Keys, Stamp};
use refusals::{Refusals, Verdict};
use sessions::Sessions;

/// How often the files are looked at for new ones: soon after `init-tls --renew` or a secret's
/// rotation, and too seldom to cost anything.
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
}

impl Options {
    /// Adds what cannot be served like this to the mistakes.
    pub fn check(&self, listen: SocketAddr, http: SocketAddr, mistakes: &mut Vec<String>) {
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
    /// Too many that were wrong.
    #[error("too many refused requests came from this address; wait a minute")]
    TooMany,
}

impl Refusal {
    /// For a caller by gRPC.
    fn status(self) -> Status {
        match self {
            Refusal::NoToken | Refusal::Unknown => Status::unauthenticated(self.to_string()),
            Refusal::Role { .. } => Status::permission_denied(self.to_string()),
            Refusal::TooMany => Status::resource_exhausted(self.to_string()),
        }
    }
}

/// What stands before both listeners.
pub struct Edge {
    secured: Option<Secured>,
    /// Where the HTTP listener is, whose name a browser may use.
    http: SocketAddr,
    insecure: bool,
    /// The token of the worker that this process starts itself.
    local: Option<TokenHash>,
    refusals: Refusals,
    sessions: Sessions,
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
        http: SocketAddr,
        local: Option<&Token>,
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
        Ok(Edge {
            secured,
            http,
            insecure: options.insecure,
            local: local.map(Token::hash),
            refusals: Refusals::default(),
            sessions: Sessions::default(),
        })
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
    fn admit(&self, role: Role, shown: Option<&str>, peer: &Peer) -> Result<(), Refusal> {
        let Some(keys) = self.keys() else { return Ok(()) };
        let refused = match shown.and_then(token::of_header) {
            None => Refusal::NoToken,
            Some(text) => match self.check(&keys, role, &TokenHash::of(text)) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            },
        };
        Err(self.refuse(role, refused, peer))
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
    fn refuse(&self, role: Role, refused: Refusal, peer: &Peer) -> Refusal {
        let Verdict { told, is_over } = self.refusals.count(peer.address.ip(), Instant::now());
        if let Some(untold) = told {
            tracing::warn!(%peer, asked = role.owner(), untold, "refused: {refused}");
        }
        // Who shows nothing has tried nothing: a browser that is not logged in, for one.
        if is_over && refused != Refusal::NoToken { Refusal::TooMany } else { refused }
    }

    /// Tells of a connection that did not come about.
    fn turned_away(&self, peer: &Peer, reason: &str) {
        let Verdict { told, .. } = self.refusals.count(peer.address.ip(), Instant::now());
        if let Some(untold) = told {
            tracing::warn!(%peer, untold, "turned away: {reason}");
        }
    }

    /// Takes the files anew when they change, until shutdown.
    pub async fn watch(self: Arc<Self>, shutdown: CancellationToken) {
        let mut every = interval(RELOAD_INTERVAL);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = every.tick() => {}
            }
            let edge = Arc::clone(&self);
            // The folder may be on a file system that hangs.
            let looked = tokio::task::spawn_blocking(move || edge.reload());
            tokio::select! {
                () = shutdown.cancelled() => return,
                looked = looked => looked.expect("reading credentials returns errors"),
            }
        }
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

    /// Whether a request may have come from a page of this host: without credentials, one under
    /// another name is what a browser sends for a foreign page whose name was pointed at us.
    fn is_known_host(&self, host: Option<&str>) -> bool {
        if self.is_secured() || self.insecure {
            return true;
        }
        let Some(host) = host else { return false };
        let name = web::without_port(host);
        is_loopback(name) || name.parse::<IpAddr>().is_ok_and(|ip| ip == self.http.ip())
    }
}
