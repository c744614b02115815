//! The training step alone, timed, on random images: of the paper's MLP or of its CNN.

use std::time::Instant;

use common::config::{Config, Param};
use gradnet::{Architecture, Model, Trial};
use tch::{Kind, Tensor};

use crate::adam::{Adam, Rate};
use crate::device::Held;
use crate::train::{Batch, step};

/// Which step.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The model family: mlp or cnn.
    pub model: &'static str,
    /// Of the sweep file's parameters, as JSON.
    pub params: String,
    /// Examples per step and trial.
    pub batch: i64,
    /// Trials trained together.
    pub cohort_size: usize,
}

/// A model, its optimiser and one batch.
#[derive(Debug)]
pub struct Bench {
    model: Model,
    adam: Adam,
    batch: Batch,
    epochs: Vec<u32>,
}

impl Bench {
    /// The model on its own data set's shape.
    pub fn new(shape: &Shape, held: &Held) -> Result<Bench, Box<dyn std::error::Error>> {
        let data = if shape.model == "mlp" { "mnist" } else { "cifar10" };
        let config = Config::from_json(shape.model, data, &shape.params)?;
        let trials = (0..shape.cohort_size as u64)
            .map(|seed| Trial::from_config(&config, seed))
            .collect::<Result<Vec<_>, _>>()?;
        let (device, image) = (held.device, config.data.image());
        let width = config.count(Param::Width);
        let architecture = Architecture::of(config.model, image, width, 10);
        let model = Model::new(architecture, &trials, Kind::Float, device);
        let lr = config.number(Param::Lr).ok_or("every config has an lr")?;
        let rates = vec![Rate { lr, clip_norm: None, steps: 0 }; shape.cohort_size];
        let adam = Adam::new(model.parameters(), &rates, device);
        let size = [shape.cohort_size as i64, shape.batch];
        let inputs = image.iter().product::<usize>() as i64;
        let batch = Batch {
            images: Tensor::rand([size[0], size[1], inputs], (Kind::Float, device)),
            labels: Tensor::randint(10, size, (Kind::Int64, device)),
        };
        Ok(Bench { model, adam, batch, epochs: vec![1; shape.cohort_size] })
    }

    /// Milliseconds of each of these steps; on a GPU the queue is drained after each.
    pub fn round(&mut self, steps: usize) -> Vec<f64> {
        let mut times = Vec::with_capacity(steps);
        for index in 0..steps {
            let started = Instant::now();
            let gates = self.model.gates_at(&self.epochs, index as u32, steps as u32);
            let step = step(&self.model, &mut self.adam, &self.batch, &gates);
            // Reading one number waits for the device.
            let _ = step.loss.double_value(&[0]);
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
        times
    }
}

/// The middle value; the mean of the two middle ones where their number is even.
pub fn median(values: &[f64]) -> f64 {
    assert!(!values.is_empty(), "the median of nothing");
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        return sorted[middle];
    }
    f64::midpoint(sorted[middle - 1], sorted[middle])
}
