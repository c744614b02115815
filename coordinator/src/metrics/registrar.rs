//! Makes series and registers them.

use prometheus::core::Collector;
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, Result,
};

/// From a tenth of a millisecond to ten seconds.
const SECONDS_BUCKETS: [f64; 11] = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0];

/// A registry to make series in.
pub(super) struct Registrar<'a>(pub &'a Registry);

impl Registrar<'_> {
    fn register<C: Collector + Clone + 'static>(&self, series: Result<C>) -> Result<C> {
        let series = series?;
        self.0.register(Box::new(series.clone()))?;
        Ok(series)
    }

    pub fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec> {
        self.register(GaugeVec::new(options(name, help), labels))
    }

    pub fn int_gauge(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
        self.register(IntGaugeVec::new(options(name, help), labels))
    }

    pub fn single_gauge(&self, name: &str, help: &str) -> Result<IntGauge> {
        self.register(IntGauge::with_opts(options(name, help)))
    }

    pub fn counter(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        self.register(IntCounterVec::new(options(name, help), labels))
    }

    pub fn single_counter(&self, name: &str, help: &str) -> Result<IntCounter> {
        self.register(IntCounter::with_opts(options(name, help)))
    }

    /// Of seconds, in buckets of this part of the usual ones.
    pub fn histogram(&self, name: &str, help: &str, parts: f64) -> Result<Histogram> {
        let buckets = SECONDS_BUCKETS.map(|bound| bound / parts).to_vec();
        let options = HistogramOpts::from(options(name, help)).buckets(buckets);
        self.register(Histogram::with_opts(options))
    }

    pub fn histograms(&self, name: &str, help: &str, labels: &[&str]) -> Result<HistogramVec> {
        let options = HistogramOpts::from(options(name, help)).buckets(SECONDS_BUCKETS.to_vec());
        self.register(HistogramVec::new(options, labels))
    }
}

fn options(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("gradsweep")
}

/// A count as a gauge has it.
pub(super) fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
