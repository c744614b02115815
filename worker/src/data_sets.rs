//! Which data sets this host has, by the digest of their content.

use std::collections::HashMap;
use std::path::Path;

use common::config::Data;
use common::data::{DataError, digest, directory};
use common::telemetry::chain;

/// Digest by name of those that are there and whole. Reads and hashes all of them: for a thread
/// that may take seconds.
pub fn digests(flag: Option<&Path>) -> HashMap<String, String> {
    let mut found = HashMap::new();
    let mut absent = Vec::new();
    for data in Data::AVAILABLE {
        match digest(data, flag) {
            Ok(digest) => {
                found.insert(data.name().to_owned(), digest);
            }
            Err(error @ DataError::Absent { .. }) => {
                tracing::debug!("{}", chain(&error));
                absent.push(data.name().to_owned());
            }
            Err(error) => tracing::warn!(
                "data set {} is there but wrong: no trial that needs it is taken: {}",
                data.name(),
                chain(&error)
            ),
        }
    }
    if !absent.is_empty() {
        let folder = directory(flag);
        tracing::info!(
            folder = %folder.display(),
            "without data set {}: no trial that needs it is taken", absent.join(", ")
        );
    }
    found
}
