//! Sweep files, their edits, and the operations of whoever uses the coordinator.

use common::config::{Data, Model};
use common::ids::SweepName;
use scheduler::event::{Event, Fusion, SweepHeader};

use crate::faults::Swarm;
use crate::random::Random;
use crate::world::{Happening, World};

/// A sweep's file and its edits.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub name: SweepName,
    /// The last is the latest. A stored sweep's `yaml` is an index into them.
    pub versions: Vec<Version>,
}

/// What a file says.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub trials: Vec<u64>,
    fusion: Fusion,
    priority: i32,
    failures_max: Option<u64>,
    slot_seconds_max: Option<f64>,
    same_error_max: Option<u64>,
}

impl File {
    pub fn latest(&self) -> &Version {
        self.versions.last().expect("a file has a version")
    }

    fn version(&self, yaml: &str) -> &Version {
        let index: usize = yaml.parse().expect("a stored file is a version's index");
        &self.versions[index]
    }

    pub fn trials(&self, yaml: &str) -> &[u64] {
        &self.version(yaml).trials
    }

    pub fn header(&self, yaml: &str) -> SweepHeader {
        let version = self.version(yaml);
        SweepHeader {
            name: self.name.clone(),
            yaml: yaml.into(),
            model: Model::Mlp,
            data: Data::Strokes,
            fusion: version.fusion,
            priority: version.priority,
            failures_max: version.failures_max,
            slot_seconds_max: version.slot_seconds_max,
            same_error_max: version.same_error_max,
            data_digest: None,
        }
    }
}

/// What somebody does with a sweep, or a worker.
#[derive(Clone, Copy, Debug)]
enum Operation {
    /// Applies its file as it is.
    Apply,
    /// Applies it with other trials, fusion, priority and budget.
    EditAndApply,
    /// Applies it, and every later start of the coordinator does so again.
    RestartWith,
    /// Applies it with other trials and ends what it names no more.
    EditAndPrune,
    /// Pauses, resumes, cancels or retries it.
    Act(fn(SweepName) -> Event),
    /// Has a worker leave.
    Drain,
}

pub(crate) fn draw_files(swarm: &Swarm, random: &mut Random) -> Vec<File> {
    let mut files = Vec::new();
    for name in ["a", "b", "c"].into_iter().take(swarm.sweeps) {
        let name = name.parse().expect("a sweep's name");
        files.push(File { name, versions: vec![draw_version(swarm, random)] });
    }
    files
}

/// Sweeps share trials: each takes a run of the same ones.
fn draw_version(swarm: &Swarm, random: &mut Random) -> Version {
    let first = random.between(1, swarm.trials);
    let last = random.between(first, swarm.trials);
    let mut trials: Vec<u64> = (first..=last).collect();
    if random.is_heads() {
        trials.reverse();
    }
    let fusion = match random.below(3) {
        0 => Fusion::Auto,
        1 => Fusion::Off,
        _ => Fusion::Size(u32::try_from(random.between(2, 8)).expect("small")),
    };
    let priority = i32::try_from(random.below(3)).expect("small");
    #[expect(clippy::cast_precision_loss, reason = "a few minutes")]
    let seconds = random.between(10, 400) as f64;
    Version {
        trials,
        fusion,
        priority,
        failures_max: random.chance(200).then(|| random.between(1, 3)),
        slot_seconds_max: random.chance(150).then_some(seconds),
        same_error_max: random.is_heads().then(|| random.between(2, 6)),
    }
}

impl World {
    /// Somebody uses the coordinator. What it does for them is an arm of `Operation`; what must be
    /// undone for sweeps to complete, `World::apply_files` undoes.
    pub(crate) fn on_operation(&mut self) {
        if self.is_healed {
            return;
        }
        let next_ms = 1 + self.random.operations.below(2 * self.swarm.operation_every_ms);
        self.after(next_ms, Happening::Operation);
        let mut random = self.random.operations.next_draw();
        let operation = match random.below(12) {
            0 | 1 => Operation::Apply,
            2 | 3 => Operation::EditAndApply,
            4 | 5 => Operation::RestartWith,
            6 => Operation::Act(Event::SweepPaused),
            7 => Operation::Act(Event::SweepResumed),
            8 => Operation::Act(Event::SweepCancelled),
            9 => Operation::Act(Event::SweepRetried),
            10 => Operation::EditAndPrune,
            _ => Operation::Drain,
        };
        let sweep = random.index(self.files.len());
        let name = self.files[sweep].name.clone();
        self.log.add(self.now, format_args!("{operation:?} {name}"));
        match operation {
            Operation::Apply => {}
            Operation::EditAndApply | Operation::EditAndPrune => {
                let version = draw_version(&self.swarm, &mut random);
                self.log.add(self.now, format_args!("{version:?}"));
                self.files[sweep].versions.push(version);
            }
            Operation::RestartWith => self.coordinator.given = vec![sweep],
            Operation::Act(event) => return self.act(event(name)),
            Operation::Drain => {
                let agent = random.index(self.agents.len());
                return self.act(Event::WorkerDrained(self.agents[agent].id.clone()));
            }
        }
        self.apply_file(sweep);
        if let Operation::EditAndPrune = operation {
            self.prune(sweep);
        }
    }
}
