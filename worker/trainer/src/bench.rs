//! The training step alone, timed: the paper's MLP on random images of MNIST's shape.

use std::time::Instant;

use common::config::Config;
use gradnet::mlp::{Mlp, MlpTrial};
use tch::{Kind, Tensor};

use crate::adam::{Adam, Rate};
use crate::device::Held;
use crate::train::{Batch, step};

/// The shape of a step.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Units per hidden layer.
    pub width: usize,
    /// Examples per step and trial.
    pub batch: i64,
    /// Hidden layers.
    pub depth: usize,
    /// Trials trained together.
    pub cohort_size: usize,
}

/// A model, its optimiser and one batch.
#[derive(Debug)]
pub struct Bench {
    model: Mlp,
    adam: Adam,
    batch: Batch,
    epochs: Vec<u32>,
}

impl Bench {
    /// ReLU networks with He initialisation, whose signal neither vanishes nor explodes.
    pub fn new(shape: Shape, held: &Held) -> Result<Bench, Box<dyn std::error::Error>> {
        let params = format!(
            r#"{{"activation":"relu","depth":{},"width":{},"init":"he"}}"#,
            shape.depth, shape.width
        );
        let config = Config::from_json("mlp", "mnist", &params)?;
        let trials = (0..shape.cohort_size as u64)
            .map(|seed| MlpTrial::from_config(&config, seed))
            .collect::<Result<Vec<_>, _>>()?;
        let device = held.device;
        let model = Mlp::new(&trials, 28 * 28, shape.width, 10, Kind::Float, device);
        let rates = vec![Rate { lr: 1e-3, clip_norm: None, steps: 0 }; shape.cohort_size];
        let adam = Adam::new(model.parameters(), &rates, device);
        let size = [shape.cohort_size as i64, shape.batch];
        let batch = Batch {
            images: Tensor::rand([size[0], size[1], 28 * 28], (Kind::Float, device)),
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
