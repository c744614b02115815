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
    /// Somebody edits a file and applies it, or acts on a sweep or a worker.
    pub(crate) fn on_operation(&mut self) {
        if self.is_healed {
            return;
        }
        let next_ms = 1 + self.random.operations.below(2 * self.swarm.operation_every_ms);
        self.after(next_ms, Happening::Operation);
        let mut random = self.random.operations.next_draw();
        let sweep = random.index(self.files.len());
        let name = self.files[sweep].name.clone();
        match random.below(9) {
            0 => return self.act(Event::SweepPaused(name)),
            1 => return self.act(Event::SweepResumed(name)),
            2 => return self.act(Event::SweepCancelled(name)),
            3 => return self.act(Event::SweepRetried(name)),
            4 => {
                let agent = random.index(self.agents.len());
                return self.act(Event::WorkerDrained(self.agents[agent].id.clone()));
            }
            _ => {}
        }
        if random.is_heads() {
            let version = draw_version(&self.swarm, &mut random);
            self.files[sweep].versions.push(version);
        }
        self.log.add(self.now, format_args!("apply {:?}", self.files[sweep].latest()));
        self.apply_file(sweep);
        if random.is_heads() {
            self.prune(sweep);
        }
        if random.is_heads() {
            self.coordinator.given = vec![sweep];
        }
    }
}
