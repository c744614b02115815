//! The training loop of a cohort, top to bottom.
//!
//! An epoch trains every member of the stack on its own order of the examples, evaluates them on
//! the validation split, reports, lets members leave (finished, stopped early, diverged, no longer
//! wanted) and goes on with the rest. Nothing is read back from the device between the steps of an
//! epoch. The test split is read once per trial, with the best epoch's weights.

use std::path::Path;
use std::time::Instant;

use common::wire::from_trainer;
use gradnet::pass::StepGates;
use gradnet::{Architecture, Model};
use tch::{Kind, Reduction, Tensor};

use crate::adam::Adam;
use crate::augment;
use crate::device::Held;
use crate::examples::{DeviceData, Examples};
use crate::job::{Job, Shared};
use crate::link::{Link, LinkError};
use crate::pulse::{PULSE_INTERVAL, PulsingLink};
use crate::selection::{Evaluation, Verdict};
use crate::stack::{EpochExamples, EpochOrder, Stack};

/// Examples per evaluation step: independent of the cohort, so that its sums do not depend on it.
/// Convolutions keep far more numbers per example.
const fn evaluation_batch(architecture: Architecture) -> i64 {
    match architecture {
        Architecture::Mlp { .. } | Architecture::Rnn { .. } => 1000,
        Architecture::Cnn { .. } | Architecture::Stn { .. } => 250,
    }
}

/// What the loop needs beside the cohort.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The device.
    pub held: &'a Held,
    /// Folder of the checkpoints.
    pub checkpoints: &'a Path,
    /// Seconds between checkpoints.
    pub checkpoint_interval_s: f64,
}

/// Trains a cohort, deepest trial first, until every member has left.
pub fn train(
    jobs: Vec<Job>,
    shared: &Shared,
    data: &DeviceData,
    context: Context<'_>,
    link: &mut dyn Link,
) -> Result<(), LinkError> {
    let link = &mut PulsingLink::new(link, PULSE_INTERVAL);
    let examples = data.train.first(shared.train_examples);
    let validation = data.val.first(shared.val_examples);
    let mut stack = Stack::start(jobs, shared, data, context);
    let mut checkpointed = Instant::now();
    loop {
        let hand_back = hold_while_paused(&mut stack, link);
        let due = checkpointed.elapsed().as_secs_f64() >= context.checkpoint_interval_s;
        if due || hand_back {
            stack.save(context, link)?;
            checkpointed = Instant::now();
        }
        if hand_back {
            return stack.hand_back(link);
        }
        if stack.members.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        let totals = train_epoch(&mut stack, &examples, shared.batch_size as i64, link)?;
        let Some(totals) = totals else {
            return Ok(());
        };
        // Reading them waits for the device: only now has it trained the epoch.
        let averages = totals.averages(&stack.adam);
        let epoch_examples = EpochExamples {
            count: examples.count(),
            per_second: examples.count() as f64 / started.elapsed().as_secs_f64(),
        };
        stack.members.iter_mut().for_each(|member| member.epoch += 1);
        let evaluations = evaluate(&stack.model, &stack.gates_after(), &validation, link)?;
        let stops = link.commands(false).stops.clone();
        let seconds = started.elapsed().as_secs_f64();
        let mut staying = Vec::new();
        for (index, (average, evaluation)) in averages.iter().zip(evaluations).enumerate() {
            let member = &mut stack.members[index];
            member.seconds += seconds;
            if stops.contains(&member.job.attempt) {
                continue;
            }
            if !(average.is_finite() && evaluation.loss.is_finite()) {
                link.send(member.diverged(average.steps, context, data))?;
                continue;
            }
            let report = member.report(*average, evaluation, epoch_examples, seconds);
            link.send(from_trainer::Message::Epoch(report))?;
            match stack.judge(index, evaluation, average.loss) {
                Verdict::Continue => staying.push(index),
                verdict @ (Verdict::LastEpoch | Verdict::PatienceExhausted) => {
                    let outcome = stack.completed(index, verdict, context, data, link)?;
                    link.send(outcome)?;
                }
            }
        }
        stack.keep(&staying);
    }
}

/// Between two epochs: lets members go that were stopped, and waits while training is paused.
/// Returns whether to hand back.
fn hold_while_paused(stack: &mut Stack, link: &mut dyn Link) -> bool {
    let mut wait = false;
    loop {
        let commands = link.commands(wait);
        stack.drop_stopped(&commands.stops);
        if !commands.paused || commands.hand_back || stack.members.is_empty() {
            return commands.hand_back;
        }
        wait = true;
    }
}

/// One epoch of every member; none when all of them were stopped meanwhile.
fn train_epoch(
    stack: &mut Stack,
    examples: &Examples,
    batch_size: i64,
    link: &mut PulsingLink<'_>,
) -> Result<Option<Totals>, LinkError> {
    let order = stack.next_epoch(examples);
    let count = examples.count();
    let steps = (count as u64).div_ceil(batch_size as u64) as u32;
    let epochs = stack.members.iter().map(|member| member.epoch + 1).collect::<Vec<_>>();
    let mut totals = Totals::new(stack.members.len(), examples);
    for index in 0..steps {
        let stops = &link.commands(false).stops;
        if stack.members.iter().all(|member| stops.contains(&member.job.attempt)) {
            return Ok(None);
        }
        link.pulse()?;
        let start = i64::from(index) * batch_size;
        let batch = Batch::gather(examples, &order, start, batch_size.min(count - start));
        let gates = stack.model.gates_at(&epochs, index, steps);
        let step = step(&stack.model, &mut stack.adam, &batch, &gates);
        totals.add(&step, batch.size());
    }
    Ok(Some(totals))
}

/// Examples of one step: every trial has its own.
#[derive(Debug)]
pub struct Batch {
    /// `[K, B, inputs]`.
    pub images: Tensor,
    /// `[K, B]`, i64.
    pub labels: Tensor,
}

impl Batch {
    /// The examples that each trial's order has at `start..start + size`.
    fn gather(examples: &Examples, order: &EpochOrder, start: i64, size: i64) -> Batch {
        let indices = order.indices.narrow(1, start, size);
        let trials = indices.size()[0];
        let flat = indices.reshape([trials * size]);
        let images = examples.images.index_select(0, &flat).view([trials, size, -1]);
        let images = match &order.flips {
            None => images,
            Some(flips) => {
                augment::flipped(&images, &flips.gather(1, &indices, false), examples.image)
            }
        };
        let labels = examples.labels.index_select(0, &flat).view([trials, size]);
        Batch { images, labels }
    }

    /// Examples per trial.
    pub fn size(&self) -> i64 {
        self.labels.size()[1]
    }
}

/// What a step leaves on the device, each `[K]`.
#[derive(Debug)]
pub struct Step {
    /// Mean loss over the batch.
    pub loss: Tensor,
    /// Wrong answers in the batch.
    pub wrong: Tensor,
    /// Norm of the gradients before clipping.
    pub norm: Tensor,
}

/// One optimiser step of every member.
pub fn step(model: &Model, adam: &mut Adam, batch: &Batch, gates: &StepGates) -> Step {
    let logits = model.forward(&batch.images, gates);
    let loss = cross_entropy(&logits, &batch.labels).mean_dim([1i64].as_slice(), false, None);
    let parameters = model.parameters();
    let gradients = model.gradients(&loss.sum(None));
    let loss = loss.detach();
    let norm = adam.step(parameters, &gradients, &loss);
    Step { loss, wrong: wrong(&logits.detach(), &batch.labels), norm }
}

/// Loss of each example, `[K, B]`, of logits `[K, B, classes]`.
fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Tensor {
    let size = logits.size();
    let flat = logits.reshape([size[0] * size[1], size[2]]);
    let labels = labels.reshape([size[0] * size[1]]);
    let none: Option<&Tensor> = None;
    let loss = flat.cross_entropy_loss(&labels, none, Reduction::None, -100, 0.0);
    loss.view([size[0], size[1]])
}

/// Wrong answers by trial, `[K]`.
fn wrong(logits: &Tensor, labels: &Tensor) -> Tensor {
    let answers = logits.argmax(-1, false);
    answers.ne_tensor(labels).sum_dim_intlist([1i64].as_slice(), false, Kind::Double)
}

/// Mean loss and error of every trial over a split, with the gates given.
pub fn evaluate(
    model: &Model,
    gates: &StepGates,
    examples: &Examples,
    link: &mut PulsingLink<'_>,
) -> Result<Vec<Evaluation>, LinkError> {
    let count = examples.count();
    let trials = gates.gates.len() as i64;
    let _guard = tch::no_grad_guard();
    let options = (Kind::Double, examples.images.device());
    let mut loss = Tensor::zeros([trials], options);
    let mut errors = Tensor::zeros([trials], options);
    let batch = evaluation_batch(model.architecture());
    for start in (0..count).step_by(batch as usize) {
        link.pulse()?;
        let size = batch.min(count - start);
        let images = examples.images.narrow(0, start, size).unsqueeze(0);
        let labels =
            examples.labels.narrow(0, start, size).unsqueeze(0).expand([trials, size], false);
        let logits = model.forward(&images, gates);
        loss +=
            cross_entropy(&logits, &labels).sum_dim_intlist([1i64].as_slice(), false, Kind::Double);
        errors += wrong(&logits, &labels);
    }
    let read = |tensor: &Tensor| host(&(tensor / count as f64));
    let pairs = read(&loss).into_iter().zip(read(&errors));
    Ok(pairs.map(|(loss, error)| Evaluation { loss, error }).collect())
}

/// `[K]` in f64, read from the device.
fn host(tensor: &Tensor) -> Vec<f64> {
    let host = tensor.to_kind(Kind::Double).to_device(tch::Device::Cpu).contiguous();
    Vec::<f64>::try_from(&host).expect("a [K] tensor")
}

/// Sums over the steps of an epoch, on the device, each `[K]` in f64.
struct Totals {
    loss: Tensor,
    wrong: Tensor,
    norm: Tensor,
    steps: u32,
    examples: i64,
}

/// One trial's averages over an epoch.
#[derive(Clone, Copy)]
pub(crate) struct Averages {
    pub(crate) loss: f64,
    pub(crate) error: f64,
    /// Mean norm of the gradients before clipping.
    pub(crate) norm: f64,
    alive: bool,
    /// Steps with a finite loss since the trial began.
    pub(crate) steps: u64,
}

impl Averages {
    fn is_finite(&self) -> bool {
        self.alive && self.loss.is_finite()
    }
}

impl Totals {
    fn new(trials: usize, examples: &Examples) -> Totals {
        let options = (Kind::Double, examples.images.device());
        let zeros = || Tensor::zeros([trials as i64], options);
        Totals { loss: zeros(), wrong: zeros(), norm: zeros(), steps: 0, examples: 0 }
    }

    fn add(&mut self, step: &Step, size: i64) {
        self.loss += &step.loss * size as f64;
        self.wrong += &step.wrong;
        self.norm += &step.norm;
        self.steps += 1;
        self.examples += size;
    }

    fn averages(&self, adam: &Adam) -> Vec<Averages> {
        let (loss, wrong, norm) = (host(&self.loss), host(&self.wrong), host(&self.norm));
        let (alive, steps) = (adam.alive(), adam.steps());
        let average = |index: usize| Averages {
            loss: loss[index] / self.examples as f64,
            error: wrong[index] / self.examples as f64,
            norm: norm[index] / f64::from(self.steps),
            alive: alive[index],
            steps: steps[index],
        };
        (0..loss.len()).map(average).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use common::config::Data;

    use super::*;
    use crate::device::{DeviceName, hold};
    use crate::job::read_cohort;
    use crate::link::Commands;
    use common::wire;

    /// Counts pulses; no other message is expected.
    #[derive(Default)]
    struct Pulses {
        count: i64,
        commands: Commands,
    }

    impl Link for Pulses {
        fn send(&mut self, message: from_trainer::Message) -> Result<(), LinkError> {
            assert_eq!(message, from_trainer::Message::Pulse(wire::Pulse {}));
            self.count += 1;
            Ok(())
        }

        fn commands(&mut self, _wait: bool) -> &mut Commands {
            &mut self.commands
        }
    }

    /// Pulses of an epoch of 10 steps, of an evaluation of 3 batches, and of a checkpoint.
    fn pulses(interval: Duration) -> [i64; 3] {
        let folder = tempfile::tempdir().expect("a folder");
        let held = hold(DeviceName::Cpu, 1).expect("a CPU");
        let data = DeviceData::load(Data::Strokes, None, held.device).expect("it is generated");
        let trial = wire::LeasedTrial {
            attempt: Some(wire::AttemptId { trial: "0".repeat(16), attempt: 1 }),
            model: "mlp".into(),
            data: "strokes".into(),
            params: r#"{"depth":1,"width":8,"batch_size":50}"#.into(),
            ..wire::LeasedTrial::default()
        };
        let cohort = wire::TrainCohort { cohort: 1, trials: vec![trial] };
        let (jobs, shared) = read_cohort(cohort).expect("it can be trained");
        let context =
            Context { held: &held, checkpoints: folder.path(), checkpoint_interval_s: 1e9 };
        let mut stack = Stack::start(jobs, &shared, &data, context);
        let (examples, batches) = (data.train.first(Some(500)), data.train.first(Some(2500)));
        let mut counts = [0; 3];
        let mut link = Pulses::default();
        let mut pulsing = PulsingLink::new(&mut link, interval);
        let totals = train_epoch(&mut stack, &examples, 50, &mut pulsing).expect("heard");
        assert_eq!(totals.expect("nothing was stopped").steps, 10);
        counts[0] = std::mem::take(&mut link.count);
        stack.members[0].epoch = 1;
        let mut pulsing = PulsingLink::new(&mut link, interval);
        evaluate(&stack.model, &stack.gates_after(), &batches, &mut pulsing).expect("heard");
        counts[1] = std::mem::take(&mut link.count);
        let mut pulsing = PulsingLink::new(&mut link, interval);
        stack.save(context, &mut pulsing).expect("heard");
        counts[2] = link.count;
        counts
    }

    #[test]
    fn a_pulse_is_sent_between_steps_batches_and_members_when_it_is_due() {
        assert_eq!(pulses(Duration::ZERO), [10, 3, 1]);
        assert_eq!(pulses(Duration::from_secs(3600)), [0, 0, 0]);
    }
}
