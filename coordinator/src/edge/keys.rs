//! What the coordinator's credentials folder holds: its certificate and key, the CA whose
//! certificates it takes, and the tokens it accepts.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use common::credentials::{self, CA_FILE, CERTIFICATE_FILE, CredentialsError, KEY_FILE};
use common::token::Tokens;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::SingleCertAndKey;
use rustls::{RootCertStore, ServerConfig};

use super::verifier::Recording;

/// Tokens of workers, one a line.
pub const AGENT_TOKENS_FILE: &str = "agent.token";
/// Tokens of clients, one a line.
pub const CLIENT_TOKENS_FILE: &str = "client.token";

/// When the files were written, and how long they are; none: not there.
pub type Stamp = [Option<(SystemTime, u64)>; 5];

/// The folder's content.
pub struct Keys {
    /// For the gRPC listener.
    pub grpc: Arc<ServerConfig>,
    /// For the HTTP listener.
    pub http: Arc<ServerConfig>,
    /// Tokens of workers.
    pub agents: Tokens,
    /// Tokens of clients.
    pub clients: Tokens,
    /// Names in the certificate.
    pub names: Vec<String>,
    /// When the certificate ends, in seconds of the epoch.
    pub ends_at: i64,
    /// Of the files when they were read.
    pub stamp: Stamp,
}

impl Keys {
    /// Reads the folder.
    pub fn read(folder: &Path, mutual_tls: bool) -> Result<Keys, CredentialsError> {
        // Taken first: what is replaced meanwhile is read again.
        let stamp = stamp(folder);
        let agents = tokens(folder, AGENT_TOKENS_FILE)?;
        let clients = tokens(folder, CLIENT_TOKENS_FILE)?;
        let roots = Arc::new(roots(folder)?);
        let identity = credentials::read_identity(folder)?.certified_key(folder)?;
        let (names, ends_at) = identity.cert.first().map(credentials::served).unwrap_or_default();
        let identity = Arc::new(SingleCertAndKey::from(identity));
        // HTTP asks for a certificate only where one is demanded: browsers show a dialogue else.
        let http = if mutual_tls { Certificates::Demanded } else { Certificates::Unasked };
        let grpc = if mutual_tls { Certificates::Demanded } else { Certificates::Welcome };
        let config = |asked, protocol| {
            let config = config(Arc::clone(&roots), Arc::clone(&identity), asked, protocol);
            config.map(Arc::new).map_err(|why| content(folder, why))
        };
        let (grpc, http) = (config(grpc, b"h2")?, config(http, b"http/1.1")?);
        Ok(Keys { grpc, http, agents, clients, names, ends_at, stamp })
    }
}

/// Of the folder's files now.
pub fn stamp(folder: &Path) -> Stamp {
    [CA_FILE, CERTIFICATE_FILE, KEY_FILE, AGENT_TOKENS_FILE, CLIENT_TOKENS_FILE].map(|file| {
        let found = fs::metadata(folder.join(file)).ok()?;
        Some((found.modified().ok()?, found.len()))
    })
}

fn tokens(folder: &Path, file: &str) -> Result<Tokens, CredentialsError> {
    let text = credentials::read_secret(folder, file)?;
    let tokens = Tokens::parse(&String::from_utf8_lossy(&text));
    let path = folder.join(file);
    tokens.map_err(|source| CredentialsError::Token { path, source })
}

/// What is asked of whoever connects.
enum Certificates {
    Unasked,
    Welcome,
    Demanded,
}

fn content(folder: &Path, why: String) -> CredentialsError {
    CredentialsError::Content { what: "CA", path: folder.join(CA_FILE), why }
}

/// The certificates by which those of others are judged.
fn roots(folder: &Path) -> Result<RootCertStore, CredentialsError> {
    let mut roots = RootCertStore::empty();
    let ca = credentials::read_ca(folder)?;
    for certificate in credentials::certificates(&folder.join(CA_FILE), &ca)? {
        roots.add(certificate).map_err(|error| content(folder, error.to_string()))?;
    }
    Ok(roots)
}

fn config(
    roots: Arc<RootCertStore>,
    identity: Arc<SingleCertAndKey>,
    asked: Certificates,
    protocol: &[u8],
) -> Result<ServerConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
    let verifier = match asked {
        Certificates::Unasked => None,
        Certificates::Welcome => Some(verifier.allow_unauthenticated().build()),
        Certificates::Demanded => Some(verifier.build()),
    };
    let builder = match verifier {
        None => builder.with_no_client_auth(),
        Some(verifier) => {
            let verifier = verifier.map_err(|error| error.to_string())?;
            builder.with_client_cert_verifier(Arc::new(Recording(verifier)))
        }
    };
    let mut config = builder.with_cert_resolver(identity);
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(config)
}
