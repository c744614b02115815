//! The command line, and what it comes to on this host.

use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use clap::Parser;
use common::access::{Access, AccessError};

use crate::artifacts;
use crate::devices::{Device, DeviceError};
use crate::libtorch::{Libtorch, LibtorchError, Places};

/// More slots than this on one host are a mistake.
const SLOTS_MAX: usize = 1024;

/// Trains cohorts that a coordinator leases to this host
#[derive(Parser, Clone, Debug)]
#[command(name = "worker", version)]
#[command(
    after_help = "SIGTERM and SIGINT drain: what trains is checkpointed and handed back, then \
the worker leaves. A second signal leaves at once.

A shared --artifacts needs rename and remove as a local disk has them (NFS will do), and serves \
the workers of one coordinator. A checkpoint that nobody has touched for 30 days is removed. \
GRADSWEEP_CHECKPOINT_INTERVAL is the least time between two checkpoints in seconds [default: 30].

A coordinator with credentials wants an agent's token: that of GRADSWEEP_TOKEN, of the file that \
GRADSWEEP_TOKEN_FILE names, or `token` in --credentials. Credentials are read again at each \
connection.

Exit status: 0 the parent ended; 1 a failure; 2 a mistake in what was asked, a token \
that the coordinator refuses included; 130, 143 after a signal."
)]
pub struct Options {
    /// Address of the coordinator, for example http://host:50051, or https:// with --credentials
    #[arg(long, value_name = "URL", env = "GRADSWEEP_COORDINATOR")]
    pub coordinator: String,
    /// Folder with ca.pem and token, and cert.pem with key.pem for --mutual-tls, as `coordinator
    /// init-tls` makes it; the system's CAs are not consulted
    #[arg(long, value_name = "DIR", env = "GRADSWEEP_CREDENTIALS")]
    pub credentials: Option<PathBuf>,
    /// Devices, for example `cuda:0,cuda:1` or `cpu` [default: every CUDA device, else the CPU]
    #[arg(long, value_name = "LIST", value_delimiter = ',', env = "GRADSWEEP_DEVICES")]
    pub devices: Vec<String>,
    /// Cohorts that one device trains at a time [default: 1 per GPU; on the CPU one per core,
    /// each with a single thread]
    #[arg(long, value_name = "N", env = "GRADSWEEP_SLOTS_PER_DEVICE")]
    pub slots_per_device: Option<u32>,
    /// Folder with the data sets [default: GRADSWEEP_DATA, else ./data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Folder of the checkpoints. One that workers share lets a trial go on where it was when
    /// another worker takes it over [default: `checkpoints` in --state]
    #[arg(long, value_name = "DIR", env = "GRADSWEEP_ARTIFACTS")]
    pub artifacts: Option<PathBuf>,
    /// Folder of this worker's identity, unsent reports and logs
    #[arg(
        long,
        value_name = "DIR",
        env = "GRADSWEEP_WORKER_STATE",
        default_value = "gradsweep-worker"
    )]
    pub state: PathBuf,
    /// The trainer program [default: `trainer` beside this program]
    #[arg(long, value_name = "PATH", env = "GRADSWEEP_TRAINER")]
    pub trainer: Option<PathBuf>,
    /// Drain and leave when the standard input ends
    #[arg(long)]
    pub exit_with_parent: bool,
}

/// A mistake in what was asked, or a host that cannot do it.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// The coordinator cannot be asked this way.
    #[error(transparent)]
    Access(AccessError),
    /// A device's name is none.
    #[error("--devices")]
    Device(#[source] DeviceError),
    /// A device is named twice.
    #[error("--devices names `{device}` twice")]
    DeviceTwice {
        /// The device.
        device: Device,
    },
    /// A device that this host does not have.
    #[error("--devices `{device}`: {}", present(*.cuda_count))]
    NoDevice {
        /// The device.
        device: Device,
        /// CUDA devices that there are.
        cuda_count: u32,
    },
    /// The libtorch that is there does not serve the device.
    #[error("--devices `{device}` cannot be used")]
    NoCuda {
        /// The device.
        device: Device,
        /// Why.
        #[source]
        source: LibtorchError,
    },
    /// Too few or too many slots.
    #[error("--slots-per-device {given}: 1 to {} slots in all are accepted", SLOTS_MAX)]
    Slots {
        /// As given.
        given: u32,
    },
    /// There is no trainer program.
    #[error("no trainer program at `{}`; --trainer names another place", path.display())]
    NoTrainer {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Checkpoints cannot be kept where they are wanted.
    #[error("--artifacts `{}`: no checkpoint can be kept there", path.display())]
    Artifacts {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is no libtorch for the trainer.
    #[error("the trainer cannot run")]
    Libtorch(#[source] LibtorchError),
}

impl OptionsError {
    /// Whether the command line is at fault, not the host's set-up.
    pub fn is_mistake(&self) -> bool {
        !matches!(self, OptionsError::Libtorch(_))
    }
}

fn present(cuda_count: u32) -> String {
    match cuda_count {
        0 => "this host has no CUDA device".into(),
        1 => "this host has one CUDA device, `cuda:0`".into(),
        count => format!("this host has the CUDA devices `cuda:0` to `cuda:{}`", count - 1),
    }
}

/// What the command line comes to.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The coordinator.
    pub coordinator: Access,
    /// Device by slot.
    pub slots: Vec<Device>,
    /// The trainer program.
    pub trainer: PathBuf,
    /// For the trainer.
    pub libtorch: Libtorch,
    /// Folder of the checkpoints; none: the state directory's own.
    pub artifacts: Option<PathBuf>,
}

impl Options {
    /// Checks everything that can be checked before anything is started.
    pub fn resolve(&self, cuda_count: u32) -> Result<Resolved, OptionsError> {
        let coordinator = Access::to(&self.coordinator, self.credentials.as_deref());
        let coordinator = coordinator.map_err(OptionsError::Access)?;
        let asked = devices(&self.devices, cuda_count)?;
        let trainer = self.trainer_path()?;
        let places = Places::of_process(&trainer);
        let (devices, libtorch) = match asked {
            Some(devices) => {
                let libtorch = libtorch_for(&devices, &places)?;
                (devices, libtorch)
            }
            None => default_devices(cuda_count, &places)?,
        };
        let slots = self.slots(&devices)?;
        let artifacts = self.artifacts.as_deref().map(checked_artifacts).transpose()?;
        Ok(Resolved { coordinator, slots, trainer, libtorch, artifacts })
    }

    fn trainer_path(&self) -> Result<PathBuf, OptionsError> {
        let beside = || {
            let program = std::env::current_exe().unwrap_or_default();
            program.parent().unwrap_or(Path::new(".")).join("trainer")
        };
        let path = self.trainer.clone().unwrap_or_else(beside);
        // Absolute: a bare name would be looked for in PATH instead.
        let absolute = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
        if !absolute.is_file() {
            return Err(OptionsError::NoTrainer { path });
        }
        Ok(absolute)
    }

    fn slots(&self, devices: &[Device]) -> Result<Vec<Device>, OptionsError> {
        let cores = available_parallelism().map_or(1, usize::from);
        let mut slots = Vec::new();
        for device in devices {
            let count = match (self.slots_per_device, device) {
                (Some(count), _) => usize::try_from(count).unwrap_or(usize::MAX),
                (None, Device::Cpu) => cores.min(SLOTS_MAX),
                (None, Device::Cuda(_)) => 1,
            };
            if count == 0 || count > SLOTS_MAX - slots.len() {
                return Err(OptionsError::Slots { given: self.slots_per_device.unwrap_or(0) });
            }
            slots.extend(std::iter::repeat_n(*device, count));
        }
        Ok(slots)
    }
}

fn checked_artifacts(path: &Path) -> Result<PathBuf, OptionsError> {
    let error = |source| OptionsError::Artifacts { path: path.into(), source };
    artifacts::check(path).map_err(error)
}

/// The devices that are asked for; none where the choice is left to the host.
fn devices(asked: &[String], cuda_count: u32) -> Result<Option<Vec<Device>>, OptionsError> {
    let mut devices = Vec::new();
    for text in asked.iter().filter(|text| asked.len() > 1 || !text.is_empty()) {
        let device = text.parse().map_err(OptionsError::Device)?;
        match device {
            Device::Cuda(ordinal) if ordinal >= cuda_count => {
                return Err(OptionsError::NoDevice { device, cuda_count });
            }
            Device::Cuda(_) | Device::Cpu => {}
        }
        if devices.contains(&device) {
            return Err(OptionsError::DeviceTwice { device });
        }
        devices.push(device);
    }
    Ok((!devices.is_empty()).then_some(devices))
}

fn libtorch_for(devices: &[Device], places: &Places) -> Result<Libtorch, OptionsError> {
    let cuda = devices.iter().copied().find(|device| match device {
        Device::Cuda(_) => true,
        Device::Cpu => false,
    });
    match cuda {
        Some(device) => places.find(true).map_err(|source| OptionsError::NoCuda { device, source }),
        None => places.find(false).map_err(OptionsError::Libtorch),
    }
}

/// Every CUDA device where there are some and libtorch has CUDA, else the CPU.
fn default_devices(
    cuda_count: u32,
    places: &Places,
) -> Result<(Vec<Device>, Libtorch), OptionsError> {
    if cuda_count > 0 {
        match places.find(true) {
            Ok(libtorch) => return Ok(((0..cuda_count).map(Device::Cuda).collect(), libtorch)),
            Err(error) => tracing::warn!(
                cuda_devices = cuda_count,
                "the CPU is used although there are CUDA devices: {error}"
            ),
        }
    }
    let libtorch = places.find(false).map_err(OptionsError::Libtorch)?;
    Ok((vec![Device::Cpu], libtorch))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Options {
        let always = ["worker", "--coordinator", "http://localhost:1"];
        Options::try_parse_from(always.iter().chain(arguments)).expect("parses")
    }

    fn asked(list: &[&str], cuda_count: u32) -> Result<Option<Vec<Device>>, String> {
        let list = list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        devices(&list, cuda_count).map_err(|error| common::telemetry::chain(&error))
    }

    #[test]
    fn devices_that_are_asked_for_must_exist() {
        assert_eq!(asked(&[], 2), Ok(None));
        assert_eq!(asked(&["cpu"], 0), Ok(Some(vec![Device::Cpu])));
        let two = vec![Device::Cuda(1), Device::Cuda(0)];
        assert_eq!(asked(&["cuda:1", "cuda:0"], 2), Ok(Some(two)));
        let cases = [
            (&["cuda:0"][..], 0, "--devices `cuda:0`: this host has no CUDA device"),
            (&["cuda:1"], 1, "this host has one CUDA device, `cuda:0`"),
            (&["cuda:9"], 4, "this host has the CUDA devices `cuda:0` to `cuda:3`"),
            (&["cpu", "cpu"], 0, "--devices names `cpu` twice"),
            (&["tpu"], 0, "`tpu` is not a device: `cpu` or `cuda:N` is accepted"),
        ];
        for (list, cuda_count, expected) in cases {
            let error = asked(list, cuda_count).expect_err("a mistake");
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn slots_are_one_per_gpu_and_one_per_core() {
        let cores = available_parallelism().expect("known").get();
        let slots = |arguments: &[&str], devices: &[Device]| options(arguments).slots(devices);
        assert_eq!(slots(&[], &[Device::Cpu]).expect("fits").len(), cores);
        let gpus = [Device::Cuda(0), Device::Cuda(1)];
        assert_eq!(slots(&[], &gpus).expect("fits"), gpus);
        let twice = slots(&["--slots-per-device", "2"], &gpus).expect("fits");
        assert_eq!(twice, [gpus[0], gpus[0], gpus[1], gpus[1]]);
        for given in ["0", "1025", "4294967295"] {
            let error = slots(&["--slots-per-device", given], &gpus).expect_err("refused");
            assert!(error.to_string().contains(&format!("--slots-per-device {given}: 1 to 1024")));
        }
    }

    #[test]
    fn a_missing_trainer_is_named() {
        let options = options(&["--trainer", "/nowhere/trainer"]);
        let error = options.resolve(0).expect_err("refused");
        assert!(error.is_mistake());
        assert!(error.to_string().contains("`/nowhere/trainer`; --trainer names another place"));
    }
}
