//! Wire types in, domain types out, and back. What a worker sends is checked here, with an error
//! that names the field, so that nothing further in checks again or panics.

use std::collections::BTreeMap;

use common::config::Data;
use common::ids::{AttemptId, CohortId, IdError};
use common::wire::{self, report, to_worker};
use scheduler::event::{
    CohortFailure, Device, EpochMetrics, FailureCause, Outcome, OutcomeKind, Provenance, Report,
    RunningCohort, WorkerHello,
};
use tonic::Status;

use super::outgoing::{Leased, Outgoing};
use crate::weights::Offer;

/// More slots than this on one worker are a mistake.
const SLOTS_MAX: usize = 1024;
/// Longest name or version that is kept.
pub(super) const NAME_BYTES_MAX: usize = 255;
/// Longest reason or message that is kept; the trainer's log has the rest.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// A message of a worker that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// A needed field is absent.
    #[error("{what} without `{field}`")]
    Missing {
        /// Kind of message.
        what: &'static str,
        /// The field.
        field: &'static str,
    },
    /// An id that is none.
    #[error("{what}")]
    Id {
        /// Kind of message.
        what: &'static str,
        /// Why.
        #[source]
        source: IdError,
    },
    /// A field with a value that is not accepted.
    #[error("{what}: `{field}` is {value}; accepted: {accepted}")]
    Value {
        /// Kind of message.
        what: &'static str,
        /// The field.
        field: &'static str,
        /// As sent.
        value: String,
        /// What would do.
        accepted: String,
    },
}

impl From<ConvertError> for Status {
    fn from(error: ConvertError) -> Status {
        Status::invalid_argument(common::telemetry::chain(&error))
    }
}

/// Reads a hello.
pub fn hello(hello: wire::Hello) -> Result<WorkerHello, ConvertError> {
    const WHAT: &str = "hello";
    let id = hello.worker.parse().map_err(|source| ConvertError::Id { what: WHAT, source })?;
    if hello.slots.is_empty() || hello.slots.len() > SLOTS_MAX {
        let accepted = format!("1 to {SLOTS_MAX} slots");
        return Err(value(WHAT, "slots", hello.slots.len(), accepted));
    }
    let mut slots = Vec::with_capacity(hello.slots.len());
    for slot in &hello.slots {
        slots.push(device(&slot.device)?);
    }
    let mut running = Vec::with_capacity(hello.running.len());
    for cohort in hello.running {
        running.push(running_cohort(cohort, slots.len())?);
    }
    Ok(WorkerHello {
        id,
        host: shortened(hello.host, NAME_BYTES_MAX),
        program_version: shortened(hello.program_version, NAME_BYTES_MAX),
        libtorch_version: shortened(hello.libtorch_version, NAME_BYTES_MAX),
        slots,
        data_digests: data_digests(hello.data_digests),
        running,
        draining: hello.draining,
    })
}

/// A data set that this version does not know cannot be in a sweep, so it is passed over.
fn data_digests(digests: std::collections::HashMap<String, String>) -> BTreeMap<Data, String> {
    let mut known = BTreeMap::new();
    for (name, digest) in digests {
        if let Some(data) = Data::ALL.into_iter().find(|data| data.name() == name) {
            known.insert(data, shortened(digest, NAME_BYTES_MAX));
        }
    }
    known
}

fn running_cohort(
    cohort: wire::RunningCohort,
    slot_count: usize,
) -> Result<RunningCohort, ConvertError> {
    const WHAT: &str = "running cohort";
    if !usize::try_from(cohort.slot).is_ok_and(|slot| slot < slot_count) {
        let accepted = format!("0 to {}", slot_count - 1);
        return Err(value(WHAT, "slot", cohort.slot, accepted));
    }
    Ok(RunningCohort {
        cohort: CohortId(cohort.cohort),
        slot: cohort.slot,
        attempts: attempts(&cohort.attempts, WHAT)?,
    })
}

fn device(text: &str) -> Result<Device, ConvertError> {
    if text == "cpu" {
        return Ok(Device::Cpu);
    }
    let ordinal = text.strip_prefix("cuda:").and_then(|ordinal| ordinal.parse().ok());
    ordinal
        .map(Device::Cuda)
        .ok_or_else(|| value("slot", "device", printable(text), "cpu or cuda:N".into()))
}

/// The reports of one message with the sequence number of the last; none where it is empty.
pub fn reports(message: wire::Reports) -> Result<Option<(u64, Vec<Report>)>, ConvertError> {
    let mut reports = Vec::with_capacity(message.reports.len());
    let mut through = None;
    for entry in message.reports {
        if through.is_some_and(|previous| entry.sequence <= previous) {
            let accepted = "numbers that grow".into();
            return Err(value("report", "sequence", entry.sequence, accepted));
        }
        through = Some(entry.sequence);
        reports.push(report(entry)?);
    }
    Ok(through.map(|through| (through, reports)))
}

fn report(entry: wire::Report) -> Result<Report, ConvertError> {
    let missing = ConvertError::Missing { what: "report", field: "report" };
    match entry.report.ok_or(missing)? {
        report::Report::Epoch(epoch) => {
            let attempt = present(epoch.attempt.as_ref(), "epoch report")?;
            Ok(Report::Epoch(attempt, epoch_metrics(&epoch)?))
        }
        report::Report::Outcome(outcome) => {
            let attempt = present(outcome.attempt.as_ref(), "outcome")?;
            Ok(Report::Ended(attempt, self::outcome(outcome)?))
        }
        report::Report::Returned(returned) => {
            let attempt = present(returned.attempt.as_ref(), "returned attempt")?;
            Ok(Report::Returned(attempt, returned.epochs))
        }
        report::Report::Failed(failed) => Ok(Report::CohortFailed(failure(failed)?)),
    }
}

fn epoch_metrics(epoch: &wire::EpochReport) -> Result<EpochMetrics, ConvertError> {
    if epoch.epoch == 0 {
        return Err(value("epoch report", "epoch", 0, "1 and more".into()));
    }
    Ok(EpochMetrics {
        epoch: epoch.epoch,
        train_loss: epoch.train_loss,
        train_error: epoch.train_error,
        val_loss: epoch.val_loss,
        val_error: epoch.val_error,
        gate: epoch.gate,
        lr: epoch.lr,
        grad_norm: epoch.grad_norm,
        examples_per_second: epoch.examples_per_second,
        seconds: epoch.seconds,
        examples: epoch.examples,
    })
}

fn outcome(outcome: wire::AttemptOutcome) -> Result<Outcome, ConvertError> {
    let kind = match outcome.kind() {
        wire::OutcomeKind::Completed => OutcomeKind::Completed,
        wire::OutcomeKind::Diverged => OutcomeKind::Diverged,
        wire::OutcomeKind::Failed => OutcomeKind::Failed,
        wire::OutcomeKind::Cancelled => OutcomeKind::Cancelled,
        wire::OutcomeKind::Unspecified => {
            let accepted = "completed, diverged, failed or cancelled".into();
            return Err(value("outcome", "kind", outcome.kind, accepted));
        }
    };
    Ok(Outcome {
        kind,
        epochs: outcome.epochs,
        seconds: outcome.seconds,
        best_epoch: outcome.best_epoch,
        test_error: finite(outcome.test_error),
        test_loss: finite(outcome.test_loss),
        val_error: finite(outcome.val_error),
        val_loss: finite(outcome.val_loss),
        train_loss: finite(outcome.train_loss),
        reason: shortened(outcome.reason, TEXT_BYTES_MAX),
        provenance: provenance(outcome.provenance.unwrap_or_default()),
    })
}

/// A result is a number; what is none is no result.
pub(super) fn finite(number: Option<f64>) -> Option<f64> {
    number.filter(|number| number.is_finite())
}

fn provenance(provenance: wire::Provenance) -> Provenance {
    Provenance {
        program_version: shortened(provenance.program_version, NAME_BYTES_MAX),
        libtorch_version: shortened(provenance.libtorch_version, NAME_BYTES_MAX),
        device: shortened(provenance.device, NAME_BYTES_MAX),
        precision: shortened(provenance.precision, NAME_BYTES_MAX),
        cohort_size: provenance.cohort_size,
        data_digest: shortened(provenance.data_digest, NAME_BYTES_MAX),
        threads: provenance.threads,
    }
}

fn failure(failed: wire::CohortFailed) -> Result<CohortFailure, ConvertError> {
    let cause = match failed.cause() {
        wire::FailureCause::OutOfMemory => FailureCause::OutOfMemory,
        wire::FailureCause::TrainerDied => FailureCause::TrainerDied,
        wire::FailureCause::Data => FailureCause::Data,
        wire::FailureCause::Bug => FailureCause::Bug,
        wire::FailureCause::Unspecified => {
            let accepted = "out of memory, trainer died, data or bug".into();
            return Err(value("cohort failure", "cause", failed.cause, accepted));
        }
    };
    Ok(CohortFailure {
        cohort: CohortId(failed.cohort),
        attempts: attempts(&failed.attempts, "cohort failure")?,
        cause,
        message: shortened(failed.message, TEXT_BYTES_MAX),
        stderr_tail: newest(failed.stderr_tail, TEXT_BYTES_MAX),
    })
}

/// Reads what is said of weights before they come.
pub fn weights_offer(offer: wire::OfferWeightsRequest) -> Result<Offer, ConvertError> {
    const WHAT: &str = "offer of weights";
    let attempt = present(offer.attempt.as_ref(), WHAT)?;
    let hash = offer.blake3.as_slice().try_into();
    let accepted = || "the 32 bytes of a hash".into();
    let length = offer.blake3.len();
    let hash = hash.map_err(|_| value(WHAT, "blake3", format!("of {length} bytes"), accepted()))?;
    Ok(Offer { attempt, bytes: offer.bytes, hash })
}

/// A message for a worker.
pub fn to_worker(outgoing: Outgoing, heartbeat_interval_ms: u32, store: &str) -> wire::ToWorker {
    let message = match outgoing {
        Outgoing::Welcome { adopted } => to_worker::Message::Welcome(wire::Welcome {
            adopted: adopted.into_iter().map(to_wire).collect(),
            heartbeat_interval_ms,
            store: store.into(),
        }),
        Outgoing::Lease { slot, cohort, trials } => {
            let trials = trials.into_iter().map(leased_trial).collect();
            let cohort = wire::TrainCohort { cohort: cohort.0, trials };
            to_worker::Message::Lease(wire::Lease { slot, cohort: Some(cohort) })
        }
        Outgoing::Stop(attempt) => {
            to_worker::Message::Stop(wire::StopAttempt { attempt: Some(to_wire(attempt)) })
        }
        Outgoing::Drain => to_worker::Message::Drain(wire::Drain {}),
        Outgoing::Acknowledge { through } => {
            to_worker::Message::Acknowledge(wire::Acknowledge { through })
        }
        Outgoing::LogRequest { request, trial } => {
            let trial = trial.to_string();
            to_worker::Message::LogRequest(wire::LogRequest { request, trial })
        }
    };
    wire::ToWorker { message: Some(message) }
}

fn leased_trial(leased: Leased) -> wire::LeasedTrial {
    let Leased { trial: leased, keeps_weights } = leased;
    let config = &leased.trial.config;
    wire::LeasedTrial {
        attempt: Some(to_wire(leased.attempt)),
        model: config.model.name().into(),
        data: config.data.name().into(),
        params: config.to_json(),
        seed: leased.trial.seed,
        epochs_stored: leased.epochs_stored,
        keeps_weights,
    }
}

fn attempts(
    attempts: &[wire::AttemptId],
    what: &'static str,
) -> Result<Vec<AttemptId>, ConvertError> {
    attempts.iter().map(|attempt| attempt_id(attempt, what)).collect()
}

fn present(
    attempt: Option<&wire::AttemptId>,
    what: &'static str,
) -> Result<AttemptId, ConvertError> {
    attempt_id(attempt.ok_or(ConvertError::Missing { what, field: "attempt" })?, what)
}

fn attempt_id(attempt: &wire::AttemptId, what: &'static str) -> Result<AttemptId, ConvertError> {
    let trial = attempt.trial.parse().map_err(|source| ConvertError::Id { what, source })?;
    if attempt.attempt == 0 {
        return Err(value(what, "attempt", 0, "1 and more".into()));
    }
    Ok(AttemptId { trial, number: attempt.attempt })
}

fn to_wire(attempt: AttemptId) -> wire::AttemptId {
    wire::AttemptId { trial: attempt.trial.to_string(), attempt: attempt.number }
}

pub(super) fn value(
    what: &'static str,
    field: &'static str,
    value: impl ToString,
    accepted: String,
) -> ConvertError {
    ConvertError::Value { what, field, value: value.to_string(), accepted }
}

fn printable(text: &str) -> String {
    let end = text.floor_char_boundary(NAME_BYTES_MAX);
    format!("`{}`", text[..end].escape_debug())
}

/// The first bytes of a text.
pub(super) fn shortened(mut text: String, bytes_max: usize) -> String {
    let end = text.floor_char_boundary(bytes_max);
    text.truncate(end);
    text
}

/// The last bytes of a text.
pub(crate) fn newest(mut text: String, bytes_max: usize) -> String {
    let start = text.ceil_char_boundary(text.len().saturating_sub(bytes_max));
    text.drain(..start);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello_of(slots: &[&str]) -> wire::Hello {
        let slots = slots.iter().map(|device| wire::Slot { device: (*device).into() });
        wire::Hello { worker: "w1".into(), slots: slots.collect(), ..wire::Hello::default() }
    }

    fn refused(result: Result<WorkerHello, ConvertError>) -> String {
        let status = Status::from(result.expect_err("refused"));
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        status.message().to_owned()
    }

    #[test]
    fn a_hello_says_what_is_wrong_with_it() {
        let good = hello(hello_of(&["cpu", "cuda:3"])).expect("accepted");
        assert_eq!(good.slots, [Device::Cpu, Device::Cuda(3)]);
        for device in ["", "cuda", "cuda:", "cuda:-1", "cuda:4294967296", "gpu"] {
            let message = refused(hello(hello_of(&[device])));
            let expected = format!("slot: `device` is `{device}`; accepted: cpu or cuda:N");
            assert_eq!(message, expected);
        }
        assert!(refused(hello(hello_of(&[]))).contains("`slots` is 0"));
        let mut nameless = hello_of(&["cpu"]);
        nameless.worker = "a b".into();
        assert!(refused(hello(nameless)).contains("`a b` is not a worker id"));
        let mut beyond = hello_of(&["cpu"]);
        beyond.running.push(wire::RunningCohort { slot: 1, ..Default::default() });
        assert!(refused(hello(beyond)).contains("`slot` is 1; accepted: 0 to 0"));
    }

    #[test]
    fn unknown_data_sets_are_passed_over() {
        let mut with = hello_of(&["cpu"]);
        with.data_digests.insert("strokes".into(), "abc".into());
        with.data_digests.insert("of-tomorrow".into(), "def".into());
        let digests = hello(with).expect("accepted").data_digests;
        assert_eq!(digests, BTreeMap::from([(Data::Strokes, "abc".to_owned())]));
    }

    fn attempt(trial: &str, number: u32) -> Option<wire::AttemptId> {
        Some(wire::AttemptId { trial: trial.into(), attempt: number })
    }

    fn one(report: report::Report) -> Result<Option<(u64, Vec<Report>)>, ConvertError> {
        let report = wire::Report { sequence: 7, report: Some(report) };
        reports(wire::Reports { reports: vec![report] })
    }

    #[test]
    fn reports_are_checked_field_by_field() {
        let id = "00000000000000ff";
        let epoch = wire::EpochReport { attempt: attempt(id, 1), epoch: 1, ..Default::default() };
        let (through, read) =
            one(report::Report::Epoch(epoch.clone())).expect("good").expect("one");
        assert_eq!((through, read.len()), (7, 1));
        let zero = wire::EpochReport { epoch: 0, ..epoch.clone() };
        let nobody = wire::EpochReport { attempt: None, ..epoch.clone() };
        let bad_id = wire::EpochReport { attempt: attempt("FF", 1), ..epoch.clone() };
        let bad_number = wire::EpochReport { attempt: attempt(id, 0), ..epoch };
        for bad in [zero, nobody, bad_id, bad_number] {
            one(report::Report::Epoch(bad)).expect_err("refused");
        }
        let kind = wire::AttemptOutcome { attempt: attempt(id, 1), kind: 99, ..Default::default() };
        let error = one(report::Report::Outcome(kind)).expect_err("refused").to_string();
        assert!(error.starts_with("outcome: `kind` is 99"), "{error}");
        let empty = wire::Reports { reports: vec![wire::Report::default()] };
        assert_eq!(reports(empty).expect_err("refused").to_string(), "report without `report`");
        assert!(reports(wire::Reports::default()).expect("nothing").is_none());
    }

    #[test]
    fn sequence_numbers_grow() {
        let returned = wire::AttemptReturned { attempt: attempt("00000000000000ff", 1), epochs: 2 };
        let entry = |sequence| wire::Report {
            sequence,
            report: Some(report::Report::Returned(returned.clone())),
        };
        let good = wire::Reports { reports: vec![entry(3), entry(5)] };
        assert_eq!(reports(good).expect("good").expect("two").0, 5);
        let bad = wire::Reports { reports: vec![entry(5), entry(5)] };
        reports(bad).expect_err("refused");
    }

    #[test]
    fn results_that_are_no_numbers_are_absent() {
        let outcome = wire::AttemptOutcome {
            attempt: attempt("00000000000000ff", 1),
            kind: wire::OutcomeKind::Diverged.into(),
            val_error: Some(f64::NAN),
            train_loss: Some(f64::INFINITY),
            test_error: Some(0.5),
            ..Default::default()
        };
        let (_, read) = one(report::Report::Outcome(outcome)).expect("good").expect("one");
        let Report::Ended(_, outcome) = &read[0] else { panic!("an outcome") };
        let read = (outcome.val_error, outcome.train_loss, outcome.test_error);
        assert_eq!(read, (None, None, Some(0.5)));
    }

    #[test]
    fn long_texts_keep_their_first_or_newest_part() {
        assert_eq!(shortened("äöü".into(), 3), "ä");
        assert_eq!(newest("äöü".into(), 3), "ü");
        assert_eq!(newest("abc".into(), 10), "abc");
    }
}
