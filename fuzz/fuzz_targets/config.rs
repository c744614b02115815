//! A config as it stands in the store and in a lease.
#![no_main]

use common::config::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|parts: (u8, u8, &str)| {
    let (model, data, params) = parts;
    let model = ["mlp", "cnn", "stn", "rnn", "x"][usize::from(model % 5)];
    let data = ["mnist", "cifar10", "cluttered-mnist", "strokes", "x"][usize::from(data % 5)];
    if let Ok(config) = Config::from_json(model, data, params) {
        let again = Config::from_json(model, data, &config.to_json()).expect("its own words");
        assert_eq!(again.trial_id(3), config.trial_id(3));
    }
});
