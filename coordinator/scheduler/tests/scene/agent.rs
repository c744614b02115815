//! A worker that keeps to the protocol, however its host and its network treat it.

use std::collections::{BTreeMap, VecDeque};

use common::ids::{AttemptId, CohortId, WorkerId};
use scheduler::event::{
    Device, Event, FailureCause, Message, OutcomeKind, Report, RunningCohort, Session,
};

use super::{died, epoch, hello, outcome};

/// Epochs of every trial.
pub const EPOCHS: u32 = 3;

/// Members with the last epoch that they trained.
type Members = Vec<(AttemptId, u32)>;

pub struct Agent {
    pub id: WorkerId,
    pub device: Device,
    slots: BTreeMap<u32, (CohortId, Members)>,
    session: Option<Session>,
    welcome: bool,
    draining: bool,
    /// Messages on the way to it, on its session.
    inbox: VecDeque<Message>,
    spool: VecDeque<(u64, Report)>,
    sequence: u64,
    /// The last report that was sent on this session.
    sent: u64,
}

impl Agent {
    pub fn new(id: &str, device: Device) -> Agent {
        Agent {
            id: super::worker(id),
            device,
            slots: BTreeMap::new(),
            session: None,
            welcome: false,
            draining: false,
            inbox: VecDeque::new(),
            spool: VecDeque::new(),
            sequence: 0,
            sent: 0,
        }
    }

    pub fn is_idle(&self) -> bool {
        self.slots.is_empty() && self.spool.is_empty()
    }

    pub fn attach(&mut self, session: u64) -> Event {
        self.drop_stream();
        self.session = Some(Session(session));
        let mut hello = hello(self.id.as_str(), &[self.device; 2]);
        hello.draining = self.draining;
        for (slot, (cohort, members)) in &self.slots {
            let attempts = members.iter().map(|(attempt, _)| *attempt).collect();
            hello.running.push(RunningCohort { cohort: *cohort, slot: *slot, attempts });
        }
        Event::WorkerAttached(Session(session), hello)
    }

    /// Its stream broke; the coordinator may hear of it later or never.
    pub fn drop_stream(&mut self) -> Option<Event> {
        self.inbox.clear();
        (self.welcome, self.sent) = (false, 0);
        let session = self.session.take()?;
        Some(Event::WorkerDetached(self.id.clone(), session))
    }

    /// The agent is killed; its spool survives.
    pub fn crash(&mut self) -> Option<Event> {
        self.slots.clear();
        self.draining = false;
        self.drop_stream()
    }

    pub fn heartbeat(&mut self, draining: bool) -> Option<Event> {
        self.draining = draining;
        let (worker, session) = (self.id.clone(), self.session?);
        Some(Event::Heartbeat { worker, session, draining })
    }

    /// Sends what it has not sent on this session, at most so many.
    pub fn send(&mut self, count: usize) -> Option<Event> {
        let (worker, session) = (self.id.clone(), self.session.filter(|_| self.welcome)?);
        let sent = self.sent;
        let fresh = self.spool.iter().filter(|(sequence, _)| *sequence > sent).take(count);
        let reports: Vec<(u64, Report)> = fresh.cloned().collect();
        let through = reports.last()?.0;
        self.sent = through;
        let reports = reports.into_iter().map(|(_, report)| report).collect();
        Some(Event::Reported { worker, session, through, reports })
    }

    /// The same reports once more.
    pub fn forget_sent(&mut self) {
        self.sent = 0;
    }

    pub fn post(&mut self, session: Session, message: Message) {
        if self.session == Some(session) {
            self.inbox.push_back(message);
        }
    }

    pub fn receive(&mut self) {
        match self.inbox.pop_front() {
            None | Some(Message::SweepCompleted(_)) => {}
            Some(Message::Drain { .. }) => self.draining = true,
            Some(Message::Welcome { adopted, .. }) => {
                self.welcome = true;
                self.retain(|attempt| adopted.contains(&attempt));
            }
            Some(Message::Stop { attempt, .. }) => self.retain(|other| other != attempt),
            Some(Message::Acknowledge { through, .. }) => {
                self.spool.retain(|(sequence, _)| *sequence > through);
            }
            Some(Message::Lease { slot, cohort, trials, .. }) => {
                assert!(self.welcome, "a lease follows the welcome");
                let resumed = trials.iter().map(|leased| {
                    // A checkpoint is somewhere in the stored history, or nowhere.
                    let checkpoint = leased.epochs_stored.min(leased.trial.id.0 as u32 % 3);
                    (leased.attempt, checkpoint)
                });
                let held = self.slots.insert(slot, (cohort, resumed.collect()));
                assert!(held.is_none(), "a slot that holds a cohort gets no other");
            }
        }
    }

    pub fn receive_all(&mut self) {
        while !self.inbox.is_empty() {
            self.receive();
        }
    }

    fn retain(&mut self, keep: impl Fn(AttemptId) -> bool) {
        for (_, members) in self.slots.values_mut() {
            members.retain(|(attempt, _)| keep(*attempt));
        }
        self.slots.retain(|_, (_, members)| !members.is_empty());
    }

    fn spool(&mut self, report: Report) {
        self.sequence += 1;
        self.spool.push_back((self.sequence, report));
    }

    /// Trains an epoch; who has trained them all ends. The kind of an end depends on the trial
    /// alone, as that of a real one does.
    pub fn train(&mut self, slot: u32) {
        let Some((cohort, members)) = self.slots.remove(&slot) else { return };
        let mut left = Vec::new();
        for (attempt, last) in members {
            if last < EPOCHS {
                self.spool(epoch(attempt, last + 1));
            }
            if last + 1 < EPOCHS {
                left.push((attempt, last + 1));
            } else {
                let diverges = attempt.trial.0.is_multiple_of(5);
                let kind = if diverges { OutcomeKind::Diverged } else { OutcomeKind::Completed };
                self.spool(Report::Ended(attempt, outcome(kind, (!diverges).then_some(0.1))));
            }
        }
        if !left.is_empty() {
            self.slots.insert(slot, (cohort, left));
        }
    }

    /// The trainer of a slot dies.
    pub fn fail(&mut self, slot: u32, cause: FailureCause) {
        let Some((cohort, members)) = self.slots.remove(&slot) else { return };
        let attempts: Vec<AttemptId> = members.iter().map(|(attempt, _)| *attempt).collect();
        self.spool(died(cohort.0, &attempts, cause));
    }

    pub fn hand_back(&mut self, slot: u32) {
        let Some((_, members)) = self.slots.remove(&slot) else { return };
        for (attempt, last) in members {
            self.spool(Report::Returned(attempt, last));
        }
    }
}
