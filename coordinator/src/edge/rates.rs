//! How often a network may ask, whatever it shows: far above what pages, commands and scrapes do,
//! and far below what keeps a core busy.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Requests a second that may go on for ever.
pub const RATE: u32 = 200;
/// Requests that may come at once.
const BURST: u32 = 1000;
/// Networks that are remembered; of more, those that ask least are forgotten.
const NETWORKS_MAX: usize = 4096;
const INTERVAL: Duration = Duration::from_nanos(1_000_000_000 / RATE as u64);

/// A bucket for each network, kept as the moment at which it is full again.
#[derive(Default)]
pub struct Rates(Mutex<HashMap<IpAddr, Instant>>);

impl Rates {
    /// Whether a network may ask once more.
    pub fn allow(&self, network: IpAddr, now: Instant) -> bool {
        let mut full_at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !full_at.contains_key(&network) && full_at.len() >= NETWORKS_MAX {
            full_at.retain(|_, at| *at > now);
            let first = full_at.iter().min_by_key(|(_, at)| **at).map(|(network, _)| *network);
            if let (Some(first), true) = (first, full_at.len() >= NETWORKS_MAX) {
                full_at.remove(&first);
            }
        }
        let at = full_at.entry(network).or_insert(now);
        let next = (*at).max(now) + INTERVAL;
        let is_allowed = next.duration_since(now) <= INTERVAL * BURST;
        if is_allowed {
            *at = next;
        }
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let (rates, now) = (Rates::default(), Instant::now());
        let one = IpAddr::from([10, 0, 0, 1]);
        let asked = |at| (0..2 * BURST).filter(|_| rates.allow(one, at)).count() as u32;
        assert_eq!(asked(now), BURST);
        assert!(rates.allow(IpAddr::from([10, 0, 0, 2]), now), "another network has its own");
        assert_eq!(asked(now + Duration::from_secs(1)), RATE);
        assert_eq!(asked(now + Duration::from_secs(60)), BURST);
    }

    #[test]
    fn memory_is_bounded() {
        let (rates, now) = (Rates::default(), Instant::now());
        for index in 0..2 * NETWORKS_MAX as u32 {
            assert!(rates.allow(IpAddr::from(index.to_be_bytes()), now));
        }
        assert_eq!(rates.0.lock().expect("no panic").len(), NETWORKS_MAX);
    }
}
