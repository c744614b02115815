//! Who is at the other end of a connection.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// The other end, as requests carry it.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where it is.
    pub address: SocketAddr,
    /// The subject of the certificate that it showed.
    pub certificate: Option<Arc<str>>,
}

impl Peer {
    /// One that has shown nothing yet.
    pub fn at(address: SocketAddr) -> Peer {
        Peer { address, certificate: None }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        match &self.certificate {
            // Whatever a stranger wrote into it, a log line stays one line.
            Some(subject) => write!(f, " (certificate {})", subject.escape_debug()),
            None => Ok(()),
        }
    }
}
