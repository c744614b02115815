//! An agent: the real supervisor in a model of its shell, `worker/src/agent/driver.rs`. It mirrors
//! `drive` (one input, then reports, heartbeat, spool, leaving), `perform`, `give_up`, `on_stop`,
//! `watch_spool` and `is_done`; `attachment` has its stream.

use std::collections::{BTreeMap, VecDeque};

use common::ids::{TrialId, WorkerId};
use scheduler::event::Device;
use worker::supervisor::{Action, Event, FailureCause, Order, Run, Supervisor, Time, TrainerEvent};

use crate::attachment::{Attached, BACKOFF_MS_MIN};
use crate::network::{End, StreamId, ToWorker};
use crate::spool::Spool;
use crate::trainer::{Seat, Trainer, Work};
use crate::world::{Happening, World};

const DRAIN_MS_MAX: u64 = worker::agent::DRAIN_MS_MAX;
const DRAIN_ALONE_MS: u64 = 5_000;
/// A disk that refused is asked again after this time.
const SPOOL_RETRY_MS: u64 = 5_000;
/// Coarser than the real one's 100 ms, for speed.
pub(crate) const TICK_MS: u64 = 1_000;

/// What a host is.
#[derive(Clone, Debug)]
pub(crate) struct AgentPlan {
    /// Device by slot.
    pub devices: Vec<Device>,
    /// Trials that a slot has the memory for.
    pub memory: Vec<usize>,
    /// Reports at which trainers pause.
    pub spool_max: usize,
    /// Reports of one message.
    pub batch_max: usize,
}

/// A host with its disk, and the agent's process where there is one.
#[derive(Debug)]
pub(crate) struct Agent {
    pub id: WorkerId,
    pub plan: AgentPlan,
    /// Counts the processes.
    pub life: u64,
    pub process: Option<Process>,
    pub spool: Spool,
    /// The store that spool and attempts belong to; 0 before the first.
    pub store: u64,
    pub checkpoints: BTreeMap<TrialId, u32>,
    pub is_data_broken: bool,
    /// The spool's file cannot be written before then.
    pub disk_full_until: u64,
    pub pause: Option<Pause>,
    /// What waits while it is paused.
    waiting: VecDeque<Input>,
}

/// A stopped process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pause {
    pub until: u64,
    /// The trainers are stopped with it.
    pub whole_host: bool,
}

/// The process.
#[derive(Debug)]
pub(crate) struct Process {
    pub supervisor: Supervisor,
    pub trainers: Vec<Option<Trainer>>,
    started_at: u64,
    is_warm: bool,
    pub stream: Option<Attached>,
    pub stream_lost_at: u64,
    pub backoff_ms: u64,
    leaving: Option<Leaving>,
    spool_retry_at: u64,
}

/// Since when it is leaving.
#[derive(Debug)]
struct Leaving {
    since: u64,
    at_once: bool,
}

/// What happens to it.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    Trainer { slot: usize, run: Run, event: TrainerEvent },
    Connect,
    Said(StreamId, ToWorker),
    Lost(StreamId),
    Drain,
    Tick,
}

impl Agent {
    pub fn new(id: &str, plan: AgentPlan) -> Agent {
        Agent {
            id: id.parse().expect("a worker's id"),
            plan,
            life: 0,
            process: None,
            spool: Spool::new(),
            store: 0,
            checkpoints: BTreeMap::new(),
            is_data_broken: false,
            disk_full_until: 0,
            pause: None,
            waiting: VecDeque::new(),
        }
    }

    /// Its trainers do nothing before then.
    pub fn trainers_held_until(&self, now: u64) -> Option<u64> {
        let pause = self.pause.filter(|pause| pause.whole_host)?;
        Some(pause.until.max(now + 1))
    }

    /// The stream that it believes to have.
    pub fn stream(&self) -> Option<StreamId> {
        Some(self.process.as_ref()?.stream.as_ref()?.stream)
    }

    /// Nothing is held, nothing is unsaid.
    pub fn is_idle(&self) -> bool {
        let process = self.process.as_ref();
        process.is_some_and(|process| process.supervisor.running().is_empty())
            && self.spool.is_empty()
    }
}

impl World {
    pub(crate) fn start_agent(&mut self, index: usize) {
        let now = self.now;
        let agent = &mut self.agents[index];
        if agent.process.is_some() {
            return;
        }
        agent.life += 1;
        agent.waiting.clear();
        agent.pause = None;
        let slots = agent.plan.devices.len();
        agent.process = Some(Process {
            supervisor: Supervisor::new(slots),
            trainers: (0..slots).map(|_| None).collect(),
            started_at: now,
            is_warm: false,
            stream: None,
            stream_lost_at: 0,
            backoff_ms: BACKOFF_MS_MIN,
            leaving: None,
            spool_retry_at: 0,
        });
        let life = agent.life;
        self.supervise(index, Event::Begin);
        self.after(TICK_MS, Happening::AgentTick(index, life));
    }

    /// The process is gone with its trainers; so many records of the spool go with it.
    pub(crate) fn end_agent(&mut self, index: usize, lost: usize) {
        let agent = &mut self.agents[index];
        let Some(process) = agent.process.take() else { return };
        agent.spool.open_again(lost);
        agent.waiting.clear();
        agent.pause = None;
        if let Some(attached) = process.stream {
            self.close(attached.stream, End::Agent);
        }
        let back_ms = self.random.agents.between(500, self.swarm.agent_back_ms_max);
        self.after(back_ms, Happening::AgentStarts(index));
    }

    pub(crate) fn pause_agent(&mut self, index: usize, ms: u64, whole_host: bool) {
        let until = self.now + ms;
        let agent = &mut self.agents[index];
        if agent.process.is_some() && agent.pause.is_none() {
            agent.pause = Some(Pause { until, whole_host });
            self.at(until, Happening::AgentResumes(index));
        }
    }

    pub(crate) fn resume_agent(&mut self, index: usize) {
        let agent = &mut self.agents[index];
        if agent.pause.is_none_or(|pause| pause.until > self.now) {
            return;
        }
        agent.pause = None;
        let life = agent.life;
        for input in std::mem::take(&mut self.agents[index].waiting) {
            self.input(index, life, input);
        }
    }

    /// Something happens to the process of this life.
    pub(crate) fn input(&mut self, index: usize, life: u64, input: Input) {
        let agent = &mut self.agents[index];
        if agent.life != life || agent.process.is_none() {
            return;
        }
        if agent.pause.is_some() {
            let is_repeated = matches!(input, Input::Tick)
                && agent.waiting.iter().any(|waiting| matches!(waiting, Input::Tick));
            if !is_repeated {
                agent.waiting.push_back(input);
            }
            return;
        }
        self.take(index, input);
        self.send_reports(index);
        self.send_heartbeat(index);
        self.watch_spool(index);
        if self.is_done(index) {
            self.log.add(self.now, format_args!("{} leaves", self.agents[index].id));
            self.end_agent(index, 0);
        }
    }

    pub(crate) fn process(&mut self, index: usize) -> &mut Process {
        self.agents[index].process.as_mut().expect("an agent that takes input runs")
    }

    fn take(&mut self, index: usize, input: Input) {
        match input {
            Input::Trainer { slot, run, event } => {
                self.supervise(index, Event::Trainer { slot, run, event });
            }
            Input::Connect => self.connect(index),
            Input::Said(stream, said) => self.on_said(index, stream, said),
            Input::Lost(stream) => self.on_lost(index, stream),
            Input::Drain => self.leave(index, false),
            Input::Tick => self.supervise(index, Event::Tick),
        }
    }

    pub(crate) fn supervise(&mut self, index: usize, event: Event) {
        let now = self.now;
        let process = self.process(index);
        let actions = process.supervisor.apply(Time(now - process.started_at), event);
        for action in actions {
            self.perform(index, action);
        }
    }

    fn perform(&mut self, index: usize, action: Action) {
        let life = self.agents[index].life;
        let seat = |slot, run| Seat { agent: index, life, slot, run };
        match &action {
            Action::Kill { .. } => self.audit.see("a supervisor kills a trainer"),
            Action::GiveUp { .. } => self.audit.see("an agent gives up"),
            Action::Order { order: Order::Pause(true), .. } => {
                self.audit.see("a full spool pauses a trainer");
            }
            Action::Start { .. } | Action::Order { .. } | Action::Report(_) | Action::Warm => {}
        }
        match &action {
            Action::Report(_) | Action::Order { .. } | Action::Kill { .. } => {
                self.log.add(self.now, format_args!("{} {action:?}", self.agents[index].id));
            }
            Action::Start { .. } | Action::Warm | Action::GiveUp { .. } => {}
        }
        match action {
            Action::Start { slot, run } => self.start_trainer(seat(slot, run)),
            Action::Order { slot, run, order } => self.order(seat(slot, run), order),
            Action::Kill { slot, run, .. } => {
                self.die(seat(slot, run), FailureCause::TrainerDied, "SIGKILL of its agent");
            }
            Action::Report(report) => {
                let now = self.now;
                let agent = &mut self.agents[index];
                let is_disk_full = now < agent.disk_full_until;
                agent.spool.append(worker::rpc::to_report(report), is_disk_full);
                if is_disk_full {
                    self.process(index).spool_retry_at = now + SPOOL_RETRY_MS;
                }
            }
            Action::Warm => {
                self.process(index).is_warm = true;
                self.connect(index);
            }
            Action::GiveUp { .. } => {
                let at_once = !self.process(index).is_warm;
                self.leave(index, at_once);
            }
        }
    }

    pub(crate) fn leave(&mut self, index: usize, at_once: bool) {
        let now = self.now;
        let process = self.process(index);
        if process.leaving.is_none() {
            process.leaving = Some(Leaving { since: now, at_once });
            if let Some(attached) = &mut process.stream {
                attached.heartbeat_at = now;
            }
            self.supervise(index, Event::Drain);
        }
    }

    fn watch_spool(&mut self, index: usize) {
        let now = self.now;
        let agent = &mut self.agents[index];
        let process = agent.process.as_mut().expect("an agent that takes input runs");
        if agent.spool.is_behind() && process.spool_retry_at <= now {
            if now < agent.disk_full_until {
                process.spool_retry_at = now + SPOOL_RETRY_MS;
            } else {
                agent.spool.rewrite();
            }
        }
        let (length, most) = (agent.spool.len(), agent.plan.spool_max);
        if agent.spool.is_behind() {
            self.audit.see("a spool is not on its disk");
        }
        if length >= most || self.agents[index].spool.is_behind() {
            self.supervise(index, Event::SpoolFull(true));
        } else if length < most / 2 {
            self.supervise(index, Event::SpoolFull(false));
        }
    }

    fn is_done(&self, index: usize) -> bool {
        let agent = &self.agents[index];
        let process = agent.process.as_ref().expect("it runs");
        let Some(leaving) = &process.leaving else { return false };
        if leaving.at_once || self.now >= leaving.since + DRAIN_MS_MAX {
            return true;
        }
        if !process.supervisor.is_drained() {
            return false;
        }
        let alone_since = leaving.since.max(process.stream_lost_at);
        let is_alone = process.stream.is_none() && self.now >= alone_since + DRAIN_ALONE_MS;
        agent.spool.is_empty() || !process.is_warm || is_alone
    }

    /// A random trainer of an agent that trains, to be killed or hung.
    pub(crate) fn busy_seat(&self, index: usize) -> Option<Seat> {
        let agent = &self.agents[index];
        let trainers = agent.process.as_ref()?.trainers.iter().enumerate();
        let mut busy = trainers.filter_map(|(slot, trainer)| {
            let trainer = trainer.as_ref()?;
            let trains = matches!(trainer.work, Work::Training(_));
            let seat = Seat { agent: index, life: agent.life, slot, run: trainer.run };
            trains.then_some(seat)
        });
        busy.next()
    }

    /// The trainer of this slot does nothing any more.
    pub(crate) fn hang(&mut self, seat: Seat) {
        let process = self.agents[seat.agent].process.as_mut();
        if let Some(trainer) = process.and_then(|process| process.trainers[seat.slot].as_mut()) {
            trainer.is_hung = true;
        }
    }
}
