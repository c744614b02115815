//! A stack against its members alone: training, a diverged member, selection, save and load.
#![allow(clippy::cast_possible_wrap, reason = "sizes become libtorch's i64")]

mod support;

use gradnet::GradnetError;
use gradnet::dropout::Dropout;
use gradnet::stacked::select_rows;
use gradnet::{Model, Trial};
use support::{batch, different, gap, gates, loss, model, plain, train};
use tch::{Kind, Tensor};

fn solo_gap(trials: &[Trial], steps: u32, kind: Kind) -> f64 {
    let stack = model(trials, kind);
    train(&stack, 0..steps, kind);
    let mut gap_max: f64 = 0.0;
    for (index, trial) in trials.iter().enumerate() {
        let solo = model(std::slice::from_ref(trial), kind);
        train(&solo, 0..steps, kind);
        let pairs = stack.trial_tensors(index).into_iter().zip(solo.trial_tensors(0));
        for ((name, ours), (solo_name, alone)) in pairs {
            assert_eq!(name, solo_name);
            gap_max = gap_max.max(gap(&ours, &alone));
        }
    }
    gap_max
}

#[test]
fn a_stack_of_three_equals_three_solo_trials_in_f64() {
    let gap = solo_gap(&different(), 50, Kind::Double);
    assert!(gap < 1e-9, "{gap}");
}

#[test]
fn a_stack_of_three_equals_three_solo_trials_in_fp32() {
    let gap = solo_gap(&different(), 20, Kind::Float);
    assert!(gap < 1e-4, "{gap}");
}

#[test]
fn a_stack_of_equal_depths_equals_solo_trials() {
    let trials = [plain(3), Trial { dropout: Dropout::Static { p: 0.4 }, ..plain(4) }];
    let gap = solo_gap(&trials, 20, Kind::Double);
    assert!(gap < 1e-9, "{gap}");
}

#[test]
fn training_moves_every_parameter() {
    let stack = model(&different(), Kind::Double);
    let before = stack.parameters().iter().map(|p| p.tensor.detach().copy()).collect::<Vec<_>>();
    train(&stack, 0..2, Kind::Double);
    for (parameter, before) in stack.parameters().iter().zip(&before) {
        assert!(gap(&parameter.tensor.detach(), before) > 1e-4, "{}", parameter.name);
    }
}

#[test]
fn a_diverged_member_leaves_its_neighbours_untouched() {
    let trials = different();
    let pass = |stack: &Model| {
        let (images, labels) = batch(&trials, 3, Kind::Float);
        let logits = stack.forward(&images, &gates(stack, 3));
        // The sum keeps the members' losses apart in the backward pass, as a trainer's does.
        (logits.detach(), stack.gradients(&loss(&logits, &labels)))
    };
    for diverged in 0..3 {
        let mut stack = model(&trials, Kind::Float);
        let (healthy, healthy_gradients) = pass(&stack);
        let weights = stack.trial_tensors(diverged);
        let nan = |name: &str| {
            let found = weights.iter().find(|(other, _)| other == name);
            found.map(|(_, tensor)| tensor.full_like(f64::NAN))
        };
        stack.load_trial(diverged, &nan).expect("the same shapes");
        let (sick, sick_gradients) = pass(&stack);
        assert!(sick.get(diverged as i64).isnan().all().int64_value(&[]) == 1);
        for neighbour in (0..3).filter(|&index| index != diverged) {
            assert_eq!(healthy.get(neighbour as i64), sick.get(neighbour as i64));
            for (at, parameter) in stack.parameters().iter().enumerate() {
                if neighbour < parameter.trials {
                    let row = |gradients: &[Tensor]| gradients[at].get(neighbour as i64);
                    assert_eq!(row(&healthy_gradients), row(&sick_gradients), "{}", parameter.name);
                }
            }
        }
    }
}

#[test]
fn a_selected_stack_equals_a_fresh_one_of_its_members() {
    let trials = different();
    for keep in [&[0usize, 2][..], &[1, 2], &[0], &[2], &[0, 1, 2]] {
        let kept = keep.iter().map(|&index| trials[index].clone()).collect::<Vec<_>>();
        let selected = model(&trials, Kind::Double).select(keep);
        let fresh = model(&kept, Kind::Double);
        assert_eq!(selected.trials(), fresh.trials());
        assert_eq!(selected.parameters().len(), fresh.parameters().len());
        for (ours, theirs) in selected.parameters().iter().zip(fresh.parameters()) {
            assert_eq!((&ours.name, ours.trials), (&theirs.name, theirs.trials));
            assert_eq!(ours.tensor, theirs.tensor);
            assert!(ours.tensor.requires_grad() && ours.tensor.is_leaf());
        }
        train(&selected, 0..3, Kind::Double);
        train(&fresh, 0..3, Kind::Double);
        for (ours, theirs) in selected.parameters().iter().zip(fresh.parameters()) {
            assert_eq!(ours.tensor, theirs.tensor);
        }
    }
}

#[test]
fn a_selected_stack_shares_no_memory_with_the_one_it_came_from() {
    let stack = model(&different(), Kind::Double);
    let before = stack.trial_tensors(0);
    train(&stack.select(&[0, 1, 2]), 0..1, Kind::Double);
    assert!(before.iter().zip(stack.trial_tensors(0)).all(|(a, b)| a.1 == b.1));
}

#[test]
fn select_rows_follows_the_trial_axis() {
    let rows = Tensor::from_slice(&[10.0, 20.0]);
    let kept = |keep: &[usize]| select_rows(&rows, 2, keep);
    assert_eq!(kept(&[1, 2, 4]), Some(Tensor::from_slice(&[20.0])));
    assert_eq!(kept(&[0, 1, 3]), Some(rows.copy()));
    assert!(kept(&[2, 3]).is_none());
}

#[test]
fn parameters_are_named_and_ragged() {
    let stack = model(&different(), Kind::Float);
    let shape = |name: &str| {
        let parameter = stack.parameters().iter().find(|parameter| parameter.name == name);
        parameter.map(|parameter| (parameter.trials, parameter.tensor.size()))
    };
    assert_eq!(stack.parameters().len(), 12);
    assert_eq!(shape("hidden.0.weight"), Some((3, vec![3, 12, 7])));
    assert_eq!(shape("hidden.1.weight"), Some((3, vec![3, 12, 12])));
    assert_eq!(shape("hidden.2.bias"), Some((2, vec![2, 12])));
    assert_eq!(shape("hidden.4.weight"), Some((1, vec![1, 12, 12])));
    assert_eq!(shape("output.weight"), Some((3, vec![3, 4, 12])));
    assert_eq!(stack.trial_tensors(2).len(), 6);
}

#[test]
fn a_loaded_trial_equals_the_saved_one_in_any_stack() {
    let trials = different();
    let stack = model(&trials, Kind::Double);
    train(&stack, 0..5, Kind::Double);
    let saved = stack.trial_tensors(1);
    let find = |name: &str| {
        let found = saved.iter().find(|(other, _)| other == name);
        found.map(|(_, tensor)| tensor.shallow_clone())
    };
    let mut solo = model(&trials[1..2], Kind::Double);
    solo.load_trial(0, &find).expect("its own tensors");
    assert!(saved.iter().zip(solo.trial_tensors(0)).all(|(a, b)| a.1 == b.1));
    let (images, _) = batch(&trials, 5, Kind::Double);
    let whole = stack.forward(&images, &stack.gates_after(&[1, 1, 1])).get(1);
    let alone = solo.forward(&images.narrow(0, 1, 1), &solo.gates_after(&[1])).get(0);
    assert!(gap(&alone, &whole) < 1e-12);
}

#[test]
fn tensors_that_do_not_fit_are_refused_and_change_nothing() {
    let mut stack = model(&different(), Kind::Float);
    let before = stack.trial_tensors(0);
    let with = |name: &'static str, other: Option<Tensor>| {
        let tensors = before.iter().map(|(name, t)| (name.clone(), t + 1.0)).collect::<Vec<_>>();
        move |asked: &str| match asked == name {
            true => other.as_ref().map(Tensor::shallow_clone),
            false => {
                let found = tensors.iter().find(|(name, _)| name == asked);
                found.map(|(_, tensor)| tensor.shallow_clone())
            }
        }
    };
    let name = "output.bias";
    let missing = stack.load_trial(0, &with(name, None)).expect_err("missing");
    assert_eq!(missing.to_string(), "tensor `output.bias` is missing");
    let short = Tensor::zeros([3], (Kind::Float, tch::Device::Cpu));
    let shape = stack.load_trial(0, &with(name, Some(short))).expect_err("shape");
    assert_eq!(shape.to_string(), "tensor `output.bias` has shape [3], its parameter [4]");
    let wide = Tensor::zeros([4], (Kind::Double, tch::Device::Cpu));
    let kind = stack.load_trial(0, &with(name, Some(wide))).expect_err("kind");
    assert!(matches!(kind, GradnetError::WrongKind { .. }), "{kind}");
    assert!(before.iter().zip(stack.trial_tensors(0)).all(|(a, b)| a.1 == b.1));
}

#[test]
#[should_panic(expected = "deepest trial first")]
fn trials_out_of_order_are_a_broken_invariant() {
    let mut trials = different();
    trials.reverse();
    model(&trials, Kind::Float);
}

#[test]
fn gradients_equal_finite_differences_through_the_ragged_stack() {
    let trials = different();
    let stack = model(&trials, Kind::Double);
    let (images, labels) = batch(&trials, 7, Kind::Double);
    // All gates are partly open: slopes and dropout are in between.
    let at = stack.gates_at(&[2, 3, 1], 7, 10);
    assert!(at.gates[..2].iter().all(|&gate| gate > 0.0 && gate < 1.0));
    let value = || loss(&stack.forward(&images, &at), &labels);
    let gradients = stack.gradients(&value());
    let epsilon = 1e-6;
    for (parameter, gradient) in stack.parameters().iter().zip(&gradients) {
        let (flat, gradient) = (parameter.tensor.detach().view([-1]), gradient.reshape([-1]));
        let count = flat.size()[0];
        let scale = gradient.abs().max().double_value(&[]);
        for element in (0..count).step_by((count as usize / 11).max(1)) {
            let mut place = flat.get(element);
            let mut moved = |by: f64| {
                let _ = tch::no_grad(|| place.g_add_scalar_(by));
                tch::no_grad(|| value().double_value(&[]))
            };
            let slope = (moved(epsilon) - moved(-2.0 * epsilon)) / (2.0 * epsilon);
            moved(epsilon);
            let error = (slope - gradient.double_value(&[element])).abs();
            assert!(error < 1e-6 * scale.max(1e-3), "{} [{element}]: {error}", parameter.name);
        }
    }
}
