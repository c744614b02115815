//! Series of the edge, which observes into them itself.

use prometheus::{IntCounterVec, IntGaugeVec, Result};

use super::registrar::Registrar;

/// Who was refused, and how long the certificate lasts.
#[derive(Clone)]
pub struct EdgeSeries {
    /// Connections and requests, by reason.
    pub refused_total: IntCounterVec,
    /// Without a label, and absent without TLS.
    pub certificate_expiry_seconds: IntGaugeVec,
}

impl EdgeSeries {
    pub(super) fn new(r: &Registrar<'_>) -> Result<EdgeSeries> {
        let refused = "Connections and requests that were refused, by reason.";
        let expiry = "Seconds until the server's certificate expires; absent without TLS.";
        Ok(EdgeSeries {
            refused_total: r.counter("refused_total", refused, &["reason"])?,
            certificate_expiry_seconds: r.int_gauge("certificate_expiry_seconds", expiry, &[])?,
        })
    }
}
