//! Components at both ends of the gate and between, against their two-branch definitions.
#![allow(clippy::cast_possible_wrap, reason = "sizes become libtorch's i64")]

mod support;

use common::philox::{Philox, Purpose};
use gradnet::activation::{Activation, rectify};
use gradnet::dropout::{Dropout, Form, Noise, Noises, Site, factors};
use gradnet::round_keys::RoundKeys;
use gradnet::{Model, Trial, cpu, linear};
use support::{batch, different, gap, gates, model, normals, plain};
use tch::{Device, Kind, Tensor};

const GATES: [f64; 5] = [0.0, 0.2, 0.5, 0.9, 1.0];

fn input() -> Tensor {
    normals(5, 0, &[1, 6, 8], Kind::Double)
}

/// Applies an activation to one trial.
fn apply(x: &Tensor, activation: Activation, gate: f64) -> Tensor {
    rectify(x, &[activation.slope(gate)], &|| unreachable!("one slope is one kernel"))
}

/// Output and gradient of a weighted sum of the output.
fn with_gradient(f: &dyn Fn(&Tensor) -> Tensor) -> (Tensor, Tensor) {
    let x = input().set_requires_grad(true);
    let y = f(&x);
    let weights = normals(6, 0, &y.size(), Kind::Double);
    let total = (&y * weights).sum(Kind::Double);
    let gradient = Tensor::run_backward(&[total], &[&x], false, false).remove(0);
    (y.detach(), gradient)
}

fn assert_same(left: &dyn Fn(&Tensor) -> Tensor, right: &dyn Fn(&Tensor) -> Tensor) {
    let ((y, dy), (z, dz)) = (with_gradient(left), with_gradient(right));
    assert!(gap(&y, &z) < 1e-14, "values differ");
    assert!(gap(&dy, &dz) < 1e-14, "gradients differ");
}

#[test]
fn grelu_equals_its_two_branches() {
    for gate in GATES {
        assert_same(&|x| apply(x, Activation::GRelu, gate), &|x| {
            x * (1.0 - gate) + x.relu() * gate
        });
    }
}

#[test]
fn inverse_grelu_equals_its_two_branches() {
    for gate in GATES {
        let branches = |x: &Tensor| x.abs() * (1.0 - gate) + x.relu() * gate;
        assert_same(&|x| apply(x, Activation::InverseGRelu, gate), &branches);
    }
}

#[test]
fn open_and_closed_gates_are_the_plain_components() {
    for (activation, gate, component) in [
        (Activation::GRelu, 0.0, (|x| x.shallow_clone()) as fn(&Tensor) -> Tensor),
        (Activation::GRelu, 1.0, |x| x.relu()),
        (Activation::InverseGRelu, 0.0, |x| x.abs()),
        (Activation::InverseGRelu, 1.0, |x| x.relu()),
        (Activation::Relu, 0.3, |x| x.relu()),
        (Activation::Identity, 0.3, |x| x.shallow_clone()),
        (Activation::LeakyRelu, 0.3, |x| x.leaky_relu()),
        (Activation::VeryLeakyRelu, 0.3, |x| x.clamp_min(0.0) + x.clamp_max(0.0) / 3.0),
    ] {
        assert_same(&|x| apply(x, activation, gate), &component);
    }
}

#[test]
fn slopes_that_differ_apply_to_their_own_trials() {
    let slopes = [0.0, 0.25, 0.25, 1.0, -1.0, -0.5];
    let tensor = || Tensor::from_slice(&slopes).view([6, 1, 1]);
    let branches = |x: &Tensor| x.clamp_min(0.0) + x.clamp_max(0.0) * tensor();
    let wide = |x: &Tensor| x.expand([6, 6, 8], false) * normals(9, 0, &[6, 6, 8], Kind::Double);
    assert_same(&|x| rectify(&wide(x), &slopes, &tensor), &|x| branches(&wide(x)));
    assert_same(&|x| wide(x).internal_prelu_kernel(&tensor()), &|x| branches(&wide(x)));
}

#[test]
fn a_batched_linear_layer_equals_one_per_trial() {
    let x = normals(1, 0, &[3, 5, 4], Kind::Double);
    let (weight, bias) =
        (normals(2, 0, &[3, 6, 4], Kind::Double), normals(3, 0, &[3, 6], Kind::Double));
    let whole = linear::forward(&x, &weight, &bias);
    for trial in 0..3 {
        let one = |tensor: &Tensor| tensor.narrow(0, trial, 1);
        let alone = linear::forward(&x.get(trial), &one(&weight), &one(&bias));
        let plain = x.get(trial).matmul(&weight.get(trial).transpose(0, 1)) + bias.get(trial);
        assert!(gap(&alone, &plain) < 1e-14);
        assert!(gap(&whole.get(trial), &plain) < 1e-14);
    }
}

#[test]
fn a_net_of_grelu_at_full_gate_is_one_of_relu() {
    let grelu = model(&[Trial { activation: Activation::GRelu, ..plain(2) }], Kind::Double);
    let relu = model(&[plain(2)], Kind::Double);
    let (images, _) = batch(&[plain(2)], 0, Kind::Double);
    let outputs = [grelu, relu].map(|net: Model| net.forward(&images, &gates(&net, 0)));
    assert_eq!(outputs[0], outputs[1]);
}

fn noise(form: Form, gate: f64) -> Noise {
    Dropout::Gradual { p: 0.6, form }.noise(gate)
}

#[test]
fn gradual_dropout_is_none_at_gate_0_and_static_at_gate_1() {
    let full = Dropout::Static { p: 0.6 }.noise(0.3);
    for form in [Form::Rate, Form::Mix] {
        assert!(noise(form, 0.0).is_none());
        assert_eq!(noise(form, 1.0), full);
    }
    assert!(Dropout::None.noise(1.0).is_none() && Dropout::Static { p: 0.0 }.noise(1.0).is_none());
}

#[test]
fn gradual_dropout_follows_its_two_definitions_between() {
    for gate in [0.25, 0.5, 0.75] {
        let rate = noise(Form::Rate, gate);
        assert!((rate.keep - (1.0 - gate * 0.6)).abs() < 1e-15);
        assert!((rate.kept * rate.keep - 1.0).abs() < 1e-15 && rate.dropped == 0.0);
        let mix = noise(Form::Mix, gate);
        assert!((mix.keep - 0.4).abs() < 1e-15);
        assert!((mix.kept - ((1.0 - gate) + gate / 0.4)).abs() < 1e-15);
        assert!((mix.dropped - (1.0 - gate)).abs() < 1e-15);
        // Relative variance: gp/(1-gp) against g²p/(1-p).
        let variance =
            |n: Noise| n.keep * n.kept.powi(2) + (1.0 - n.keep) * n.dropped.powi(2) - 1.0;
        assert!((variance(rate) - gate * 0.6 / (1.0 - gate * 0.6)).abs() < 1e-12);
        assert!((variance(mix) - gate * gate * 0.6 / 0.4).abs() < 1e-12);
    }
}

#[test]
fn factors_have_mean_1_and_the_rate_asked_for() {
    let streams = [Philox::new(1, Purpose::Dropout)];
    let site = Site { epochs: &[1], step: 0, layer: 0 };
    for noise in [noise(Form::Rate, 0.5), noise(Form::Mix, 0.5), noise(Form::Mix, 1.0)] {
        let drawn = factors(&[noise], &streams, site, [1, 500, 400], Kind::Double);
        let mean = drawn.mean(Kind::Double).double_value(&[]);
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        let kept = drawn.gt(noise.dropped).to_kind(Kind::Double).mean(Kind::Double);
        assert!((kept.double_value(&[]) - noise.keep).abs() < 0.01);
    }
}

#[test]
fn factors_differ_by_seed_epoch_step_and_layer_and_repeat() {
    let drawn = |seed: u64, epoch: u32, step: u32, layer: u32| {
        let streams = [Philox::new(seed, Purpose::Dropout)];
        let site = Site { epochs: &[epoch], step, layer };
        factors(&[noise(Form::Rate, 1.0)], &streams, site, [1, 20, 20], Kind::Float)
    };
    let base = drawn(1, 1, 0, 0);
    assert_eq!(base, drawn(1, 1, 0, 0));
    for other in [drawn(2, 1, 0, 0), drawn(1, 2, 0, 0), drawn(1, 1, 1, 0), drawn(1, 1, 0, 1)] {
        assert_ne!(base, other);
    }
}

#[test]
fn dropout_is_the_identity_in_evaluation() {
    let trials = different();
    let without = trials.clone().map(|trial| Trial { dropout: Dropout::None, ..trial });
    let (images, _) = batch(&trials[..1], 0, Kind::Double);
    let output = |trials: &[Trial]| {
        let stack = model(trials, Kind::Double);
        stack.forward(&images, &stack.gates_after(&[1, 2, 3]))
    };
    assert_eq!(output(&trials), output(&without));
    let stack = model(&trials, Kind::Double);
    assert_ne!(output(&trials), stack.forward(&images, &gates(&stack, 19)));
}

#[test]
fn words_in_tensor_operations_equal_philox_itself() {
    let seeds = [0u64, 7, u64::MAX];
    let streams = seeds.map(|seed| Philox::new(seed, Purpose::Dropout));
    let keys = RoundKeys::new(&streams, Device::Cpu);
    let epochs = [1u32, 300, u32::MAX];
    let epoch_tensor = Tensor::from_slice(&epochs.map(i64::from)).view([3, 1]);
    for (step, layer, count) in [(0, 0, 4usize), (99, 199, 1021), (u32::MAX, 3, 6)] {
        let ours = keys.words(&epoch_tensor, step, layer, 3, count as i64);
        for (index, stream) in streams.iter().enumerate() {
            let mut words = vec![0; count];
            stream.words(epochs[index], step, layer, &mut words);
            let words = words.into_iter().map(i64::from).collect::<Vec<_>>();
            let row = Vec::<i64>::try_from(ours.get(index as i64).contiguous()).expect("a row");
            assert_eq!(row, words);
        }
    }
}

#[test]
fn factors_in_tensor_operations_equal_those_of_the_host() {
    let noises = [noise(Form::Rate, 0.7), noise(Form::Mix, 0.3), Noise::NONE];
    let streams = [4u64, 5, 6].map(|seed| Philox::new(seed, Purpose::Dropout));
    let keys = RoundKeys::new(&streams, Device::Cpu);
    let column = |value: &dyn Fn(&Noise) -> f64| {
        Tensor::from_slice(&noises.iter().map(value).collect::<Vec<_>>()).unsqueeze(1)
    };
    for kind in [Kind::Float, Kind::Double] {
        let on_device = Noises {
            threshold: column(&|noise| Noises::threshold(*noise)).to_kind(Kind::Int64),
            kept: column(&|noise| noise.kept).to_kind(kind),
            dropped: column(&|noise| noise.dropped).to_kind(kind),
            epochs: Tensor::from_slice(&[9i64, 8, 7]).unsqueeze(1),
        };
        for live in [1usize, 2, 3] {
            let shape = [live as i64, 5, 7];
            let site = Site { epochs: &[9, 8, 7], step: 3, layer: 2 };
            let host = factors(&noises[..live], &streams[..live], site, shape, kind);
            assert_eq!(on_device.factors(&keys, 3, 2, shape), host);
            assert_eq!(host.kind(), kind);
        }
    }
}

#[test]
fn settings_of_the_process_are_available_where_the_tests_run() {
    let switched = std::thread::spawn(cpu::flush_denormals).join().expect("the thread ends");
    assert_eq!(switched, cfg!(any(target_arch = "x86_64", target_arch = "aarch64")));
    assert_eq!(cpu::keep_freed_memory(), cfg!(all(target_os = "linux", target_env = "gnu")));
}
