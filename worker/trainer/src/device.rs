//! The device that a trainer holds: libtorch's version, threads, and CUDA opened at run time.
//!
//! The binary links libtorch's CPU library alone. On a GPU host `libtorch_cuda.so` is opened before
//! the first tensor, which registers the CUDA kernels (design, section 10).

use std::ffi::c_int;
use std::fmt;
use std::str::FromStr;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

/// The one libtorch that this program is built for.
pub const LIBTORCH_VERSION: &str = "2.11.0";

/// A device that cannot be held.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The name is not one of a device.
    #[error("`{0}` is not a device: expected `cpu` or `cuda:N`")]
    Name(String),
    /// libtorch does not say which version it is.
    #[error(
        "cannot read the version of libtorch; {LIBTORCH_VERSION} is needed (run `make libtorch`)"
    )]
    VersionUnknown(#[source] libloading::Error),
    /// Another libtorch was loaded.
    #[error("libtorch {found} was loaded, {LIBTORCH_VERSION} is needed (run `make libtorch`)")]
    Version {
        /// The version found.
        found: String,
    },
    /// libtorch has no CUDA part here.
    #[error(
        "cannot open libtorch_cuda.so for `{device}`: this libtorch has no CUDA part; point \
         LIBTORCH at libtorch {LIBTORCH_VERSION} with CUDA, or use `--devices cpu`"
    )]
    CudaLibrary {
        /// The device asked for.
        device: String,
        /// What the dynamic loader said.
        #[source]
        source: libloading::Error,
    },
    /// libtorch sees no such device.
    #[error("`{device}` does not exist: libtorch sees {count} CUDA devices on this host")]
    CudaMissing {
        /// The device asked for.
        device: String,
        /// How many it sees.
        count: i64,
    },
}

/// A device by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceName {
    /// The host's processor.
    Cpu,
    /// A CUDA device by ordinal.
    Cuda(usize),
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceName::Cpu => f.write_str("cpu"),
            DeviceName::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

impl FromStr for DeviceName {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        if text == "cpu" {
            return Ok(DeviceName::Cpu);
        }
        let ordinal = text.strip_prefix("cuda:").and_then(|ordinal| ordinal.parse().ok());
        ordinal.map(DeviceName::Cuda).ok_or_else(|| DeviceError::Name(text.into()))
    }
}

/// A device made ready: the version is right, kernels are registered, threads are set.
#[derive(Clone, Debug)]
pub struct Held {
    /// Its name.
    pub name: DeviceName,
    /// As libtorch knows it.
    pub device: tch::Device,
    /// Version of libtorch that was loaded.
    pub libtorch_version: String,
    /// Intra-operation threads.
    pub threads: u32,
}

/// Makes a device ready. Must run before the first tensor, on the thread that will train: the
/// floating-point mode belongs to the thread, and libtorch's own threads inherit it.
pub fn hold(name: DeviceName, threads: u32) -> Result<Held, DeviceError> {
    gradnet::cpu::flush_denormals();
    gradnet::cpu::keep_freed_memory();
    let libtorch_version = check_version()?;
    let device = match name {
        DeviceName::Cpu => tch::Device::Cpu,
        DeviceName::Cuda(ordinal) => open_cuda(name, ordinal)?,
    };
    tch::set_num_threads(threads as c_int);
    Ok(Held { name, device, libtorch_version, threads })
}

fn check_version() -> Result<String, DeviceError> {
    let this = Library::this();
    // SAFETY: the symbol is part of libtorch's stable C interface: no arguments, returns u64.
    let packed = unsafe {
        let version = this
            .get::<unsafe extern "C" fn() -> u64>(b"aoti_torch_abi_version\0")
            .map_err(DeviceError::VersionUnknown)?;
        version()
    };
    let found = unpack_version(packed);
    if found != LIBTORCH_VERSION {
        return Err(DeviceError::Version { found });
    }
    Ok(found)
}

/// Major, minor and patch are the three highest bytes (`torch/headeronly/version.h`).
fn unpack_version(packed: u64) -> String {
    let [major, minor, patch, ..] = packed.to_be_bytes();
    format!("{major}.{minor}.{patch}")
}

fn open_cuda(name: DeviceName, ordinal: usize) -> Result<tch::Device, DeviceError> {
    // By default cuDNN rounds the operands of fp32 convolutions to TF32, which is another precision
    // than the one that results are labelled with, and libtorch's switch is not in its bindings.
    // SAFETY: the process is about to hold its device and has no other thread yet.
    unsafe { std::env::set_var("NVIDIA_TF32_OVERRIDE", "0") };
    let flags = RTLD_NOW | RTLD_GLOBAL;
    // SAFETY: libtorch's own CUDA library; its initialisers register kernels and nothing else.
    let library = unsafe { Library::open(Some("libtorch_cuda.so"), flags) }
        .map_err(|source| DeviceError::CudaLibrary { device: name.to_string(), source })?;
    // Registered kernels point into the library: it must stay for the life of the process.
    std::mem::forget(library);
    let count = tch::Cuda::device_count();
    if ordinal as i64 >= count {
        return Err(DeviceError::CudaMissing { device: name.to_string(), count });
    }
    Ok(tch::Device::Cuda(ordinal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_others_are_refused() {
        for name in ["cpu", "cuda:0", "cuda:13"] {
            assert_eq!(name.parse::<DeviceName>().expect("a device").to_string(), name);
        }
        for name in ["gpu", "cuda", "cuda:", "cuda:x", "cuda:-1", ""] {
            let error = name.parse::<DeviceName>().expect_err("not a device");
            assert!(error.to_string().contains("expected `cpu` or `cuda:N`"));
        }
    }

    #[test]
    fn version_is_unpacked_from_its_bytes() {
        assert_eq!(unpack_version(2 << 56 | 11 << 48), "2.11.0");
        assert_eq!(unpack_version(2 << 56 | 9 << 48 | 1 << 40), "2.9.1");
    }

    #[test]
    fn the_loaded_libtorch_is_the_pinned_one() {
        assert_eq!(check_version().expect("libtorch says its version"), LIBTORCH_VERSION);
    }

    #[test]
    fn cuda_without_its_library_is_a_clear_error() {
        if std::path::Path::new("/proc/driver/nvidia").exists() {
            eprintln!("skipped: this host has an NVIDIA driver");
            return;
        }
        let error = hold(DeviceName::Cuda(0), 1).expect_err("no CUDA here").to_string();
        assert!(error.contains("libtorch_cuda.so") && error.contains("--devices cpu"), "{error}");
    }
}
