//! An agent's stream: connecting, hello, what the coordinator says, reports and heartbeats. It
//! mirrors `on_connection`, `on_coordinator`, `start_anew`, `send_reports` and `send_heartbeat` of
//! `worker/src/agent/driver.rs`, and the loop of `worker/src/connection.rs`.

use std::collections::{BTreeMap, BTreeSet};

use common::config::Data;
use scheduler::event::{Report, RunningCohort, WorkerHello};
use worker::supervisor::Event;

use crate::agent::Input;
use crate::convert;
use crate::network::{End, FromWorker, StreamId, ToWorker};
use crate::world::{Happening, World};

const HEARTBEAT_MS: u64 = 2_000;
/// Messages that wait for the stream.
const OUTBOUND_WAITING_MAX: usize = 8;
pub(crate) const BACKOFF_MS_MIN: u64 = 100;
const BACKOFF_MS_MAX: u64 = 5_000;
/// A coordinator that does not answer a hello for so long is not one.
const WELCOME_WAIT_MS: u64 = 10_000;

/// An agent's stream, as the agent sees it.
#[derive(Debug)]
pub(crate) struct Attached {
    pub stream: StreamId,
    pub heartbeat_at: u64,
    /// Reports from before the hello may be left to send.
    has_backlog: bool,
}

impl World {
    /// One try; the connection's own task waits between them.
    pub(crate) fn connect(&mut self, index: usize) {
        if self.process(index).stream.is_some() {
            return;
        }
        if !self.coordinator.is_listening() {
            return self.connect_later(index);
        }
        let stream = self.open_stream(index);
        let hello = FromWorker::Hello { hello: self.hello(index), store: self.agents[index].store };
        self.log.add(self.now, format_args!("{} {stream:?} {hello:?}", self.agents[index].id));
        self.send_up(stream, hello);
        self.agents[index].spool.rewind();
        let now = self.now;
        let attached = Attached { stream, heartbeat_at: now, has_backlog: true };
        self.process(index).stream = Some(attached);
        self.after(WELCOME_WAIT_MS, Happening::WelcomeDue(stream));
    }

    fn connect_later(&mut self, index: usize) {
        let life = self.agents[index].life;
        let process = self.process(index);
        let wait_ms = process.backoff_ms;
        process.backoff_ms = (wait_ms * 2).min(BACKOFF_MS_MAX);
        self.after(wait_ms, Happening::Connects(index, life));
    }

    fn hello(&self, index: usize) -> WorkerHello {
        let agent = &self.agents[index];
        let supervisor = &agent.process.as_ref().expect("it runs").supervisor;
        // What is about to end after `start_anew` is of no store that anybody knows.
        let held = if agent.store == 0 { Vec::new() } else { supervisor.running() };
        let running = held.into_iter().map(|held| RunningCohort {
            cohort: held.cohort,
            slot: u32::try_from(held.slot).expect("few slots"),
            attempts: held.attempts,
        });
        WorkerHello {
            id: agent.id.clone(),
            host: "host".into(),
            program_version: "0.1.0".into(),
            libtorch_version: "2.11.0".into(),
            slots: agent.plan.devices.clone(),
            data_digests: BTreeMap::from([(Data::Strokes, "digest".into())]),
            running: running.collect(),
            draining: supervisor.is_draining(),
        }
    }

    /// The coordinator has not answered in time.
    pub(crate) fn on_welcome_due(&mut self, stream: StreamId) {
        let due = &self.streams[stream.0];
        let (agent, life) = (due.agent, due.agent_life);
        if !due.is_welcome && due.agent_end {
            self.close(stream, End::Agent);
            self.input(agent, life, Input::Lost(stream));
        }
    }

    pub(crate) fn on_lost(&mut self, index: usize, stream: StreamId) {
        if self.agents[index].stream() != Some(stream) {
            return;
        }
        let (now, is_welcome) = (self.now, self.streams[stream.0].is_welcome);
        self.close(stream, End::Agent);
        let process = self.process(index);
        process.stream = None;
        process.stream_lost_at = now;
        if is_welcome {
            process.backoff_ms = BACKOFF_MS_MIN;
        }
        self.connect_later(index);
    }

    pub(crate) fn on_said(&mut self, index: usize, stream: StreamId, said: ToWorker) {
        if self.agents[index].stream() != Some(stream) {
            return;
        }
        self.log.add(self.now, format_args!("{} {stream:?} hears {said:?}", self.agents[index].id));
        match said {
            ToWorker::Welcome { adopted, store } => {
                self.streams[stream.0].is_welcome = true;
                self.agents[index].store = store;
                let adopted = adopted.into_iter().collect();
                self.supervise(index, Event::Welcome { adopted });
            }
            ToWorker::Foreign => {
                // As `start_anew`: attempt numbers of another store mean nothing to this one.
                self.supervise(index, Event::Welcome { adopted: BTreeSet::new() });
                self.agents[index].spool.discard();
                self.agents[index].store = 0;
            }
            ToWorker::Lease { slot, cohort } => {
                self.supervise(index, Event::Lease { slot, cohort });
            }
            ToWorker::Acknowledge { through } => self.on_acknowledged(index, stream, through),
            ToWorker::Stop(attempt) => self.supervise(index, Event::Stop(attempt)),
            ToWorker::Drain => self.leave(index, false),
        }
    }

    fn on_acknowledged(&mut self, index: usize, stream: StreamId, through: u64) {
        let forgotten = self.agents[index].spool.acknowledge(through);
        for (_, report) in &forgotten {
            self.check_acknowledged(stream, report);
        }
        for (_, report) in forgotten {
            let Report::Ended(attempt, _) = convert::report(&report) else {
                continue;
            };
            // As `forget_checkpoint`.
            if self.process(index).supervisor.slot_of(attempt.trial).is_none() {
                self.agents[index].checkpoints.remove(&attempt.trial);
            }
        }
    }

    pub(crate) fn send_reports(&mut self, index: usize) {
        let agent = &mut self.agents[index];
        let Some(attached) = agent.process.as_mut().and_then(|it| it.stream.as_mut()) else {
            return;
        };
        let stream = attached.stream;
        let places = OUTBOUND_WAITING_MAX.saturating_sub(self.streams[stream.0].waiting());
        for _ in 0..places {
            let agent = &mut self.agents[index];
            let reports = agent.spool.next_batch(agent.plan.batch_max);
            if reports.is_empty() {
                let attached = self.process(index).stream.as_mut();
                attached.expect("seen above").has_backlog = false;
                return;
            }
            self.send_up(stream, FromWorker::Reports(reports));
        }
    }

    pub(crate) fn send_heartbeat(&mut self, index: usize) {
        let now = self.now;
        let process = self.process(index);
        let draining = process.supervisor.is_draining();
        let Some(attached) = process.stream.as_mut() else { return };
        let stream = attached.stream;
        if attached.heartbeat_at > now || attached.has_backlog {
            return;
        }
        if self.streams[stream.0].waiting() >= OUTBOUND_WAITING_MAX {
            return;
        }
        self.process(index).stream.as_mut().expect("seen above").heartbeat_at = now + HEARTBEAT_MS;
        self.send_up(stream, FromWorker::Heartbeat { draining });
    }
}
