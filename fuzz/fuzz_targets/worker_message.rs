//! What a worker sends to the coordinator.
#![no_main]

use common::wire::{FromWorker, from_worker};
use coordinator::rpc::convert;
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|bytes: &[u8]| {
    let Ok(message) = FromWorker::decode(bytes) else { return };
    match message.message {
        Some(from_worker::Message::Hello(hello)) => drop(convert::hello(hello)),
        Some(from_worker::Message::Reports(reports)) => drop(convert::reports(reports)),
        Some(from_worker::Message::Heartbeat(_) | from_worker::Message::Log(_)) | None => {}
    }
});
