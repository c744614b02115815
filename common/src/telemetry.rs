//! Logs of every process: structured lines on stderr, set by `GRADSWEEP_LOG` (a filter such as
//! `info` or `worker=debug`) and `GRADSWEEP_LOG_FORMAT` (`text` or `json`).

use std::error::Error;
use std::fmt::Write;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// What is logged unless `GRADSWEEP_LOG` says otherwise: our own packages' information, and the
/// warnings of others.
const DEFAULT_FILTER: &str =
    "warn,common=info,coordinator=info,scheduler=info,worker=info,trainer=info,gradnet=info";

/// Starts logging to a writer; once per process.
pub fn init<W>(writer: W)
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let asked = std::env::var("GRADSWEEP_LOG").unwrap_or_default();
    let filter = EnvFilter::try_new(if asked.is_empty() { DEFAULT_FILTER } else { &asked });
    let refused = filter.as_ref().err().map(ToString::to_string);
    let filter = filter.unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match std::env::var("GRADSWEEP_LOG_FORMAT").as_deref() {
        Ok("json") => logs.json().init(),
        _ => logs.with_ansi(false).init(),
    }
    if let Some(reason) = refused {
        tracing::warn!(
            GRADSWEEP_LOG = asked,
            "not a filter, so the default is used: {reason}; accepted: `debug`, `worker=debug`"
        );
    }
}

/// An error and its sources, each said once: `cannot read a.yaml: no such file`.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        write!(text, ": {error}").expect("a string takes text");
        source = error.source();
    }
    text
}
