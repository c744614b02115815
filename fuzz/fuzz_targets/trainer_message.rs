//! What a trainer writes into its pipe, in pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use worker::frames;

fuzz_target!(|pieces: Vec<Vec<u8>>| {
    let mut buffer = Vec::new();
    for piece in pieces {
        buffer.extend(piece);
        loop {
            match frames::take(&mut buffer) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
});
