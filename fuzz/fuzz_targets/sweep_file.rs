//! A sweep file: read, its errors rendered, its first trials expanded.
#![no_main]

use common::spec::{Options, load};
use libfuzzer_sys::fuzz_target;

/// Enough to come to every kind of value; a file may ask for a million.
const TRIALS_MAX: usize = 200;

fuzz_target!(|text: &str| {
    let options = Options { trials_max: 10_000, ..Options::default() };
    match load(text, "fuzz.yaml", &options) {
        Ok((sweep, warnings)) => {
            for warning in &warnings {
                let _ = warning.render(false);
            }
            for (config, id, seed) in sweep.expand().take(TRIALS_MAX) {
                assert_eq!(config.trial_id(seed), id);
            }
            let (again, _) = load(&sweep.yaml, "again.yaml", &options).expect("it loads again");
            assert_eq!(again.yaml, sweep.yaml);
        }
        Err(errors) => assert!(!errors.render(true).is_empty()),
    }
});
