//! The scheduler's constants, in one value so that tests can choose others.

use common::config::Model;

/// How leases, cohorts and deaths are handled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// A worker without a sign of life for this long is lost.
    pub lease_ms: u64,
    /// Trials of a cohort on a CPU under `fusion: auto`.
    pub cohort_size_cpu: u32,
    /// Trials of a cohort on a GPU under `fusion: auto`, of networks of matrix products.
    pub cohort_size_gpu: u32,
    /// The same of convolutional networks. Grouped convolutions are known to be slower than one
    /// after the other at some shapes, so more than one is for who has measured it.
    pub cohort_size_gpu_conv: u32,
    /// A trial that died alone this often has failed.
    pub deaths_max: u32,
    /// A trial that died waits this long for its next turn; doubles with each death.
    pub rest_ms: u64,
    /// A worker on which trials died alone, one after the other, waits this long for the next;
    /// doubles up to the longest.
    pub worker_rest_ms: u64,
    /// The longest such wait.
    pub worker_rest_ms_max: u64,
    /// A worker is set aside when this many trials that died there went on elsewhere.
    pub vindicated_max: usize,
    /// For this long.
    pub aside_ms: u64,
    /// A lost worker is shown for this long.
    pub lost_worker_kept_ms: u64,
}

impl Settings {
    /// Trials of a cohort on a GPU under `fusion: auto`.
    pub fn cohort_size_gpu(&self, model: Model) -> u32 {
        match model {
            Model::Mlp | Model::Rnn => self.cohort_size_gpu,
            Model::Cnn | Model::Stn => self.cohort_size_gpu_conv,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            lease_ms: 8_000,
            cohort_size_cpu: 1,
            cohort_size_gpu: 16,
            cohort_size_gpu_conv: 1,
            deaths_max: 3,
            rest_ms: 5_000,
            worker_rest_ms: 1_000,
            worker_rest_ms_max: 60_000,
            vindicated_max: 2,
            aside_ms: 600_000,
            lost_worker_kept_ms: 600_000,
        }
    }
}
