//! What a worker sends to the coordinator: over its stream, and before it sends weights.
#![no_main]

use common::wire::{FromWorker, OfferWeightsRequest, from_worker};
use coordinator::rpc::convert;
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(offer) = OfferWeightsRequest::decode(bytes) {
        drop(convert::weights_offer(offer));
    }
    let Ok(message) = FromWorker::decode(bytes) else { return };
    match message.message {
        Some(from_worker::Message::Hello(hello)) => drop(convert::hello(hello)),
        Some(from_worker::Message::Reports(reports)) => drop(convert::reports(reports)),
        Some(from_worker::Message::Heartbeat(_) | from_worker::Message::Log(_)) | None => {}
    }
});
