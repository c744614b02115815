//! Who is at the other end of a connection.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::places::Place;

/// The other end, as requests carry it.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where it is.
    pub address: SocketAddr,
    /// The subject of the certificate that it showed.
    pub certificate: Option<Arc<str>>,
    /// The place of its connection, where it has one.
    pub(super) place: Option<Arc<Place>>,
}

impl Peer {
    /// One that has shown nothing yet.
    pub fn at(address: SocketAddr) -> Peer {
        Peer { address, certificate: None, place: None }
    }

    /// Whom it stands for where shares are given out.
    pub fn network(&self) -> IpAddr {
        network(self.address.ip())
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

/// Whom an address stands for: a host with IPv6 has a whole network of them.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let bits = address.to_bits() & !u128::from(u64::MAX);
            Ipv6Addr::from_bits(bits).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_is_one_network() {
        let network = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(network("2001:db8::1"), network("2001:db8::2"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_ne!(network("10.0.0.1"), network("10.0.0.2"));
        assert_eq!(network("::ffff:10.0.0.1"), network("10.0.0.1"));
    }
}
