//! The world of one seed: one queue of happenings over virtual time, on one thread.
//!
//! A run has two phases. First faults happen; then the world is healed, and everything must finish
//! within a bounded time. The invariants are looked at after every happening.

use std::collections::BTreeMap;

use common::ids::TrialId;
use scheduler::Event;

use crate::agent::{Agent, Input};
use crate::coordinator::Coordinator;
use crate::faults::Swarm;
use crate::files::{File, draw_files};
use crate::invariants::Audit;
use crate::log::Log;
use crate::network::{End, Stream, StreamId};
use crate::random::{Concern, Random};
use crate::store::Store;
use crate::trainer::{Seat, Step};
use crate::trials::Trials;

/// Virtual time that a healed world has to finish: a trainer that hangs before its first word is
/// killed after half an hour.
const HEALED_MS_MAX: u64 = 6 * 3_600_000;

/// What is due at some time.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    CoordinatorStarts,
    /// The process of this life, after it was told to stop.
    CoordinatorEnds(u64),
    CoordinatorTick(u64),
    CommitEnds(u64),
    StoreRetry(u64),
    AgentStarts(usize),
    AgentResumes(usize),
    AgentTick(usize, u64),
    Connects(usize, u64),
    WelcomeDue(StreamId),
    ArrivesUp(StreamId),
    ArrivesDown(StreamId),
    EndHeard(StreamId, End),
    Trainer(Seat, Step),
    Fault,
    Operation,
    Heal,
    /// Every file is applied once more, as soon as somebody listens.
    FilesApplied,
}

/// A stream of numbers per concern.
#[derive(Debug)]
pub(crate) struct Randoms {
    pub faults: Random,
    pub operations: Random,
    pub network: Random,
    pub store: Random,
    pub trainers: Random,
    pub agents: Random,
}

/// Everything.
#[derive(Debug)]
pub(crate) struct World {
    pub now: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    queued: u64,
    pub log: Log,
    pub random: Randoms,
    pub swarm: Swarm,
    pub trials: Trials,
    pub files: Vec<File>,
    pub coordinator: Coordinator,
    pub store: Store,
    pub agents: Vec<Agent>,
    pub streams: Vec<Stream>,
    pub shared_checkpoints: BTreeMap<TrialId, u32>,
    pub is_healed: bool,
    /// Since then every file is applied.
    pub is_applied: bool,
    pub healed_at: u64,
    /// The scheduler took an event that is not looked at yet.
    pub is_decided: bool,
    pub audit: Audit,
}

impl World {
    pub fn new(seed: u64, log: Log) -> World {
        let swarm = Swarm::draw(seed);
        let stream = |concern| Random::new(seed, concern);
        let mut operations = stream(Concern::Operations);
        let files = draw_files(&swarm, &mut operations);
        let plans = swarm.agents.iter().zip(["u", "v", "w", "x"]);
        let agents = plans.map(|(plan, id)| Agent::new(id, plan.clone())).collect();
        World {
            now: 0,
            queue: BTreeMap::new(),
            queued: 0,
            log,
            random: Randoms {
                faults: stream(Concern::Faults),
                operations,
                network: stream(Concern::Network),
                store: stream(Concern::Store),
                trainers: stream(Concern::Trainers),
                agents: stream(Concern::Agents),
            },
            trials: Trials::new(seed, swarm.kinds),
            files,
            coordinator: Coordinator::new(),
            store: Store::new(1),
            agents,
            streams: Vec::new(),
            shared_checkpoints: BTreeMap::new(),
            is_healed: false,
            is_applied: false,
            healed_at: 0,
            is_decided: false,
            audit: Audit::default(),
            swarm,
        }
    }

    pub(crate) fn at(&mut self, time: u64, happening: Happening) {
        self.queued += 1;
        self.queue.insert((time.max(self.now), self.queued), happening);
    }

    pub(crate) fn after(&mut self, ms: u64, happening: Happening) {
        self.at(self.now + ms, happening);
    }

    /// Runs the seed to its end. Panics with the invariant that does not hold.
    pub fn run(&mut self) {
        self.log.add(0, format_args!("{:?}", self.swarm));
        self.coordinator.given = (0..self.files.len()).collect();
        self.at(0, Happening::CoordinatorStarts);
        for agent in 0..self.agents.len() {
            let start_ms = self.random.agents.below(3_000);
            self.after(start_ms, Happening::AgentStarts(agent));
        }
        self.after(1_000, Happening::Fault);
        self.after(5_000, Happening::Operation);
        self.after(self.swarm.faults_ms, Happening::Heal);
        while let Some(((now, _), happening)) = self.queue.pop_first() {
            self.now = now;
            self.happen(happening);
            self.work();
            self.check();
            if self.is_applied && self.is_finished() {
                return self.check_results();
            }
            if self.is_healed && self.now > self.healed_at + HEALED_MS_MAX {
                panic!("violated: a healed world finishes\n{}", self.unfinished());
            }
        }
        panic!("violated: a world always has something due");
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::CoordinatorStarts => self.start_coordinator(),
            Happening::CoordinatorEnds(life) => self.on_coordinator_ends(life),
            Happening::CoordinatorTick(life) => self.on_coordinator_tick(life),
            Happening::CommitEnds(life) => self.on_commit_ends(life),
            Happening::StoreRetry(life) => self.on_store_retry(life),
            Happening::AgentStarts(agent) => self.start_agent(agent),
            Happening::AgentResumes(agent) => self.resume_agent(agent),
            Happening::AgentTick(agent, life) => {
                let is_alive = self.agents[agent].process.is_some();
                if is_alive && self.agents[agent].life == life {
                    self.after(crate::agent::TICK_MS, Happening::AgentTick(agent, life));
                    self.input(agent, life, Input::Tick);
                }
            }
            Happening::Connects(agent, life) => self.input(agent, life, Input::Connect),
            Happening::WelcomeDue(stream) => self.on_welcome_due(stream),
            Happening::ArrivesUp(stream) => {
                if let Some(said) = self.take_up(stream) {
                    self.hear(stream, said);
                }
            }
            Happening::ArrivesDown(stream) => {
                if let Some(said) = self.take_down(stream) {
                    let (agent, life) = self.agent_of(stream);
                    self.input(agent, life, Input::Said(stream, said));
                }
            }
            Happening::EndHeard(stream, End::Agent) => {
                let (agent, life) = self.agent_of(stream);
                self.input(agent, life, Input::Lost(stream));
            }
            Happening::EndHeard(stream, End::Coordinator) => self.on_stream_ended(stream),
            Happening::Trainer(seat, step) => self.on_trainer(seat, step),
            Happening::Fault => self.on_fault(),
            Happening::Operation => self.on_operation(),
            Happening::Heal => self.heal(),
            Happening::FilesApplied => self.apply_files(),
        }
    }

    fn agent_of(&self, stream: StreamId) -> (usize, u64) {
        let stream = &self.streams[stream.0];
        (stream.agent, stream.agent_life)
    }

    /// Every fault ends.
    fn heal(&mut self) {
        self.log.add(self.now, format_args!("healed"));
        self.is_healed = true;
        self.healed_at = self.now;
        self.store.refuses_until = 0;
        self.store.slow_until = 0;
        self.store.fails_next = None;
        self.swarm.latency_ms_max = self.swarm.latency_ms_max.min(50);
        self.start_coordinator();
        for index in 0..self.agents.len() {
            let agent = &mut self.agents[index];
            agent.disk_full_until = 0;
            if let Some(pause) = &mut agent.pause {
                pause.until = self.now;
            }
            self.resume_agent(index);
            self.start_agent(index);
            if std::mem::take(&mut self.agents[index].is_data_broken) {
                // Who repairs the data starts the agent again.
                self.end_agent(index, 0);
            }
            // What only one end knows to be broken is found by its keep-alive.
            if let Some(stream) = self.agents[index].stream()
                && (self.streams[stream.0].is_cut() || !self.streams[stream.0].coordinator_end)
            {
                self.cut(stream);
            }
        }
        self.apply_files();
    }

    /// Whoever had it apply files, and saw it stop before it had, applies them again.
    fn on_coordinator_ends(&mut self, life: u64) {
        if self.coordinator.life != life {
            return;
        }
        self.end_coordinator();
        if self.is_healed {
            self.apply_files();
        }
    }

    /// As soon as a coordinator serves.
    fn apply_files(&mut self) {
        self.is_applied = false;
        if self.coordinator.serving().is_none() {
            return self.after(1_000, Happening::FilesApplied);
        }
        for sweep in 0..self.files.len() {
            // No hold outlives this, and what failed or was cancelled has another chance.
            self.act(Event::SweepRetried(self.files[sweep].name.clone()));
            self.apply_file(sweep);
        }
        self.is_applied = true;
    }
}
