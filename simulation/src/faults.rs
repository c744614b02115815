//! What goes wrong. Each seed has a random choice of faults at random rates ("swarm"), so that
//! some seeds meet one fault often and alone and others all of them at once.

use scheduler::Settings;
use scheduler::event::Device;

use crate::agent::AgentPlan;
use crate::network::StreamId;
use crate::random::{Concern, Random};
use crate::store::{Fate, Store};
use crate::trials::Kinds;
use crate::world::{Happening, World};

/// What may go wrong from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// A stream breaks.
    Break,
    /// A stream moves nothing for up to a minute.
    Stall,
    /// The agent's process is killed.
    KillAgent,
    /// A host loses its power, and its disk what was not synced.
    PowerCut,
    /// The agent's process is stopped for a while.
    PauseAgent,
    /// The whole host is.
    PauseHost,
    /// A worker is told to leave, and comes back.
    Drain,
    /// A worker's data set is damaged.
    DamageData,
    /// A trainer is killed.
    KillTrainer,
    /// A trainer does nothing any more.
    HangTrainer,
    /// The coordinator is killed.
    KillCoordinator,
    /// The coordinator is told to stop: it hands out nothing more, and then is gone.
    CloseCoordinator,
    /// The coordinator gives a stream up, as that of a worker that does not read.
    CloseStream,
    /// The disk of a worker's spool is full for a while.
    FillSpool,
    /// The disk of the store is full for a while.
    FillDisk,
    /// A commit fails, and nobody knows whether it is stored.
    LoseCommit,
    /// Commits take seconds for a while.
    SlowDisk,
    /// The coordinator comes back with an empty state directory.
    NewStore,
}

const FAULTS: [Fault; 18] = [
    Fault::Break,
    Fault::Stall,
    Fault::KillAgent,
    Fault::PowerCut,
    Fault::PauseAgent,
    Fault::PauseHost,
    Fault::Drain,
    Fault::DamageData,
    Fault::KillTrainer,
    Fault::HangTrainer,
    Fault::KillCoordinator,
    Fault::CloseCoordinator,
    Fault::CloseStream,
    Fault::FillSpool,
    Fault::FillDisk,
    Fault::LoseCommit,
    Fault::SlowDisk,
    Fault::NewStore,
];

/// The options of a seed.
#[derive(Clone, Debug)]
pub(crate) struct Swarm {
    pub agents: Vec<AgentPlan>,
    pub kinds: Kinds,
    /// Trials have the ids 1 to this.
    pub trials: u64,
    pub sweeps: usize,
    pub shares_checkpoints: bool,
    pub checkpoint_per_mille: u64,
    /// How long the faults last.
    pub faults_ms: u64,
    pub fault_every_ms: u64,
    /// With their weights.
    pub faults: Vec<(Fault, u64)>,
    pub operation_every_ms: u64,
    pub latency_ms_max: u64,
    pub commit_ms_max: u64,
    /// Of the coordinator, before each message that follows a commit.
    pub crash_per_mille: u64,
    pub death_per_mille: u64,
    pub hang_per_mille: u64,
    pub bug_per_mille: u64,
    pub start_fails_per_mille: u64,
    pub start_ms_max: u64,
    pub agent_back_ms_max: u64,
    pub coordinator_back_ms_max: u64,
    pub coordinator_tick_ms: u64,
    pub chunk_trials: usize,
    pub uncommitted_max: usize,
    pub settings: Settings,
}

impl Swarm {
    pub fn draw(seed: u64) -> Swarm {
        let random = &mut Random::new(seed, Concern::Swarm);
        let mut faults = Vec::new();
        for fault in FAULTS {
            let (is_chosen, weight) = (random.is_heads(), random.between(1, 8));
            // A new store forgets what the others are about: rare.
            let is_rare = fault == Fault::NewStore;
            if is_chosen && (!is_rare || random.chance(200)) {
                faults.push((fault, if is_rare { 1 } else { weight }));
            }
        }
        let agents = (0..random.between(1, 4)).map(|_| plan(random)).collect();
        let mut rate = |high| if random.is_heads() { random.below(high) } else { 0 };
        let kinds = Kinds {
            diverging_per_mille: rate(400),
            poisoned_per_mille: rate(250),
            oversized_per_mille: rate(150),
            epochs_max: 6,
            epoch_ms_max: 20_000,
        };
        let (crash_per_mille, death_per_mille) = (rate(60), rate(100));
        let (hang_per_mille, bug_per_mille) = (rate(15), rate(60));
        let start_fails_per_mille = rate(200);
        Swarm {
            agents,
            kinds,
            trials: random.between(2, 40),
            sweeps: random.index(3) + 1,
            shares_checkpoints: random.is_heads(),
            checkpoint_per_mille: random.below(1_001),
            faults_ms: random.between(20_000, 600_000),
            fault_every_ms: random.between(500, 30_000),
            faults,
            operation_every_ms: random.between(10_000, 200_000),
            latency_ms_max: random.between(2, 2_000),
            commit_ms_max: random.between(2, 500),
            crash_per_mille,
            death_per_mille,
            hang_per_mille,
            bug_per_mille,
            start_fails_per_mille,
            start_ms_max: random.between(100, 30_000),
            agent_back_ms_max: random.between(1_000, 60_000),
            coordinator_back_ms_max: random.between(500, 30_000),
            coordinator_tick_ms: random.between(250, 1_000),
            chunk_trials: random.index(8) + 1,
            uncommitted_max: random.index(64) + 2,
            settings: Settings {
                lost_worker_kept_ms: random.between(1_000, 600_000),
                ..Settings::default()
            },
        }
    }
}

fn plan(random: &mut Random) -> AgentPlan {
    let is_gpu = random.is_heads();
    let mut plan = AgentPlan {
        devices: Vec::new(),
        memory: Vec::new(),
        spool_max: random.index(60) + 4,
        batch_max: random.index(12) + 1,
    };
    for slot in 0..u32::try_from(random.between(1, 3)).expect("few") {
        plan.devices.push(if is_gpu { Device::Cuda(slot) } else { Device::Cpu });
        plan.memory.push(random.index(12) + 1);
    }
    plan
}

impl World {
    /// One fault of the seed's choice, and when the next one comes.
    pub(crate) fn on_fault(&mut self) {
        if self.is_healed || self.swarm.faults.is_empty() {
            return;
        }
        let next_ms = 1 + self.random.faults.below(2 * self.swarm.fault_every_ms);
        self.after(next_ms, Happening::Fault);
        let weights = self.swarm.faults.iter().map(|(_, weight)| weight).sum();
        let mut drawn = self.random.faults.below(weights);
        let mut chosen = None;
        for (fault, weight) in &self.swarm.faults {
            if drawn < *weight {
                chosen = Some(*fault);
                break;
            }
            drawn -= weight;
        }
        // Both are drawn for every fault, so that the next one does not depend on this one's kind.
        let agent = self.random.faults.index(self.agents.len());
        let size = self.random.faults.next_draw();
        let fault = chosen.expect("the weights add up");
        self.log.add(self.now, format_args!("fault {fault:?} of {}", self.agents[agent].id));
        self.strike(fault, agent, size);
    }

    fn strike(&mut self, fault: Fault, agent: usize, mut size: Random) {
        match fault {
            Fault::Break => {
                if let Some(stream) = self.agents[agent].stream() {
                    self.cut(stream);
                }
            }
            Fault::Stall => self.stall_streams(agent, size.between(500, 60_000)),
            Fault::KillAgent => self.end_agent(agent, 0),
            Fault::PowerCut => {
                let lost = size.index(self.agents[agent].spool.unsynced() + 1);
                if lost > 0 {
                    self.audit.see("a power cut takes reports");
                }
                self.end_agent(agent, lost);
            }
            Fault::PauseAgent => self.pause_agent(agent, size.between(500, 120_000), false),
            Fault::PauseHost => self.pause_agent(agent, size.between(500, 120_000), true),
            Fault::Drain => {
                let life = self.agents[agent].life;
                self.input(agent, life, crate::agent::Input::Drain);
            }
            Fault::DamageData => {
                let is_broken = size.chance(700);
                let was_broken =
                    std::mem::replace(&mut self.agents[agent].is_data_broken, is_broken);
                if was_broken && !is_broken {
                    // Who repairs the data starts the agent again.
                    self.end_agent(agent, 0);
                }
            }
            Fault::KillTrainer => {
                if let Some(seat) = self.busy_seat(agent) {
                    self.die(seat, worker::supervisor::FailureCause::TrainerDied, "SIGKILL");
                }
            }
            Fault::HangTrainer => {
                if let Some(seat) = self.busy_seat(agent) {
                    self.hang(seat);
                }
            }
            Fault::KillCoordinator => self.end_coordinator(),
            Fault::CloseCoordinator => {
                self.close_coordinator();
                let life = self.coordinator.life;
                self.after(size.between(100, 5_000), Happening::CoordinatorEnds(life));
            }
            Fault::CloseStream => self.give_up_stream(agent),
            Fault::FillSpool => {
                self.agents[agent].disk_full_until = self.now + size.between(1_000, 60_000);
            }
            Fault::FillDisk => self.store.refuses_until = self.now + size.between(200, 60_000),
            Fault::LoseCommit => {
                let fate = if size.is_heads() { Fate::Stored } else { Fate::NotStored };
                self.store.fails_next = Some(fate);
            }
            Fault::SlowDisk => self.store.slow_until = self.now + size.between(1_000, 60_000),
            Fault::NewStore => {
                self.end_coordinator();
                self.store = Store::new(self.store.identity + 1);
                self.coordinator.given = (0..self.files.len()).collect();
            }
        }
    }

    fn stall_streams(&mut self, agent: usize, ms: u64) {
        for index in 0..self.streams.len() {
            if self.streams[index].agent == agent && self.streams[index].agent_end {
                self.stall(StreamId(index), ms);
            }
        }
    }
}
