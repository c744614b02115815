//! The way of a worker or a client to the coordinator: its address, TLS where that is `https`, and
//! the token. What goes wrong on the way is told in words that say what to do.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};

use crate::credentials::{self, CredentialsError, TOKEN_FILE, TOKEN_FILE_VARIABLE, TOKEN_VARIABLE};
use crate::telemetry::chain;

/// The name that every server certificate of `init-tls` has, by which a coordinator of this host is
/// known whatever address it listens on.
const LOCAL_NAME: &str = "localhost";

/// What a port that speaks TLS says to a client that does not.
pub const NO_TLS: &str = "this port speaks TLS: use https://";

/// A channel that shows the token with every call.
pub type Authorized = InterceptedService<Channel, Bearer>;

/// A coordinator's address, and how to speak to it.
#[derive(Clone, Debug)]
pub struct Access {
    url: String,
    is_tls: bool,
    is_local: bool,
    /// The name that the coordinator's certificate has to have, where it is not the address's.
    name: Option<&'static str>,
    folder: Option<PathBuf>,
}

/// What was asked for cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The address is none.
    #[error(
        "--coordinator `{url}` is not an address: http://HOST:PORT is accepted, or \
         https://HOST:PORT with --credentials"
    )]
    Address {
        /// As given.
        url: String,
    },
    /// Whom to trust is not said.
    #[error(
        "--coordinator `{url}` needs --credentials DIR with the `ca.pem` of the coordinator: the \
         system's certificates are not consulted"
    )]
    NoCa {
        /// The address.
        url: String,
    },
    /// The coordinator would refuse it.
    #[error(
        "--coordinator `{url}` needs a token: none in `{}`, {TOKEN_VARIABLE} or \
         {TOKEN_FILE_VARIABLE}", path.display()
    )]
    NoToken {
        /// The address.
        url: String,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The token would be read on the way.
    #[error(
        "--coordinator `{url}` would send the token unencrypted: give https://, or no token for a \
         coordinator that runs --insecure"
    )]
    Clear {
        /// The address.
        url: String,
    },
    /// A credentials folder cannot be used.
    #[error(transparent)]
    Credentials(CredentialsError),
    /// TLS cannot be set up.
    #[error("--credentials: TLS cannot be set up")]
    Tls(#[source] tonic::transport::Error),
}

impl Access {
    /// To this address; an address without a scheme is one of TLS where there are credentials.
    /// Reads the credentials, so that what is wrong with them is told before anything starts.
    pub fn to(url: &str, folder: Option<&Path>) -> Result<Access, AccessError> {
        let scheme = if folder.is_some() { "https" } else { "http" };
        let full = if url.contains("://") { url.to_owned() } else { format!("{scheme}://{url}") };
        let error = || AccessError::Address { url: url.into() };
        let endpoint = Endpoint::from_shared(full.clone()).map_err(|_| error())?;
        let host = endpoint.uri().host().filter(|host| !host.is_empty()).ok_or_else(error)?;
        let is_tls = match endpoint.uri().scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(error()),
        };
        let folder = folder.map(Path::to_owned);
        let is_local = is_loopback(host);
        let access = Access { url: full, is_tls, is_local, name: None, folder };
        access.endpoint()?;
        Ok(access)
    }

    /// To the coordinator of this host that told its own address.
    pub fn to_own(
        address: SocketAddr,
        is_tls: bool,
        folder: Option<&Path>,
    ) -> Result<Access, AccessError> {
        let url = format!("{}://{address}", if is_tls { "https" } else { "http" });
        let name = Some(LOCAL_NAME);
        let folder = folder.filter(|_| is_tls).map(Path::to_owned);
        let access = Access { url, is_tls, is_local: true, name, folder };
        access.endpoint()?;
        Ok(access)
    }

    /// The address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What to connect to and what to show there. Reads the credentials anew, so that a process
    /// that runs for long takes those that replaced them.
    pub fn endpoint(&self) -> Result<(Endpoint, Bearer), AccessError> {
        let url = || self.url.clone();
        let endpoint = Endpoint::from_shared(url());
        let endpoint = endpoint.map_err(|_| AccessError::Address { url: url() })?;
        let token = credentials::token(self.folder.as_deref()).map_err(AccessError::Credentials)?;
        if !self.is_tls {
            if token.is_some() && !self.is_local {
                return Err(AccessError::Clear { url: url() });
            }
            return Ok((endpoint, Bearer::new(token.as_ref().map(|token| token.secret()))));
        }
        let Some(folder) = &self.folder else { return Err(AccessError::NoCa { url: url() }) };
        let found = credentials::read(folder).map_err(AccessError::Credentials)?;
        let Some(token) = token else {
            return Err(AccessError::NoToken { url: url(), path: folder.join(TOKEN_FILE) });
        };
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(found.ca_pem));
        if let Some(identity) = found.identity {
            let key = identity.key_pem.secret();
            tls = tls.identity(Identity::from_pem(identity.certificate_pem, key));
        }
        if let Some(name) = self.name {
            tls = tls.domain_name(name);
        }
        let endpoint = endpoint.tls_config(tls).map_err(AccessError::Tls)?;
        Ok((endpoint, Bearer::new(Some(token.secret()))))
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

/// What went wrong between this side and the coordinator, and what to do; none where it is not
/// about TLS. Errors of both sides cross the HTTP/2 layer as text alone, so text is what is read.
pub fn explain(error: &(dyn Error + 'static)) -> Option<String> {
    let text = chain(error);
    let has = |words: &str| text.contains(words);
    let alert = |name: &str| has(&format!("received fatal alert: {name}"));
    let renew = "`coordinator init-tls DIR --renew` in the folder of the CA makes a new one";
    let known = if has("certificate expired") {
        format!("the coordinator's certificate has expired; {renew}")
    } else if has("certificate not valid yet") {
        "the coordinator's certificate is not valid yet; is a clock wrong?".into()
    } else if has("UnknownIssuer") || has("BadSignature") {
        "the coordinator's certificate is of another CA than the ca.pem in --credentials".into()
    } else if has("certificate not valid for name") || has("NotValidForName") {
        let names = text.rsplit_once("invalid peer certificate: ").map_or("", |(_, names)| names);
        format!(
            "the coordinator has a certificate for other names ({names}); `coordinator init-tls \
             DIR --renew --host NAME` makes one for this name"
        )
    } else if alert("CertificateRequired") {
        "the coordinator runs --mutual-tls and wants a certificate: cert.pem and key.pem in \
         --credentials"
            .into()
    } else if alert("CertificateExpired") {
        format!("the certificate in --credentials has expired; {renew}")
    } else if ["UnknownCA", "BadCertificate", "DecryptError", "CertificateUnknown"]
        .into_iter()
        .any(alert)
    {
        "the coordinator refuses the certificate in --credentials: it is of another CA".into()
    } else if has("InvalidContentType") {
        "no TLS is spoken at this address: give http://, or the port that speaks TLS".into()
    } else if has(NO_TLS) {
        "TLS is spoken at this address: give https:// and --credentials".into()
    } else {
        return None;
    };
    Some(known)
}

/// Whether a host's name or address means this host itself.
pub fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => {
            let name = bare.strip_suffix('.').unwrap_or(bare).to_ascii_lowercase();
            name == LOCAL_NAME || name.ends_with(".localhost")
        }
    }
}

/// What to do where the coordinator refuses the token; none where it refuses something else.
pub fn refusal(status: &Status) -> Option<String> {
    match status.code() {
        // The HTTP/2 layer has a use of its own for this code.
        Code::PermissionDenied if explain(status).is_some() => None,
        Code::Unauthenticated | Code::PermissionDenied => Some(format!(
            "the coordinator refuses: {}; the token is that of {TOKEN_VARIABLE}, \
             {TOKEN_FILE_VARIABLE} or `{TOKEN_FILE}` in --credentials",
            status.message()
        )),
        _ => None,
    }
}

/// Shows a token with every call.
#[derive(Clone, Debug)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Bearer {
    fn new(token: Option<&str>) -> Bearer {
        Bearer(token.map(|token| {
            let header = format!("Bearer {token}");
            let mut value =
                MetadataValue::try_from(header).expect("a token has no other characters");
            value.set_sensitive(true);
            value
        }))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked() {
        let local = ["http://localhost:50051", "localhost:50051", "127.0.0.1:1", "http://[::1]:2"];
        for url in local.into_iter().chain(["http://host:50051", "host:50051"]) {
            let access = Access::to(url, None).expect("an address");
            assert_eq!(access.is_local, local.contains(&url), "{url}");
            assert!(access.url().starts_with("http://"), "{access}");
        }
        for url in ["", "http://", "ftp://host", "http://a b"] {
            let error = Access::to(url, None).expect_err("refused").to_string();
            assert!(error.contains("http://HOST:PORT is accepted"), "{url}: {error}");
        }
    }

    #[test]
    fn tls_needs_to_know_whom_to_trust() {
        let error = Access::to("https://host:1", None).expect_err("no CA").to_string();
        assert!(error.contains("needs --credentials DIR with the `ca.pem`"), "{error}");
        let folder = tempfile::tempdir().expect("a folder");
        let error = Access::to("host:1", Some(folder.path())).expect_err("no CA").to_string();
        assert!(error.contains("ca.pem`; `coordinator init-tls` makes such folders"), "{error}");
    }

    #[test]
    fn a_token_is_not_sent_in_clear_beyond_this_host() {
        let folder = tempfile::tempdir().expect("a folder");
        let token = crate::token::Token::generate();
        std::fs::write(folder.path().join(TOKEN_FILE), token.secret()).expect("writable");
        let error = Access::to("http://host:1", Some(folder.path())).expect_err("refused");
        assert!(error.to_string().contains("would send the token unencrypted"), "{error}");
        Access::to("http://127.0.0.1:1", Some(folder.path())).expect("accepted");
    }

    #[test]
    fn names_of_this_host_are_told_from_others() {
        for host in ["localhost", "LOCALHOST.", "a.localhost", "127.8.8.8", "[::1]", "::1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example", "10.0.0.1", "[2001:db8::1]", "0.0.0.0", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
