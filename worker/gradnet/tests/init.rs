//! Initial weights: orthogonality, moments, gains, and independence of companions.
#![allow(clippy::cast_possible_wrap, reason = "sizes become libtorch's i64")]

mod support;

use gradnet::Trial;
use gradnet::init::Init;
use support::{different, gap, model, plain};
use tch::{Device, Kind, Tensor};

const ALL: [Init; 4] = [Init::Orthogonal, Init::He, Init::Xavier, Init::Normal];

/// The Gram matrix of the shorter side against gain² · I.
fn gram_gap(weight: &Tensor, gain: f64) -> f64 {
    let (rows, columns) = weight.size2().expect("a matrix");
    let turned = weight.transpose(0, 1);
    let gram = if rows <= columns { weight.matmul(&turned) } else { turned.matmul(weight) };
    let identity = Tensor::eye(rows.min(columns), (Kind::Double, Device::Cpu));
    gap(&gram, &(identity * gain * gain))
}

#[test]
fn orthogonal_weights_are_orthogonal_at_every_shape_and_gain() {
    for (outputs, inputs) in [(64, 64), (64, 100), (100, 64), (10, 64), (1, 5), (5, 1)] {
        for gain in [1.0, 2f64.sqrt()] {
            let weight = Init::Orthogonal.weight(gain, 3, 1, outputs, inputs);
            assert_eq!(weight.size(), [outputs as i64, inputs as i64]);
            let gap = gram_gap(&weight, gain);
            assert!(gap < 1e-13, "{outputs}×{inputs}: {gap}");
        }
    }
}

#[test]
fn orthogonal_weights_have_no_preferred_sign() {
    // Without the fix of signs, QR leaves the diagonal of most matrices negative.
    let positive = |layer| {
        let diagonal = Init::Orthogonal.weight(1.0, 5, layer, 40, 40).diagonal(0, 0, 1);
        diagonal.gt(0.0).sum(Kind::Int64).int64_value(&[])
    };
    let count = (0..25).map(positive).sum::<i64>();
    assert!((430..570).contains(&count), "{count} of 1000");
}

#[test]
fn the_others_have_the_moments_of_their_definitions() {
    let (outputs, inputs) = (300, 200);
    for (init, variance) in
        [(Init::He, 2.0 / 200.0), (Init::Xavier, 2.0 / 500.0), (Init::Normal, 1e-4)]
    {
        for gain in [1.0, 1.5] {
            let weight = init.weight(gain, 7, 0, outputs, inputs);
            let deviation = f64::sqrt(variance) * gain;
            let scaled = weight / deviation;
            let moment = |power: f64| scaled.pow_tensor_scalar(power).mean(Kind::Double);
            let moments = [1.0, 2.0, 4.0].map(|power| moment(power).double_value(&[]));
            // Five standard errors over 60,000 draws.
            assert!(moments[0].abs() < 0.021, "{init:?} mean {}", moments[0]);
            assert!((moments[1] - 1.0).abs() < 0.029, "{init:?} variance {}", moments[1]);
            assert!((moments[2] - 3.0).abs() < 0.2, "{init:?} fourth moment {}", moments[2]);
        }
    }
}

#[test]
fn weights_differ_by_seed_and_layer_and_repeat() {
    for init in ALL {
        let weight = |seed, layer| init.weight(1.0, seed, layer, 6, 6);
        assert_eq!(weight(1, 1), weight(1, 1));
        assert_ne!(weight(1, 1), weight(2, 1));
        assert_ne!(weight(1, 1), weight(1, 2));
    }
}

#[test]
fn a_trial_starts_the_same_alone_and_among_companions() {
    let trials = different();
    let stack = model(&trials, Kind::Float);
    for (index, trial) in trials.iter().enumerate() {
        let solo = model(std::slice::from_ref(trial), Kind::Float);
        let pairs = stack.trial_tensors(index).into_iter().zip(solo.trial_tensors(0));
        assert!(pairs.into_iter().all(|(ours, alone)| ours == alone));
    }
}

#[test]
fn the_gain_is_for_hidden_layers_and_biases_are_0() {
    for init in ALL {
        let net = |gain| model(&[Trial { init, init_gain: gain, ..plain(4) }], Kind::Double);
        let (one, two) = (net(1.0), net(2.0));
        for (a, b) in one.parameters().iter().zip(two.parameters()) {
            let (a_tensor, b_tensor) = (a.tensor.detach(), b.tensor.detach());
            if a.name.ends_with("bias") {
                assert_eq!(b_tensor.abs().max().double_value(&[]), 0.0);
            } else if a.name.starts_with("output") {
                assert_eq!(a_tensor, b_tensor);
            } else {
                assert!(gap(&b_tensor, &(a_tensor * 2.0)) < 1e-14, "{}", a.name);
            }
        }
    }
}
