//! The certificate authority of a small cluster, and what it signs: `coordinator init-tls`.
//!
//! The folder has the CA itself and a credentials folder for each kind of process. Nothing that is
//! there is overwritten, but for certificates and their keys where new ones are asked for.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use common::credentials::{
    CA_FILE, CA_KEY_FILE, CERTIFICATE_FILE, KEY_FILE, TOKEN_FILE, certificates,
};
use common::token::Token;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};
use x509_parser::extensions::GeneralName;
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
        let made = [&ca_file, &folder.join(CA_KEY_FILE)].map(Clone::clone);
        let kinds = [COORDINATOR, WORKER, CLIENT].map(|kind| folder.join(kind));
        if let Some(path) = made.into_iter().chain(kinds).find(|path| path.exists()) {
            return Err(AuthorityError::Exists { path });
        }
        new_ca(folder, now)?
    };
    if ca_ends <= now {
        return Err(AuthorityError::CaExpired { path: ca_file });
    }
    let mut hosts: Vec<String> = OWN_NAMES.map(str::to_owned).to_vec();
    let asked = match request.hosts.is_empty() {
        true => hosts_before(&folder.join(COORDINATOR).join(CERTIFICATE_FILE)),
        false => request.hosts.clone(),
    };
    hosts.extend(asked.into_iter().filter(|host| !OWN_NAMES.contains(&host.as_str())));
    let until = (now + Duration::days(request.days.into())).min(ca_ends);
    let signer = Signer { issuer, ca_pem, now, until };
    signer.sign(&folder.join(COORDINATOR), COORDINATOR, &hosts)?;
    signer.sign(&folder.join(WORKER), WORKER, &[])?;
    signer.sign(&folder.join(CLIENT), CLIENT, &[])?;
    share_token(folder, WORKER, AGENT_TOKENS_FILE)?;
    share_token(folder, CLIENT, CLIENT_TOKENS_FILE)?;
    Ok(Made { hosts, until: until.date().to_string() })
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
    write_new(&folder.join(CA_KEY_FILE), &key.serialize_pem(), MODE_SECRET)?;
    write_new(&folder.join(CA_FILE), &pem, MODE_PUBLIC)?;
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
    let parsed = der.first().and_then(|der| X509Certificate::from_der(der).ok());
    let Some((_, parsed)) = parsed else { return Vec::new() };
    let Ok(Some(names)) = parsed.subject_alternative_name() else { return Vec::new() };
    let names = names.value.general_names.iter();
    names.filter_map(host_of).collect()
}

fn host_of(name: &GeneralName<'_>) -> Option<String> {
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

fn check_host(host: &str) -> Result<(), AuthorityError> {
    let is_name = rustls::pki_types::DnsName::try_from(host.trim_start_matches("*.")).is_ok();
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
        replace(&folder.join(CA_FILE), &self.ca_pem, MODE_PUBLIC)?;
        replace(&folder.join(KEY_FILE), &key.serialize_pem(), MODE_SECRET)?;
        replace(&folder.join(CERTIFICATE_FILE), &certificate.pem(), MODE_PUBLIC)
    }
}

/// The token that one side shows and the other accepts; tokens that are there stay.
fn share_token(folder: &Path, kind: &str, accepted: &str) -> Result<(), AuthorityError> {
    let shown = folder.join(kind).join(TOKEN_FILE);
    let accepted = folder.join(COORDINATOR).join(accepted);
    if shown.exists() || accepted.exists() {
        return Ok(());
    }
    let token = format!("{}\n", Token::generate().secret());
    write_new(&accepted, &token, MODE_SECRET)?;
    write_new(&shown, &token, MODE_SECRET)
}

fn make_folder(path: &Path) -> Result<(), AuthorityError> {
    let made = DirBuilder::new().recursive(true).mode(MODE_FOLDER).create(path);
    made.map_err(|source| AuthorityError::File { step: "make", path: path.into(), source })
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), AuthorityError> {
    let write = || -> io::Result<()> {
        let mut file = File::options().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source| AuthorityError::File { step: "write", path: path.into(), source })
}

/// Who reads the file meanwhile finds the old one or the new one.
fn replace(path: &Path, text: &str, mode: u32) -> Result<(), AuthorityError> {
    let partial = path.with_extension("partial");
    let removed = match fs::remove_file(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    let file = |step| move |source| AuthorityError::File { step, path: path.into(), source };
    removed.map_err(file("replace"))?;
    write_new(&partial, text, mode)?;
    fs::rename(&partial, path).map_err(file("replace"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::keys::Keys;
    use super::*;

    fn request(folder: &Path, hosts: &[&str], renew: bool) -> Request {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        Request { folder: folder.to_owned(), hosts, days: 30, renew }
    }

    #[test]
    fn every_folder_can_be_used_and_secrets_are_their_owners() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().join("tls");
        let made = make(&request(&folder, &["node1.example", "10.0.0.7"], false)).expect("made");
        assert_eq!(made.hosts, ["localhost", "127.0.0.1", "::1", "node1.example", "10.0.0.7"]);
        Keys::read(&folder.join(COORDINATOR), true).expect("a server's folder");
        for kind in [WORKER, CLIENT] {
            let found = common::credentials::read(&folder.join(kind)).expect("a client's folder");
            assert!(found.identity.is_some());
        }
        let mode = |path: &str| {
            let path = folder.join(path);
            fs::metadata(&path).expect("it is there").permissions().mode() & 0o777
        };
        for secret in ["ca-key.pem", "coordinator/key.pem", "worker/key.pem", "client/key.pem"] {
            assert_eq!(mode(secret), MODE_SECRET, "{secret}");
        }
        let tokens = ["coordinator/agent.token", "coordinator/client.token", "worker/token"];
        for secret in tokens.into_iter().chain(["client/token"]) {
            assert_eq!(mode(secret), MODE_SECRET, "{secret}");
        }
        assert_eq!(mode("."), MODE_FOLDER);
        assert!(!folder.join("coordinator/token").exists(), "it shows none");
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        make(&request(folder.path(), &["a"], false)).expect("made");
        let ca = fs::read(folder.path().join(CA_FILE)).expect("it is there");
        let error = make(&request(folder.path(), &["a"], false)).expect_err("it is there");
        assert!(error.to_string().contains("nothing is overwritten"), "{error}");
        assert_eq!(fs::read(folder.path().join(CA_FILE)).expect("it is there"), ca);
    }

    #[test]
    fn renewed_certificates_keep_ca_tokens_and_names() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = make(&request(folder.path(), &[], true)).expect_err("no CA");
        assert!(error.to_string().contains("without --renew"), "{error}");
        let first = make(&request(folder.path(), &["a.example", "10.0.0.7"], false));
        let first = first.expect("made");
        let content = |file: &str| fs::read(folder.path().join(file)).expect("it is there");
        let kept = ["ca.pem", "ca-key.pem", "worker/token", "coordinator/client.token"];
        let new = ["coordinator/cert.pem", "coordinator/key.pem", "worker/cert.pem"];
        let (kept_before, new_before) = (kept.map(content), new.map(content));
        let again = make(&request(folder.path(), &[], true)).expect("renewed");
        assert_eq!(again.hosts, first.hosts);
        assert_eq!(kept.map(content), kept_before);
        for (now, before) in new.map(content).iter().zip(&new_before) {
            assert_ne!(now, before);
        }
        let other = make(&request(folder.path(), &["b.example"], true)).expect("renewed");
        assert_eq!(other.hosts.last().map(String::as_str), Some("b.example"));
        assert_eq!(other.hosts.len(), OWN_NAMES.len() + 1);
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        for host in ["a", "a.example", "*.a.example", "10.0.0.1", "2001:db8::1"] {
            check_host(host).expect("accepted");
        }
        for host in ["", "a b", "http://a", "a:1", "/"] {
            check_host(host).expect_err("refused");
        }
    }
}
