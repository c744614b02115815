//! Streams between agents and the coordinator. A stream keeps its order and loses nothing but its
//! tail; what is in flight when it breaks may arrive late, after its successor was opened, and
//! either end may hear of the break much later or never.

use std::collections::VecDeque;

use common::ids::AttemptId;
use common::wire::report;
use scheduler::event::{Session, WorkerHello};
use worker::supervisor::Cohort;

use crate::world::{Happening, World};

/// A stream, by the order in which they were opened.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct StreamId(pub usize);

/// Which end of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Agent,
    Coordinator,
}

/// What an agent says.
#[derive(Clone, Debug)]
pub(crate) enum FromWorker {
    Hello { hello: WorkerHello, store: u64 },
    Heartbeat { draining: bool },
    Reports(Vec<(u64, report::Report)>),
}

/// What the coordinator says.
#[derive(Clone, Debug)]
pub(crate) enum ToWorker {
    Welcome { adopted: Vec<AttemptId>, store: u64 },
    Foreign,
    Lease { slot: usize, cohort: Cohort },
    Acknowledge { through: u64 },
    Stop(AttemptId),
}

/// One direction of a stream.
#[derive(Debug)]
pub(crate) struct Lane<M> {
    in_flight: VecDeque<M>,
    /// No message arrives before the one in front of it.
    last_at: u64,
    /// Takes nothing more.
    is_cut: bool,
}

impl<M> Default for Lane<M> {
    fn default() -> Lane<M> {
        Lane { in_flight: VecDeque::new(), last_at: 0, is_cut: false }
    }
}

impl<M> Lane<M> {
    /// When a message of now arrives, where it does.
    fn put(&mut self, at: u64, message: M) -> Option<u64> {
        if self.is_cut {
            return None;
        }
        self.last_at = self.last_at.max(at);
        self.in_flight.push_back(message);
        Some(self.last_at)
    }
}

/// One attached stream of a worker, or one that was.
#[derive(Debug)]
pub(crate) struct Stream {
    pub agent: usize,
    /// The process at each end.
    pub agent_life: u64,
    pub coordinator_life: u64,
    /// The store that the coordinator had.
    pub store: u64,
    /// From the hello on.
    pub session: Option<Session>,
    pub is_welcome: bool,
    up: Lane<FromWorker>,
    down: Lane<ToWorker>,
    /// Ends that have not heard of the stream's end.
    pub agent_end: bool,
    pub coordinator_end: bool,
}

impl Stream {
    /// Messages that wait at the agent's end, or are on their way.
    pub fn waiting(&self) -> usize {
        self.up.in_flight.len()
    }

    pub fn is_cut(&self) -> bool {
        self.up.is_cut || self.down.is_cut
    }
}

impl World {
    pub(crate) fn open_stream(&mut self, agent: usize) -> StreamId {
        let id = StreamId(self.streams.len());
        self.streams.push(Stream {
            agent,
            agent_life: self.agents[agent].life,
            coordinator_life: self.coordinator.life,
            store: self.store.identity,
            session: None,
            is_welcome: false,
            up: Lane::default(),
            down: Lane::default(),
            agent_end: true,
            coordinator_end: true,
        });
        id
    }

    fn latency(&mut self) -> u64 {
        let longest = self.swarm.latency_ms_max;
        1 + self.random.network.skewed(longest)
    }

    pub(crate) fn send_up(&mut self, stream: StreamId, message: FromWorker) {
        let at = self.now + self.latency();
        if let Some(at) = self.streams[stream.0].up.put(at, message) {
            self.at(at, Happening::ArrivesUp(stream));
        }
    }

    pub(crate) fn send_down(&mut self, stream: StreamId, message: ToWorker) {
        let at = self.now + self.latency();
        if let Some(at) = self.streams[stream.0].down.put(at, message) {
            self.at(at, Happening::ArrivesDown(stream));
        }
    }

    pub(crate) fn take_up(&mut self, stream: StreamId) -> Option<FromWorker> {
        self.streams[stream.0].up.in_flight.pop_front()
    }

    pub(crate) fn take_down(&mut self, stream: StreamId) -> Option<ToWorker> {
        self.streams[stream.0].down.in_flight.pop_front()
    }

    /// Nothing moves on it for a while; then everything arrives.
    pub(crate) fn stall(&mut self, stream: StreamId, ms: u64) {
        let until = self.now + ms;
        let stream = &mut self.streams[stream.0];
        stream.up.last_at = stream.up.last_at.max(until);
        stream.down.last_at = stream.down.last_at.max(until);
    }

    /// It breaks between its ends; what is in flight may be lost.
    pub(crate) fn cut(&mut self, stream: StreamId) {
        let (up_lost, down_lost) = (self.random.network.is_heads(), self.random.network.is_heads());
        let broken = &mut self.streams[stream.0];
        (broken.up.is_cut, broken.down.is_cut) = (true, true);
        if up_lost {
            broken.up.in_flight.clear();
        }
        if down_lost {
            broken.down.in_flight.clear();
        }
        for end in [End::Agent, End::Coordinator] {
            self.tell_end(stream, end);
        }
    }

    /// One end closes it, or is gone; the other hears of it behind what was sent before.
    pub(crate) fn close(&mut self, stream: StreamId, by: End) {
        let closed = &mut self.streams[stream.0];
        match by {
            End::Agent => {
                closed.agent_end = false;
                closed.up.is_cut = true;
                closed.down.in_flight.clear();
                closed.down.is_cut = true;
                self.tell_end(stream, End::Coordinator);
            }
            End::Coordinator => {
                closed.coordinator_end = false;
                closed.down.is_cut = true;
                closed.up.is_cut = true;
                self.tell_end(stream, End::Agent);
            }
        }
    }

    fn tell_end(&mut self, stream: StreamId, end: End) {
        // An agent finds a dead peer by its keep-alive; the coordinator may learn it from the
        // next hello alone.
        let delay = match (self.random.network.below(4), end) {
            (0, End::Coordinator) if !self.is_healed => return,
            (0 | 1, _) if !self.is_healed => self.random.network.between(1_000, 30_000),
            _ => self.latency(),
        };
        let lane_at = match end {
            End::Agent => self.streams[stream.0].down.last_at,
            End::Coordinator => self.streams[stream.0].up.last_at,
        };
        self.at((self.now + delay).max(lane_at), Happening::EndHeard(stream, end));
    }
}
