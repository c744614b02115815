//! Faults at random from one seed: coordinator, workers and trainers are killed, stopped and
//! started again, also several at once, and sweeps are paused, cancelled, edited and workers
//! drained. The waits between faults are the plan's, which is the subject of the test.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::processes::{Host, POLL, Process};
use crate::stub_trainer::mix;

/// Random numbers that a seed repeats.
pub struct Dice {
    seed: u64,
    thrown: u64,
}

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice { seed, thrown: 0 }
    }

    /// From `low` to `high`, both included.
    fn between(&mut self, low: u64, high: u64) -> u64 {
        self.thrown += 1;
        low + mix(self.seed, self.thrown) % (high - low + 1)
    }

    fn ms(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }
}

/// What happened when; in a file, and printed where the test fails.
pub struct Log {
    path: PathBuf,
    started: Instant,
    text: String,
    /// How often each kind of fault happened.
    pub faults: BTreeMap<&'static str, u32>,
}

impl Log {
    pub fn new(path: PathBuf) -> Log {
        Log { path, started: Instant::now(), text: String::new(), faults: BTreeMap::new() }
    }

    pub fn say(&mut self, what: &str) {
        let seconds = self.started.elapsed().as_secs_f64();
        writeln!(self.text, "{seconds:8.2} {what}").expect("a string takes everything");
        fs::write(&self.path, &self.text).expect("the event log is written");
    }

    fn fault(&mut self, kind: &'static str, of: &str) {
        *self.faults.entry(kind).or_default() += 1;
        self.say(&format!("{kind} {of}"));
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("events ({}):\n{}", self.path.display(), self.text);
        }
    }
}

/// What ends a fault.
enum Mend {
    StartCoordinator,
    StartWorker(usize),
    Continue(Stopped),
    /// A command of a client; what it undoes may have been undone by another already.
    Ask(Vec<String>),
}

/// A process that SIGSTOP holds.
enum Stopped {
    Coordinator,
    Worker(usize),
    Trainer(Pid),
}

/// A sweep that is acted on.
pub struct Sweep {
    pub name: &'static str,
    pub file: PathBuf,
    /// Another version of the file.
    pub edited: Option<PathBuf>,
    /// Whether its numbers are those of the undisturbed run to the last bit.
    pub is_exact: bool,
}

/// The processes of one store in a storm.
pub struct Storm<'h> {
    pub host: &'h Host,
    pub state: &'static str,
    pub slots: u32,
    pub coordinator: Option<Process>,
    pub workers: Vec<Option<Process>>,
    pub log: Log,
    dice: Dice,
    mends: Vec<(Instant, Mend)>,
    /// SIGSTOP holds the coordinator: it would not answer.
    is_held: bool,
}

impl<'h> Storm<'h> {
    /// Everything is started.
    pub fn start(
        host: &'h Host,
        state: &'static str,
        slots: u32,
        workers: usize,
        seed: u64,
    ) -> Storm<'h> {
        let mut storm = Storm {
            host,
            state,
            slots,
            coordinator: None,
            workers: (0..workers).map(|_| None).collect(),
            log: Log::new(host.folder.join("events.log")),
            dice: Dice::new(seed),
            mends: Vec::new(),
            is_held: false,
        };
        storm.log.say(&format!("seed {seed}"));
        storm.start_all();
        storm
    }

    /// Starts what does not run.
    pub fn start_all(&mut self) {
        if self.coordinator.is_none() {
            self.coordinator = Some(self.host.coordinator(self.state));
        }
        for at in 0..self.workers.len() {
            self.start_worker(at);
        }
    }

    fn start_worker(&mut self, at: usize) {
        if self.workers[at].is_none() {
            let name = worker_name(at);
            let worker = self.host.worker(&name, self.slots, &[], &self.host.url());
            self.workers[at] = Some(worker);
        }
    }

    /// Rages for this long.
    pub fn rage(&mut self, length: Duration, sweeps: &[Sweep]) {
        let end = Instant::now() + length;
        let mut next = Instant::now();
        while Instant::now() < end {
            if next <= Instant::now() {
                self.one_fault(sweeps);
                // Now and then the next comes at the same time.
                let together = self.dice.between(1, 4) == 1;
                next += if together { Duration::ZERO } else { self.dice.ms(300, 2_200) };
            }
            self.mend_due();
            self.look_after();
            let wait = next.saturating_duration_since(Instant::now());
            std::thread::sleep(wait.min(POLL));
        }
        self.log.say("the storm is over");
    }

    /// Everything is killed at once and started again.
    pub fn last_blow(&mut self) {
        self.log.say("everything is killed and started again");
        for process in self.workers.iter_mut().chain([&mut self.coordinator]).flatten() {
            process.kill();
        }
        self.coordinator = None;
        self.workers.iter_mut().for_each(|worker| *worker = None);
        let mends = std::mem::take(&mut self.mends);
        self.is_held = false;
        self.start_all();
        for (_, mend) in mends {
            match mend {
                // Its agent is dead; it may be a child of nobody that is still held.
                Mend::Continue(stopped @ Stopped::Trainer(_)) => self.release(&stopped),
                Mend::StartCoordinator | Mend::StartWorker(_) | Mend::Continue(_) => {}
                Mend::Ask(arguments) => self.ask(&arguments),
            }
        }
    }

    /// SIGTERM: the workers hand back what they train and leave, the coordinator after them.
    pub fn stop_all(&mut self) {
        for process in self.workers.iter_mut().chain([&mut self.coordinator]).flatten() {
            process.signal(Signal::TERM);
            assert_eq!(process.wait(), Some(143), "{}", process.name);
        }
        self.host.expect_none_left();
    }

    fn one_fault(&mut self, sweeps: &[Sweep]) {
        match self.dice.between(1, 20) {
            1..=5 => self.kill_worker(),
            6..=8 => self.kill_coordinator(),
            9..=12 => self.kill_trainer(),
            13..=15 => self.stop_worker(),
            16 => self.stop_coordinator(),
            17 => self.stop_trainer(),
            18 => self.drain_worker(),
            _ => self.act(sweeps),
        }
    }

    fn due(&mut self, after: Duration, mend: Mend) {
        self.mends.push((Instant::now() + after, mend));
    }

    /// One that runs, if there is one.
    fn some_worker(&mut self) -> Option<usize> {
        let at = self.dice.between(0, self.workers.len() as u64 - 1) as usize;
        self.workers[at].is_some().then_some(at)
    }

    fn some_trainer(&mut self) -> Option<Pid> {
        let at = self.some_worker()?;
        let mut trainers = self.workers[at].as_ref()?.children();
        trainers.retain(|pid| self.host.is_ours(*pid));
        let last = (trainers.len() as u64).checked_sub(1)?;
        Some(trainers[self.dice.between(0, last) as usize])
    }

    /// Shorter and longer than a lease.
    fn some_absence(&mut self) -> Duration {
        match self.dice.between(1, 3) {
            1 => self.dice.ms(9_000, 11_000),
            _ => self.dice.ms(200, 4_000),
        }
    }

    fn kill_worker(&mut self) {
        let Some(at) = self.some_worker() else { return };
        let mut worker = self.workers[at].take().expect("it runs");
        worker.kill();
        self.log.fault("kill worker", &worker.name);
        let absence = self.some_absence();
        self.due(absence, Mend::StartWorker(at));
    }

    fn kill_coordinator(&mut self) {
        let Some(mut coordinator) = self.coordinator.take() else { return };
        coordinator.kill();
        self.is_held = false;
        self.log.fault("kill coordinator", "");
        let absence = self.dice.ms(0, 3_000);
        self.due(absence, Mend::StartCoordinator);
    }

    fn kill_trainer(&mut self) {
        let Some(trainer) = self.some_trainer() else { return };
        // It may have ended this moment.
        let _ = kill_process(trainer, Signal::KILL);
        self.log.fault("kill trainer", &trainer.as_raw_nonzero().to_string());
    }

    fn stop_worker(&mut self) {
        let Some(at) = self.some_worker() else { return };
        let worker = self.workers[at].as_mut().expect("it runs");
        worker.signal(Signal::STOP);
        let name = worker.name.clone();
        self.log.fault("stop worker", &name);
        let absence = self.some_absence();
        self.due(absence, Mend::Continue(Stopped::Worker(at)));
    }

    fn stop_coordinator(&mut self) {
        let Some(coordinator) = &mut self.coordinator else { return };
        coordinator.signal(Signal::STOP);
        self.is_held = true;
        self.log.fault("stop coordinator", "");
        let absence = self.some_absence();
        self.due(absence, Mend::Continue(Stopped::Coordinator));
    }

    fn stop_trainer(&mut self) {
        let Some(trainer) = self.some_trainer() else { return };
        // It may have ended this moment.
        let _ = kill_process(trainer, Signal::STOP);
        self.log.fault("stop trainer", &trainer.as_raw_nonzero().to_string());
        let absence = self.some_absence();
        self.due(absence, Mend::Continue(Stopped::Trainer(trainer)));
    }

    fn drain_worker(&mut self) {
        let Some(at) = self.some_worker() else { return };
        if let Some(id) = self.host.worker_id(&worker_name(at)) {
            self.log.fault("drain worker", &id);
            self.ask(&["drain".into(), id]);
        }
    }

    fn act(&mut self, sweeps: &[Sweep]) {
        let at = self.dice.between(0, sweeps.len() as u64 - 1) as usize;
        let sweep = &sweeps[at];
        let command = |verb: &str| vec![verb.to_owned(), sweep.name.to_owned()];
        let apply = |file: &PathBuf| vec!["apply".to_owned(), file.display().to_string()];
        let (done, undone) = match (self.dice.between(1, 3), &sweep.edited) {
            (1, _) => (command("pause"), command("resume")),
            (2, Some(edited)) => (apply(edited), apply(&sweep.file)),
            _ => (command("cancel"), command("retry")),
        };
        self.log.fault("act on sweep", sweep.name);
        self.ask(&done);
        let after = self.dice.ms(500, 4_000);
        self.due(after, Mend::Ask(undone));
    }

    /// Says to the coordinator what can be said now; one that is not there hears nothing.
    fn ask(&mut self, arguments: &[String]) {
        if self.is_held || self.coordinator.is_none() {
            return self.log.say(&format!("{arguments:?}: no coordinator"));
        }
        let arguments = arguments.iter().map(String::as_str).collect::<Vec<_>>();
        let answer = self.host.ask(&arguments);
        self.log.say(&format!("{arguments:?}: {answer:?}"));
    }

    fn mend_due(&mut self) {
        let now = Instant::now();
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.mends).into_iter().partition(|(at, _)| *at <= now);
        self.mends = later;
        for (_, mend) in due {
            match mend {
                Mend::StartCoordinator if self.coordinator.is_none() => {
                    self.coordinator = Some(self.host.coordinator(self.state));
                    self.log.say("start coordinator");
                }
                Mend::StartCoordinator => {}
                Mend::StartWorker(at) => {
                    self.start_worker(at);
                    self.log.say(&format!("start {}", worker_name(at)));
                }
                Mend::Continue(stopped) => self.release(&stopped),
                Mend::Ask(arguments) => self.ask(&arguments),
            }
        }
    }

    fn release(&mut self, stopped: &Stopped) {
        let (process, name) = match stopped {
            Stopped::Coordinator => {
                self.is_held = false;
                (&mut self.coordinator, "coordinator".to_owned())
            }
            Stopped::Worker(at) => (&mut self.workers[*at], worker_name(*at)),
            Stopped::Trainer(pid) => {
                if self.host.is_ours(*pid) {
                    // It may have ended this moment.
                    let _ = kill_process(*pid, Signal::CONT);
                }
                return self.log.say(&format!("continue trainer {}", pid.as_raw_nonzero()));
            }
        };
        if let Some(process) = process {
            process.signal(Signal::CONT);
        }
        self.log.say(&format!("continue {name}"));
    }

    /// A worker may leave by itself: drained, or because its first trainers were killed. The
    /// coordinator never does.
    fn look_after(&mut self) {
        if let Some(coordinator) = &mut self.coordinator
            && let Some(status) = coordinator.ended()
        {
            panic!("the coordinator ended by itself: {status}");
        }
        for at in 0..self.workers.len() {
            let Some(worker) = &mut self.workers[at] else { continue };
            let Some(status) = worker.ended() else { continue };
            let is_expected = [Some(0), Some(1)].contains(&status.code());
            assert!(is_expected, "{} ended by itself: {status}", worker.name);
            self.workers[at] = None;
            self.log.say(&format!("{} has left: {status}", worker_name(at)));
            let absence = self.dice.ms(100, 1_000);
            self.due(absence, Mend::StartWorker(at));
        }
    }
}

/// Its name is also its state directory's.
pub fn worker_name(at: usize) -> String {
    format!("worker-{at}")
}
