//! The certificate authority of a small cluster, and what it signs: `coordinator init-tls`.
//!
//! The folder has the CA itself and a credentials folder for each kind of process. Nothing that is
//! there is overwritten, but for certificates and their keys where new ones are asked for.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use common::credentials::{
    CA_FILE, CA_KEY_FILE, CERTIFICATE_FILE, KEY_FILE, TOKEN_FILE, certificates, served,
};
use common::token::{self, Token, TokenError};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::keys::{AGENT_TOKENS_FILE, CLIENT_TOKENS_FILE};

/// How long a new CA lasts: to replace it, every host has to be visited.
const CA_DAYS: i64 = 3650;
/// Clocks of a cluster differ by less.
const CLOCK_DIFFERENCE: Duration = Duration::hours(1);
/// By these names a host is its own, so every server has them.
const OWN_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// Read and written by its owner alone.
const MODE_SECRET: u32 = 0o600;
/// Read by everybody.
const MODE_PUBLIC: u32 = 0o644;
/// A folder of secrets.
const MODE_FOLDER: u32 = 0o700;
/// The bits of a folder's mode by which others may put something in a secret's place.
const MODE_OTHERS_WRITE: u32 = 0o022;

/// The kinds of processes, and what each one's certificate is for.
const COORDINATOR: &str = "coordinator";
const WORKER: &str = "worker";
const CLIENT: &str = "client";

/// Why there are no new credentials.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A CA is there.
    #[error(
        "`{}` is there already, and nothing is overwritten: --renew signs new certificates with \
         it, another DIR takes another CA", path.display()
    )]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// No CA is there.
    #[error("no `{}`: without --renew `coordinator init-tls` makes a CA", path.display())]
    NoCa {
        /// What was looked for.
        path: PathBuf,
    },
    /// The CA was not finished.
    #[error(
        "`{}` has no `{CA_FILE}` beside it: it is left of an init-tls that was interrupted, or its \
         certificate was moved; bring that back, or remove the key to make another CA",
        path.display()
    )]
    Unfinished {
        /// The key.
        path: PathBuf,
    },
    /// Nothing says for which hosts the new certificate is.
    #[error(
        "no certificate in `{}` whose hosts could be kept: --renew needs --host NAME here",
        path.display()
    )]
    NoHosts {
        /// What was looked for.
        path: PathBuf,
    },
    /// A token that is there is none.
    #[error("`{}`: remove it for a new one", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: TokenError,
    },
    /// A host's name is none.
    #[error("--host `{host}` is neither a name nor an address")]
    Host {
        /// As given.
        host: String,
    },
    /// The CA's own files cannot be used.
    #[error("`{}` cannot be used", path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// The CA ends before what it signs would.
    #[error("the CA in `{}` has expired: make another one, in another DIR", path.display())]
    CaExpired {
        /// The CA's file.
        path: PathBuf,
    },
    /// A certificate cannot be made.
    #[error("cannot make a certificate")]
    Make(#[source] rcgen::Error),
    /// A file operation failed.
    #[error("cannot {step} `{}`", path.display())]
    File {
        /// What was done.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The folder.
    pub folder: PathBuf,
    /// Names and addresses of the coordinator.
    pub hosts: Vec<String>,
    /// How long certificates last.
    pub days: u32,
    /// Signs with the CA that is there.
    pub renew: bool,
}

/// What was made.
#[derive(Debug)]
pub struct Made {
    /// Names and addresses of the coordinator.
    pub hosts: Vec<String>,
    /// The last day of its certificates.
    pub until: String,
}

/// Makes the CA where it is asked for, then certificates and tokens.
pub fn make(request: &Request) -> Result<Made, AuthorityError> {
    for host in &request.hosts {
        check_host(host)?;
    }
    let folder = &request.folder;
    let now = OffsetDateTime::now_utc();
    let ca_file = folder.join(CA_FILE);
    let (issuer, ca_pem, ca_ends) = if request.renew {
        existing_ca(folder)?
    } else {
        refuse_existing(folder)?;
        new_ca(folder, now)?
    };
    if ca_ends <= now {
        return Err(AuthorityError::CaExpired { path: ca_file });
    }
    let hosts = hosts(request)?;
    let until = (now + Duration::days(request.days.into())).min(ca_ends);
    let signer = Signer { issuer, ca_pem, now, until };
    signer.sign(&folder.join(COORDINATOR), COORDINATOR, &hosts)?;
    signer.sign(&folder.join(WORKER), WORKER, &[])?;
    signer.sign(&folder.join(CLIENT), CLIENT, &[])?;
    share_token(folder, WORKER, AGENT_TOKENS_FILE)?;
    share_token(folder, CLIENT, CLIENT_TOKENS_FILE)?;
    Ok(Made { hosts, until: until.date().to_string() })
}

fn refuse_existing(folder: &Path) -> Result<(), AuthorityError> {
    let kinds = [COORDINATOR, WORKER, CLIENT].map(|kind| folder.join(kind));
    let made = [folder.join(CA_FILE)].into_iter().chain(kinds);
    if let Some(path) = made.into_iter().find(|path| path.exists()) {
        return Err(AuthorityError::Exists { path });
    }
    let path = folder.join(CA_KEY_FILE);
    if path.exists() { Err(AuthorityError::Unfinished { path }) } else { Ok(()) }
}

/// What the coordinator's certificate is for.
fn hosts(request: &Request) -> Result<Vec<String>, AuthorityError> {
    let mut asked = request.hosts.clone();
    if asked.is_empty() {
        let path = request.folder.join(COORDINATOR).join(CERTIFICATE_FILE);
        asked = hosts_before(&path);
        if asked.is_empty() {
            return Err(AuthorityError::NoHosts { path });
        }
    }
    let mut hosts: Vec<String> = OWN_NAMES.map(str::to_owned).to_vec();
    hosts.extend(asked.into_iter().filter(|host| !OWN_NAMES.contains(&host.as_str())));
    Ok(hosts)
}

type Ca = (Issuer<'static, KeyPair>, String, OffsetDateTime);

fn new_ca(folder: &Path, now: OffsetDateTime) -> Result<Ca, AuthorityError> {
    let ends = now + Duration::days(CA_DAYS);
    let mut params = CertificateParams::default();
    // A name of its own: two CAs of one name are not told apart where certificates are mixed up.
    let secret = Token::generate();
    params.distinguished_name = named(&format!("GradSweep CA {}", &secret.secret()[..8]));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = (now - CLOCK_DIFFERENCE, ends);
    let key = KeyPair::generate().map_err(AuthorityError::Make)?;
    let pem = params.self_signed(&key).map_err(AuthorityError::Make)?.pem();
    make_folder(folder)?;
    replace(&[
        (folder.join(CA_KEY_FILE), key.serialize_pem(), MODE_SECRET),
        (folder.join(CA_FILE), pem.clone(), MODE_PUBLIC),
    ])?;
    Ok((Issuer::new(params, key), pem, ends))
}

fn existing_ca(folder: &Path) -> Result<Ca, AuthorityError> {
    let (path, key_path) = (folder.join(CA_FILE), folder.join(CA_KEY_FILE));
    let pem = read(&path)?;
    let key_pem = read(&key_path)?;
    let key = KeyPair::from_pem(&key_pem);
    let key = key.map_err(|source| AuthorityError::Ca { path: key_path, source })?;
    let unusable = |source| AuthorityError::Ca { path: path.clone(), source };
    let issuer = Issuer::from_ca_cert_pem(&pem, key).map_err(unusable)?;
    let der = certificates(&path, pem.as_bytes()).unwrap_or_default();
    let parsed = der.first().and_then(|der| X509Certificate::from_der(der).ok());
    let Some((_, parsed)) = parsed else {
        return Err(unusable(rcgen::Error::CouldNotParseCertificate));
    };
    let ends = parsed.validity().not_after.to_datetime();
    Ok((issuer, pem, ends))
}

fn read(path: &Path) -> Result<String, AuthorityError> {
    fs::read_to_string(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => AuthorityError::NoCa { path: path.into() },
        _ => AuthorityError::File { step: "read", path: path.into(), source },
    })
}

/// Names of the certificate that is replaced; none where it cannot be read.
fn hosts_before(path: &Path) -> Vec<String> {
    let pem = fs::read(path).unwrap_or_default();
    let der = certificates(path, &pem).unwrap_or_default();
    der.first().map(|der| served(der).0).unwrap_or_default()
}

fn check_host(host: &str) -> Result<(), AuthorityError> {
    let is_name =
        rustls::pki_types::DnsName::try_from(host.strip_prefix("*.").unwrap_or(host)).is_ok();
    if host.parse::<IpAddr>().is_ok() || is_name {
        return Ok(());
    }
    Err(AuthorityError::Host { host: host.into() })
}

fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    named.push(DnType::CommonName, name);
    named
}

/// Signs certificates of one moment.
struct Signer {
    issuer: Issuer<'static, KeyPair>,
    ca_pem: String,
    now: OffsetDateTime,
    until: OffsetDateTime,
}

impl Signer {
    /// A credentials folder's certificate and key. One with hosts is a server's.
    fn sign(&self, folder: &Path, name: &str, hosts: &[String]) -> Result<(), AuthorityError> {
        let mut params = CertificateParams::new(hosts).map_err(AuthorityError::Make)?;
        params.distinguished_name = named(&format!("GradSweep {name}"));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match hosts.is_empty() {
            true => ExtendedKeyUsagePurpose::ClientAuth,
            false => ExtendedKeyUsagePurpose::ServerAuth,
        }];
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = (self.now - CLOCK_DIFFERENCE, self.until);
        let key = KeyPair::generate().map_err(AuthorityError::Make)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(AuthorityError::Make)?;
        make_folder(folder)?;
        replace(&[
            (folder.join(CA_FILE), self.ca_pem.clone(), MODE_PUBLIC),
            (folder.join(KEY_FILE), key.serialize_pem(), MODE_SECRET),
            (folder.join(CERTIFICATE_FILE), certificate.pem(), MODE_PUBLIC),
        ])
    }
}

/// The token that one side shows and the other accepts; where one of them is missing, it is made of
/// the other, so that tokens that were handed out stay.
fn share_token(folder: &Path, kind: &str, accepted: &str) -> Result<(), AuthorityError> {
    let shown = folder.join(kind).join(TOKEN_FILE);
    let accepted = folder.join(COORDINATOR).join(accepted);
    let file = |path, token: &Token| (path, format!("{}\n", token.secret()), MODE_SECRET);
    match (first_token(&shown)?, first_token(&accepted)?) {
        (Some(_), Some(_)) => Ok(()),
        (Some(token), None) => replace(&[file(accepted, &token)]),
        (None, Some(token)) => replace(&[file(shown, &token)]),
        (None, None) => {
            let token = Token::generate();
            replace(&[file(accepted, &token), file(shown, &token)])
        }
    }
}

/// Of a file; none where that is not there.
fn first_token(path: &Path) -> Result<Option<Token>, AuthorityError> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(AuthorityError::File { step: "read", path: path.into(), source });
        }
        Ok(text) => text,
    };
    let token = Token::parse(token::lines(&text).next().unwrap_or_default());
    token.map(Some).map_err(|source| AuthorityError::Token { path: path.into(), source })
}

/// A folder that was there is taken, but not one that others write into.
fn make_folder(path: &Path) -> Result<(), AuthorityError> {
    let file = |step| move |source| AuthorityError::File { step, path: path.into(), source };
    let made = DirBuilder::new().recursive(true).mode(MODE_FOLDER).create(path);
    made.map_err(file("make"))?;
    let found = fs::metadata(path).map_err(file("read"))?.permissions();
    if found.mode() & MODE_OTHERS_WRITE == 0 {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(MODE_FOLDER)).map_err(file("chmod 700"))
}

/// A file, its text and its mode.
type Content = (PathBuf, String, u32);

/// Who reads a file meanwhile finds the old one or the new one. All are on the disk before one has
/// its name: who is interrupted has the old ones.
fn replace(files: &[Content]) -> Result<(), AuthorityError> {
    files.iter().try_for_each(write_partial)?;
    files.iter().try_for_each(|(path, ..)| {
        let renamed = fs::rename(partial(path), path);
        renamed.map_err(|source| AuthorityError::File {
            step: "replace",
            path: path.into(),
            source,
        })
    })
}

fn partial(path: &Path) -> PathBuf {
    path.with_extension("partial")
}

/// Writes beside the file what is to become it.
fn write_partial((path, text, mode): &Content) -> Result<(), AuthorityError> {
    let path = partial(path);
    let write = || -> io::Result<()> {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = File::options().write(true).create_new(true).mode(*mode).open(&path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source| AuthorityError::File { step: "write", path: path.clone(), source })
}

#[cfg(test)]
mod tests;
