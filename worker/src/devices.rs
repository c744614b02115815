//! Devices of this host, found without linking anything, and what `--devices` asks for.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::str::FromStr;

/// A device of a slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Device {
    /// The host's processor.
    Cpu,
    /// A CUDA device by ordinal.
    Cuda(u32),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

/// Text that names no device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a device: `cpu` or `cuda:N` is accepted")]
pub struct DeviceError(String);

impl FromStr for Device {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        if text == "cpu" {
            return Ok(Device::Cpu);
        }
        let digits = text.strip_prefix("cuda:");
        let digits = digits.filter(|digits| digits.chars().all(|c| c.is_ascii_digit()));
        let ordinal = digits.and_then(|digits| digits.parse().ok());
        ordinal.map(Device::Cuda).ok_or_else(|| DeviceError(text.into()))
    }
}

/// Number of CUDA devices that a process started from here sees: ordinals 0 to this, excluded.
pub fn cuda_count() -> u32 {
    let names = |path: &str| -> Vec<String> {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let gpus = names("/proc/driver/nvidia/gpus").len();
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    visible_count(&names("/dev"), gpus, visible.as_deref())
}

/// From the names under `/dev` (a container is given some of them only; CUDA counts what it sees
/// from 0), else the driver's list, limited by `CUDA_VISIBLE_DEVICES`.
fn visible_count(dev: &[String], driver_gpus: usize, visible: Option<&str>) -> u32 {
    let is_gpu = |name: &&String| {
        let digits = name.strip_prefix("nvidia");
        digits.is_some_and(|d| !d.is_empty() && d.chars().all(|c| c.is_ascii_digit()))
    };
    let nodes = dev.iter().filter(is_gpu).count();
    let present = if nodes > 0 { nodes } else { driver_gpus };
    let count = match visible {
        None => present,
        Some(list) => chosen_count(list, present),
    };
    u32::try_from(count).unwrap_or(0)
}

/// CUDA takes the list up to the first entry that names nothing, and nothing of one that names a
/// device twice.
fn chosen_count(list: &str, present: usize) -> usize {
    let mut seen = BTreeSet::new();
    for entry in list.split(',').map(str::trim) {
        let exists = match entry.parse::<i64>() {
            Ok(ordinal) => usize::try_from(ordinal).is_ok_and(|ordinal| ordinal < present),
            Err(_) => entry.starts_with("GPU-") || entry.starts_with("MIG-"),
        };
        if !exists || present == 0 {
            break;
        }
        if !seen.insert(entry) {
            return 0;
        }
    }
    seen.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_parse_or_say_what_is_accepted() {
        assert_eq!("cpu".parse(), Ok(Device::Cpu));
        assert_eq!("cuda:12".parse(), Ok(Device::Cuda(12)));
        for text in ["", "gpu", "cuda", "cuda:", "cuda:+1", "cuda:-1", "cuda:99999999999", "CPU"] {
            let error = text.parse::<Device>().expect_err("is no device").to_string();
            assert!(error.contains(&format!("`{text}` is not a device")), "{error}");
        }
        assert_eq!(Device::Cuda(3).to_string(), "cuda:3");
    }

    #[test]
    fn cuda_devices_are_counted_as_cuda_numbers_them() {
        let dev = |names: &[&str]| names.iter().map(|name| (*name).into()).collect::<Vec<_>>();
        let host = dev(&["null", "nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "nvidia"]);
        assert_eq!(visible_count(&host, 2, None), 2);
        assert_eq!(visible_count(&dev(&["nvidia5"]), 8, None), 1);
        assert_eq!(visible_count(&dev(&["null"]), 4, None), 4);
        assert_eq!(visible_count(&dev(&["null"]), 0, None), 0);
        let cases =
            [("", 0), ("-1", 0), ("0", 1), ("1,0", 2), ("0,7,1", 1), ("0,0", 0), ("GPU-8f", 1)];
        for (visible, count) in cases {
            assert_eq!(visible_count(&host, 2, Some(visible)), count, "{visible}");
        }
        assert_eq!(visible_count(&dev(&[]), 0, Some("GPU-8f")), 0);
    }
}
