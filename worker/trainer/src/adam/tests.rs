//! Adam against libtorch's own, the fused pass against the tensor operations, and masking.

use common::philox::{Philox, Purpose};

use super::*;

/// Normal values from their own stream: libtorch's generator is shared by all tests of a process.
fn normals(shape: &[i64], seed: u64) -> Tensor {
    let mut values = vec![0.0; shape.iter().product::<i64>() as usize];
    Philox::new(seed, Purpose::Data).normals(0, 0, 0, &mut values);
    Tensor::from_slice(&values).to_kind(Kind::Float).view(shape)
}

fn parameters(trials: &[usize], seed: u64) -> Vec<Parameter> {
    let named = |(index, &trials): (usize, &usize)| Parameter {
        name: format!("p{index}"),
        tensor: normals(&[trials as i64, 37, 5], 1000 * seed + index as u64),
        trials,
    };
    trials.iter().enumerate().map(named).collect()
}

fn gradients(parameters: &[Parameter], seed: u64) -> Vec<Tensor> {
    let gradient = |(index, parameter): (usize, &Parameter)| {
        normals(&parameter.tensor.size(), 1000 * seed + index as u64)
    };
    parameters.iter().enumerate().map(gradient).collect()
}

fn rate(lr: f64, clip_norm: Option<f64>) -> Rate {
    Rate { lr, clip_norm, steps: 0 }
}

fn difference(left: &[Parameter], right: &[Parameter]) -> f64 {
    let pairs = left.iter().zip(right);
    let gaps = pairs.map(|(l, r)| (&l.tensor - &r.tensor).abs().max().double_value(&[]));
    // `f64::max` drops NaN, and a comparison of nothing but NaN must not pass.
    gaps.inspect(|gap| assert!(gap.is_finite())).fold(0.0, f64::max)
}

#[test]
fn adam_equals_libtorch_own() {
    equals_libtorch(None);
}

#[test]
fn clipped_adam_equals_libtorch_own() {
    equals_libtorch(Some(0.5));
}

fn equals_libtorch(clip_norm: Option<f64>) {
    let mut store = tch::nn::VarStore::new(Device::Cpu);
    let theirs = store.root().randn_standard("p", &[7, 5]);
    let ours =
        [Parameter { name: "p".into(), tensor: theirs.detach().copy().unsqueeze(0), trials: 1 }];
    let config = tch::nn::Adam::default();
    let mut optimiser =
        tch::nn::OptimizerConfig::build(config, &store, 1e-2).expect("libtorch's Adam");
    let mut adam = Adam::new(&ours, &[rate(1e-2, clip_norm)], Device::Cpu);
    for step in 0..20 {
        let gradient = normals(&[7, 5], step);
        let loss = (&theirs * &gradient).sum(Kind::Float);
        match clip_norm {
            Some(norm) => optimiser.backward_step_clip_norm(&loss, norm),
            None => optimiser.backward_step(&loss),
        }
        let loss = Tensor::from_slice(&[1.0f32]);
        let _ = adam.step(&ours, &[gradient.unsqueeze(0)], &loss);
    }
    let gap = (ours[0].tensor.get(0) - &theirs).abs().max().double_value(&[]);
    assert!(gap < 1e-6, "{gap}");
    store.freeze();
}

#[test]
fn fused_equals_tensor_operations() {
    let rates = [rate(1e-2, None), rate(3e-3, Some(0.5)), rate(1e-3, Some(1e6))];
    let (left, right) = (parameters(&[3, 3, 2, 1], 1), parameters(&[3, 3, 2, 1], 1));
    let mut fused_adam = Adam::new(&left, &rates, Device::Cpu);
    let mut tensor_adam = Adam::new(&right, &rates, Device::Cpu);
    for step in 0..10 {
        let gradients = gradients(&left, 100 + step);
        let loss = Tensor::from_slice(&[1.0f32, 2.0, 3.0]);
        let norm = fused::step(&mut fused_adam, &left, &gradients, &loss);
        let expected = tensors::step(&mut tensor_adam, &right, &gradients, &loss);
        assert!((norm - expected).abs().max().double_value(&[]) < 1e-4);
    }
    assert!(difference(&left, &right) < 1e-6);
    assert_eq!(fused_adam.steps(), tensor_adam.steps());
}

#[test]
fn a_diverged_trial_is_masked_and_its_neighbours_go_on() {
    type Step = fn(&mut Adam, &[Parameter], &[Tensor], &Tensor) -> Tensor;
    for step in [fused::step as Step, tensors::step as Step] {
        let stack = parameters(&[3], 1);
        let before = stack[0].tensor.copy();
        let mut adam = Adam::new(&stack, &[rate(1e-2, Some(1.0)); 3], Device::Cpu);
        let gradients = gradients(&stack, 5);
        let _ = gradients[0].get(1).fill_(f64::NAN);
        let loss = Tensor::from_slice(&[1.0f32, f32::NAN, 1.0]);
        let _ = step(&mut adam, &stack, &gradients, &loss);
        let _ = step(&mut adam, &stack, &gradients, &Tensor::from_slice(&[1.0f32; 3]));
        assert_eq!(adam.alive(), [true, false, true]);
        assert_eq!(adam.steps(), [2, 0, 2]);
        let moved = (&stack[0].tensor - before).abs().amax([1i64, 2].as_slice(), false);
        let moved = Vec::<f32>::try_from(&moved).expect("[3]");
        assert!(moved[0] > 0.0 && moved[1] == 0.0 && moved[2] > 0.0, "{moved:?}");
    }
}

#[test]
fn a_selected_state_goes_on_as_before() {
    let rates = [rate(1e-2, None), rate(3e-3, Some(0.5)), rate(1e-3, None)];
    let stack = parameters(&[3, 2], 3);
    let mut adam = Adam::new(&stack, &rates, Device::Cpu);
    let loss = Tensor::from_slice(&[1.0f32; 3]);
    let _ = adam.step(&stack, &gradients(&stack, 9), &loss);
    let kept = [1usize, 2];
    let rows = |p: &Parameter| Parameter {
        name: p.name.clone(),
        tensor: select_rows(&p.tensor, p.trials, &kept).expect("kept"),
        trials: kept.iter().filter(|&&index| index < p.trials).count(),
    };
    let smaller = stack.iter().map(rows).collect::<Vec<_>>();
    let mut selected = adam.select(&stack, &kept);
    let next = gradients(&stack, 10);
    let next_kept = [next[0].narrow(0, 1, 2), next[1].narrow(0, 1, 1)];
    let _ = adam.step(&stack, &next, &loss);
    let _ = selected.step(&smaller, &next_kept, &loss.narrow(0, 0, 2));
    for (whole, part) in stack.iter().zip(&smaller) {
        let tail = whole.tensor.narrow(0, 1, part.trials as i64);
        assert_eq!(tail, part.tensor);
    }
}
