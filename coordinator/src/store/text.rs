//! The words that stand for states in the store, and back.

use std::collections::BTreeMap;

use common::config::{Data, Model};
use scheduler::Change;
use scheduler::event::{AttemptEnd, Device, FailureCause, Fusion, Hold, OutcomeKind};

/// `state` of a trial that waits.
pub const PENDING: &str = "pending";
/// `state` of a trial whose latest attempt runs.
pub const RUNNING: &str = "running";

const KINDS: [OutcomeKind; 4] =
    [OutcomeKind::Completed, OutcomeKind::Diverged, OutcomeKind::Failed, OutcomeKind::Cancelled];

/// How a trial ended, as its `state` and its outcome's `kind`.
pub fn of_kind(kind: OutcomeKind) -> &'static str {
    match kind {
        OutcomeKind::Completed => "completed",
        OutcomeKind::Diverged => "diverged",
        OutcomeKind::Failed => "failed",
        OutcomeKind::Cancelled => "cancelled",
    }
}

/// What `of_kind` wrote.
pub fn kind(text: &str) -> Option<OutcomeKind> {
    KINDS.into_iter().find(|kind| of_kind(*kind) == text)
}

/// How an attempt ended.
pub fn of_end(end: &AttemptEnd) -> &'static str {
    match end {
        AttemptEnd::Outcome(kind) => of_kind(*kind),
        AttemptEnd::WorkerLost => "worker lost",
        AttemptEnd::Returned => "returned",
        AttemptEnd::CohortFailed { cause, .. } => match cause {
            FailureCause::OutOfMemory => "out of memory",
            FailureCause::TrainerDied => "trainer died",
            FailureCause::Data => "data missing or wrong",
            FailureCause::Bug => "error in the trainer",
        },
        AttemptEnd::Cancelled => of_kind(OutcomeKind::Cancelled),
    }
}

/// Cohort size as `auto`, `off` or a number.
pub fn of_fusion(fusion: Fusion) -> String {
    match fusion {
        Fusion::Auto => "auto".into(),
        Fusion::Off => "off".into(),
        Fusion::Size(size) => size.to_string(),
    }
}

/// What `of_fusion` wrote.
pub fn fusion(text: &str) -> Option<Fusion> {
    match text {
        "auto" => Some(Fusion::Auto),
        "off" => Some(Fusion::Off),
        size => size.parse().ok().map(Fusion::Size),
    }
}

const BROKEN: &str = "broken: ";

/// What holds a sweep back.
pub fn of_hold(hold: &Hold) -> String {
    match hold {
        Hold::Paused => "paused".into(),
        Hold::Cancelled => "cancelled".into(),
        Hold::Broken { reason } => format!("{BROKEN}{reason}"),
    }
}

/// What `of_hold` wrote.
pub fn hold(text: &str) -> Option<Hold> {
    match text {
        "paused" => Some(Hold::Paused),
        "cancelled" => Some(Hold::Cancelled),
        broken => {
            let reason = broken.strip_prefix(BROKEN)?.to_owned();
            Some(Hold::Broken { reason })
        }
    }
}

/// A model family by its name.
pub fn model(text: &str) -> Option<Model> {
    Model::ALL.into_iter().find(|model| model.name() == text)
}

/// A data set by its name.
pub fn data(text: &str) -> Option<Data> {
    Data::ALL.into_iter().find(|data| data.name() == text)
}

/// Devices by slot, as a JSON list.
pub fn of_slots(slots: &[Device]) -> String {
    let name = |device: &Device| match device {
        Device::Cpu => "cpu".to_owned(),
        Device::Cuda(ordinal) => format!("cuda:{ordinal}"),
    };
    serde_json::Value::from(slots.iter().map(name).collect::<Vec<String>>()).to_string()
}

/// Digest by data set, as a JSON object.
pub fn of_digests(digests: &BTreeMap<Data, String>) -> String {
    let entry = |(data, digest): (&Data, &String)| (data.name().to_owned(), digest.clone().into());
    serde_json::Value::Object(digests.iter().map(entry).collect()).to_string()
}

/// A change in a few words, for messages.
pub fn of_change(change: &Change) -> String {
    match change {
        Change::SweepApplied(header) => format!("applying sweep `{}`", header.name),
        Change::TrialsAdded(trials) => format!("adding {} trials", trials.len()),
        Change::MembersAdded { sweep, trials, .. } => {
            format!("adding {} members to sweep `{sweep}`", trials.len())
        }
        Change::MembersRemoved(sweep, trials) => {
            format!("removing {} members from sweep `{sweep}`", trials.len())
        }
        Change::SweepExpanded(sweep) => format!("the expansion of sweep `{sweep}`"),
        Change::SweepCompleted(sweep) => format!("the completion of sweep `{sweep}`"),
        Change::SweepReopened(sweep) => format!("reopening sweep `{sweep}`"),
        Change::DataPinned(sweep, _) => format!("pinning the data of sweep `{sweep}`"),
        Change::WorkerAttached(hello) => format!("attaching worker `{}`", hello.id),
        Change::WorkerDetached(worker) => format!("detaching worker `{worker}`"),
        Change::AttemptStarted { attempt, .. } => format!("the start of attempt {attempt}"),
        Change::AttemptAdopted(attempt) => format!("adopting attempt {attempt}"),
        Change::AttemptEnded { attempt, .. } => format!("the end of attempt {attempt}"),
        Change::EpochRecorded(attempt, metrics) => {
            format!("epoch {} of attempt {attempt}", metrics.epoch)
        }
        Change::OutcomeRecorded(attempt, _) => format!("the outcome of attempt {attempt}"),
        Change::SweepHeld(sweep, _) => format!("holding sweep `{sweep}`"),
        Change::TrialsClosed { trials, .. } => format!("closing {} trials", trials.len()),
        Change::TrialsReopened(trials) => format!("reopening {} trials", trials.len()),
        Change::TrialPardoned { trial, .. } => format!("pardoning trial {trial}"),
    }
}
