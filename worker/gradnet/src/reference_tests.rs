//! Every component and model against PyTorch's own operators: forward and gradients in fp32, for
//! one trial and three, at gates 0, 0.3 and 1 and at all three side by side.
//!
//! `tests/fixtures/make.py` writes the reference; it has each trial alone and both branches of what
//! is gradual.

use std::collections::HashMap;

use super::*;
use crate::activation::{self, Activation};
use crate::batch_norm::{BatchNorm, Norm};
use crate::component::{Component, Identity};
use crate::conv::{self, ConvKind, Shape};
use crate::dropout::{Dropout, Form};
use crate::gate::{self, Per, Schedule};
use crate::interpolate::{Gate, Interpolate};
use crate::net::StnShape;
use crate::pass::Moving;
use crate::pooling::{self, Pooling};
use crate::transformer::{self, Transformer};
use crate::{conv_to_nin, highway, identity_to_conv};

const TOLERANCE: f64 = 1e-5;
/// Where the masks and slopes of the reference are drawn.
const EPOCH: u32 = 2;
const STEP: u32 = 3;
const STEPS: u32 = 10;
const LAYER: u32 = 1;
const RATES: [f64; 3] = [0.5, 0.2, 0.9];

/// A trial of the reference and its gate.
type Member = (usize, &'static str);

/// Stacks of one trial and of three.
const STACKS: [&[Member]; 7] = [
    &[(0, "g0")],
    &[(1, "g0.3")],
    &[(2, "g1")],
    &[(0, "g0"), (1, "g0"), (2, "g0")],
    &[(0, "g0.3"), (1, "g0.3"), (2, "g0.3")],
    &[(0, "g1"), (1, "g1"), (2, "g1")],
    &[(0, "g0"), (1, "g0.3"), (2, "g1")],
];

struct Reference(HashMap<String, Tensor>);

impl Reference {
    fn read(file: &str) -> Reference {
        let path = format!("{}/tests/fixtures/{file}", env!("CARGO_MANIFEST_DIR"));
        let tensors = Tensor::read_safetensors(path).expect("a fixture of the repository");
        Reference(tensors.into_iter().collect())
    }

    /// The stack's rows of a tensor; of gate 1 where the case has no gate.
    fn get(&self, case: &str, of: &[Member], name: &str) -> Option<Tensor> {
        let row = |&(trial, gate): &Member| {
            let keys = [
                format!("{case}/{name}"),
                format!("{case}/{gate}/{name}"),
                format!("{case}/g1/{name}"),
            ];
            let tensor = keys.iter().find_map(|key| self.0.get(key))?;
            let row = tensor.get(trial as i64);
            let is_scaled = row.kind() == Kind::Uint8;
            Some(if is_scaled { row.to_kind(Kind::Float) / 256.0 } else { row })
        };
        let rows = of.iter().map(row).collect::<Option<Vec<_>>>()?;
        Some(Tensor::stack(&rows, 0))
    }

    fn expect(&self, case: &str, of: &[Member], name: &str) -> Tensor {
        self.get(case, of, name).unwrap_or_else(|| panic!("{case} has {name}"))
    }

    fn has_gates(&self, case: &str) -> bool {
        self.0.keys().any(|key| key.starts_with(&format!("{case}/g0/")))
    }
}

/// The schedule whose gate at the reference's step is the named one.
fn schedule(gate: &str) -> Schedule {
    let (shape, tau) = match gate {
        "g0" => (gate::Shape::Step, 100.0),
        "g0.3" => (gate::Shape::Linear, 1.3 / 0.3),
        _ => (gate::Shape::Linear, 0.0),
    };
    Schedule { shape, per: Per::Step, tau }
}

fn trials(of: &[Member], change: &dyn Fn(Trial, usize) -> Trial) -> Vec<Trial> {
    let trial = |&(trial, gate): &Member| {
        let schedule = schedule(gate);
        change(Trial { schedule, ..Trial::plain(trial as u64 + 1) }, trial)
    };
    of.iter().map(trial).collect()
}

/// From `[K, B, …]` to the layout of activations.
fn laid_out(x: &Tensor) -> Tensor {
    let size = x.size();
    match size[..] {
        [trials, batch, channels, height, width] => {
            x.transpose(0, 1).reshape([batch, trials * channels, height, width])
        }
        [1, ..] => x.squeeze_dim(0),
        _ => x.shallow_clone(),
    }
}

fn assert_near(ours: &Tensor, theirs: &Tensor, what: &str) {
    assert_near_within(ours, theirs, TOLERANCE, what);
}

/// Relative to the largest magnitude.
fn assert_near_within(ours: &Tensor, theirs: &Tensor, tolerance: f64, what: &str) {
    assert_eq!(ours.size(), theirs.size(), "{what}");
    let difference = (ours - theirs).abs().max().double_value(&[]);
    let scale = theirs.abs().max().double_value(&[]).max(0.1);
    assert!(difference <= tolerance * scale, "{what}: {difference} of {scale}");
}

/// Sets the tensors called `prefix.NAME` of a stack to the reference's.
fn set(tensors: &[Parameter], reference: &Reference, case: &str, of: &[Member], prefix: &str) {
    let _guard = tch::no_grad_guard();
    for parameter in tensors {
        let value = reference.expect(case, of, &format!("{prefix}.{}", parameter.name));
        parameter.tensor.shallow_clone().copy_(&value.view_as(&parameter.tensor));
    }
}

/// How a component is made; its layer is called "" there, so that names are the reference's.
type Make<'a> = dyn Fn(&mut Builder<'_>) -> Box<dyn Component> + 'a;

/// Compares a component over all stacks, in a training step or in evaluation.
fn compare(
    reference: &Reference,
    case: &str,
    trains: bool,
    change: &dyn Fn(Trial, usize) -> Trial,
    make: &Make<'_>,
) {
    tch::set_num_threads(1);
    for of in STACKS {
        if !reference.has_gates(case) && of.iter().any(|(_, gate)| *gate != "g1") {
            continue;
        }
        let trials = trials(of, change);
        let mut builder = Builder::new(&trials, Kind::Float, Device::Cpu);
        let component = make(&mut builder);
        let mut tensors = builder.finish();
        for parameter in tensors.parameters.iter_mut().chain(&mut tensors.buffers) {
            parameter.name = parameter.name.trim_start_matches('.').into();
        }
        set(&tensors.parameters, reference, case, of, "param");
        set(&tensors.buffers, reference, case, of, "state");

        let model = any_model(&trials);
        let mut at = model.gates_at(&vec![EPOCH; trials.len()], STEP, STEPS);
        if !trains {
            at.mode = crate::pass::Mode::Evaluate;
        }
        let moving = Moving::new(&model, &at);
        let x = laid_out(&reference.expect(case, of, "x")).set_requires_grad(true);
        let y = component.forward(&x, &Pass::new(&moving));
        let theirs = laid_out(&reference.expect(case, of, "y"));
        assert_near(&y.detach(), &theirs, &format!("{case} {of:?} y"));
        let total = (y * laid_out(&reference.expect(case, of, "dy"))).sum(Kind::Float);
        compare_gradients(reference, case, of, &tensors, &total, &x);
        compare_statistics(reference, case, of, &tensors);
    }
}

/// Any model of these trials gives the pass that a component runs in.
fn any_model(trials: &[Trial]) -> Model {
    let mlp = Architecture::Mlp { inputs: 1, width: 1, classes: 1 };
    Model::new(mlp, trials, Kind::Float, Device::Cpu)
}

fn compare_gradients(
    reference: &Reference,
    case: &str,
    of: &[Member],
    tensors: &Tensors,
    total: &Tensor,
    x: &Tensor,
) {
    let mut leaves = vec![x];
    leaves.extend(tensors.parameters.iter().map(|parameter| &parameter.tensor));
    let gradients = Tensor::run_backward(&[total], &leaves, false, false);
    let or_zero = |gradient: &Tensor, leaf: &Tensor| match gradient.defined() {
        true => gradient.shallow_clone(),
        false => leaf.detach().zeros_like(),
    };
    if let Some(theirs) = reference.get(case, of, "grad.x") {
        let ours = or_zero(&gradients[0], x);
        assert_near(&ours, &laid_out(&theirs), &format!("{case} {of:?} grad.x"));
    }
    for (parameter, gradient) in tensors.parameters.iter().zip(&gradients[1..]) {
        let name = format!("grad.param.{}", parameter.name);
        let theirs = reference.expect(case, of, &name).view_as(&parameter.tensor);
        let ours = or_zero(gradient, &parameter.tensor);
        assert_near(&ours, &theirs, &format!("{case} {of:?} {name}"));
    }
}

/// Running statistics after the step. At gate 1 batch norm is not computed, and they rest.
fn compare_statistics(reference: &Reference, case: &str, of: &[Member], tensors: &Tensors) {
    for buffer in &tensors.buffers {
        for (row, &(trial, gate)) in of.iter().enumerate() {
            let rests = gate == "g1" && case.contains("gradual");
            let when = if rests { "state" } else { "state_after" };
            let name = format!("{when}.{}", buffer.name);
            let theirs = reference.expect(case, &[(trial, gate)], &name).get(0);
            let what = format!("{case} {of:?} {name}");
            assert_near(&buffer.tensor.get(row as i64), &theirs, &what);
        }
    }
}

#[test]
fn activations() {
    let reference = Reference::read("components.safetensors");
    for (word, activation) in [
        ("relu", Activation::Relu),
        ("leaky_relu", Activation::LeakyRelu),
        ("very_leaky_relu", Activation::VeryLeakyRelu),
        ("prelu", Activation::PRelu),
        ("rrelu.train", Activation::RRelu),
        ("rrelu.eval", Activation::RRelu),
        ("grelu", Activation::GRelu),
        ("inverse_grelu", Activation::InverseGRelu),
        ("identity", Activation::Identity),
    ] {
        for (layout, channels) in [("dense", 6), ("conv", 3)] {
            let case = format!("activation.{word}.{layout}");
            let trains = word != "rrelu.eval";
            compare(&reference, &case, trains, &|trial, _| Trial { activation, ..trial }, &|b| {
                let live = b.trials.len();
                activation::after(b, "", live, channels, LAYER)
            });
        }
    }
}

/// Dropout of the layer at which the reference draws.
#[derive(Debug)]
struct Dropped;

impl Component for Dropped {
    fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Tensor {
        pass.dropped_out(x.shallow_clone(), LAYER)
    }
}

#[test]
fn dropouts() {
    let reference = Reference::read("components.safetensors");
    for layout in ["dense", "conv"] {
        let run = |word: &str, dropout: &dyn Fn(f64) -> Dropout| {
            let case = format!("dropout.{word}.{layout}");
            let change = |trial, index: usize| Trial { dropout: dropout(RATES[index]), ..trial };
            compare(&reference, &case, true, &change, &|_| Box::new(Dropped));
        };
        run("static", &|p| Dropout::Static { p });
        run("rate", &|p| Dropout::Gradual { p, form: Form::Rate });
        run("mix", &|p| Dropout::Gradual { p, form: Form::Mix });
    }
}

#[test]
fn poolings() {
    let reference = Reference::read("components.safetensors");
    for (word, pooling) in [
        ("max", Pooling::Max),
        ("mean", Pooling::Mean),
        ("average", Pooling::Average),
        ("mixed", Pooling::Mixed),
        ("gated", Pooling::Gated),
        ("gradual", Pooling::Gradual),
    ] {
        for size in ["9x9", "8x8"] {
            let change = |trial, _| Trial { pooling, ..trial };
            let case = format!("pool.{word}.{size}");
            compare(&reference, &case, true, &change, &|b| pooling::pool(b, "", 0));
        }
    }
}

#[test]
fn norms() {
    let reference = Reference::read("components.safetensors");
    for (word, norm) in [("batch", Norm::Batch), ("gradual_batch", Norm::GradualBatch)] {
        for (mode, trains) in [("train", true), ("eval", false)] {
            let change = |trial, _| Trial { norm, ..trial };
            let case = format!("norm.{word}.{mode}.conv");
            compare(&reference, &case, trains, &change, &|b| {
                let early = BatchNorm::new(b, "", 3);
                Box::new(Interpolate { early, late: Identity, gate: Gate::Norm })
            });
        }
    }
}

#[test]
fn convolutions() {
    use ConvKind::{ConvToNin, Highway, IdentityToConv, Nin, Plain};
    let reference = Reference::read("components.safetensors");
    for (word, kind, outputs, side) in [
        ("plain3x3", Plain, 4, 3),
        ("plain1x1", Plain, 4, 1),
        ("identity_to_conv", IdentityToConv, 3, 3),
        ("identity_to_conv1x1", IdentityToConv, 3, 1),
        ("conv_to_nin", ConvToNin, 4, 3),
        ("nin", Nin, 4, 3),
        ("highway", Highway, 3, 3),
        ("highway1x1", Highway, 3, 1),
    ] {
        let shape = Shape { inputs: 3, outputs, side, padding: side / 2 };
        let change = |trial, _| Trial { conv: kind, ..trial };
        compare(&reference, &format!("conv.{word}"), true, &change, &|b| {
            let unit = conv::unit(b, "", shape, 0);
            match kind {
                Plain => Box::new(unit),
                IdentityToConv => identity_to_conv::faded_in(unit),
                ConvToNin | Nin => conv_to_nin::with_nin(b, unit, "", outputs, 0),
                Highway => highway::around(b, unit, "", shape, 0),
            }
        });
    }
}

#[derive(Debug)]
struct Tanh;

impl Component for Tanh {
    fn forward(&self, x: &Tensor, _pass: &Pass<'_>) -> Tensor {
        x.tanh()
    }
}

#[derive(Debug)]
struct Sigmoid;

impl Component for Sigmoid {
    fn forward(&self, x: &Tensor, _pass: &Pass<'_>) -> Tensor {
        x.sigmoid()
    }
}

#[test]
fn any_pair_interpolates() {
    let reference = Reference::read("components.safetensors");
    compare(&reference, "interpolate.tanh_to_sigmoid", true, &|trial, _| trial, &|_| {
        Box::new(Interpolate { early: Tanh, late: Sigmoid, gate: Gate::Schedule })
    });
}

/// Gives θ - I as the reference has it.
#[derive(Debug)]
struct Given(Tensor);

impl Component for Given {
    fn forward(&self, _x: &Tensor, _pass: &Pass<'_>) -> Tensor {
        self.0.shallow_clone()
    }
}

#[test]
fn transformers() {
    let reference = Reference::read("components.safetensors");
    for (word, transformer) in [("affine", Transformer::Affine), ("gradual", Transformer::Gradual)]
    {
        let case = format!("transformer.{word}");
        for of in STACKS {
            if !reference.has_gates(&case) && of.iter().any(|(_, gate)| *gate != "g1") {
                continue;
            }
            let trials = trials(of, &|trial, _| Trial { transformer, ..trial });
            let model = any_model(&trials);
            let at = model.gates_at(&vec![EPOCH; trials.len()], STEP, STEPS);
            let moving = Moving::new(&model, &at);
            let loc = laid_out(&reference.expect(&case, of, "loc")).set_requires_grad(true);
            let given = Given(loc.shallow_clone());
            let component = transformer::downsample(Some(Box::new(given)));
            let x = laid_out(&reference.expect(&case, of, "x"));
            let y = component.forward(&x, &Pass::new(&moving));
            let what = format!("{case} {of:?}");
            assert_near(&y.detach(), &laid_out(&reference.expect(&case, of, "y")), &what);
            let total = (y * laid_out(&reference.expect(&case, of, "dy"))).sum(Kind::Float);
            if !total.requires_grad() {
                continue;
            }
            let gradient = Tensor::run_backward(&[total], &[&loc], false, false).remove(0);
            let theirs = laid_out(&reference.expect(&case, of, "grad.loc"));
            assert_near(&gradient, &theirs, &format!("{what} grad.loc"));
        }
    }
}

/// fp32 through a whole net. PyTorch's own fp32 is off its f64 by up to 3e-5; the gradient of where
/// an image is sampled sums differences of pixels, which cancel, and moves most with the order.
const MODEL_TOLERANCE: f64 = 1e-4;
const TRANSFORMER_TOLERANCE: f64 = 3e-4;

fn compare_models(case: &str, architecture: Architecture, change: &dyn Fn(Trial) -> Trial) {
    tch::set_num_threads(1);
    let tolerance = match architecture {
        Architecture::Stn { .. } => TRANSFORMER_TOLERANCE,
        Architecture::Mlp { .. } | Architecture::Cnn { .. } | Architecture::Rnn { .. } => {
            MODEL_TOLERANCE
        }
    };
    let reference = Reference::read("models.safetensors");
    for of in STACKS {
        if !reference.has_gates(case) && of.iter().any(|(_, gate)| *gate != "g1") {
            continue;
        }
        let trials = trials(of, &|trial, _| change(trial));
        let model = Model::new(architecture, &trials, Kind::Float, Device::Cpu);
        set(model.parameters(), &reference, case, of, "param");
        set(&model.tensors.buffers, &reference, case, of, "state");
        let what = |name: &str| format!("{case} {of:?} {name}");
        let labels = reference.expect(case, of, "labels").to_kind(Kind::Int64);
        let x = reference.expect(case, of, "x");
        let x = x.reshape([x.size()[0], x.size()[1], -1]);
        let logits = model.forward(&x, &model.gates_at(&vec![EPOCH; of.len()], STEP, STEPS));
        let theirs = reference.expect(case, of, "logits");
        assert_near_within(&logits.detach(), &theirs, tolerance, &what("logits"));

        let (flat, labels) = (logits.flatten(0, 1), labels.reshape([-1]));
        let none: Option<&Tensor> = None;
        let losses = flat.cross_entropy_loss(&labels, none, tch::Reduction::None, -100, 0.0);
        let loss = losses.view([of.len() as i64, -1]).mean_dim([1i64].as_slice(), false, None);
        let theirs = reference.expect(case, of, "loss");
        assert_near_within(&loss.detach(), &theirs, tolerance, &what("loss"));
        let gradients = model.gradients(&loss.sum(None));
        for (parameter, gradient) in model.parameters().iter().zip(&gradients) {
            let name = format!("grad.param.{}", parameter.name);
            let theirs = reference.expect(case, of, &name).view_as(gradient);
            assert_near_within(gradient, &theirs, tolerance, &what(&name));
        }
    }
}

#[test]
fn perceptrons() {
    let mlp = Architecture::Mlp { inputs: 7, width: 6, classes: 4 };
    let change = |trial| Trial { depth: 3, activation: Activation::GRelu, ..trial };
    compare_models("mlp.grelu", mlp, &change);
}

#[test]
fn recurrent_nets() {
    let rnn = Architecture::Rnn { columns: 4, width: 6, classes: 4 };
    let change = |trial| Trial { depth: 2, activation: Activation::GRelu, ..trial };
    compare_models("rnn.grelu", rnn, &change);
}

#[test]
fn convolutional_nets() {
    let cnn = Architecture::Cnn { image: [3, 12, 12], width: 4, classes: 4 };
    compare_models("cnn.plain", cnn, &|trial| trial);
    compare_models("cnn.identity_to_conv", cnn, &|trial| Trial {
        conv: ConvKind::IdentityToConv,
        activation: Activation::GRelu,
        pooling: Pooling::Gradual,
        ..trial
    });
    compare_models("cnn.conv_to_nin", cnn, &|trial| Trial {
        conv: ConvKind::ConvToNin,
        norm: Norm::GradualBatch,
        ..trial
    });
    compare_models("cnn.highway", cnn, &|trial| Trial {
        conv: ConvKind::Highway,
        pooling: Pooling::Mixed,
        ..trial
    });
    compare_models("cnn.gated", cnn, &|trial| Trial {
        activation: Activation::PRelu,
        pooling: Pooling::Gated,
        ..trial
    });
}

#[test]
fn transforming_nets() {
    let shape = StnShape { localisation: [3, 5], classifier: [4, 8] };
    let stn = Architecture::Stn { shape, classes: 4 };
    for (word, transformer) in [
        ("none", Transformer::None),
        ("affine", Transformer::Affine),
        ("gradual", Transformer::Gradual),
    ] {
        compare_models(&format!("stn.{word}"), stn, &|trial| Trial { transformer, ..trial });
    }
}
