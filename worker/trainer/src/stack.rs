//! The members of a cohort that still train: their model, optimiser, choice of the best epoch and
//! checkpoints.

use std::collections::HashMap;

use common::checkpoints::{self, CheckpointName};
use common::philox::{Philox, Purpose};
use common::telemetry::chain;
use common::wire::{self, OutcomeKind, from_trainer};
use gradnet::pass::StepGates;
use gradnet::stacked::Parameter;
use gradnet::{Architecture, Model};
use tch::{Kind, Tensor};

use crate::adam::{Adam, Rate};
use crate::augment;
use crate::checkpoint::{Basis, Checkpoint};
use crate::examples::{DeviceData, Examples};
use crate::job::{Job, Shared};
use crate::link::{Link, LinkError};
use crate::pulse::PulsingLink;
use crate::resumption::{Kept, resumable};
use crate::selection::{Evaluation, Selection, Verdict};
use crate::train::{Averages, Context, evaluate};
use crate::weights::About;

/// Examples of an epoch, for its report.
#[derive(Clone, Copy)]
pub(crate) struct EpochExamples {
    pub(crate) count: i64,
    pub(crate) per_second: f64,
}

/// What an epoch feeds each trial, on the device.
pub(crate) struct EpochOrder {
    /// Examples in their order, `[K, N]`.
    pub(crate) indices: Tensor,
    /// Whether each example is mirrored, `[K, N]`; none where no trial mirrors any.
    pub(crate) flips: Option<Tensor>,
}

/// One trial in training.
pub(crate) struct Member {
    pub(crate) job: Job,
    selection: Selection,
    /// Epochs done.
    pub(crate) epoch: u32,
    /// Seconds trained, those of earlier attempts included.
    pub(crate) seconds: f64,
    best_weights: Vec<(String, Tensor)>,
    basis: Basis,
    kept: Kept,
    /// Trials in the cohort when the attempt began.
    cohort_size: u32,
}

impl Member {
    pub(crate) fn report(
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

    pub(crate) fn diverged(
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
pub(crate) struct Stack {
    pub(crate) model: Model,
    pub(crate) adam: Adam,
    pub(crate) members: Vec<Member>,
}

impl Stack {
    /// New members, or resumed ones where a checkpoint allows it.
    pub(crate) fn start(
        jobs: Vec<Job>,
        shared: &Shared,
        data: &DeviceData,
        context: Context<'_>,
    ) -> Stack {
        let device = context.held.device;
        let trials = jobs.iter().map(|job| job.model.clone()).collect::<Vec<_>>();
        let architecture =
            Architecture::of(shared.model, data.image, shared.width, data.classes as usize);
        let mut model = Model::new(architecture, &trials, Kind::Float, device);
        let cohort_size = jobs.len() as u32;
        let files = checkpoints::files(context.checkpoints).unwrap_or_else(|error| {
            let folder = context.checkpoints.display();
            tracing::warn!(%folder, "no trial resumes: the checkpoints cannot be listed: {error}");
            Vec::new()
        });
        let checkpoint = |(index, job): (usize, &Job)| {
            let fits = |from: &Checkpoint| fits(from, &model, index);
            resumable(job, &basis(job, data), context.checkpoints, &files, fits)
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
                epoch: from.as_ref().map_or(0, |from| from.name.epoch),
                seconds: from.as_ref().map_or(0.0, |from| from.seconds),
                basis: basis(&job, data),
                kept: Kept::new(from.as_ref().map(|from| from.name)),
                best_weights: from.map_or_else(Vec::new, best_weights),
                job,
                cohort_size,
            });
        }
        Stack { model, adam, members }
    }

    /// What the next epoch feeds each trial: from seed and epoch alone.
    pub(crate) fn next_epoch(&self, examples: &Examples) -> EpochOrder {
        let count = examples.count() as usize;
        let device = examples.images.device();
        let mut orders = Vec::with_capacity(self.members.len() * count);
        for member in &self.members {
            let philox = Philox::new(member.job.seed, Purpose::Order);
            let order = philox.permutation(member.epoch + 1, count);
            orders.extend(order.into_iter().map(i64::from));
        }
        let orders = Tensor::from_slice(&orders).view([self.members.len() as i64, count as i64]);
        let flipping =
            |member: &Member| (member.job.seed, member.epoch + 1, member.job.augment_flip);
        let flips = self.members.iter().map(flipping).collect::<Vec<_>>();
        EpochOrder {
            indices: orders.to_device(device),
            flips: augment::flips(&flips, count, device),
        }
    }

    pub(crate) fn gates_after(&self) -> StepGates {
        let epochs = self.members.iter().map(|member| member.epoch).collect::<Vec<_>>();
        self.model.gates_after(&epochs)
    }

    /// Takes an epoch's evaluation; keeps the weights where they are the best so far.
    pub(crate) fn judge(
        &mut self,
        index: usize,
        evaluation: Evaluation,
        train_loss: f64,
    ) -> Verdict {
        let member = &mut self.members[index];
        let eligible = member.job.is_eligible(member.epoch);
        let (improved, verdict) =
            member.selection.observe(member.epoch, eligible, evaluation, train_loss);
        if improved {
            member.best_weights = self.model.trial_tensors(index);
        }
        verdict
    }

    /// Outcome of a trial that ended by itself: tests the best epoch's weights.
    pub(crate) fn completed(
        &self,
        index: usize,
        verdict: Verdict,
        context: Context<'_>,
        data: &DeviceData,
        link: &mut PulsingLink<'_>,
    ) -> Result<from_trainer::Message, LinkError> {
        let member = &self.members[index];
        let reason = match verdict {
            Verdict::PatienceExhausted => format!("patience exhausted at epoch {}", member.epoch),
            Verdict::LastEpoch | Verdict::Continue => {
                format!("trained to its last epoch, {}", member.epoch)
            }
        };
        let Some(best) = member.selection.best() else {
            let reason = "no epoch was eligible: the gate never reached 1".to_owned();
            let outcome = member.outcome(OutcomeKind::Failed, reason, context, data);
            return Ok(from_trainer::Message::Outcome(outcome));
        };
        let mut solo = self.model.select(&[index]);
        let weight = |name: &str| {
            let found = member.best_weights.iter().find(|(other, _)| other == name);
            found.map(|(_, tensor)| tensor.shallow_clone())
        };
        solo.load_trial(0, &weight).expect("the best weights are of this model");
        let gates = solo.gates_after(&[best.epoch]);
        let test = evaluate(&solo, &gates, &data.test, link)?[0];
        if member.job.keeps_weights {
            link.pulse()?;
            let about = About {
                job: &member.job,
                best,
                gate: gates.gates[0],
                test,
                data_digest: &data.digest,
                libtorch_version: &context.held.libtorch_version,
            };
            // The result counts without them.
            if let Err(error) = about.save(&member.best_weights, context.checkpoints) {
                tracing::error!(attempt = %member.job.id, "not kept: {}", chain(&error));
            }
        }
        Ok(from_trainer::Message::Outcome(wire::AttemptOutcome {
            best_epoch: Some(best.epoch),
            test_error: Some(test.error),
            test_loss: Some(test.loss),
            val_error: Some(best.validation.error),
            val_loss: Some(best.validation.loss),
            train_loss: Some(best.train_loss),
            ..member.outcome(OutcomeKind::Completed, reason, context, data)
        }))
    }

    /// Goes on without these attempts.
    pub(crate) fn drop_stopped(&mut self, stops: &[wire::AttemptId]) {
        let members = self.members.iter().enumerate();
        let staying = members.filter(|(_, member)| !stops.contains(&member.job.attempt));
        let staying = staying.map(|(index, _)| index).collect::<Vec<_>>();
        self.keep(&staying);
    }

    /// Goes on with these members alone.
    pub(crate) fn keep(&mut self, staying: &[usize]) {
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
    pub(crate) fn save(
        &mut self,
        context: Context<'_>,
        link: &mut PulsingLink<'_>,
    ) -> Result<(), LinkError> {
        // The optimiser keeps the last trials when every member has left.
        let steps = self.adam.steps().into_iter().take(self.members.len());
        for (index, steps) in steps.enumerate() {
            let member = &self.members[index];
            let name = CheckpointName { attempt: member.job.id, epoch: member.epoch };
            // Before its first epoch a trial is what its seed says.
            if member.epoch == 0 || member.kept.has(name.epoch) {
                continue;
            }
            link.pulse()?;
            let checkpoint = Checkpoint {
                name,
                basis: member.basis.clone(),
                steps,
                seconds: member.seconds,
                best: member.selection.best(),
                tensors: self.tensors(index),
            };
            match checkpoint.save(context.checkpoints) {
                Ok(()) => self.members[index].kept.wrote(name, context.checkpoints),
                Err(error) => tracing::error!(attempt = %name.attempt, "{}", chain(&error)),
            }
        }
        Ok(())
    }

    /// A checkpoint's tensors by name.
    fn tensors(&self, index: usize) -> HashMap<String, Tensor> {
        let mut tensors = HashMap::new();
        for (name, tensor) in self.model.trial_tensors(index) {
            tensors.insert(format!("model.{name}"), tensor);
        }
        for (name, first, second) in self.adam.trial_moments(self.model.parameters(), index) {
            tensors.insert(format!("adam.first.{name}"), first);
            tensors.insert(format!("adam.second.{name}"), second);
        }
        for (name, tensor) in &self.members[index].best_weights {
            tensors.insert(format!("best.{name}"), tensor.shallow_clone());
        }
        tensors
    }

    pub(crate) fn hand_back(&self, link: &mut dyn Link) -> Result<(), LinkError> {
        for member in &self.members {
            link.send(from_trainer::Message::Returned(wire::AttemptReturned {
                attempt: Some(member.job.attempt.clone()),
                epochs: member.epoch,
            }))?;
        }
        Ok(())
    }
}

fn basis(job: &Job, data: &DeviceData) -> Basis {
    Basis { params: job.config.to_json(), data_digest: data.digest.clone() }
}

/// Whether a checkpoint has every tensor of the trial in its shape.
fn fits(from: &Checkpoint, model: &Model, index: usize) -> bool {
    let has = |prefix: &str, parameter: &Parameter| {
        let tensor = from.tensors.get(&format!("{prefix}.{}", parameter.name));
        tensor.is_some_and(|tensor| {
            tensor.size() == parameter.tensor.size()[1..]
                && tensor.kind() == parameter.tensor.kind()
        })
    };
    let is_own = |parameter: &&Parameter| index < parameter.trials;
    let mut tensors = model.tensors().filter(is_own);
    let mut moved = model.parameters().iter().filter(is_own);
    tensors.all(|tensor| has("model", tensor) && (from.best.is_none() || has("best", tensor)))
        && moved.all(|parameter| has("adam.first", parameter) && has("adam.second", parameter))
}

/// Puts a checkpoint that fits into the stack.
fn load(model: &mut Model, adam: &mut Adam, index: usize, from: &Checkpoint) {
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
