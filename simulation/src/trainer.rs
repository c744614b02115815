//! A trainer process: reads cohorts, trains them epoch by epoch, and fails in every way that one
//! can. It mirrors what `worker/trainer` says and when: `serve.rs` for the end of a cohort,
//! `stack.rs` for resuming, `link.rs` for commands.

use common::ids::{AttemptId, CohortId};
use worker::supervisor::{
    AttemptReport, Cohort, CohortFailure, Exit, FailureCause, Order, Run, TrainerEvent,
};

use crate::agent::Input;
use crate::world::{Happening, World};

/// The process.
#[derive(Debug)]
pub(crate) struct Trainer {
    pub run: Run,
    pub work: Work,
    pub is_hung: bool,
    is_paused: bool,
    /// The step that is due; older ones are void.
    step: u64,
}

/// What it does.
#[derive(Debug)]
pub(crate) enum Work {
    Starting,
    Idle,
    Training(Training),
    /// Killed or dead; its end is not told yet.
    Over,
}

/// A cohort in training.
#[derive(Debug)]
pub(crate) struct Training {
    pub cohort: CohortId,
    /// As the cohort came.
    attempts: Vec<AttemptId>,
    /// Those that have not ended.
    pub members: Vec<Member>,
    stops: Vec<AttemptId>,
    hand_back: bool,
    /// Waits at an epoch boundary.
    is_held: bool,
}

/// A trial in training.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub attempt: AttemptId,
    /// Trained so far.
    epochs: u32,
}

/// What a trainer does next.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// It holds its device.
    Ready,
    /// An epoch ends.
    Epoch(u64),
    /// Between two steps of an epoch, it reads its commands.
    Heed,
    /// The agent hears of its end.
    Exited(Exit),
}

/// Where a trainer sits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seat {
    pub agent: usize,
    pub life: u64,
    pub slot: usize,
    pub run: Run,
}

pub(crate) fn exit(cause: FailureCause, message: &str) -> Exit {
    Exit { cause, message: message.into(), stderr_tail: "last words".into() }
}

impl World {
    pub(crate) fn start_trainer(&mut self, seat: Seat) {
        let trainer = Trainer {
            run: seat.run,
            work: Work::Starting,
            is_hung: false,
            is_paused: false,
            step: 0,
        };
        let process = self.agents[seat.agent].process.as_mut().expect("a running agent starts it");
        process.trainers[seat.slot] = Some(trainer);
        let start_ms = 100 + self.random.trainers.skewed(self.swarm.start_ms_max);
        let fails =
            !self.is_healed && self.random.trainers.chance(self.swarm.start_fails_per_mille);
        let step = match fails {
            true => Step::Exited(exit(FailureCause::TrainerDied, "it ended at its start")),
            false => Step::Ready,
        };
        self.after(start_ms, Happening::Trainer(seat, step));
    }

    fn trainer(&mut self, seat: Seat) -> Option<&mut Trainer> {
        let agent = &mut self.agents[seat.agent];
        if agent.life != seat.life {
            return None;
        }
        let trainer = agent.process.as_mut()?.trainers[seat.slot].as_mut();
        trainer.filter(|trainer| trainer.run == seat.run)
    }

    pub(crate) fn training(&mut self, seat: Seat) -> Option<&mut Training> {
        match &mut self.trainer(seat)?.work {
            Work::Training(training) => Some(training),
            Work::Starting | Work::Idle | Work::Over => None,
        }
    }

    fn say(&mut self, seat: Seat, event: TrainerEvent) {
        let input = Input::Trainer { slot: seat.slot, run: seat.run, event };
        self.input(seat.agent, seat.life, input);
    }

    /// The trainer reads an order.
    pub(crate) fn order(&mut self, seat: Seat, order: Order) {
        let heed_ms = 1 + self.random.trainers.skewed(2_000);
        let Some(trainer) = self.trainer(seat) else { return };
        match order {
            Order::Train(cohort) => return self.train(seat, &cohort),
            Order::Pause(paused) => trainer.is_paused = paused,
            Order::Stop(attempt) => match &mut trainer.work {
                Work::Training(training) => training.stops.push(attempt),
                Work::Starting | Work::Idle | Work::Over => return,
            },
            Order::HandBack => match &mut trainer.work {
                Work::Training(training) => training.hand_back = true,
                Work::Starting | Work::Idle | Work::Over => return,
            },
        }
        self.after(heed_ms, Happening::Trainer(seat, Step::Heed));
    }

    fn train(&mut self, seat: Seat, cohort: &Cohort) {
        let mut members = Vec::new();
        for trial in &cohort.trials {
            let checkpoint = self.checkpoint(seat.agent, trial.attempt.trial);
            let fate = self.trials.fate(trial.attempt.trial);
            let is_usable = checkpoint <= trial.epochs_stored && checkpoint < fate.epochs;
            let epochs = if is_usable { checkpoint } else { 0 };
            if epochs > 0 {
                self.audit.see("a trial is resumed");
            } else if checkpoint > trial.epochs_stored {
                self.audit.see("a checkpoint is beyond what is stored");
            }
            members.push(Member { attempt: trial.attempt, epochs });
        }
        let attempts = members.iter().map(|member| member.attempt).collect();
        let training = Training {
            cohort: cohort.id,
            attempts,
            members,
            stops: Vec::new(),
            hand_back: false,
            is_held: false,
        };
        let hangs = !self.is_healed && self.random.trainers.chance(self.swarm.hang_per_mille);
        let Some(trainer) = self.trainer(seat) else { return };
        match trainer.work {
            Work::Idle => trainer.work = Work::Training(training),
            Work::Over => return,
            Work::Starting | Work::Training(_) => {
                panic!("violated: a trainer gets a cohort only when it has none")
            }
        }
        trainer.is_hung |= hangs;
        self.next_epoch(seat);
    }

    fn checkpoint(&self, agent: usize, trial: common::ids::TrialId) -> u32 {
        let folder = match self.swarm.shares_checkpoints {
            true => &self.shared_checkpoints,
            false => &self.agents[agent].checkpoints,
        };
        folder.get(&trial).copied().unwrap_or(0)
    }

    fn save(&mut self, agent: usize, member: Member) {
        let folder = match self.swarm.shares_checkpoints {
            true => &mut self.shared_checkpoints,
            false => &mut self.agents[agent].checkpoints,
        };
        folder.insert(member.attempt.trial, member.epochs);
    }

    fn next_epoch(&mut self, seat: Seat) {
        let Some(training) = self.training(seat) else { return };
        let members = training.members.clone();
        let times = members.iter().map(|member| self.trials.fate(member.attempt.trial).epoch_ms);
        let epoch_ms = times.max().unwrap_or(1) + self.random.trainers.skewed(500);
        let trainer = self.trainer(seat).expect("it trains");
        trainer.step += 1;
        let step = trainer.step;
        self.after(epoch_ms, Happening::Trainer(seat, Step::Epoch(step)));
    }

    pub(crate) fn on_trainer(&mut self, seat: Seat, step: Step) {
        if let Some(until) = self.agents[seat.agent].trainers_held_until(self.now) {
            return self.at(until, Happening::Trainer(seat, step));
        }
        let Some(trainer) = self.trainer(seat) else { return };
        match step {
            Step::Ready => {
                if matches!(trainer.work, Work::Starting) {
                    trainer.work = Work::Idle;
                    self.say(seat, TrainerEvent::Ready);
                }
            }
            Step::Epoch(step) if step == trainer.step && !trainer.is_hung => self.on_epoch(seat),
            Step::Heed if !trainer.is_hung => self.heed(seat),
            Step::Epoch(_) | Step::Heed => {}
            Step::Exited(exit) => {
                self.agents[seat.agent].process.as_mut().expect("it has trainers").trainers
                    [seat.slot] = None;
                self.say(seat, TrainerEvent::Exited(exit));
            }
        }
    }

    /// Between two steps: stopped attempts leave, and one that was held may go on.
    fn heed(&mut self, seat: Seat) {
        let Some(trainer) = self.trainer(seat) else { return };
        let is_paused = trainer.is_paused;
        let Work::Training(training) = &mut trainer.work else { return };
        training.leave_stopped();
        if training.members.is_empty() {
            self.finish(seat);
        } else if training.is_held && training.hand_back {
            self.hand_back(seat);
        } else if training.is_held && !is_paused {
            training.is_held = false;
            self.next_epoch(seat);
        }
    }

    fn on_epoch(&mut self, seat: Seat) {
        let Some(training) = self.training(seat) else { return };
        training.leave_stopped();
        if training.members.is_empty() {
            return self.finish(seat);
        }
        if self.fails(seat) {
            return;
        }
        let Some(training) = self.training(seat) else { return };
        for member in &mut training.members {
            member.epochs += 1;
        }
        let members = training.members.clone();
        for member in members {
            let Member { attempt, epochs } = member;
            let epoch = AttemptReport::Epoch(self.trials.epoch_report(attempt, epochs));
            self.say(seat, TrainerEvent::Reported(attempt, epoch));
            if epochs == self.trials.fate(attempt.trial).epochs {
                let ended = AttemptReport::Ended(Box::new(self.trials.outcome(attempt)));
                self.say(seat, TrainerEvent::Reported(attempt, ended));
                let Some(training) = self.training(seat) else { return };
                training.members.retain(|other| other.attempt != attempt);
            } else if self.random.trainers.chance(self.swarm.checkpoint_per_mille) {
                self.save(seat.agent, member);
            }
        }
        let Some(trainer) = self.trainer(seat) else { return };
        let is_paused = trainer.is_paused;
        let Work::Training(training) = &mut trainer.work else { return };
        training.is_held = is_paused;
        if training.members.is_empty() {
            self.finish(seat);
        } else if training.hand_back {
            self.hand_back(seat);
        } else if !is_paused {
            self.next_epoch(seat);
        }
    }

    fn hand_back(&mut self, seat: Seat) {
        let Some(training) = self.training(seat) else { return };
        for member in std::mem::take(&mut training.members) {
            self.save(seat.agent, member);
            let returned = AttemptReport::Returned { epochs: member.epochs };
            self.say(seat, TrainerEvent::Reported(member.attempt, returned));
        }
        self.finish(seat);
    }

    fn finish(&mut self, seat: Seat) {
        let Some(training) = self.training(seat) else { return };
        let cohort = training.cohort;
        self.trainer(seat).expect("it trains").work = Work::Idle;
        self.say(seat, TrainerEvent::CohortFinished(cohort));
    }

    /// Whether something goes wrong in this epoch.
    fn fails(&mut self, seat: Seat) -> bool {
        let training = self.training(seat).expect("it trains");
        let members = training.members.clone();
        let fates = members.iter().map(|member| (member, self.trials.fate(member.attempt.trial)));
        let (mut is_oversized, mut is_poisoned) = (false, false);
        for (member, fate) in fates {
            is_oversized |= fate.is_oversized;
            is_poisoned |= fate.poison == Some(member.epochs + 1);
        }
        let agent = &self.agents[seat.agent];
        is_oversized |= members.len() > agent.plan.memory[seat.slot];
        if agent.is_data_broken {
            self.catch(seat, FailureCause::Data);
            self.finish(seat);
        } else if is_oversized && self.random.trainers.is_heads() {
            self.catch(seat, FailureCause::OutOfMemory);
            self.die(seat, FailureCause::TrainerDied, "it ended after a fault");
        } else if is_oversized {
            self.die(seat, FailureCause::OutOfMemory, "the kernel killed it");
        } else if is_poisoned {
            self.die(seat, FailureCause::TrainerDied, "SIGSEGV");
        } else {
            return self.fails_by_chance(seat);
        }
        true
    }

    fn fails_by_chance(&mut self, seat: Seat) -> bool {
        let swarm = &self.swarm;
        let random = &mut self.random.trainers;
        let hangs = random.chance(swarm.hang_per_mille);
        let dies = random.chance(swarm.death_per_mille);
        let is_bug = random.chance(swarm.bug_per_mille);
        if self.is_healed {
            return false;
        }
        if hangs {
            self.trainer(seat).expect("it trains").is_hung = true;
        } else if dies {
            self.die(seat, FailureCause::TrainerDied, "SIGKILL");
        } else if is_bug {
            self.catch(seat, FailureCause::Bug);
            self.die(seat, FailureCause::TrainerDied, "it ended after a fault");
        }
        hangs || dies || is_bug
    }

    /// It reports the failure of its cohort and lives on.
    fn catch(&mut self, seat: Seat, cause: FailureCause) {
        self.note_death(seat);
        let training = self.training(seat).expect("it trains");
        training.members.clear();
        let failure = CohortFailure {
            cohort: training.cohort,
            attempts: training.attempts.clone(),
            cause,
            message: "caught".into(),
            stderr_tail: String::new(),
        };
        self.say(seat, TrainerEvent::CohortFailed(failure));
    }

    /// The process ends; the agent hears of it a moment later.
    pub(crate) fn die(&mut self, seat: Seat, cause: FailureCause, message: &str) {
        self.note_death(seat);
        let Some(trainer) = self.trainer(seat) else { return };
        if matches!(trainer.work, Work::Over) {
            return;
        }
        trainer.work = Work::Over;
        let delay = 1 + self.random.trainers.skewed(1_000);
        self.after(delay, Happening::Trainer(seat, Step::Exited(exit(cause, message))));
    }

    /// What was in the process when it died.
    fn note_death(&mut self, seat: Seat) {
        if let Some(training) = self.training(seat)
            && let [member] = training.members.as_slice()
        {
            let trial = member.attempt.trial;
            *self.audit.solo_deaths.entry(trial).or_default() += 1;
        }
    }
}

impl Training {
    fn leave_stopped(&mut self) {
        let stops = std::mem::take(&mut self.stops);
        self.members.retain(|member| !stops.contains(&member.attempt));
    }
}
