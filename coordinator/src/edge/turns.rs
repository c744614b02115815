//! Answers that are being made at a time. Whoever has as many as it may waits for its own.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// At a time. Streams that were begun do not count.
const TURNS_MAX: usize = 64;
/// Of them those of one network, so that others are answered beside it.
const TURNS_OF_NETWORK_MAX: usize = 16;

/// The turns of one listener.
pub struct Turns {
    all: Arc<Semaphore>,
    of_networks: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
}

/// Over when it is dropped.
pub struct Turn {
    _of_network: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl Turns {
    pub fn new() -> Turns {
        Turns { all: Arc::new(Semaphore::new(TURNS_MAX)), of_networks: Mutex::default() }
    }

    /// Waits for a turn.
    pub async fn take(&self, network: IpAddr) -> Turn {
        let own = self.of_network(network);
        let never_closed = "no semaphore is closed";
        let of_network = own.acquire_owned().await.expect(never_closed);
        let of_all = Arc::clone(&self.all).acquire_owned().await.expect(never_closed);
        Turn { _of_network: of_network, _of_all: of_all }
    }

    fn of_network(&self, network: IpAddr) -> Arc<Semaphore> {
        let mut networks = self.of_networks.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever has a turn or waits for one holds it beside the map.
        networks.retain(|_, turns| Arc::strong_count(turns) > 1);
        let new = || Arc::new(Semaphore::new(TURNS_OF_NETWORK_MAX));
        Arc::clone(networks.entry(network).or_insert_with(new))
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[tokio::test]
    async fn one_network_waits_for_itself_alone() {
        let turns = Turns::new();
        let network = |last: u8| IpAddr::from([10, 0, 0, last]);
        let mut taken = Vec::new();
        for _ in 0..TURNS_OF_NETWORK_MAX {
            taken.push(turns.take(network(1)).await);
        }
        let mut more = Box::pin(turns.take(network(1)));
        let mut context = Context::from_waker(Waker::noop());
        assert!(more.as_mut().poll(&mut context).is_pending());
        let other = turns.take(network(2)).await;
        taken.pop();
        let Poll::Ready(one) = more.as_mut().poll(&mut context) else { panic!("a turn is free") };
        drop((taken, other, one, more));
        turns.take(network(3)).await;
        assert_eq!(turns.of_networks.lock().expect("no panic").len(), 1);
        assert_eq!(turns.all.available_permits(), TURNS_MAX);
    }
}
