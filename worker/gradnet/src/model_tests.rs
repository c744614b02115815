//! The route of other devices, taken on a CPU, against the host's.

use common::philox::{Philox, Purpose};

use super::*;
use crate::activation::Activation;
use crate::batch_norm::Norm;
use crate::conv::ConvKind;
use crate::dropout::{Dropout, Form};
use crate::gate::{Per, Schedule, Shape};
use crate::net::StnShape;
use crate::pooling::Pooling;
use crate::transformer::Transformer;

const MLP: Architecture = Architecture::Mlp { inputs: 5, width: 8, classes: 3 };
const CNN: Architecture = Architecture::Cnn { image: [2, 8, 8], width: 3, classes: 3 };
const STN: Architecture =
    Architecture::Stn { shape: StnShape { localisation: [2, 4], classifier: [3, 5] }, classes: 3 };

fn schedule(tau: f64) -> Schedule {
    Schedule { shape: Shape::Linear, per: Per::Step, tau }
}

/// Trials of one fusion key whose gates, slopes and noise differ.
fn trials(architecture: Architecture) -> [Trial; 3] {
    let trial = Trial {
        activation: Activation::GRelu,
        dropout: Dropout::Gradual { p: 0.5, form: Form::Mix },
        schedule: schedule(2.0),
        ..Trial::plain(1)
    };
    let other = Trial {
        activation: Activation::LeakyRelu,
        dropout: Dropout::Static { p: 0.1 },
        seed: 2,
        ..trial.clone()
    };
    let third = Trial { activation: Activation::InverseGRelu, seed: 3, ..trial.clone() };
    match architecture {
        Architecture::Mlp { .. } => {
            [Trial { depth: 4, ..trial }, Trial { depth: 2, ..other }, Trial { depth: 2, ..third }]
        }
        Architecture::Cnn { .. } => [
            Trial { conv: ConvKind::IdentityToConv, norm: Norm::GradualBatch, ..trial },
            Trial { pooling: Pooling::Gradual, norm: Norm::Batch, ..other },
            Trial { pooling: Pooling::Average, norm: Norm::GradualBatch, ..third },
        ],
        Architecture::Stn { .. } => [
            Trial { transformer: Transformer::Gradual, ..trial },
            Trial { transformer: Transformer::Affine, ..other },
            Trial { transformer: Transformer::Gradual, schedule: schedule(9.0), ..third },
        ],
        Architecture::Rnn { .. } => [trial, other, third],
    }
}

/// The stack on the route of a CPU and on that of other devices.
fn by_routes(architecture: Architecture, trials: &[Trial], kind: Kind) -> [Model; 2] {
    tch::set_num_threads(1);
    [Route::Host, Route::Tensors]
        .map(|route| Model::build(architecture, Builder::new(trials, kind, Device::Cpu), route))
}

fn input(architecture: Architecture, trials: usize, kind: Kind) -> Tensor {
    let inputs = match architecture {
        Architecture::Mlp { inputs, .. } => inputs,
        Architecture::Cnn { image, .. } => image.iter().product(),
        Architecture::Stn { .. } => 60 * 60,
        Architecture::Rnn { columns, .. } => 4 * columns,
    };
    let mut draws = vec![0.0; trials * 3 * inputs];
    Philox::new(1, Purpose::Data).normals(0, 0, 0, &mut draws);
    Tensor::from_slice(&draws).view([trials as i64, 3, inputs as i64]).to_kind(kind)
}

/// Output and gradients of a training step.
fn pass(model: &Model, at: &StepGates) -> Vec<Tensor> {
    let x = input(model.architecture, model.trials.len(), model.kind);
    let y = model.forward(&x, at);
    let mut all = model.gradients(&y.square().sum(model.kind));
    all.push(y.detach());
    all
}

fn assert_routes_agree(architecture: Architecture, trials: &[Trial]) {
    for kind in [Kind::Float, Kind::Double] {
        for count in 1..=trials.len() {
            let models = by_routes(architecture, &trials[..count], kind);
            let epochs = [1u32, 2, 5];
            for step in [0, 3, 9] {
                let [host, tensors] = models.each_ref().map(|model| {
                    let at = model.gates_at(&epochs[..count], step, 10);
                    pass(model, &at)
                });
                assert_eq!(host, tensors);
            }
            let [host, tensors] = models.each_ref().map(|model| {
                let at = model.gates_after(&epochs[..count]);
                model.forward(&input(architecture, 1, kind), &at)
            });
            assert_eq!(host, tensors);
        }
    }
}

#[test]
fn the_tensors_route_equals_the_host_route() {
    let rnn = Architecture::Rnn { columns: 4, width: 6, classes: 3 };
    for architecture in [MLP, CNN, STN, rnn] {
        assert_routes_agree(architecture, &trials(architecture));
    }
}

#[test]
fn random_slopes_are_the_same_on_both_routes() {
    for architecture in [MLP, CNN] {
        let mut trials = trials(architecture);
        trials.iter_mut().for_each(|trial| trial.activation = Activation::RRelu);
        assert_routes_agree(architecture, &trials);
    }
}

#[test]
fn an_epoch_is_moved_once() {
    let [host, model] = by_routes(MLP, &trials(MLP), Kind::Float);
    let place = |model: &Model| {
        let table = model.table.borrow();
        table.as_ref().map(|table| (table.epochs.clone(), table.values.data_ptr()))
    };
    host.gates_at(&[1, 1, 1], 0, 10);
    assert!(place(&host).is_none(), "a CPU needs no table");
    model.gates_at(&[1, 1, 1], 0, 10);
    let first = place(&model);
    assert!(first.is_some());
    model.gates_at(&[1, 1, 1], 9, 10);
    assert_eq!(place(&model), first);
    model.gates_at(&[2, 2, 2], 0, 10);
    assert_eq!(place(&model).map(|(epochs, _)| epochs), Some(vec![2, 2, 2]));
}
