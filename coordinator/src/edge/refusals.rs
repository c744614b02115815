//! What was refused of late: each network's refusals are told by reason and certificate, the first
//! at once and then at intervals how many there were, and too many of them are known as such.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Peer, Role};

/// Refusals of one network in one window, after which it is told to wait: a person mistypes a few
/// times, and a worker with the wrong token ends at once.
pub const REFUSALS_MAX: u32 = 10;
/// The window.
const WINDOW: Duration = Duration::from_secs(60);
/// Between two lines of the log on one network, reason and certificate.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Networks that are remembered; of more, the one that was seen first is forgotten.
const NETWORKS_MAX: usize = 4096;
/// Certificates of one network that are told apart at a time; whoever makes more of them makes no
/// more lines with them.
const CERTIFICATES_MAX: usize = 16;

/// Why somebody is refused: the label of the counter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reason {
    /// A request without a token.
    NoToken,
    /// A token that is not known.
    UnknownToken,
    /// The other role's token.
    WrongRole,
    /// No place is left for the connection.
    Connections,
    /// Too many handshakes are under way.
    Handshakes,
    /// The handshake failed: a certificate, for one.
    Handshake,
    /// No TLS was spoken.
    NoTls,
    /// Nothing that may be asked came in time.
    Silent,
    /// A foreign name.
    Host,
    /// A foreign page.
    Origin,
    /// Too many requests.
    Rate,
}

impl Reason {
    /// Every one.
    pub const ALL: [Reason; 11] = [
        Reason::NoToken,
        Reason::UnknownToken,
        Reason::WrongRole,
        Reason::Connections,
        Reason::Handshakes,
        Reason::Handshake,
        Reason::NoTls,
        Reason::Silent,
        Reason::Host,
        Reason::Origin,
        Reason::Rate,
    ];

    /// The label's value.
    pub fn name(self) -> &'static str {
        match self {
            Reason::NoToken => "no_token",
            Reason::UnknownToken => "unknown_token",
            Reason::WrongRole => "wrong_role",
            Reason::Connections => "connections",
            Reason::Handshakes => "handshakes",
            Reason::Handshake => "handshake",
            Reason::NoTls => "no_tls",
            Reason::Silent => "silent",
            Reason::Host => "host",
            Reason::Origin => "origin",
            Reason::Rate => "rate",
        }
    }
}

/// A refusal.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Of whom.
    pub peer: Peer,
    /// Why.
    pub reason: Reason,
    /// What was asked for, where that is known.
    pub asked: Option<Role>,
    /// What the log says of it.
    pub text: String,
}

/// A line of the log: the last refusal of its kind, and how many the line stands for.
#[derive(Debug)]
pub struct Line {
    /// The last.
    pub refused: Refused,
    /// With those before it that were not told.
    pub times: u64,
}

/// The counts.
#[derive(Default)]
pub struct Refusals {
    networks: Mutex<HashMap<IpAddr, Network>>,
}

/// A reason and a certificate's subject.
type Kind = (Reason, Option<Arc<str>>);

struct Network {
    window_at: Instant,
    in_window: u32,
    kinds: HashMap<Kind, Told>,
}

struct Told {
    at: Instant,
    untold: Option<Line>,
}

impl Refusals {
    /// Counts one more. Gives the line to tell, if any, and whether there were too many.
    pub fn count(&self, refused: Refused, now: Instant) -> (Option<Line>, bool) {
        let mut networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
        let at = refused.peer.network();
        if !networks.contains_key(&at) && networks.len() >= NETWORKS_MAX {
            let oldest = networks.iter().min_by_key(|(_, network)| network.window_at);
            if let Some(oldest) = oldest.map(|(at, _)| *at) {
                networks.remove(&oldest);
            }
        }
        let new = || Network { window_at: now, in_window: 0, kinds: HashMap::new() };
        let network = networks.entry(at).or_insert_with(new);
        if now.duration_since(network.window_at) >= WINDOW {
            (network.window_at, network.in_window) = (now, 0);
        }
        network.in_window = network.in_window.saturating_add(1);
        (network.tell(refused, now), network.in_window > REFUSALS_MAX)
    }

    /// What was left untold for long enough, or all of it.
    pub fn untold(&self, now: Instant, all: bool) -> Vec<Line> {
        let mut networks = self.networks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = Vec::new();
        networks.retain(|_, network| {
            network.kinds.retain(|_, told| {
                if !all && now.duration_since(told.at) < LOG_INTERVAL {
                    return true;
                }
                told.at = now;
                let untold = told.untold.take();
                let is_recent = untold.is_some();
                lines.extend(untold);
                is_recent
            });
            !network.kinds.is_empty() || now.duration_since(network.window_at) < WINDOW
        });
        lines
    }
}

impl Network {
    fn tell(&mut self, refused: Refused, now: Instant) -> Option<Line> {
        let mut kind = (refused.reason, refused.peer.certificate.clone());
        if self.kinds.len() >= CERTIFICATES_MAX && !self.kinds.contains_key(&kind) {
            kind.1 = None;
        }
        let Some(told) = self.kinds.get_mut(&kind) else {
            self.kinds.insert(kind, Told { at: now, untold: None });
            return Some(Line { refused, times: 1 });
        };
        let times = told.untold.take().map_or(0, |line| line.times) + 1;
        let line = Line { refused, times };
        if now.duration_since(told.at) < LOG_INTERVAL {
            told.untold = Some(line);
            return None;
        }
        told.at = now;
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(address: &str, reason: Reason, certificate: Option<&str>) -> Refused {
        let address = format!("{address}:1").parse().expect("an address");
        let mut peer = Peer::at(address);
        peer.certificate = certificate.map(Arc::from);
        Refused { peer, reason, asked: None, text: reason.name().into() }
    }

    /// How many the line of one more refusal stands for; none: no line.
    fn times(refusals: &Refusals, refused: Refused, now: Instant) -> Option<u64> {
        refusals.count(refused, now).0.map(|line| line.times)
    }

    #[test]
    fn the_first_of_each_kind_is_told_and_the_next_are_counted() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        let of = |at, reason, certificate| refused(at, reason, certificate);
        let one = || of("10.0.0.1", Reason::NoToken, None);
        assert_eq!(times(&refusals, one(), after(0)), Some(1));
        assert_eq!(times(&refusals, one(), after(1)), None);
        assert_eq!(times(&refusals, one(), after(9)), None);
        let others = [
            of("10.0.0.2", Reason::NoToken, None),
            of("10.0.0.1", Reason::UnknownToken, None),
            of("10.0.0.1", Reason::NoToken, Some("CN=a")),
            of("10.0.0.1", Reason::NoToken, Some("CN=b")),
        ];
        for other in others {
            assert_eq!(times(&refusals, other.clone(), after(9)), Some(1), "{other:?}");
        }
        assert_eq!(times(&refusals, one(), after(10)), Some(3));
    }

    #[test]
    fn what_was_left_untold_is_told_later() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        for _ in 0..5 {
            refusals.count(refused("10.0.0.1", Reason::Host, None), start);
        }
        assert!(refusals.untold(after(9), false).is_empty());
        let lines = refusals.untold(after(10), false);
        assert_eq!(lines.iter().map(|line| line.times).collect::<Vec<_>>(), [4]);
        assert_eq!(times(&refusals, refused("10.0.0.1", Reason::Host, None), after(11)), None);
        assert_eq!(refusals.untold(after(12), true).len(), 1, "at the end all is told");
        assert!(refusals.untold(after(100), false).is_empty());
        assert!(refusals.networks.lock().expect("no panic").is_empty(), "and forgotten");
    }

    #[test]
    fn too_many_are_over_until_the_window_ends() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let is_over = |at: &str, now| refusals.count(refused(at, Reason::NoToken, None), now).1;
        let one = "[2001:db8::1]";
        for _ in 0..REFUSALS_MAX {
            assert!(!is_over(one, start));
        }
        assert!(is_over("[2001:db8::2]", start), "it is one host's network");
        assert!(!is_over("[2001:db8:0:1::1]", start));
        assert!(!is_over(one, start + WINDOW));
    }

    #[test]
    fn memory_and_lines_are_bounded() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        for index in 0..2 * u32::try_from(NETWORKS_MAX).expect("small") {
            let address = IpAddr::from(index.to_be_bytes()).to_string();
            let now = start + Duration::from_nanos(u64::from(index));
            refusals.count(refused(&address, Reason::NoToken, None), now);
        }
        assert_eq!(refusals.networks.lock().expect("no panic").len(), NETWORKS_MAX);
        let told = (0..1000).filter(|index| {
            let certificate = format!("CN={index}");
            let one = refused("10.0.0.1", Reason::Handshake, Some(&certificate));
            refusals.count(one, start).0.is_some()
        });
        assert_eq!(told.count(), CERTIFICATES_MAX + 1);
    }
}
