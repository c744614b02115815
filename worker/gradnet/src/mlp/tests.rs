//! The route of other devices, taken on a CPU, against the host's.

use super::*;
use crate::activation::Activation;
use crate::dropout::{Dropout, Form};
use crate::gate::{Per, Schedule, Shape};
use crate::init::Init;

fn trials() -> [MlpTrial; 3] {
    let trial = MlpTrial {
        depth: 4,
        activation: Activation::GRelu,
        dropout: Dropout::Gradual { p: 0.5, form: Form::Mix },
        schedule: Schedule { shape: Shape::Linear, per: Per::Step, tau: 2.0 },
        init: Init::Orthogonal,
        init_gain: 1.0,
        seed: 1,
    };
    [
        trial.clone(),
        MlpTrial {
            depth: 2,
            activation: Activation::LeakyRelu,
            dropout: Dropout::Static { p: 0.1 },
            seed: 2,
            ..trial
        },
        MlpTrial { depth: 2, activation: Activation::InverseGRelu, seed: 3, ..trial },
    ]
}

fn by_tensors(trials: &[MlpTrial], kind: Kind) -> [Mlp; 2] {
    tch::set_num_threads(1);
    let new = || Mlp::new(trials, 5, 8, 3, kind, Device::Cpu);
    let host = new();
    let (members, parameters) = (trials.to_vec(), new().parameters);
    [host, Mlp::of(members, parameters, kind, Device::Cpu, Route::Tensors)]
}

fn input(trials: usize, kind: Kind) -> Tensor {
    let mut draws = vec![0.0; trials * 6 * 5];
    Philox::new(1, Purpose::Data).normals(0, 0, 0, &mut draws);
    Tensor::from_slice(&draws).view([-1, 6, 5]).to_kind(kind)
}

/// Output and gradients of a training step.
fn pass(model: &Mlp, at: &StepGates) -> Vec<Tensor> {
    let y = model.forward(&input(model.trials.len(), model.kind), at);
    let leaves = model.parameters.iter().map(|parameter| &parameter.tensor);
    let total = y.square().sum(model.kind);
    let mut all = Tensor::run_backward(&[total], &leaves.collect::<Vec<_>>(), false, false);
    all.push(y.detach());
    all
}

#[test]
fn the_tensors_route_equals_the_host_route() {
    for kind in [Kind::Float, Kind::Double] {
        for count in [1, 2, 3] {
            let models = by_tensors(&trials()[..count], kind);
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
                model.forward(&input(1, kind), &at)
            });
            assert_eq!(host, tensors);
        }
    }
}

#[test]
fn an_epoch_is_moved_once() {
    let [host, model] = by_tensors(&trials(), Kind::Float);
    let place = |model: &Mlp| {
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
