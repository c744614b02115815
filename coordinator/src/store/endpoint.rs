//! `endpoint.json` in the state directory: where the coordinator that runs can be reached, so
//! that clients on the host and port 0 work.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The file in the state directory.
pub const FILE_NAME: &str = "endpoint.json";

/// The ports that a coordinator bound.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Endpoint {
    /// gRPC.
    pub grpc: SocketAddr,
    /// HTTP: metrics and liveness.
    pub http: SocketAddr,
    /// Whether both speak TLS; a coordinator that did not say so could not.
    #[serde(default)]
    pub tls: bool,
    /// The process.
    pub pid: u32,
}

/// Why the file was not written, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// A file operation failed.
    #[error("cannot {step} {}", path.display())]
    File {
        /// The step.
        step: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: io::Error,
    },
    /// Its content is not an endpoint.
    #[error("{} is not an endpoint file; remove it or give --coordinator", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// Writes the file; a reader sees the old one or the new one, never a part.
pub fn write(state_dir: &Path, endpoint: &Endpoint) -> Result<(), EndpointError> {
    let path = state_dir.join(FILE_NAME);
    let partial = state_dir.join(format!("{FILE_NAME}.partial"));
    let content = serde_json::to_string_pretty(endpoint).expect("plain fields");
    let write = || -> io::Result<()> {
        let mut file = File::create(&partial)?;
        file.write_all(content.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&partial, &path)
    };
    write().map_err(|source| EndpointError::File { step: "write", path: path.clone(), source })
}

/// Reads the file; none where no coordinator has run or the last one ended cleanly. A file that
/// is there does not prove that its process still runs: `lock::owner` does.
pub fn read(state_dir: &Path) -> Result<Option<Endpoint>, EndpointError> {
    let path = state_dir.join(FILE_NAME);
    let content = match fs::read(&path) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(EndpointError::File { step: "read", path, source }),
    };
    serde_json::from_slice(&content)
        .map(Some)
        .map_err(|source| EndpointError::Content { path, source })
}

/// Removes the file, if it is there.
pub fn remove(state_dir: &Path) -> Result<(), EndpointError> {
    let path = state_dir.join(FILE_NAME);
    match fs::remove_file(&path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(EndpointError::File { step: "remove", path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(port: u16) -> Endpoint {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Endpoint { grpc: at(port), http: at(port + 1), tls: false, pid: 7 }
    }

    #[test]
    fn endpoint_is_read_back_replaced_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), None);
        for port in [50051, 40000] {
            write(dir.path(), &endpoint(port)).unwrap();
            assert_eq!(read(dir.path()).unwrap(), Some(endpoint(port)));
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no partial file is left");
        remove(dir.path()).unwrap();
        remove(dir.path()).unwrap();
        assert_eq!(read(dir.path()).unwrap(), None);
    }

    #[test]
    fn endpoint_file_that_is_none_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE_NAME), "{\"grpc\": 3").unwrap();
        let error = read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("endpoint.json is not an endpoint file"), "{error}");
    }
}
