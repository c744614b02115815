//! The scheduler's constants, in one value so that tests can choose others.

/// How leases, cohorts and deaths are handled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// A worker without a sign of life for this long is lost.
    pub lease_ms: u64,
    /// Trials of a cohort on a CPU under `fusion: auto`.
    pub cohort_size_cpu: u32,
    /// Trials of a cohort on a GPU under `fusion: auto`.
    pub cohort_size_gpu: u32,
    /// A trial that died alone this often has failed.
    pub deaths_max: u32,
    /// A lost worker is shown for this long.
    pub lost_worker_kept_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            lease_ms: 8_000,
            cohort_size_cpu: 1,
            cohort_size_gpu: 16,
            deaths_max: 3,
            lost_worker_kept_ms: 600_000,
        }
    }
}
