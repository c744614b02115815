//! Trials, data and a plain Adam for the tests of this package.
#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::cast_possible_wrap)]

use common::philox::{Philox, Purpose};
use gradnet::activation::Activation;
use gradnet::dropout::{Dropout, Form};
use gradnet::gate::{Per, Schedule, Shape};
use gradnet::init::Init;
use gradnet::pass::StepGates;
use gradnet::{Architecture, Model, Trial};
use tch::{Device, Kind, Reduction, Tensor};

pub const INPUTS: usize = 7;
pub const WIDTH: usize = 12;
pub const CLASSES: usize = 4;
pub const BATCH: usize = 9;
pub const STEPS_PER_EPOCH: u32 = 10;

/// A plain trial: two ReLU layers, orthogonal.
pub fn plain(seed: u64) -> Trial {
    Trial { depth: 2, ..Trial::plain(seed) }
}

/// Three trials that differ in all that may differ.
pub fn different() -> [Trial; 3] {
    [
        Trial {
            depth: 5,
            activation: Activation::GRelu,
            dropout: Dropout::Gradual { p: 0.3, form: Form::Rate },
            schedule: Schedule { shape: Shape::Linear, per: Per::Step, tau: 2.0 },
            ..plain(11)
        },
        Trial {
            depth: 3,
            activation: Activation::InverseGRelu,
            dropout: Dropout::Gradual { p: 0.5, form: Form::Mix },
            schedule: Schedule { shape: Shape::Cosine, per: Per::Epoch, tau: 3.0 },
            init: Init::He,
            ..plain(12)
        },
        Trial {
            depth: 2,
            activation: Activation::VeryLeakyRelu,
            dropout: Dropout::Static { p: 0.2 },
            init: Init::Xavier,
            init_gain: 1.3,
            ..plain(13)
        },
    ]
}

/// The perceptron that most tests use.
pub const MLP: Architecture = Architecture::Mlp { inputs: INPUTS, width: WIDTH, classes: CLASSES };

pub fn model(trials: &[Trial], kind: Kind) -> Model {
    tch::set_num_threads(1);
    Model::new(MLP, trials, kind, Device::Cpu)
}

/// Standard normals of this shape that depend on `seed` and `step` alone.
pub fn normals(seed: u64, step: u32, shape: &[i64], kind: Kind) -> Tensor {
    let count = usize::try_from(shape.iter().product::<i64>()).expect("a size");
    let mut draws = vec![0.0; count];
    Philox::new(seed, Purpose::Data).normals(0, step, 0, &mut draws);
    Tensor::from_slice(&draws).view(shape).to_kind(kind)
}

/// Numbers of an example; images of the recurrent net have four rows.
pub fn inputs(architecture: Architecture) -> i64 {
    let inputs = match architecture {
        Architecture::Mlp { inputs, .. } => inputs,
        Architecture::Cnn { image, .. } => image.iter().product(),
        Architecture::Stn { .. } => 60 * 60,
        Architecture::Rnn { columns, .. } => 4 * columns,
    };
    inputs as i64
}

/// A batch for each trial: images `[K, B, inputs]` and labels `[K, B]`.
pub fn batch(trials: &[Trial], step: u32, kind: Kind) -> (Tensor, Tensor) {
    batch_of(MLP, trials, step, kind)
}

fn batch_of(
    architecture: Architecture,
    trials: &[Trial],
    step: u32,
    kind: Kind,
) -> (Tensor, Tensor) {
    let shape = [BATCH as i64, inputs(architecture)];
    let images = trials.iter().map(|trial| normals(trial.seed, step, &shape, kind));
    let mut images = Tensor::stack(&images.collect::<Vec<_>>(), 0);
    if let Architecture::Stn { .. } = architecture {
        // Sampling white noise is chaotic: a step of the transformer meets other pixels.
        let square = images.view([-1, 60, 60]);
        let smooth = square.avg_pool2d([9, 9], [1, 1], [4, 4], false, true, None::<i64>);
        images = smooth.view_as(&images) * 4.0;
    }
    let labels =
        images.slice(2, 0, inputs(architecture), (inputs(architecture) / CLASSES as i64).max(1));
    let labels = labels.narrow(2, 0, CLASSES as i64).argmax(2, false);
    (images, labels)
}

/// Sum over the trials of each one's mean cross-entropy.
pub fn loss(logits: &Tensor, labels: &Tensor) -> Tensor {
    let flat = logits.reshape([-1, logits.size()[2]]);
    let none: Option<&Tensor> = None;
    let labels = labels.reshape([-1]);
    // tch's `cross_entropy_for_logits` computes in fp32 whatever the kind.
    let mean = flat.cross_entropy_loss(&labels, none, Reduction::Mean, -100, 0.0);
    mean * logits.size()[0] as f64
}

/// Where step `step` of the whole training is, for trials that began together.
pub fn gates(model: &Model, step: u32) -> StepGates {
    let epochs = vec![step / STEPS_PER_EPOCH + 1; model.trials().len()];
    model.gates_at(&epochs, step % STEPS_PER_EPOCH, STEPS_PER_EPOCH)
}

/// Trains with a plain Adam over `steps`, on batches of the model's own shape.
pub fn train(model: &Model, steps: std::ops::Range<u32>, kind: Kind) {
    let zeros = || model.parameters().iter().map(|p| p.tensor.detach().zeros_like());
    let lr = if let Architecture::Stn { .. } = model.architecture() { 1e-3 } else { 1e-2 };
    let (mut first, mut second) = (zeros().collect::<Vec<_>>(), zeros().collect::<Vec<_>>());
    for (count, step) in steps.enumerate() {
        let (images, labels) = batch_of(model.architecture(), model.trials(), step, kind);
        let logits = model.forward(&images, &gates(model, step));
        let gradients = model.gradients(&loss(&logits, &labels));
        let power = i32::try_from(count + 1).expect("few steps");
        for (at, gradient) in gradients.iter().enumerate() {
            first[at] = &first[at] * 0.9 + gradient * 0.1;
            second[at] = &second[at] * 0.999 + gradient * gradient * 0.001;
            let mean = &first[at] / (1.0 - 0.9f64.powi(power));
            let variance = &second[at] / (1.0 - 0.999f64.powi(power));
            let update = mean / (variance.sqrt() + 1e-8) * lr;
            let mut target = model.parameters()[at].tensor.detach();
            let _ = target.g_sub_(&update);
        }
    }
}

/// Largest difference relative to the largest magnitude.
pub fn gap(left: &Tensor, right: &Tensor) -> f64 {
    assert_eq!(left.size(), right.size());
    let difference = (left - right).abs().max().double_value(&[]);
    // `f64::max` and comparisons drop NaN, and two tensors of nothing but NaN are no agreement.
    assert!(difference.is_finite(), "not a finite difference");
    difference / right.abs().max().double_value(&[]).max(f64::MIN_POSITIVE)
}
