//! A credentials folder: `ca.pem`, `cert.pem` with `key.pem`, and `token`. `coordinator init-tls`
//! makes such folders; whoever has certificates of its own lays the same files down.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::token::{Token, TokenError};

/// The certificate of the CA that both sides trust.
pub const CA_FILE: &str = "ca.pem";
/// This side's certificate, with those between it and the CA.
pub const CERTIFICATE_FILE: &str = "cert.pem";
/// The key of the certificate.
pub const KEY_FILE: &str = "key.pem";
/// The token of a worker or client.
pub const TOKEN_FILE: &str = "token";
/// The CA's key, which only the folder of `init-tls` itself has.
pub const CA_KEY_FILE: &str = "ca-key.pem";
/// Takes a token in place of the folder's.
pub const TOKEN_VARIABLE: &str = "GRADSWEEP_TOKEN";
/// Names a file with the token in place of the folder's.
pub const TOKEN_FILE_VARIABLE: &str = "GRADSWEEP_TOKEN_FILE";
/// Names the folder, as `--credentials` does.
pub const CREDENTIALS_VARIABLE: &str = "GRADSWEEP_CREDENTIALS";

/// No file of credentials is larger: another one was named, or a device.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// A certificate that ends sooner than this is told of.
const EXPIRY_WARNING_SECONDS: i64 = 30 * 24 * 3600;
/// The bit of a file's mode by which everybody on the host may read it.
const MODE_OTHERS_READ: u32 = 0o004;

/// What is wrong with a credentials folder or a token from elsewhere.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file is not there.
    #[error(
        "--credentials: no `{}`; `coordinator init-tls` makes such folders", path.display()
    )]
    Absent {
        /// The file.
        path: PathBuf,
    },
    /// The folder that the credentials are in.
    #[error("--credentials: {}", authority(folder))]
    Authority {
        /// The folder.
        folder: PathBuf,
    },
    /// A file cannot be read.
    #[error("--credentials: cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("--credentials: no {what} in `{}`: {why}", path.display())]
    Content {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A certificate is too old.
    #[error(
        "--credentials: the certificate in `{}` expired on {at}; `coordinator init-tls DIR \
         --renew` in the folder of its CA makes a new one", path.display()
    )]
    Expired {
        /// The file.
        path: PathBuf,
        /// Its last day.
        at: String,
    },
    /// A certificate is of the future.
    #[error(
        "--credentials: the certificate in `{}` is valid from {at} on; is this host's clock right?",
        path.display()
    )]
    Early {
        /// The file.
        path: PathBuf,
        /// Its first day.
        at: String,
    },
    /// Certificate and key are not of one pair.
    #[error("--credentials: `{}` is not the key of `{CERTIFICATE_FILE}` beside it", path.display())]
    KeyMismatch {
        /// The key's file.
        path: PathBuf,
    },
    /// A file with a token holds none.
    #[error("`{}`", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: TokenError,
    },
    /// The environment's token is none.
    #[error("{TOKEN_VARIABLE}")]
    Variable(#[source] TokenError),
}

/// What a worker or a client shows, and whom it trusts.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The CA's certificates.
    pub ca_pem: Vec<u8>,
    /// A certificate with its key, where there is one.
    pub identity: Option<Identity>,
}

/// A certificate and its key, which belong together.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate, then those between it and the CA.
    pub certificate_pem: Vec<u8>,
    /// The key.
    pub key_pem: SecretPem,
}

/// A key's text.
#[derive(Clone)]
pub struct SecretPem(Vec<u8>);

impl SecretPem {
    /// The text.
    pub fn secret(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for SecretPem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretPem(hidden)")
    }
}

impl Identity {
    /// For a server of this process.
    pub fn certified_key(&self, folder: &Path) -> Result<CertifiedKey, CredentialsError> {
        let path = folder.join(KEY_FILE);
        let chain = certificates(&folder.join(CERTIFICATE_FILE), &self.certificate_pem)?;
        let content = |why: String| CredentialsError::Content {
            what: "private key",
            path: path.clone(),
            why,
        };
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.secret());
        let key = key.map_err(|error| content(error.to_string()))?;
        let provider = rustls::crypto::ring::default_provider();
        CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                CredentialsError::KeyMismatch { path: path.clone() }
            }
            other => content(other.to_string()),
        })
    }
}

/// Reads what a worker or a client needs to speak TLS.
pub fn read(folder: &Path) -> Result<Credentials, CredentialsError> {
    if folder.join(CA_KEY_FILE).exists() {
        return Err(CredentialsError::Authority { folder: folder.into() });
    }
    let ca_pem = read_ca(folder)?;
    let is_there = |file: &str| folder.join(file).exists();
    let has_identity = is_there(CERTIFICATE_FILE) || is_there(KEY_FILE);
    let identity = if has_identity { Some(read_identity(folder)?) } else { None };
    Ok(Credentials { ca_pem, identity })
}

/// Reads the CA's certificates, which are valid now.
pub fn read_ca(folder: &Path) -> Result<Vec<u8>, CredentialsError> {
    let pem = read_file(folder, CA_FILE)?;
    let path = folder.join(CA_FILE);
    for certificate in certificates(&path, &pem)? {
        check_time(&path, &certificate)?;
    }
    Ok(pem)
}

/// Reads a certificate, which is valid now, and its key.
pub fn read_identity(folder: &Path) -> Result<Identity, CredentialsError> {
    let certificate_pem = read_file(folder, CERTIFICATE_FILE)?;
    let key_pem = SecretPem(read_secret(folder, KEY_FILE)?);
    let path = folder.join(CERTIFICATE_FILE);
    for certificate in certificates(&path, &certificate_pem)? {
        check_time(&path, &certificate)?;
    }
    let identity = Identity { certificate_pem, key_pem };
    identity.certified_key(folder)?;
    Ok(identity)
}

/// The token of the environment, else the folder's; none where nobody names one.
pub fn token(folder: Option<&Path>) -> Result<Option<Token>, CredentialsError> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(text) = variable(TOKEN_VARIABLE) {
        let token = Token::parse(&text.to_string_lossy());
        return token.map(Some).map_err(CredentialsError::Variable);
    }
    let path = match (variable(TOKEN_FILE_VARIABLE), folder) {
        (Some(path), _) => PathBuf::from(path),
        (None, Some(folder)) if folder.join(TOKEN_FILE).exists() => folder.join(TOKEN_FILE),
        (None, _) => return Ok(None),
    };
    let text = fs::read_to_string(&path);
    let text = text.map_err(|source| CredentialsError::Read { path: path.clone(), source })?;
    Token::parse(&text).map(Some).map_err(|source| CredentialsError::Token { path, source })
}

/// Reads a file that others should not.
pub fn read_secret(folder: &Path, file: &str) -> Result<Vec<u8>, CredentialsError> {
    let content = read_file(folder, file)?;
    let path = folder.join(file);
    if fs::metadata(&path).is_ok_and(|found| found.mode() & MODE_OTHERS_READ != 0) {
        let file = path.display();
        tracing::warn!("everybody on this host may read `{file}`: `chmod 600 {file}` ends that");
    }
    Ok(content)
}

fn read_file(folder: &Path, file: &str) -> Result<Vec<u8>, CredentialsError> {
    let path = folder.join(file);
    let read = || -> io::Result<Vec<u8>> {
        if fs::metadata(&path)?.len() > FILE_BYTES_MAX {
            return Err(io::Error::other("larger than any certificate"));
        }
        fs::read(&path)
    };
    read().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound if folder.join(CA_KEY_FILE).exists() => {
            CredentialsError::Authority { folder: folder.into() }
        }
        io::ErrorKind::NotFound => CredentialsError::Absent { path: path.clone() },
        _ => CredentialsError::Read { path: path.clone(), source },
    })
}

fn authority(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "`{folder}` is the folder of the CA itself: name `{folder}/coordinator`, \
         `{folder}/worker` or `{folder}/client`"
    )
}

/// The certificates of a PEM file, at least one.
pub fn certificates(
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let content =
        |why: String| CredentialsError::Content { what: "certificate", path: path.to_owned(), why };
    let read = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let read = read.map_err(|error| content(error.to_string()))?;
    if read.is_empty() {
        return Err(content("PEM is expected, `-----BEGIN CERTIFICATE-----`".into()));
    }
    Ok(read)
}

fn check_time(path: &Path, certificate: &CertificateDer<'_>) -> Result<(), CredentialsError> {
    let parsed = X509Certificate::from_der(certificate);
    let (_, parsed) = parsed.map_err(|error| CredentialsError::Content {
        what: "certificate",
        path: path.into(),
        why: error.to_string(),
    })?;
    let validity = parsed.validity();
    let now = x509_parser::time::ASN1Time::now();
    if now < validity.not_before {
        let at = validity.not_before.to_string();
        return Err(CredentialsError::Early { path: path.into(), at });
    }
    if now > validity.not_after {
        let at = validity.not_after.to_string();
        return Err(CredentialsError::Expired { path: path.into(), at });
    }
    if validity.not_after.timestamp() - now.timestamp() < EXPIRY_WARNING_SECONDS {
        let at = validity.not_after;
        tracing::warn!(
            file = %path.display(),
            "the certificate expires on {at}; `coordinator init-tls DIR --renew` makes a new one"
        );
    }
    Ok(())
}

/// What a certificate says of whom it is: its subject, as `CN=worker`.
pub fn subject(certificate: &CertificateDer<'_>) -> String {
    match X509Certificate::from_der(certificate) {
        Ok((_, parsed)) => parsed.subject().to_string(),
        Err(_) => "unreadable".into(),
    }
}

/// Names and addresses that a server's certificate is for, and when it ends, in seconds of the
/// epoch; nothing where it cannot be read.
pub fn served(certificate: &CertificateDer<'_>) -> (Vec<String>, i64) {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return Default::default() };
    let names = match parsed.subject_alternative_name() {
        Ok(Some(names)) => names.value.general_names.iter().filter_map(name_of).collect(),
        Ok(None) | Err(_) => Vec::new(),
    };
    (names, parsed.validity().not_after.timestamp())
}

fn name_of(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).ok().map(IpAddr::from);
            let v6 = <[u8; 16]>::try_from(*bytes).ok().map(IpAddr::from);
            v4.or(v6).map(|ip| ip.to_string())
        }
        _ => None,
    }
}
