//! Wire types in, domain types out, and back. A message that names what cannot be is an error
//! here, so nothing further in checks again.

use std::collections::BTreeSet;

use common::ids::{AttemptId, CohortId, IdError, TrialId};
use common::wire::{self, from_trainer, report, to_trainer, to_worker};

use crate::gpus::Gpu;
use crate::supervisor::{
    AttemptReport, Cohort, CohortFailure, FailureCause, LeasedTrial, Order, Report, RunningCohort,
    TrainerEvent,
};

/// Longest text of a trainer that is passed on; its stderr has the rest.
pub const MESSAGE_TEXT_BYTES_MAX: usize = 4096;

/// A message that means nothing.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// No known message in it: the sender is newer.
    #[error("a {what} without content that this version knows")]
    Empty {
        /// Kind of message.
        what: &'static str,
    },
    /// A field that the message needs is absent.
    #[error("a {what} without `{field}`")]
    Missing {
        /// Kind of message.
        what: &'static str,
        /// The field.
        field: &'static str,
    },
    /// A trial's id cannot be read.
    #[error("an attempt of no trial")]
    Trial(#[source] IdError),
}

/// What the coordinator says.
#[derive(Clone, PartialEq, Debug)]
pub enum FromCoordinator {
    /// It took the hello.
    Welcome {
        /// The attempts that go on.
        adopted: BTreeSet<AttemptId>,
        /// How often it wants a sign of life; 0 where it does not say.
        heartbeat_interval_ms: u32,
        /// Identity of its store.
        store: String,
    },
    /// A cohort for a slot.
    Lease {
        /// The slot.
        slot: usize,
        /// The cohort.
        cohort: Cohort,
    },
    /// The reports up to this one are safe.
    Acknowledge {
        /// Its sequence number.
        through: u64,
    },
    /// An attempt is not wanted any more.
    Stop(AttemptId),
    /// Hand back what runs and leave.
    Drain,
    /// Asks for the newest log lines of a trial.
    LogRequest {
        /// For the answer.
        request: u64,
        /// The trial.
        trial: TrialId,
    },
}

/// What a trainer says.
#[derive(Clone, PartialEq, Debug)]
pub enum FromTrainer {
    /// It holds its device, with this version of libtorch.
    Ready {
        /// Of libtorch.
        libtorch_version: String,
    },
    /// Anything else.
    Event(TrainerEvent),
}

/// Reads a message of the coordinator.
pub fn from_coordinator(message: wire::ToWorker) -> Result<FromCoordinator, RpcError> {
    let what = "message of the coordinator";
    match message.message.ok_or(RpcError::Empty { what })? {
        to_worker::Message::Welcome(welcome) => Ok(FromCoordinator::Welcome {
            adopted: welcome.adopted.iter().map(attempt_id).collect::<Result<_, _>>()?,
            heartbeat_interval_ms: welcome.heartbeat_interval_ms,
            store: welcome.store,
        }),
        to_worker::Message::Lease(lease) => {
            let field = RpcError::Missing { what: "lease", field: "cohort" };
            Ok(FromCoordinator::Lease {
                slot: usize::try_from(lease.slot).unwrap_or(usize::MAX),
                cohort: cohort(lease.cohort.ok_or(field)?)?,
            })
        }
        to_worker::Message::Acknowledge(acknowledge) => {
            Ok(FromCoordinator::Acknowledge { through: acknowledge.through })
        }
        to_worker::Message::Stop(stop) => {
            Ok(FromCoordinator::Stop(present(stop.attempt.as_ref(), "stop request")?))
        }
        to_worker::Message::Drain(wire::Drain {}) => Ok(FromCoordinator::Drain),
        to_worker::Message::LogRequest(asked) => Ok(FromCoordinator::LogRequest {
            request: asked.request,
            trial: asked.trial.parse().map_err(RpcError::Trial)?,
        }),
    }
}

/// Reads a message of a trainer.
pub fn from_trainer(message: wire::FromTrainer) -> Result<FromTrainer, RpcError> {
    let event = match message.message.ok_or(RpcError::Empty { what: "trainer's message" })? {
        from_trainer::Message::Ready(ready) => {
            return Ok(FromTrainer::Ready { libtorch_version: ready.libtorch_version });
        }
        from_trainer::Message::Epoch(epoch) => {
            let attempt = present(epoch.attempt.as_ref(), "epoch report")?;
            TrainerEvent::Reported(attempt, AttemptReport::Epoch(epoch))
        }
        from_trainer::Message::Outcome(mut outcome) => {
            let attempt = present(outcome.attempt.as_ref(), "outcome")?;
            outcome.reason = shortened(outcome.reason);
            TrainerEvent::Reported(attempt, AttemptReport::Ended(Box::new(outcome)))
        }
        from_trainer::Message::Returned(returned) => {
            let attempt = present(returned.attempt.as_ref(), "returned attempt")?;
            let report = AttemptReport::Returned { epochs: returned.epochs };
            TrainerEvent::Reported(attempt, report)
        }
        from_trainer::Message::Failed(failed) => TrainerEvent::CohortFailed(CohortFailure {
            cohort: CohortId(failed.cohort),
            attempts: failed.attempts.iter().map(attempt_id).collect::<Result<_, _>>()?,
            cause: cause(failed.cause()),
            message: shortened(failed.message),
            stderr_tail: String::new(),
        }),
        from_trainer::Message::Finished(finished) => {
            TrainerEvent::CohortFinished(CohortId(finished.cohort))
        }
        from_trainer::Message::Pulse(_) => TrainerEvent::Pulse,
    };
    Ok(FromTrainer::Event(event))
}

/// A command as the trainer reads it.
pub fn to_trainer(order: Order) -> wire::ToTrainer {
    let message = match order {
        Order::Train(cohort) => to_trainer::Message::Train(wire::TrainCohort {
            cohort: cohort.id.0,
            trials: cohort.trials.into_iter().map(|trial| trial.payload).collect(),
        }),
        Order::Stop(attempt) => {
            to_trainer::Message::Stop(wire::StopAttempt { attempt: Some(to_wire(attempt)) })
        }
        Order::HandBack => to_trainer::Message::HandBack(wire::HandBack {}),
        Order::Pause(paused) => to_trainer::Message::Pause(wire::Pause { paused }),
    };
    wire::ToTrainer { message: Some(message) }
}

/// A report as the spool and the coordinator have it.
pub fn to_report(report: Report) -> report::Report {
    match report {
        Report::Attempt(_, AttemptReport::Epoch(epoch)) => report::Report::Epoch(epoch),
        Report::Attempt(_, AttemptReport::Ended(outcome)) => report::Report::Outcome(*outcome),
        Report::Attempt(attempt, AttemptReport::Returned { epochs }) => {
            let attempt = Some(to_wire(attempt));
            report::Report::Returned(wire::AttemptReturned { attempt, epochs })
        }
        Report::CohortFailed(failure) => report::Report::Failed(wire::CohortFailed {
            cohort: failure.cohort.0,
            attempts: failure.attempts.into_iter().map(to_wire).collect(),
            cause: wire_cause(failure.cause).into(),
            message: failure.message,
            stderr_tail: failure.stderr_tail,
        }),
    }
}

/// A running cohort for a hello.
pub fn to_running(running: RunningCohort) -> wire::RunningCohort {
    wire::RunningCohort {
        cohort: running.cohort.0,
        slot: u32::try_from(running.slot).expect("slots are counted in u32 at start"),
        attempts: running.attempts.into_iter().map(to_wire).collect(),
    }
}

/// A GPU's figures for a heartbeat.
pub fn to_gpu(gpu: Gpu) -> wire::Gpu {
    wire::Gpu {
        index: gpu.ordinal,
        name: gpu.name,
        utilization: gpu.utilization,
        memory_used_bytes: gpu.memory_used_bytes,
        memory_total_bytes: gpu.memory_total_bytes,
        temperature_celsius: gpu.temperature_celsius,
        power_watts: gpu.power_watts,
    }
}

fn cohort(cohort: wire::TrainCohort) -> Result<Cohort, RpcError> {
    let mut trials = Vec::with_capacity(cohort.trials.len());
    for payload in cohort.trials {
        let attempt = present(payload.attempt.as_ref(), "leased trial")?;
        trials.push(LeasedTrial { attempt, epochs_stored: payload.epochs_stored, payload });
    }
    Ok(Cohort { id: CohortId(cohort.cohort), trials })
}

fn present(attempt: Option<&wire::AttemptId>, what: &'static str) -> Result<AttemptId, RpcError> {
    attempt_id(attempt.ok_or(RpcError::Missing { what, field: "attempt" })?)
}

fn attempt_id(attempt: &wire::AttemptId) -> Result<AttemptId, RpcError> {
    let trial = attempt.trial.parse().map_err(RpcError::Trial)?;
    Ok(AttemptId { trial, number: attempt.attempt })
}

pub(crate) fn to_wire(attempt: AttemptId) -> wire::AttemptId {
    wire::AttemptId { trial: attempt.trial.to_string(), attempt: attempt.number }
}

fn cause(cause: wire::FailureCause) -> FailureCause {
    match cause {
        wire::FailureCause::OutOfMemory => FailureCause::OutOfMemory,
        wire::FailureCause::TrainerDied => FailureCause::TrainerDied,
        wire::FailureCause::Data => FailureCause::Data,
        // A cause that this version does not know is still an error that the trainer caught.
        wire::FailureCause::Bug | wire::FailureCause::Unspecified => FailureCause::Bug,
    }
}

fn wire_cause(cause: FailureCause) -> wire::FailureCause {
    match cause {
        FailureCause::OutOfMemory => wire::FailureCause::OutOfMemory,
        FailureCause::TrainerDied => wire::FailureCause::TrainerDied,
        FailureCause::Data => wire::FailureCause::Data,
        FailureCause::Bug => wire::FailureCause::Bug,
    }
}

fn shortened(mut text: String) -> String {
    let end = text.floor_char_boundary(MESSAGE_TEXT_BYTES_MAX);
    text.truncate(end);
    text
}
