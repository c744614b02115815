//! Random faults, then peace: after every event the invariants hold and the strict store accepts
//! every change; once the faults stop, every sweep completes with one outcome per trial.
#![allow(clippy::unwrap_used, reason = "as in any test")]

mod scene;

use std::collections::BTreeSet;

use common::ids::TrialId;
use proptest::prelude::*;
use scene::agent::Agent;
use scene::*;
use scheduler::Effects;
use scheduler::event::{Device, Event, FailureCause, Message, SweepHeader, Trial};
use scheduler::overview::SweepState;

const SWEEPS: [&str; 2] = ["a", "b"];
const TRIALS_MAX: u64 = 24;
/// Peace lasts at most this long, in seconds.
const ROUNDS_MAX: u32 = 500;
const ROUNDS_PER_SESSION: u32 = 20;

/// What may happen. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Fault {
    Wait {
        milliseconds: u64,
    },
    Attach {
        agent: usize,
    },
    /// The coordinator hears that a stream broke, at once or later (maybe never).
    Break {
        agent: usize,
        heard: bool,
    },
    /// What it did not hear of broken streams.
    HearBreaks,
    Crash {
        agent: usize,
    },
    Heartbeat {
        agent: usize,
        draining: bool,
    },
    Receive {
        agent: usize,
        all: bool,
    },
    Send {
        agent: usize,
        count: usize,
    },
    SendAgain {
        agent: usize,
    },
    Train {
        agent: usize,
        slot: u32,
    },
    Fail {
        agent: usize,
        slot: u32,
        cause: FailureCause,
    },
    HandBack {
        agent: usize,
        slot: u32,
    },
    Apply {
        sweep: usize,
        first: u64,
        count: u64,
        interrupted: bool,
    },
    Restart,
}

fn fault() -> impl Strategy<Value = Fault> {
    let agent = 0..3_usize;
    let place = || (0..3_usize, 0..2_u32);
    let cause = prop::sample::select(vec![
        FailureCause::TrainerDied,
        FailureCause::OutOfMemory,
        FailureCause::Bug,
        FailureCause::Data,
    ]);
    let apply = (0..2_usize, 1..TRIALS_MAX, 0..TRIALS_MAX, any::<bool>());
    prop_oneof![
        6 => (1..6_000_u64).prop_map(|milliseconds| Fault::Wait { milliseconds }),
        4 => agent.clone().prop_map(|agent| Fault::Attach { agent }),
        2 => (agent.clone(), any::<bool>())
            .prop_map(|(agent, heard)| Fault::Break { agent, heard }),
        1 => Just(Fault::HearBreaks),
        1 => agent.clone().prop_map(|agent| Fault::Crash { agent }),
        6 => (agent.clone(), prop::bool::weighted(0.1))
            .prop_map(|(agent, draining)| Fault::Heartbeat { agent, draining }),
        12 => (agent.clone(), any::<bool>()).prop_map(|(agent, all)| Fault::Receive { agent, all }),
        8 => (agent.clone(), 1..5_usize).prop_map(|(agent, count)| Fault::Send { agent, count }),
        1 => agent.prop_map(|agent| Fault::SendAgain { agent }),
        12 => place().prop_map(|(agent, slot)| Fault::Train { agent, slot }),
        2 => (place(), cause).prop_map(|((agent, slot), cause)| Fault::Fail { agent, slot, cause }),
        1 => place().prop_map(|(agent, slot)| Fault::HandBack { agent, slot }),
        3 => apply.prop_map(|(sweep, first, count, interrupted)| Fault::Apply {
            sweep,
            first,
            count,
            interrupted,
        }),
        1 => Just(Fault::Restart),
    ]
}

struct World {
    scene: Scene,
    agents: Vec<Agent>,
    sessions: u64,
    unheard: Vec<Event>,
    /// The latest file of each sweep.
    files: [Vec<Trial>; 2],
    completions: usize,
}

impl World {
    fn new() -> World {
        let devices = [Device::Cpu, Device::Cuda(0), Device::Cpu];
        let agents = ["u", "v", "w"].into_iter().zip(devices);
        World {
            scene: Scene::new(),
            agents: agents.map(|(id, device)| Agent::new(id, device)).collect(),
            sessions: 0,
            unheard: Vec::new(),
            files: [Vec::new(), Vec::new()],
            completions: 0,
        }
    }

    fn apply(&mut self, event: impl Into<Option<Event>>) {
        let Some(event) = event.into() else { return };
        let Effects { messages, .. } = self.scene.apply(event);
        for message in messages {
            let (worker, session) = match &message {
                Message::Welcome { worker, session, .. }
                | Message::Lease { worker, session, .. }
                | Message::Stop { worker, session, .. }
                | Message::Drain { worker, session }
                | Message::Acknowledge { worker, session, .. } => (worker.clone(), *session),
                Message::SweepCompleted(_) => {
                    self.completions += 1;
                    continue;
                }
            };
            let agent = self.agents.iter_mut().find(|agent| agent.id == worker);
            agent.expect("a known worker").post(session, message);
        }
    }

    fn attach(&mut self, agent: usize) {
        self.sessions += 1;
        let event = self.agents[agent].attach(self.sessions);
        self.apply(event);
    }

    fn header(sweep: usize) -> SweepHeader {
        let mut header = header(SWEEPS[sweep]);
        header.priority = i32::try_from(sweep).unwrap();
        header
    }

    fn expand(&mut self, sweep: usize, interrupted: bool) {
        self.apply(Event::SweepApplied(World::header(sweep)));
        for chunk in self.files[sweep].clone().chunks(5) {
            self.apply(Event::TrialsAdded(name(SWEEPS[sweep]), chunk.to_vec()));
        }
        if !interrupted {
            self.apply(Event::SweepExpanded(name(SWEEPS[sweep])));
        }
    }

    fn restart(&mut self) {
        for agent in &mut self.agents {
            drop(agent.drop_stream());
        }
        self.unheard.clear();
        self.scene.restart();
    }

    fn happen(&mut self, fault: Fault) {
        match fault {
            Fault::Wait { milliseconds } => {
                self.scene.now += milliseconds;
                self.apply(Event::Tick);
            }
            Fault::Attach { agent } => self.attach(agent),
            Fault::Break { agent, heard } => {
                let event = self.agents[agent].drop_stream();
                if heard { self.apply(event) } else { self.unheard.extend(event) }
            }
            Fault::HearBreaks => {
                for event in std::mem::take(&mut self.unheard) {
                    self.apply(event);
                }
            }
            Fault::Crash { agent } => {
                let event = self.agents[agent].crash();
                self.apply(event);
            }
            Fault::Heartbeat { agent, draining } => {
                let event = self.agents[agent].heartbeat(draining);
                self.apply(event);
            }
            Fault::Receive { agent, all: false } => self.agents[agent].receive(),
            Fault::Receive { agent, all: true } => self.agents[agent].receive_all(),
            Fault::Send { agent, count } => {
                let event = self.agents[agent].send(count);
                self.apply(event);
            }
            Fault::SendAgain { agent } => self.agents[agent].forget_sent(),
            Fault::Train { agent, slot } => self.agents[agent].train(slot),
            Fault::Fail { agent, slot, cause } => self.agents[agent].fail(slot, cause),
            Fault::HandBack { agent, slot } => self.agents[agent].hand_back(slot),
            Fault::Apply { sweep, first, count, interrupted } => {
                let configs = [config(2, 128), config(5, 128), config(2, 256)];
                let ids = first..=(first + count).min(TRIALS_MAX);
                let by_id = |id| trial(id, &configs[usize::try_from(id % 3).unwrap()]);
                self.files[sweep] = ids.map(by_id).collect();
                self.expand(sweep, interrupted);
            }
            Fault::Restart => self.restart(),
        }
    }

    /// Every fault ends; everything must finish in a bounded time.
    fn heal(&mut self) {
        for sweep in 0..SWEEPS.len() {
            self.expand(sweep, false);
        }
        for round in 0..ROUNDS_MAX {
            for agent in 0..self.agents.len() {
                // A worker with a data fault is repaired and attaches again.
                if round % ROUNDS_PER_SESSION == 0 {
                    self.attach(agent);
                }
                self.agents[agent].receive_all();
                let event = self.agents[agent].send(usize::MAX);
                self.apply(event);
                let event = self.agents[agent].heartbeat(false);
                self.apply(event);
                self.agents[agent].receive_all();
                self.agents[agent].train(0);
                self.agents[agent].train(1);
            }
            self.scene.now += 1_000;
            self.apply(Event::Tick);
            if self.is_finished() {
                return;
            }
        }
        panic!("not finished: {:#?}", self.scene.overview());
    }

    fn is_finished(&self) -> bool {
        let sweeps = self.scene.overview().sweeps;
        sweeps.iter().all(|sweep| sweep.state == SweepState::Completed)
            && self.agents.iter().all(Agent::is_idle)
    }

    fn check_results(&self) {
        let outcomes: BTreeSet<TrialId> = self.scene.ledger.outcomes().map(|(id, _)| *id).collect();
        for (sweep, file) in SWEEPS.iter().zip(&self.files) {
            let wanted: Vec<u64> = file.iter().map(|trial| trial.id.0).collect();
            assert_eq!(self.scene.ledger.members(sweep), wanted);
            assert!(file.iter().all(|trial| outcomes.contains(&trial.id)));
        }
        assert!(self.completions >= SWEEPS.len(), "each end was told");
        let workers = self.scene.overview().workers;
        assert!(workers.iter().all(|worker| worker.slots.iter().all(|slot| slot.cohort.is_none())));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_sweep_completes_after_any_faults(
        faults in prop::collection::vec(fault(), 0..200),
    ) {
        let mut world = World::new();
        world.happen(Fault::Apply { sweep: 0, first: 1, count: 12, interrupted: false });
        for fault in faults {
            world.happen(fault);
        }
        world.heal();
        world.check_results();
    }
}
