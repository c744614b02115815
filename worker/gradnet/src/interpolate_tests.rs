//! The cheaper exact forms against the generic pair, and the branches that are not computed.

use tch::{Device, Kind};

use super::*;
use crate::activation::{self, Activation};
use crate::component::Identity;
use crate::dropout::{Dropout, Form};
use crate::gate::{Per, Schedule, Shape};
use crate::pass::{Moving, StepGates};
use crate::{Architecture, Model, Trial};

/// A stack of trials at these gates.
fn model(gates: &[f64], change: &dyn Fn(Trial) -> Trial) -> Model {
    tch::set_num_threads(1);
    let trial = |(index, &gate): (usize, &f64)| {
        // At step 5 of 10 of the first epoch t is 1/2.
        let (shape, tau) = match gate {
            0.0 => (Shape::Step, 9.0),
            gate => (Shape::Linear, 0.5 / gate),
        };
        let schedule = Schedule { shape, per: Per::Step, tau };
        change(Trial { schedule, ..Trial::plain(index as u64) })
    };
    let trials = gates.iter().enumerate().map(trial).collect::<Vec<_>>();
    let mlp = Architecture::Mlp { inputs: 1, width: 1, classes: 1 };
    Model::new(mlp, &trials, Kind::Double, Device::Cpu)
}

fn gates(model: &Model) -> StepGates {
    model.gates_at(&vec![1; model.trials().len()], 5, 10)
}

/// Output and gradient of a component over x `[K, 4, 5]`.
fn run(model: &Model, component: &dyn Component) -> [Tensor; 2] {
    let (trials, at) = (model.trials().len() as i64, gates(model));
    let count = trials * 20;
    let x = Tensor::arange(count, (Kind::Double, Device::Cpu)) * 0.37 + 0.1;
    let x = x.sin().view([trials, 4, 5]);
    let x = if trials == 1 { x.squeeze_dim(0) } else { x }.set_requires_grad(true);
    let moving = Moving::new(model, &at);
    let y = component.forward(&x, &Pass::new(&moving));
    let total = (&y * x.detach().cos()).sum(Kind::Double);
    let gradient = Tensor::run_backward(&[total], &[&x], false, false).remove(0);
    [y.detach(), gradient]
}

fn assert_same(model: &Model, ours: &dyn Component, theirs: &dyn Component) {
    for (ours, theirs) in run(model, ours).iter().zip(run(model, theirs)) {
        let difference = (ours - &theirs).abs().max().double_value(&[]);
        assert!(difference < 1e-14, "{difference}");
    }
}

#[derive(Debug)]
struct Relu;

impl Component for Relu {
    fn forward(&self, x: &Tensor, _pass: &Pass<'_>) -> Tensor {
        x.relu()
    }
}

#[derive(Debug)]
struct Magnitude;

impl Component for Magnitude {
    fn forward(&self, x: &Tensor, _pass: &Pass<'_>) -> Tensor {
        x.abs()
    }
}

#[derive(Debug)]
struct Panics;

impl Component for Panics {
    fn forward(&self, _x: &Tensor, _pass: &Pass<'_>) -> Tensor {
        panic!("a branch without weight is computed")
    }
}

const GATES: [&[f64]; 6] =
    [&[0.0], &[0.3], &[1.0], &[0.3, 0.3, 0.3], &[0.0, 0.3, 1.0], &[0.2, 0.5, 0.9]];

#[test]
fn grelu_as_a_slope_equals_the_pair() {
    for gates in GATES {
        for (activation, inverse) in [(Activation::GRelu, false), (Activation::InverseGRelu, true)]
        {
            let model = model(gates, &|trial| Trial { activation, ..trial });
            let early: Box<dyn Component> =
                if inverse { Box::new(Magnitude) } else { Box::new(Identity) };
            let pair = Interpolate { early, late: Relu, gate: Gate::Schedule };
            assert_same(&model, &activation::Rectified, &pair);
        }
    }
}

#[derive(Debug)]
struct Dropped;

impl Component for Dropped {
    fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Tensor {
        pass.dropped_out(x.shallow_clone(), 3)
    }
}

/// Dropout as another stack has it, on the same masks.
#[derive(Debug)]
struct DroppedAs(Model);

impl Component for DroppedAs {
    fn forward(&self, x: &Tensor, _pass: &Pass<'_>) -> Tensor {
        let at = gates(&self.0);
        Dropped.forward(x, &Pass::new(&Moving::new(&self.0, &at)))
    }
}

#[test]
fn dropout_as_one_factor_equals_the_pair() {
    for gates in GATES {
        let with = |dropout| model(gates, &|trial| Trial { dropout, ..trial });
        let mix = with(Dropout::Gradual { p: 0.4, form: Form::Mix });
        let late = DroppedAs(with(Dropout::Static { p: 0.4 }));
        assert_same(&mix, &Dropped, &Interpolate { early: Identity, late, gate: Gate::Schedule });
    }
}

#[test]
fn dropout_as_a_rate_equals_static_dropout_of_that_rate() {
    for gate in [0.0, 0.3, 1.0] {
        let rate = Dropout::Gradual { p: 0.4, form: Form::Rate };
        let gradual = model(&[gate], &|trial| Trial { dropout: rate, ..trial });
        let dropout = Dropout::Static { p: gate * 0.4 };
        let still = DroppedAs(model(&[gate], &|trial| Trial { dropout, ..trial }));
        assert_same(&gradual, &Dropped, &still);
    }
}

#[test]
fn a_branch_without_weight_is_not_computed() {
    let schedule = Gate::Schedule;
    for count in [1, 3] {
        let shut = model(&vec![0.0; count], &|trial| trial);
        let pair = Interpolate { early: Relu, late: Panics, gate: schedule };
        assert_same(&shut, &pair, &Relu);
        let open = model(&vec![1.0; count], &|trial| trial);
        let pair = Interpolate { early: Panics, late: Relu, gate: schedule };
        assert_same(&open, &pair, &Relu);
    }
}

/// Infinite everywhere.
#[derive(Debug)]
struct Overflows;

impl Component for Overflows {
    fn forward(&self, x: &Tensor, _pass: &Pass<'_>) -> Tensor {
        x / 0.0
    }
}

#[test]
fn a_trial_at_an_end_is_untouched_by_the_component_that_it_does_not_have() {
    let model = model(&[0.0, 0.5, 1.0], &|trial| trial);
    let row = |y: &Tensor, index: i64| y.get(index);
    let late = Interpolate { early: Relu, late: Overflows, gate: Gate::Schedule };
    let early = Interpolate { early: Overflows, late: Relu, gate: Gate::Schedule };
    let [relu, _] = run(&model, &Relu);
    assert_eq!(row(&run(&model, &late)[0], 0), row(&relu, 0));
    assert_eq!(row(&run(&model, &early)[0], 2), row(&relu, 2));
}
