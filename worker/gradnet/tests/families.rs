//! The convolutional, transforming and recurrent families: a stack against its members alone, and
//! what each family is made of.
#![allow(clippy::cast_possible_wrap, reason = "sizes become libtorch's i64")]

mod support;

use common::config::{Config, Param};
use common::work::Work;
use gradnet::activation::Activation;
use gradnet::batch_norm::Norm;
use gradnet::conv::ConvKind;
use gradnet::dropout::{Dropout, Form};
use gradnet::gate::{Per, Schedule, Shape};
use gradnet::init::Init;
use gradnet::net::StnShape;
use gradnet::pooling::Pooling;
use gradnet::transformer::{StnInit, Transformer};
use gradnet::{Architecture, Model, Trial};
use support::{gap, normals, train};
use tch::{Device, Kind, Tensor};

const CNN: Architecture = Architecture::Cnn { image: [2, 10, 10], width: 4, classes: 4 };
const STN: Architecture =
    Architecture::Stn { shape: StnShape { localisation: [2, 5], classifier: [3, 6] }, classes: 4 };
const RNN: Architecture = Architecture::Rnn { columns: 5, width: 8, classes: 4 };

fn model(architecture: Architecture, trials: &[Trial], kind: Kind) -> Model {
    tch::set_num_threads(1);
    Model::new(architecture, trials, kind, Device::Cpu)
}

const fn ramp(tau: f64) -> Schedule {
    Schedule { shape: Shape::Linear, per: Per::Step, tau }
}

/// Three trials of one fusion key, with other slopes, noise, gates and initial weights.
fn different() -> [Trial; 3] {
    [
        Trial {
            activation: Activation::GRelu,
            dropout: Dropout::Gradual { p: 0.3, form: Form::Rate },
            schedule: ramp(2.0),
            ..Trial::plain(11)
        },
        Trial {
            activation: Activation::InverseGRelu,
            dropout: Dropout::Gradual { p: 0.5, form: Form::Mix },
            schedule: ramp(7.0),
            init: Init::He,
            ..Trial::plain(12)
        },
        Trial { dropout: Dropout::Static { p: 0.2 }, init_gain: 1.4, ..Trial::plain(13) },
    ]
}

fn each(change: impl Fn(Trial, usize) -> Trial) -> Vec<Trial> {
    different().into_iter().enumerate().map(|(at, trial)| change(trial, at)).collect()
}

/// Every fusion key of the CNN's components, with the forms that share it side by side.
fn cnn_stacks() -> Vec<Vec<Trial>> {
    use ConvKind::{ConvToNin, Highway, IdentityToConv, Nin, Plain};
    let convs = |kinds: [ConvKind; 3]| move |trial, at: usize| Trial { conv: kinds[at], ..trial };
    let pools =
        |pooling: [Pooling; 3]| move |trial, at: usize| Trial { pooling: pooling[at], ..trial };
    vec![
        each(convs([IdentityToConv, Plain, IdentityToConv])),
        each(convs([ConvToNin, Nin, ConvToNin])),
        each(convs([Highway; 3])),
        each(pools([Pooling::Gradual, Pooling::Mean, Pooling::Average])),
        each(pools([Pooling::Mixed; 3])),
        each(pools([Pooling::Gated; 3])),
        // Rectified: between linear layers batch norm takes out the one before's β, whose gradient
        // is then rounding alone, and Adam makes whole steps of it.
        each(|trial, at| {
            let norm = [Norm::GradualBatch, Norm::Batch, Norm::GradualBatch][at];
            Trial { norm, activation: Activation::LeakyRelu, ..trial }
        }),
        each(|trial, _| Trial { activation: Activation::PRelu, ..trial }),
        each(|trial, _| Trial { activation: Activation::RRelu, ..trial }),
    ]
}

fn stn_stacks(affine: StnInit) -> Vec<Vec<Trial>> {
    vec![
        each(|trial, _| trial),
        each(|trial, at| {
            use Transformer::{Affine, Gradual};
            let stn_init = [StnInit::SmallNormal, StnInit::Zero, affine][at];
            Trial { transformer: [Gradual, Gradual, Affine][at], stn_init, ..trial }
        }),
    ]
}

/// Largest gap after training between the members of a stack and the same trials alone.
fn solo_gap(architecture: Architecture, trials: &[Trial], steps: u32, kind: Kind) -> f64 {
    let stack = model(architecture, trials, kind);
    train(&stack, 0..steps, kind);
    let mut gap_max: f64 = 0.0;
    for (index, trial) in trials.iter().enumerate() {
        let solo = model(architecture, std::slice::from_ref(trial), kind);
        train(&solo, 0..steps, kind);
        let pairs = stack.trial_tensors(index).into_iter().zip(solo.trial_tensors(0));
        for ((name, ours), (solo_name, alone)) in pairs {
            assert_eq!(name, solo_name);
            gap_max = gap_max.max(gap(&ours, &alone));
        }
        let x = input(architecture, 1, 99, kind);
        let epochs = [3, 4, 5];
        let whole = stack.forward(&x, &stack.gates_after(&epochs)).get(index as i64);
        let alone = solo.forward(&x, &solo.gates_after(&epochs[index..=index])).get(0);
        gap_max = gap_max.max(gap(&whole, &alone));
    }
    gap_max
}

fn input(architecture: Architecture, trials: i64, seed: u64, kind: Kind) -> Tensor {
    normals(seed, 0, &[trials, 6, support::inputs(architecture)], kind)
}

#[test]
fn a_stack_equals_its_solo_trials_in_f64() {
    let stacks = |architecture, stacks: Vec<Vec<Trial>>| {
        for trials in stacks {
            let gap = solo_gap(architecture, &trials, 50, Kind::Double);
            assert!(gap < 1e-9, "{gap} of {trials:?}");
        }
    };
    stacks(CNN, cnn_stacks());
    stacks(STN, stn_stacks(StnInit::Orthogonal));
    stacks(RNN, vec![each(|trial, _| Trial { depth: 2, ..trial })]);
}

#[test]
fn a_stack_equals_its_solo_trials_in_fp32() {
    let stacks = |architecture, stacks: Vec<Vec<Trial>>| {
        for trials in stacks {
            let gap = solo_gap(architecture, &trials, 20, Kind::Float);
            assert!(gap < 1e-4, "{gap} of {trials:?}");
        }
    };
    stacks(CNN, cnn_stacks());
    // An orthogonal last layer samples far outside of the image, where fp32's rounding decides
    // which pixels a sample lies between.
    stacks(STN, stn_stacks(StnInit::SmallNormal));
    stacks(RNN, vec![each(|trial, _| Trial { depth: 2, ..trial })]);
}

/// A layer that is applied row after row draws anew for each row.
#[test]
fn a_recurrence_draws_other_slopes_at_every_row() {
    let trials = each(|trial, _| Trial { activation: Activation::RRelu, ..trial });
    assert!(solo_gap(RNN, &trials, 20, Kind::Double) < 1e-9);
    let trial = Trial { activation: Activation::RRelu, ..Trial::plain(3) };
    let rnn = Architecture::Rnn { columns: 1, width: 1, classes: 2 };
    let mut model = model(rnn, &[trial], Kind::Double);
    // h_t = slope_t·(-1) of a net without recurrence: its last state shows the last row's slope.
    let ours = |name: &str| {
        let value = match name {
            "hidden.0.input.weight" => Tensor::ones([1, 1], (Kind::Double, Device::Cpu)),
            "hidden.0.recurrent.weight" => Tensor::zeros([1, 1], (Kind::Double, Device::Cpu)),
            "hidden.0.bias" => Tensor::zeros([1], (Kind::Double, Device::Cpu)),
            "output.weight" => Tensor::ones([2, 1], (Kind::Double, Device::Cpu)),
            _ => Tensor::zeros([2], (Kind::Double, Device::Cpu)),
        };
        Some(value)
    };
    model.load_trial(0, &ours).expect("it fits");
    let at = model.gates_at(&[1], 0, 10);
    let last = |rows: i64| {
        let x = Tensor::full([1, 1, rows], -1.0, (Kind::Double, Device::Cpu));
        model.forward(&x, &at).double_value(&[0, 0, 0])
    };
    let slopes = [last(1), last(2), last(3)];
    assert!(slopes[0] != slopes[1] && slopes[1] != slopes[2], "{slopes:?}");
}

/// A width that equals the image's channels makes no identity of the first layer.
#[test]
fn a_width_like_the_images_channels_is_no_special_case() {
    let cnn = Architecture::Cnn { image: [2, 8, 8], width: 2, classes: 4 };
    for conv in [ConvKind::IdentityToConv, ConvKind::Highway] {
        let trials = each(|trial, _| Trial { conv, schedule: ramp(9.0), ..trial });
        assert!(solo_gap(cnn, &trials, 5, Kind::Double) < 1e-9);
    }
}

#[test]
fn the_papers_cnn_has_its_number_of_parameters() {
    let cnn = Architecture::Cnn { image: [3, 32, 32], width: 96, classes: 10 };
    let model = model(cnn, &[Trial::plain(1)], Kind::Float);
    let count = model.parameters().iter().map(|parameter| parameter.tensor.numel()).sum::<usize>();
    assert_eq!(count, 1_286_698);
}

/// The estimate of `plan` and the scheduler counts what the nets are made of.
#[test]
fn the_estimated_size_is_that_of_the_net() {
    for (model, data, params) in [
        ("mlp", "mnist", r#"{"depth": 4, "width": 64}"#),
        ("cnn", "cifar10", r#"{"width": 96}"#),
        ("cnn", "cifar10", r#"{"width": 16, "conv": "conv_to_nin", "norm": "batch"}"#),
        ("cnn", "cifar10", r#"{"width": 16, "conv": "highway"}"#),
        ("stn", "cluttered-mnist", r#"{"transformer": "gradual"}"#),
        ("stn", "cluttered-mnist", r#"{"transformer": "none"}"#),
        ("rnn", "mnist", r#"{"depth": 2, "width": 32}"#),
    ] {
        let config = Config::from_json(model, data, params).expect("a valid config");
        let trial = Trial::from_config(&config, 1).expect("a trial");
        let (image, width) = (config.data.image(), config.count(Param::Width));
        let architecture = Architecture::of(config.model, image, width, 10);
        let net = Model::new(architecture, &[trial], Kind::Float, Device::Cpu);
        let count: usize = net.parameters().iter().map(|p| p.tensor.numel()).sum();
        assert_eq!(Work::of(&config).parameters, count as f64, "{model} {params}");
    }
}

#[test]
fn a_selected_stack_keeps_the_state_of_its_members() {
    for trials in cnn_stacks() {
        let stack = model(CNN, &trials, Kind::Double);
        train(&stack, 0..3, Kind::Double);
        let selected = stack.select(&[0, 2]);
        for (ours, index) in [(0, 0), (1, 2)] {
            assert_eq!(selected.trial_tensors(ours), stack.trial_tensors(index));
        }
        let before = stack.trial_tensors(0);
        train(&selected, 3..4, Kind::Double);
        assert_eq!(stack.trial_tensors(0), before, "the older stack shares no memory");
        assert_ne!(selected.trial_tensors(0), before);
    }
}

#[test]
fn a_loaded_trial_equals_the_saved_one() {
    let trials = each(|trial, _| Trial { norm: Norm::Batch, ..trial });
    let stack = model(CNN, &trials, Kind::Double);
    train(&stack, 0..3, Kind::Double);
    let saved = stack.trial_tensors(1);
    assert!(saved.iter().any(|(name, _)| name == "conv.0.norm.variance"));
    let mut solo = model(CNN, &trials[1..2], Kind::Double);
    let find = |name: &str| {
        let found = saved.iter().find(|(other, _)| other == name);
        found.map(|(_, tensor)| tensor.shallow_clone())
    };
    solo.load_trial(0, &find).expect("its own tensors");
    assert_eq!(solo.trial_tensors(0), saved);
}

#[test]
fn at_gate_1_a_batch_normed_example_evaluates_alone_as_in_a_batch() {
    let trial = Trial { norm: Norm::GradualBatch, schedule: ramp(1.0), ..Trial::plain(3) };
    let model = model(CNN, &[trial], Kind::Double);
    train(&model, 0..5, Kind::Double);
    let x = input(CNN, 1, 7, Kind::Double);
    let full = model.gates_after(&[1]);
    assert_eq!(full.gates, [1.0]);
    let whole = model.forward(&x, &full);
    for example in 0..6 {
        let alone = model.forward(&x.narrow(1, example, 1), &full);
        assert!(gap(&alone, &whole.narrow(1, example, 1)) < 1e-12);
    }
    // And without normalisation's tensors.
    let before = model.trial_tensors(0);
    let plain = Trial { norm: Norm::None, ..model.trials()[0].clone() };
    let mut bare = Model::new(CNN, &[plain], Kind::Double, Device::Cpu);
    let find = |name: &str| {
        let found = before.iter().find(|(other, _)| other == name);
        found.map(|(_, tensor)| tensor.shallow_clone())
    };
    bare.load_trial(0, &find).expect("a part of its tensors");
    assert!(gap(&bare.forward(&x, &bare.gates_after(&[1])), &whole) < 1e-12);
}

#[test]
fn an_unborn_transformer_is_the_mean_and_a_full_one_the_transformer() {
    use Transformer::{Affine, Gradual, None};
    let with = |transformer, tau| {
        let schedule = if tau == 0.0 { Schedule::FULL } else { ramp(tau) };
        model(STN, &[Trial { transformer, schedule, ..Trial::plain(5) }], Kind::Double)
    };
    let x = input(STN, 1, 8, Kind::Double);
    let start = |model: &Model| model.forward(&x, &model.gates_at(&[1], 0, 10));
    assert_eq!(start(&with(Gradual, 2.0)), start(&with(None, 0.0)));
    assert_eq!(start(&with(Gradual, 0.0)), start(&with(Affine, 0.0)));
    assert_ne!(start(&with(Affine, 0.0)), start(&with(None, 0.0)));
}

#[test]
fn a_recurrence_of_gate_0_is_linear() {
    let trial =
        Trial { depth: 2, activation: Activation::GRelu, schedule: ramp(3.0), ..Trial::plain(6) };
    let model = model(RNN, &[trial], Kind::Double);
    let at = model.gates_at(&[1], 0, 10);
    let (a, b) = (input(RNN, 1, 1, Kind::Double), input(RNN, 1, 2, Kind::Double));
    let y = |x: &Tensor| model.forward(x, &at);
    assert!(gap(&y(&(&a + &b)), &(y(&a) + y(&b))) < 1e-12);
    let at = model.gates_after(&[3]);
    let y = |x: &Tensor| model.forward(x, &at);
    assert!(gap(&y(&(&a + &b)), &(y(&a) + y(&b))) > 1e-3);
}
