//! What the coordinator sends to a worker, and what that makes of it.
#![no_main]

use common::wire::ToWorker;
use libfuzzer_sys::fuzz_target;
use prost::Message;
use worker::rpc::{self, FromCoordinator};
use worker::supervisor::{Event, Supervisor, Time};

fuzz_target!(|messages: Vec<Vec<u8>>| {
    let mut supervisor = Supervisor::new(2);
    supervisor.apply(Time(0), Event::Begin);
    for (now, bytes) in (1..).zip(messages) {
        let Ok(message) = ToWorker::decode(bytes.as_slice()) else { continue };
        let event = match rpc::from_coordinator(message) {
            Ok(FromCoordinator::Welcome { adopted, .. }) => Event::Welcome { adopted },
            Ok(FromCoordinator::Lease { slot, cohort }) => Event::Lease { slot, cohort },
            Ok(FromCoordinator::Stop(attempt)) => Event::Stop(attempt),
            Ok(FromCoordinator::Drain) => Event::Drain,
            Ok(FromCoordinator::Acknowledge { .. } | FromCoordinator::LogRequest { .. }) => {
                Event::Tick
            }
            Err(_) => continue,
        };
        supervisor.apply(Time(now), event);
    }
});
