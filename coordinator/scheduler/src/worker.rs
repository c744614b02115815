//! A worker as the scheduler holds it: its stream, its slots, and what it may not be given.

use std::collections::{BTreeMap, BTreeSet};

use common::config::Data;
use common::ids::{AttemptId, CohortId};

use crate::event::{Device, Session, SweepHeader, Time, WorkerHello};
use crate::health::Health;
use crate::trial::TrialIndex;

/// How a worker can be reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Link {
    /// The store says that it runs attempts; it has not attached since the coordinator started.
    Awaited,
    /// On this stream.
    Attached { session: Session },
    /// Its stream broke; its lease clock runs.
    Detached,
    /// Its leases expired. `held` is what it had then: it may have it still.
    Lost {
        /// A stream that fell silent, but was not closed.
        silent: Option<Session>,
        held: Vec<Held>,
        /// It drained and closed its stream with nothing left to run.
        left: bool,
    },
}

/// An attempt that a worker had when it was lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Held {
    pub attempt: AttemptId,
    pub cohort: CohortId,
    /// The slot where it ran; none where its worker had not said that it runs.
    pub slot: Option<u32>,
}

/// A worker.
#[derive(Debug)]
pub(crate) struct Worker {
    /// The latest hello, without what it ran then; none where it never attached.
    pub hello: Option<WorkerHello>,
    /// The latest session; none where it never attached.
    pub session: Option<Session>,
    pub link: Link,
    /// Takes no more leases, as it said last.
    pub draining: bool,
    /// Somebody asked that it leaves, and it has not left yet.
    pub drain_asked: bool,
    pub last_seen: Time,
    /// What each slot holds.
    pub slots: Vec<Option<CohortId>>,
    /// Cohorts with running attempts on it, in a slot or not.
    pub cohorts: BTreeSet<CohortId>,
    /// Attempts that count as running here but were not in its hello. Their reports may be in
    /// its spool, which follows the hello: they end with the first heartbeat after it.
    pub unconfirmed: Vec<AttemptId>,
    /// Data sets with which a cohort failed since it attached, and how.
    pub data_faults: BTreeMap<Data, String>,
    pub health: Health,
}

impl Worker {
    /// A worker of which only the store knows.
    pub fn awaited(now: Time) -> Worker {
        Worker {
            hello: None,
            session: None,
            link: Link::Awaited,
            draining: false,
            drain_asked: false,
            last_seen: now,
            slots: Vec::new(),
            cohorts: BTreeSet::new(),
            unconfirmed: Vec::new(),
            data_faults: BTreeMap::new(),
            health: Health::default(),
        }
    }

    /// The session to send on.
    pub fn live_session(&self) -> Option<Session> {
        match self.link {
            Link::Attached { session } => Some(session),
            Link::Awaited | Link::Detached | Link::Lost { .. } => None,
        }
    }

    /// The session on which it may be leased to.
    pub fn lease_session(&self) -> Option<Session> {
        self.live_session().filter(|_| !self.drains() && self.health.may_lease())
    }

    /// Others may leave work to it: it takes some, now or before long.
    pub fn is_able(&self) -> bool {
        let stays = self.live_session().is_some() && !self.drains();
        stays && self.health.aside.is_none() && !self.slots.is_empty()
    }

    /// It is on its way out.
    pub fn drains(&self) -> bool {
        self.draining || self.drain_asked
    }

    pub fn is_lost(&self) -> bool {
        match self.link {
            Link::Lost { .. } => true,
            Link::Awaited | Link::Attached { .. } | Link::Detached => false,
        }
    }

    pub fn has_free_slot(&self) -> bool {
        self.slots.iter().any(Option::is_none)
    }

    /// The digest of its data, where it may run this sweep; else why not.
    pub fn digest_for(&self, sweep: &SweepHeader) -> Result<&str, String> {
        let data = sweep.data;
        if let Some(fault) = self.data_faults.get(&data) {
            return Err(format!(
                "a cohort failed on its `{}`; it gets none of it until it attaches again: {fault}",
                data.name(),
            ));
        }
        let digest = self.hello.as_ref().and_then(|hello| hello.data_digests.get(&data));
        let Some(digest) = digest else {
            return Err(format!("it does not have the data set `{}`", data.name()));
        };
        if let Some(pinned) = &sweep.data_digest
            && pinned != digest
        {
            return Err(format!(
                "its `{}` has the digest {digest}, and sweep `{}` is pinned to {pinned}",
                data.name(),
                sweep.name,
            ));
        }
        Ok(digest)
    }

    /// The device of a slot.
    pub fn device(&self, slot: usize) -> Device {
        let hello = self.hello.as_ref().expect("a worker with slots said hello");
        hello.slots[slot]
    }
}

/// A trial that runs in a cohort.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Runner {
    pub trial: TrialIndex,
    /// As its last epoch report said.
    pub examples_per_second: f64,
    /// The lowest validation error at an eligible epoch of this attempt.
    pub best_error: Option<f64>,
}

impl Runner {
    /// A trial that has not reported yet.
    pub fn new(trial: TrialIndex) -> Runner {
        Runner { trial, examples_per_second: 0.0, best_error: None }
    }
}
