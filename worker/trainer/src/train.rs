//! The training loop of a cohort, top to bottom.
//!
//! An epoch trains every member of the stack on its own order of the examples, evaluates them on
//! the validation split, reports, lets members leave (finished, stopped early, diverged, no longer
//! wanted) and goes on with the rest. Nothing is read back from the device between the steps of an
//! epoch. The test split is read once per trial, with the best epoch's weights.

use std::path::Path;
use std::time::Instant;

use common::philox::{Philox, Purpose};
use common::wire::{self, OutcomeKind, from_trainer};
use gradnet::mlp::{Mlp, StepGates};
use tch::{Kind, Reduction, Tensor};

use crate::adam::{Adam, Rate};
use crate::checkpoint::Checkpoint;
use crate::device::Held;
use crate::examples::{DeviceData, Examples};
use crate::job::{Job, Shared};
use crate::link::{Link, LinkError};
use crate::selection::{Evaluation, Selection, Verdict};

/// Examples per evaluation step: independent of the cohort, so that its sums do not depend on it.
const EVALUATION_BATCH: i64 = 1000;

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
    let examples = data.train.first(shared.train_examples);
    let validation = data.val.first(shared.val_examples);
    let mut stack = Stack::start(jobs, shared, data, context);
    let mut checkpointed = Instant::now();
    while !stack.members.is_empty() {
        let started = Instant::now();
        let Some(totals) = train_epoch(&mut stack, &examples, shared.batch_size as i64, link)
        else {
            return Ok(());
        };
        let epoch_examples = EpochExamples {
            count: examples.count(),
            per_second: examples.count() as f64 / started.elapsed().as_secs_f64(),
        };
        stack.members.iter_mut().for_each(|member| member.epoch += 1);
        let evaluations = evaluate(&stack.model, &stack.gates_after(), &validation);
        let averages = totals.averages(&stack.adam);
        let seconds = started.elapsed().as_secs_f64();
        let mut staying = Vec::new();
        for (index, (average, evaluation)) in averages.iter().zip(evaluations).enumerate() {
            let member = &mut stack.members[index];
            member.seconds += seconds;
            if !(average.is_finite() && evaluation.loss.is_finite()) {
                link.send(member.diverged(average.steps, context, data))?;
                continue;
            }
            let report = member.report(*average, evaluation, epoch_examples, seconds);
            link.send(from_trainer::Message::Epoch(report))?;
            match stack.judge(index, evaluation, average.loss) {
                Verdict::Continue => staying.push(index),
                Verdict::LastEpoch => {
                    let member = &stack.members[index];
                    let reason = format!("trained all {} epochs", member.epoch);
                    link.send(stack.completed(index, reason, context, data))?;
                }
                Verdict::PatienceExhausted => {
                    let member = &stack.members[index];
                    let reason = format!("patience exhausted at epoch {}", member.epoch);
                    link.send(stack.completed(index, reason, context, data))?;
                }
            }
        }
        let commands = hold_while_paused(link);
        staying.retain(|&index| !commands.0.contains(&stack.members[index].job.attempt));
        stack.keep(&staying);
        let due = checkpointed.elapsed().as_secs_f64() >= context.checkpoint_interval_s;
        if due || commands.1 {
            stack.save(context.checkpoints);
            checkpointed = Instant::now();
        }
        if commands.1 {
            return stack.hand_back(link);
        }
    }
    Ok(())
}

/// Waits while training is paused; returns the attempts to end and whether to hand back.
fn hold_while_paused(link: &mut dyn Link) -> (Vec<wire::AttemptId>, bool) {
    let mut wait = false;
    loop {
        let commands = link.commands(wait);
        if !commands.paused || commands.hand_back {
            return (commands.stops.clone(), commands.hand_back);
        }
        wait = true;
    }
}

/// One epoch of every member; none when all of them were stopped meanwhile.
fn train_epoch(
    stack: &mut Stack,
    examples: &Examples,
    batch_size: i64,
    link: &mut dyn Link,
) -> Option<Totals> {
    let orders = stack.orders(examples);
    let count = examples.count();
    let steps = (count as u64).div_ceil(batch_size as u64) as u32;
    let epochs = stack.members.iter().map(|member| member.epoch + 1).collect::<Vec<_>>();
    let mut totals = Totals::new(stack.members.len(), examples);
    for index in 0..steps {
        let stops = &link.commands(false).stops;
        if stack.members.iter().all(|member| stops.contains(&member.job.attempt)) {
            return None;
        }
        let start = i64::from(index) * batch_size;
        let batch = Batch::gather(examples, &orders, start, batch_size.min(count - start));
        let gates = stack.model.gates_at(&epochs, index, steps);
        let step = step(&stack.model, &mut stack.adam, &batch, &gates);
        totals.add(&step, batch.size());
    }
    Some(totals)
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
    /// The examples that each trial's order `[K, N]` has at `start..start + size`.
    fn gather(examples: &Examples, orders: &Tensor, start: i64, size: i64) -> Batch {
        let indices = orders.narrow(1, start, size);
        let trials = indices.size()[0];
        let flat = indices.reshape([trials * size]);
        Batch {
            images: examples.images.index_select(0, &flat).view([trials, size, -1]),
            labels: examples.labels.index_select(0, &flat).view([trials, size]),
        }
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
pub fn step(model: &Mlp, adam: &mut Adam, batch: &Batch, gates: &StepGates) -> Step {
    let logits = model.forward(&batch.images, gates);
    let loss = cross_entropy(&logits, &batch.labels).mean_dim([1i64].as_slice(), false, None);
    let parameters = model.parameters();
    let leaves = parameters.iter().map(|parameter| &parameter.tensor).collect::<Vec<_>>();
    let gradients = Tensor::run_backward(&[loss.sum(None)], &leaves, false, false);
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
pub fn evaluate(model: &Mlp, gates: &StepGates, examples: &Examples) -> Vec<Evaluation> {
    let count = examples.count();
    let trials = gates.gates.len() as i64;
    let _guard = tch::no_grad_guard();
    let options = (Kind::Double, examples.images.device());
    let mut loss = Tensor::zeros([trials], options);
    let mut errors = Tensor::zeros([trials], options);
    for start in (0..count).step_by(EVALUATION_BATCH as usize) {
        let size = EVALUATION_BATCH.min(count - start);
        let images = examples.images.narrow(0, start, size).unsqueeze(0);
        let labels = examples.labels.narrow(0, start, size).unsqueeze(0).expand([trials, size], false);
        let logits = model.forward(&images, gates);
        loss += cross_entropy(&logits, &labels).sum_dim_intlist([1i64].as_slice(), false, Kind::Double);
        errors += wrong(&logits, &labels);
    }
    let read = |tensor: &Tensor| host(&(tensor / count as f64));
    let pairs = read(&loss).into_iter().zip(read(&errors));
    pairs.map(|(loss, error)| Evaluation { loss, error }).collect()
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
struct Averages {
    loss: f64,
    error: f64,
    norm: f64,
    alive: bool,
    /// Steps with a finite loss since the trial began.
    steps: u64,
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

/// Examples of an epoch, for its report.
#[derive(Clone, Copy)]
struct EpochExamples {
    count: i64,
    per_second: f64,
}

/// One trial in training.
struct Member {
    job: Job,
    selection: Selection,
    /// Epochs done.
    epoch: u32,
    /// Seconds trained, those of earlier attempts included.
    seconds: f64,
    best_weights: Vec<(String, Tensor)>,
    /// Trials in the cohort when the attempt began.
    cohort_size: u32,
}

impl Member {
    fn report(
        &self,
        average: Averages,
        evaluation: Evaluation,
        examples: EpochExamples,
        seconds: f64,
    ) -> wire::EpochReport {
        wire::EpochReport {
            attempt: Some(self.job.attempt.clone()),
            epoch: self.epoch,
            train_loss: average.loss,
            train_error: average.error,
            val_loss: evaluation.loss,
            val_error: evaluation.error,
            gate: self.job.model.schedule.gate_after(self.epoch),
            lr: self.job.lr,
            grad_norm: average.norm,
            examples_per_second: examples.per_second,
            seconds,
            examples: examples.count as u64,
        }
    }

    fn outcome(
        &self,
        kind: OutcomeKind,
        reason: String,
        context: Context<'_>,
        data: &DeviceData,
    ) -> wire::AttemptOutcome {
        wire::AttemptOutcome {
            attempt: Some(self.job.attempt.clone()),
            kind: kind.into(),
            epochs: self.epoch,
            seconds: self.seconds,
            reason,
            provenance: Some(wire::Provenance {
                program_version: env!("CARGO_PKG_VERSION").into(),
                libtorch_version: context.held.libtorch_version.clone(),
                device: context.held.name.to_string(),
                precision: "fp32".into(),
                cohort_size: self.cohort_size,
                data_digest: data.digest.clone(),
                threads: context.held.threads,
            }),
            ..wire::AttemptOutcome::default()
        }
    }

    fn diverged(
        &self,
        finite_steps: u64,
        context: Context<'_>,
        data: &DeviceData,
    ) -> from_trainer::Message {
        let reason = format!(
            "the loss became NaN or infinite in epoch {} (after {finite_steps} finite steps)",
            self.epoch
        );
        let outcome = self.outcome(OutcomeKind::Diverged, reason, context, data);
        from_trainer::Message::Outcome(outcome)
    }
}

/// The members of a cohort that still train, deepest first, with their model and optimiser.
struct Stack {
    model: Mlp,
    adam: Adam,
    members: Vec<Member>,
}

impl Stack {
    /// New members, or resumed ones where a checkpoint allows it.
    fn start(jobs: Vec<Job>, shared: &Shared, data: &DeviceData, context: Context<'_>) -> Stack {
        let device = context.held.device;
        let trials = jobs.iter().map(|job| job.model.clone()).collect::<Vec<_>>();
        let (inputs, classes) = (data.inputs as usize, data.classes as usize);
        let mut model = Mlp::new(&trials, inputs, shared.width, classes, Kind::Float, device);
        let cohort_size = jobs.len() as u32;
        let checkpoint = |(index, job): (usize, &Job)| {
            resumable(job, context.checkpoints).filter(|from| fits(from, &model, index))
        };
        let resumed = jobs.iter().enumerate().map(checkpoint).collect::<Vec<_>>();
        let rate = |(job, from): (&Job, &Option<Checkpoint>)| Rate {
            lr: job.lr,
            clip_norm: job.clip_norm,
            steps: from.as_ref().map_or(0, |from| from.steps),
        };
        let rates = jobs.iter().zip(&resumed).map(rate).collect::<Vec<_>>();
        let mut adam = Adam::new(model.parameters(), &rates, device);
        let mut members = Vec::with_capacity(jobs.len());
        for (index, (job, from)) in jobs.into_iter().zip(resumed).enumerate() {
            if let Some(from) = &from {
                load(&mut model, &mut adam, index, from);
            }
            let best = from.as_ref().and_then(|from| from.best);
            members.push(Member {
                selection: Selection::new(job.epochs, job.patience, best),
                epoch: from.as_ref().map_or(0, |from| from.epoch),
                seconds: from.as_ref().map_or(0.0, |from| from.seconds),
                best_weights: from.map_or_else(Vec::new, best_weights),
                job,
                cohort_size,
            });
        }
        Stack { model, adam, members }
    }

    /// Order of the examples by trial, `[K, N]`: from seed and epoch alone.
    fn orders(&self, examples: &Examples) -> Tensor {
        let count = examples.count() as usize;
        let mut orders = Vec::with_capacity(self.members.len() * count);
        for member in &self.members {
            let philox = Philox::new(member.job.seed, Purpose::Order);
            let order = philox.permutation(member.epoch + 1, count);
            orders.extend(order.into_iter().map(i64::from));
        }
        let orders = Tensor::from_slice(&orders).view([self.members.len() as i64, count as i64]);
        orders.to_device(examples.images.device())
    }

    fn gates_after(&self) -> StepGates {
        let epochs = self.members.iter().map(|member| member.epoch).collect::<Vec<_>>();
        self.model.gates_after(&epochs)
    }

    /// Takes an epoch's evaluation; keeps the weights where they are the best so far.
    fn judge(&mut self, index: usize, evaluation: Evaluation, train_loss: f64) -> Verdict {
        let member = &mut self.members[index];
        let eligible = member.job.is_eligible(member.epoch);
        let (improved, verdict) =
            member.selection.observe(member.epoch, eligible, evaluation, train_loss);
        if improved {
            member.best_weights = self.model.trial_parameters(index);
        }
        verdict
    }

    /// Outcome of a trial that ended by itself: tests the best epoch's weights.
    fn completed(
        &self,
        index: usize,
        reason: String,
        context: Context<'_>,
        data: &DeviceData,
    ) -> from_trainer::Message {
        let member = &self.members[index];
        let Some(best) = member.selection.best() else {
            let reason = "no epoch was eligible: the gate never reached 1".to_owned();
            let outcome = member.outcome(OutcomeKind::Failed, reason, context, data);
            return from_trainer::Message::Outcome(outcome);
        };
        let mut solo = self.model.select(&[index]);
        let weight = |name: &str| {
            let found = member.best_weights.iter().find(|(other, _)| other == name);
            found.map(|(_, tensor)| tensor.shallow_clone())
        };
        solo.load_trial(0, &weight).expect("the best weights are of this model");
        let test = evaluate(&solo, &solo.gates_after(&[best.epoch]), &data.test)[0];
        from_trainer::Message::Outcome(wire::AttemptOutcome {
            best_epoch: Some(best.epoch),
            test_error: Some(test.error),
            test_loss: Some(test.loss),
            val_error: Some(best.validation.error),
            val_loss: Some(best.validation.loss),
            train_loss: Some(best.train_loss),
            ..member.outcome(OutcomeKind::Completed, reason, context, data)
        })
    }

    /// Goes on with these members alone.
    fn keep(&mut self, staying: &[usize]) {
        if staying.len() == self.members.len() {
            return;
        }
        let mut index = 0;
        self.members.retain(|_| {
            index += 1;
            staying.contains(&(index - 1))
        });
        if !staying.is_empty() {
            self.adam = self.adam.select(self.model.parameters(), staying);
            self.model = self.model.select(staying);
        }
    }

    /// Writes a checkpoint of every member. A failure costs nothing but the work since the last.
    fn save(&self, directory: &Path) {
        let steps = self.adam.steps();
        for (index, member) in self.members.iter().enumerate() {
            let mut tensors = std::collections::HashMap::new();
            for (name, tensor) in self.model.trial_parameters(index) {
                tensors.insert(format!("model.{name}"), tensor);
            }
            for (name, first, second) in self.adam.trial_moments(self.model.parameters(), index) {
                tensors.insert(format!("adam.first.{name}"), first);
                tensors.insert(format!("adam.second.{name}"), second);
            }
            for (name, tensor) in &member.best_weights {
                tensors.insert(format!("best.{name}"), tensor.shallow_clone());
            }
            let checkpoint = Checkpoint {
                trial: member.job.attempt.trial.clone(),
                params: member.job.config.to_json(),
                epoch: member.epoch,
                steps: steps[index],
                seconds: member.seconds,
                best: member.selection.best(),
                tensors,
            };
            if let Err(error) = checkpoint.save(directory) {
                tracing::error!(trial = checkpoint.trial, "{}", common::telemetry::chain(&error));
            }
        }
    }

    fn hand_back(&self, link: &mut dyn Link) -> Result<(), LinkError> {
        for member in &self.members {
            link.send(from_trainer::Message::Returned(wire::AttemptReturned {
                attempt: Some(member.job.attempt.clone()),
                epochs: member.epoch,
            }))?;
        }
        Ok(())
    }
}

/// The checkpoint that a trial may go on from: not beyond what the coordinator has of its history.
fn resumable(job: &Job, directory: &Path) -> Option<Checkpoint> {
    let trial = &job.attempt.trial;
    let loaded = Checkpoint::load(directory, trial, &job.config.to_json());
    let checkpoint = match loaded {
        Ok(checkpoint) => checkpoint?,
        Err(error) => {
            let error = common::telemetry::chain(&error);
            tracing::warn!(trial, "starts from the beginning: {error}");
            return None;
        }
    };
    if checkpoint.epoch > job.epochs_stored || checkpoint.epoch >= job.epochs {
        let (epoch, stored) = (checkpoint.epoch, job.epochs_stored);
        tracing::warn!(trial, epoch, stored, "its checkpoint is ahead of its stored history");
        return None;
    }
    tracing::info!(trial, epoch = checkpoint.epoch, "resumes from its checkpoint");
    Some(checkpoint)
}

/// Whether a checkpoint has every tensor of the trial in its shape.
fn fits(from: &Checkpoint, model: &Mlp, index: usize) -> bool {
    let has = |prefix: &str, name: &str, shape: &[i64]| {
        let tensor = from.tensors.get(&format!("{prefix}.{name}"));
        tensor.is_some_and(|tensor| tensor.size() == shape)
    };
    let own = model.parameters().iter().filter(|parameter| index < parameter.trials);
    let fits = own.clone().all(|parameter| {
        let shape = &parameter.tensor.size()[1..];
        let kinds = ["model", "adam.first", "adam.second"];
        let best = from.best.is_none() || has("best", &parameter.name, shape);
        best && kinds.iter().all(|kind| has(kind, &parameter.name, shape))
    });
    if !fits {
        tracing::warn!(trial = from.trial, "its checkpoint is of another model: starts anew");
    }
    fits
}

/// Puts a checkpoint that fits into the stack.
fn load(model: &mut Mlp, adam: &mut Adam, index: usize, from: &Checkpoint) {
    let tensor = |prefix: &str, name: &str| {
        from.tensors.get(&format!("{prefix}.{name}")).map(Tensor::shallow_clone)
    };
    let moments = |name: &str| Some((tensor("adam.first", name)?, tensor("adam.second", name)?));
    let weights = |name: &str| tensor("model", name);
    adam.load_trial(model.parameters(), index, &moments).expect("the checkpoint fits");
    model.load_trial(index, &weights).expect("the checkpoint fits");
}

fn best_weights(from: Checkpoint) -> Vec<(String, Tensor)> {
    let own = |(name, tensor): (String, Tensor)| {
        name.strip_prefix("best.").map(|name| (name.to_owned(), tensor))
    };
    from.tensors.into_iter().filter_map(own).collect()
}
