//! How many connections there are, by network. Strangers, who have shown no token yet, have places
//! of their own, so that whoever has none takes none from those who have one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Connections of one listener that showed a token: a worker holds one, a client and a browser a
/// few. Each costs a descriptor and some kilobytes.
const KNOWN_MAX: usize = 6144;
/// Of them those of one network: a gateway may have a cluster behind it, and one that goes wild
/// leaves some for the others.
const KNOWN_OF_NETWORK_MAX: usize = 4096;
/// Connections that have shown nothing yet; nobody stays among them for more than seconds.
const STRANGERS_MAX: usize = 2048;
const STRANGERS_OF_NETWORK_MAX: usize = 256;
/// Handshakes at a time. Each is a few milliseconds of a core, and one that goes on for longer is
/// of somebody who does not answer. A cluster behind one gateway comes all at once when the
/// coordinator starts again, and whoever of it is refused tries again soon.
const HANDSHAKES_MAX: usize = 1024;
const HANDSHAKES_OF_NETWORK_MAX: usize = 128;
/// Refusals of one connection, with nothing let in between, after which it is closed.
const REFUSALS_MAX: u32 = 20;

/// A number of shares, of which each network gets a part at most.
#[derive(Debug)]
struct Shares {
    all_max: usize,
    of_network_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Default, Debug)]
struct Taken {
    all: usize,
    by_network: HashMap<IpAddr, usize>,
}

/// Free again when it is dropped.
#[derive(Debug)]
pub struct Share {
    shares: Arc<Shares>,
    network: IpAddr,
}

impl Shares {
    fn new(all_max: usize, of_network_max: usize) -> Arc<Shares> {
        Arc::new(Shares { all_max, of_network_max, taken: Mutex::default() })
    }

    fn take(self: &Arc<Shares>, network: IpAddr) -> Option<Share> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let of_network = taken.by_network.get(&network).copied().unwrap_or(0);
        if taken.all >= self.all_max || of_network >= self.of_network_max {
            return None;
        }
        taken.all += 1;
        taken.by_network.insert(network, of_network + 1);
        Some(Share { shares: Arc::clone(self), network })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        match taken.by_network.get_mut(&self.network) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.by_network.remove(&self.network)),
        }
    }
}

/// The places of one listener.
#[derive(Clone)]
pub struct Places {
    known: Arc<Shares>,
    strangers: Arc<Shares>,
    handshakes: Arc<Shares>,
}

impl Places {
    pub fn new() -> Places {
        Places {
            known: Shares::new(KNOWN_MAX, KNOWN_OF_NETWORK_MAX),
            strangers: Shares::new(STRANGERS_MAX, STRANGERS_OF_NETWORK_MAX),
            handshakes: Shares::new(HANDSHAKES_MAX, HANDSHAKES_OF_NETWORK_MAX),
        }
    }

    /// A new connection's, where one is free. Where nobody needs a token, nobody is a stranger.
    pub fn take(&self, network: IpAddr, needs_token: bool) -> Option<Arc<Place>> {
        let shares = if needs_token { &self.strangers } else { &self.known };
        let share = shares.take(network)?;
        Some(Arc::new(Place {
            network,
            known: Arc::clone(&self.known),
            share: Mutex::new(share),
            is_known: AtomicBool::new(false),
            refusals: AtomicU32::new(0),
        }))
    }

    /// For a handshake.
    pub fn take_handshake(&self, network: IpAddr) -> Option<Share> {
        self.handshakes.take(network)
    }
}

/// One connection's place, and how it behaved there.
#[derive(Debug)]
pub struct Place {
    network: IpAddr,
    known: Arc<Shares>,
    share: Mutex<Share>,
    is_known: AtomicBool,
    refusals: AtomicU32,
}

impl Place {
    /// A request was let in: from now on the place is one of those that showed what they may. Where
    /// these are all taken, it stays a stranger's.
    pub fn on_admitted(&self) {
        self.refusals.store(0, Ordering::Relaxed);
        if self.is_known() {
            return;
        }
        let mut share = self.share.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&share.shares, &self.known) {
            let Some(known) = self.known.take(self.network) else { return };
            *share = known;
        }
        self.is_known.store(true, Ordering::Relaxed);
    }

    /// A request was refused.
    pub fn on_refused(&self) {
        self.refusals.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a request was ever let in.
    pub fn is_known(&self) -> bool {
        self.is_known.load(Ordering::Relaxed)
    }

    /// Whether the connection is to be closed.
    pub fn is_worn(&self) -> bool {
        self.refusals.load(Ordering::Relaxed) >= REFUSALS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn left(shares: &Shares) -> (usize, usize) {
        let taken = shares.taken.lock().expect("no panic");
        (taken.all, taken.by_network.len())
    }

    #[test]
    fn one_network_leaves_places_for_others() {
        let places = Places::new();
        let mut taken = Vec::new();
        while let Some(place) = places.take(network(1), true) {
            taken.push(place);
        }
        assert_eq!(taken.len(), STRANGERS_OF_NETWORK_MAX);
        let other = places.take(network(2), true).expect("a place");
        taken.pop();
        assert!(places.take(network(1), true).is_some(), "a place that is left is free");
        drop((taken, other));
        assert_eq!(left(&places.strangers), (0, 0));
    }

    #[test]
    fn strangers_take_no_place_of_those_who_are_known() {
        let places = Places::new();
        let known = places.take(network(1), true).expect("a place");
        known.on_admitted();
        known.on_admitted();
        assert_eq!((left(&places.strangers), left(&places.known)), ((0, 0), (1, 1)));
        let strangers = (0..=u8::MAX).flat_map(|last| {
            let places = &places;
            (0..STRANGERS_OF_NETWORK_MAX).map_while(move |_| places.take(network(last), true))
        });
        let strangers: Vec<_> = strangers.collect();
        assert_eq!(strangers.len(), STRANGERS_MAX);
        assert!(places.take(network(1), true).is_none());
        strangers[0].on_admitted();
        assert!(strangers[0].is_known() && places.take(network(9), true).is_some());
        drop((known, strangers));
        assert_eq!((left(&places.strangers), left(&places.known)), ((0, 0), (0, 0)));
    }

    #[test]
    fn a_connection_that_keeps_being_refused_is_closed() {
        let place = Places::new().take(network(1), true).expect("a place");
        for _ in 1..REFUSALS_MAX {
            place.on_refused();
        }
        assert!(!place.is_worn());
        place.on_admitted();
        (0..REFUSALS_MAX).for_each(|_| place.on_refused());
        assert!(place.is_worn());
    }
}
