//! What was refused of late, by address: told once and then at intervals, and answered shortly
//! where it comes too often.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Refusals of one address in one window, after which it is told to wait: a person mistypes a few
/// times, and a worker with the wrong token ends at once.
pub const REFUSALS_MAX: u32 = 10;
/// The window.
const WINDOW: Duration = Duration::from_secs(60);
/// Between two lines of the log on one address.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Addresses that are remembered; of more, the one that was seen first is forgotten.
const ADDRESSES_MAX: usize = 4096;

/// What follows from a refusal.
#[derive(PartialEq, Eq, Debug)]
pub struct Verdict {
    /// It is to be told, with the number of those before it that were not.
    pub told: Option<u64>,
    /// There were too many in this window.
    pub is_over: bool,
}

/// The counts.
#[derive(Default)]
pub struct Refusals {
    addresses: Mutex<HashMap<IpAddr, Count>>,
}

struct Count {
    window_at: Instant,
    in_window: u32,
    told_at: Option<Instant>,
    untold: u64,
}

impl Refusals {
    /// Counts one more of an address.
    pub fn count(&self, address: IpAddr, now: Instant) -> Verdict {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let address = network(address);
        if !addresses.contains_key(&address) && addresses.len() >= ADDRESSES_MAX {
            let oldest = addresses.iter().min_by_key(|(_, count)| count.window_at);
            if let Some(oldest) = oldest.map(|(address, _)| *address) {
                addresses.remove(&oldest);
            }
        }
        let new = Count { window_at: now, in_window: 0, told_at: None, untold: 0 };
        let count = addresses.entry(address).or_insert(new);
        if now.duration_since(count.window_at) >= WINDOW {
            (count.window_at, count.in_window) = (now, 0);
        }
        count.in_window = count.in_window.saturating_add(1);
        let is_over = count.in_window > REFUSALS_MAX;
        if count.told_at.is_some_and(|at| now.duration_since(at) < LOG_INTERVAL) {
            count.untold += 1;
            return Verdict { told: None, is_over };
        }
        count.told_at = Some(now);
        Verdict { told: Some(std::mem::take(&mut count.untold)), is_over }
    }
}

/// Whom an address stands for: a host with IPv6 has a whole network of them.
fn network(address: IpAddr) -> IpAddr {
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

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn the_first_is_told_and_the_next_are_counted() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let count = |at, after| refusals.count(address(at), start + Duration::from_secs(after));
        assert_eq!(count("10.0.0.1", 0).told, Some(0));
        assert_eq!(count("10.0.0.1", 1).told, None);
        assert_eq!(count("10.0.0.1", 9).told, None);
        assert_eq!(count("10.0.0.2", 9).told, Some(0), "another address is told of by itself");
        assert_eq!(count("10.0.0.1", 10).told, Some(2));
    }

    #[test]
    fn too_many_are_over_until_the_window_ends() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let one = "2001:db8::1";
        for _ in 0..REFUSALS_MAX {
            assert!(!refusals.count(address(one), start).is_over);
        }
        assert!(refusals.count(address("2001:db8::2"), start).is_over, "it is one host's network");
        assert!(!refusals.count(address("2001:db8:0:1::1"), start).is_over);
        assert!(!refusals.count(address(one), start + WINDOW).is_over);
    }

    #[test]
    fn memory_is_bounded() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        for index in 0..2 * u32::try_from(ADDRESSES_MAX).expect("small") {
            let address = IpAddr::from(index.to_be_bytes());
            refusals.count(address, start + Duration::from_nanos(u64::from(index)));
        }
        assert_eq!(refusals.addresses.lock().expect("no panic").len(), ADDRESSES_MAX);
    }
}
