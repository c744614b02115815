//! Cohort after cohort on one device: the process that an agent keeps warm.

use std::any::Any;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use common::config::Param;
use common::data::DataError;
use common::telemetry::chain;
use common::wire::{self, FailureCause, from_trainer};
use tch::Tensor;

use crate::device::Held;
use crate::examples::DeviceData;
use crate::job::{JobError, Shared, read_cohort};
use crate::link::{Link, LinkError, Pipe};
use crate::train::{Context, train};

/// What a trainer is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of the data sets; none = `GRADSWEEP_DATA`, else `./data`.
    pub data: Option<PathBuf>,
    /// Folder of the checkpoints.
    pub checkpoints: PathBuf,
    /// Seconds between checkpoints.
    pub checkpoint_interval_s: f64,
}

/// Why a cohort ended without outcomes.
#[derive(Debug, thiserror::Error)]
pub enum CohortError {
    /// The agent is gone.
    #[error("the agent is gone")]
    Link(#[source] LinkError),
    /// The description cannot be trained.
    #[error("the cohort cannot be trained")]
    Job(#[source] JobError),
    /// The data set is missing or wrong.
    #[error("the data set cannot be used")]
    Data(#[source] DataError),
    /// The data set is there, but not with as many examples as the trials ask for.
    #[error("`{param}` asks for {asked} examples, and `{data}` has {present} here")]
    TooFewExamples {
        /// `train_examples` or `val_examples`.
        param: Param,
        /// How many it asks for.
        asked: usize,
        /// The data set.
        data: &'static str,
        /// How many there are.
        present: i64,
    },
    /// libtorch refused, or an invariant is broken.
    #[error("{0}")]
    Panic(String),
}

impl CohortError {
    /// Whom to blame.
    pub fn cause(&self) -> FailureCause {
        match self {
            CohortError::Data(_) => FailureCause::Data,
            CohortError::Panic(message) if is_out_of_memory(message) => FailureCause::OutOfMemory,
            // What is there is right, and serves trials that ask for less.
            CohortError::TooFewExamples { .. }
            | CohortError::Panic(_)
            | CohortError::Job(_)
            | CohortError::Link(_) => FailureCause::Bug,
        }
    }
}

/// A device with the data set that it used last.
#[derive(Debug)]
pub struct Trainer {
    held: Held,
    options: Options,
    data: Option<DeviceData>,
}

impl Trainer {
    /// A trainer on a device.
    pub fn new(held: Held, options: Options) -> Trainer {
        Trainer { held, options, data: None }
    }

    /// What the agent is told first.
    pub fn ready(&self) -> from_trainer::Message {
        from_trainer::Message::Ready(wire::TrainerReady {
            program_version: env!("CARGO_PKG_VERSION").into(),
            libtorch_version: self.held.libtorch_version.clone(),
            device: self.held.name.to_string(),
            device_name: self.held.name.to_string(),
        })
    }

    /// Trains one cohort. Whatever goes wrong is an error of this cohort: libtorch reports many
    /// faults (out of memory among them) as panics of its binding.
    pub fn run(
        &mut self,
        cohort: wire::TrainCohort,
        link: &mut dyn Link,
    ) -> Result<(), CohortError> {
        match catch_unwind(AssertUnwindSafe(|| self.run_unprotected(cohort, link))) {
            Ok(result) => result,
            Err(panic) => Err(CohortError::Panic(panic_message(&*panic))),
        }
    }

    fn run_unprotected(
        &mut self,
        cohort: wire::TrainCohort,
        link: &mut dyn Link,
    ) -> Result<(), CohortError> {
        let (jobs, shared) = read_cohort(cohort).map_err(CohortError::Job)?;
        if self.data.as_ref().is_none_or(|data| data.name != shared.data) {
            self.data = None;
            let directory = self.options.data.as_deref();
            let loaded = DeviceData::load(shared.data, directory, self.held.device);
            self.data = Some(loaded.map_err(CohortError::Data)?);
        }
        let data = self.data.as_ref().expect("loaded above");
        check_examples(&shared, data)?;
        let context = Context {
            held: &self.held,
            checkpoints: &self.options.checkpoints,
            checkpoint_interval_s: self.options.checkpoint_interval_s,
        };
        train(jobs, &shared, data, context, link).map_err(CohortError::Link)
    }
}

/// A folder may hold a part of a data set; what was asked for must be there all the same.
fn check_examples(shared: &Shared, data: &DeviceData) -> Result<(), CohortError> {
    for (param, asked, split) in [
        (Param::TrainExamples, shared.train_examples, &data.train),
        (Param::ValExamples, shared.val_examples, &data.val),
    ] {
        let present = split.count();
        if let Some(asked) = asked.filter(|&asked| asked as i64 > present) {
            let data = data.name.name();
            return Err(CohortError::TooFewExamples { param, asked, data, present });
        }
    }
    Ok(())
}

/// Why a trainer ends by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The agent is gone.
    #[error("the agent is gone")]
    Link(#[source] LinkError),
    /// A cohort's panic left the process in a state that nobody knows.
    #[error("ended after a fault: {0}")]
    Panic(String),
}

impl From<LinkError> for ServeError {
    fn from(source: LinkError) -> ServeError {
        ServeError::Link(source)
    }
}

/// Trains cohort after cohort until the agent closes the pipe.
pub fn serve<W: Write>(trainer: &mut Trainer, mut pipe: Pipe<W>) -> Result<(), ServeError> {
    pipe.send(trainer.ready())?;
    loop {
        let cohort = pipe.next_cohort();
        let id = cohort.cohort;
        let attempts = cohort.trials.iter().filter_map(|trial| trial.attempt.clone());
        let attempts = attempts.collect::<Vec<_>>();
        match trainer.run(cohort, &mut pipe) {
            Ok(()) => {}
            Err(CohortError::Link(error)) => return Err(ServeError::Link(error)),
            Err(error) => {
                let message = chain(&error);
                tracing::error!(cohort = id, "{message}");
                pipe.send(from_trainer::Message::Failed(wire::CohortFailed {
                    cohort: id,
                    attempts,
                    cause: error.cause().into(),
                    message,
                    stderr_tail: String::new(),
                }))?;
                // A fault of a device stays with its process, and the agent starts another.
                if let CohortError::Panic(message) = error {
                    return Err(ServeError::Panic(message));
                }
            }
        }
        pipe.send(from_trainer::Message::Finished(wire::CohortFinished { cohort: id }))?;
    }
}

fn is_out_of_memory(message: &str) -> bool {
    let message = message.to_lowercase();
    ["out of memory", "not enough memory", "can't allocate memory", "bad_alloc"]
        .iter()
        .any(|sign| message.contains(sign))
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a message").to_owned()
}

/// Whether libtorch works at all on this host: one small product.
pub fn check_libtorch(held: &Held) -> bool {
    let ones = Tensor::ones([4, 4], (tch::Kind::Float, held.device));
    ones.matmul(&ones).double_value(&[0, 0]) == 4.0
}
