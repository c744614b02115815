//! Figures of the GPUs that this worker's slots are on, as the driver's library (NVML) tells them.
//! They are read on a thread of its own: a driver in trouble takes its time, or for ever.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::telemetry::chain;
use common::wire::GPUS_MAX;
use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::error::NvmlError;

use crate::devices::Device;

/// How often the driver is asked.
const READ_INTERVAL: Duration = Duration::from_secs(2);
/// Figures that are older are not told: the driver does not answer any more.
const TOLD_MAX: Duration = Duration::from_secs(10);

/// What is known of a GPU; a figure is absent where the driver does not tell it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Gpu {
    /// N of its device `cuda:N`.
    pub ordinal: u32,
    /// What its maker calls it.
    pub name: String,
    /// Share of the time in which a kernel ran.
    pub utilization: Option<f64>,
    /// Memory in use, by whomever.
    pub memory_used_bytes: Option<u64>,
    /// All of its memory.
    pub memory_total_bytes: Option<u64>,
    /// Of the chip.
    pub temperature_celsius: Option<f64>,
    /// Drawn by the board.
    pub power_watts: Option<f64>,
}

/// When figures were read, and which.
type Newest = Arc<Mutex<Option<(Instant, Vec<Gpu>)>>>;

/// The newest figures; the thread that reads them ends with this.
#[derive(Debug, Default)]
pub struct Gpus {
    newest: Newest,
    _reading: Option<Sender<()>>,
}

impl Gpus {
    /// Reads the figures of these devices from now on. Where none is a GPU there is nothing to
    /// read, and where NVML is not there nothing is ever told.
    pub fn watch(devices: &[Device]) -> Gpus {
        let ordinals = ordinals(devices);
        if ordinals.is_empty() {
            return Gpus::default();
        }
        let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
        let sources: Vec<_> = ordinals
            .into_iter()
            .filter_map(|ordinal| Some((ordinal, Source::of(ordinal, visible.as_deref())?)))
            .collect();
        let (reading, ended) = channel();
        let newest = Newest::default();
        let told = Arc::clone(&newest);
        // Not one of the runtime's threads: it would wait for one that hangs when it ends.
        std::thread::spawn(move || match Nvml::init() {
            Ok(nvml) => keep_reading(|| read(&nvml, &sources), &told, &ended),
            Err(error) => tracing::info!("no figures of the GPUs: {}", chain(&error)),
        });
        Gpus { newest, _reading: Some(reading) }
    }

    /// What was read last; nothing where that was long ago.
    pub fn newest(&self) -> Vec<Gpu> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let told = newest.as_ref().filter(|(read_at, _)| read_at.elapsed() < TOLD_MAX);
        told.map(|(_, gpus)| gpus.clone()).unwrap_or_default()
    }
}

/// Of the devices that are GPUs, each once.
fn ordinals(devices: &[Device]) -> Vec<u32> {
    let mut ordinals = Vec::new();
    for device in devices {
        if let Device::Cuda(ordinal) = device
            && !ordinals.contains(ordinal)
            && ordinals.len() < GPUS_MAX
        {
            ordinals.push(*ordinal);
        }
    }
    ordinals
}

/// Which device of the driver a CUDA device is.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Source {
    /// By the driver's numbering, which is CUDA's own as trainers are started.
    Index(u32),
    /// By its name for ever, or the beginning of that.
    Uuid(String),
}

impl Source {
    /// `CUDA_VISIBLE_DEVICES` renumbers what CUDA sees, and not what the driver has.
    fn of(ordinal: u32, visible: Option<&str>) -> Option<Source> {
        let Some(list) = visible else {
            return Some(Source::Index(ordinal));
        };
        let entry = list.split(',').map(str::trim).nth(usize::try_from(ordinal).ok()?)?;
        Some(entry.parse().map_or_else(|_| Source::Uuid(entry.into()), Source::Index))
    }

    fn device<'nvml>(&self, nvml: &'nvml Nvml) -> Result<nvml_wrapper::Device<'nvml>, NvmlError> {
        let begins = match self {
            Source::Index(index) => return nvml.device_by_index(*index),
            Source::Uuid(begins) => begins,
        };
        for index in 0..nvml.device_count()? {
            let device = nvml.device_by_index(index)?;
            if device.uuid().is_ok_and(|uuid| uuid.starts_with(begins)) {
                return Ok(device);
            }
        }
        // A part of a GPU (MIG) is not counted among the devices.
        nvml.device_by_uuid(begins.as_str())
    }
}

/// The figures of these devices once, from the library at this path; for `watch` and for tests.
pub fn read_once(library: &Path, ordinals: &[u32]) -> Result<Vec<Gpu>, NvmlError> {
    let nvml = Nvml::builder().lib_path(library.as_os_str()).init()?;
    let sources: Vec<_> = ordinals.iter().map(|at| (*at, Source::Index(*at))).collect();
    Ok(read(&nvml, &sources))
}

fn read(nvml: &Nvml, sources: &[(u32, Source)]) -> Vec<Gpu> {
    let mut gpus = Vec::with_capacity(sources.len());
    for (ordinal, source) in sources {
        match source.device(nvml) {
            Ok(device) => gpus.push(figures(*ordinal, &device)),
            Err(error) => tracing::debug!(ordinal, "a GPU tells nothing: {}", chain(&error)),
        }
    }
    gpus
}

fn figures(ordinal: u32, device: &nvml_wrapper::Device<'_>) -> Gpu {
    let memory = device.memory_info().ok();
    Gpu {
        ordinal,
        name: device.name().unwrap_or_default(),
        utilization: device.utilization_rates().ok().map(|rates| f64::from(rates.gpu) / 100.0),
        memory_used_bytes: memory.as_ref().map(|memory| memory.used),
        memory_total_bytes: memory.as_ref().map(|memory| memory.total),
        temperature_celsius: device.temperature(TemperatureSensor::Gpu).ok().map(f64::from),
        power_watts: device.power_usage().ok().map(|milliwatts| f64::from(milliwatts) / 1_000.0),
    }
}

/// Until `ended` has no sender any more.
fn keep_reading(mut read: impl FnMut() -> Vec<Gpu>, newest: &Newest, ended: &Receiver<()>) {
    loop {
        let gpus = read();
        *newest.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), gpus));
        match ended.recv_timeout(READ_INTERVAL) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gpu_of_the_slots_is_read_once_and_the_cpu_never() {
        let devices = [Device::Cuda(1), Device::Cpu, Device::Cuda(0), Device::Cuda(1)];
        assert_eq!(ordinals(&devices), [1, 0]);
        let many: Vec<_> = (0..100).map(Device::Cuda).collect();
        assert_eq!(ordinals(&many).len(), GPUS_MAX);
        let gpus = Gpus::watch(&[Device::Cpu]);
        assert!(gpus._reading.is_none(), "no thread");
        assert_eq!(gpus.newest(), []);
    }

    #[test]
    fn visible_devices_say_which_gpu_an_ordinal_is() {
        let index = |index| Some(Source::Index(index));
        assert_eq!(Source::of(3, None), index(3));
        assert_eq!(Source::of(1, Some("5, 2")), index(2));
        assert_eq!(Source::of(2, Some("5,2")), None);
        assert_eq!(Source::of(0, Some("GPU-8f")), Some(Source::Uuid("GPU-8f".into())));
    }

    #[test]
    fn figures_are_told_until_they_are_old() {
        let gpus = Gpus::default();
        assert_eq!(gpus.newest(), []);
        let read = Gpu { ordinal: 1, ..Gpu::default() };
        *gpus.newest.lock().expect("no panic") = Some((Instant::now(), vec![read.clone()]));
        assert_eq!(gpus.newest(), std::slice::from_ref(&read));
        let long_ago = Instant::now().checked_sub(TOLD_MAX).expect("the host is up for longer");
        *gpus.newest.lock().expect("no panic") = Some((long_ago, vec![read]));
        assert_eq!(gpus.newest(), []);
    }

    #[test]
    fn reading_ends_with_its_owner() {
        let newest = Newest::default();
        let (reading, ended) = channel();
        let told = Arc::clone(&newest);
        let read = || vec![Gpu::default()];
        let thread = std::thread::spawn(move || keep_reading(read, &told, &ended));
        drop(Gpus { newest: Arc::clone(&newest), _reading: Some(reading) });
        thread.join().expect("it ends without being told twice");
        assert!(newest.lock().expect("no panic").is_some(), "it read at least once");
    }

    #[test]
    fn a_library_that_is_not_there_is_an_error() {
        read_once(Path::new("/no/such/libnvidia-ml.so.1"), &[0]).expect_err("no library");
    }
}
