//! The step for f32 on a CPU: one pass over parameter, gradient and both moments. The same
//! arithmetic as `tensors` in a seventh of the memory traffic.

use gradnet::stacked::Parameter;
use tch::{Kind, Tensor};

use super::{Adam, BETA1, BETA2, CLIP_EPSILON, EPSILON};

/// Lanes of the sum of squares: enough independent additions to fill the vector units.
const LANES: usize = 16;
/// Elements summed in f32 before the sum moves to f64.
const CHUNK: usize = 1024;

/// What one trial's update needs.
#[derive(Clone, Copy)]
struct Coefficients {
    scale: f32,
    step_size: f32,
    root2_inverse: f32,
}

pub(super) fn step(
    adam: &mut Adam,
    parameters: &[Parameter],
    gradients: &[Tensor],
    loss: &Tensor,
) -> Tensor {
    let gradients = gradients.iter().map(Tensor::contiguous).collect::<Vec<_>>();
    let loss = loss.to_kind(Kind::Double).contiguous();
    let trials = loss.size()[0] as usize;
    let norms = norms(parameters, &gradients, trials);
    let coefficients = advance(adam, slice::<f64>(&loss, trials), &norms);
    for (at, (parameter, gradient)) in parameters.iter().zip(&gradients).enumerate() {
        let length = gradient.numel() / parameter.trials;
        let target = slice_mut(&parameter.tensor, gradient.numel());
        let first = slice_mut(&adam.first[at], gradient.numel());
        let second = slice_mut(&adam.second[at], gradient.numel());
        let gradient = slice::<f32>(gradient, gradient.numel());
        for (trial, coefficients) in coefficients.iter().take(parameter.trials).enumerate() {
            let Some(coefficients) = *coefficients else { continue };
            let own = trial * length..(trial + 1) * length;
            let moments = (&mut first[own.clone()], &mut second[own.clone()]);
            update(&mut target[own.clone()], &gradient[own], moments, coefficients);
        }
    }
    Tensor::from_slice(&norms)
}

/// Counts the step of every trial that is still alive, and says what its update needs.
fn advance(adam: &mut Adam, loss: &[f64], norms: &[f64]) -> Vec<Option<Coefficients>> {
    let trials = loss.len();
    let lr = slice::<f64>(&adam.scalars.lr, trials);
    let clip_norm = slice::<f64>(&adam.scalars.clip_norm, trials);
    let steps = slice_mut::<f64>(&adam.scalars.steps, trials);
    let alive = slice_mut::<f64>(&adam.scalars.alive, trials);
    let mut coefficients = Vec::with_capacity(trials);
    for trial in 0..trials {
        if !loss[trial].is_finite() {
            alive[trial] = 0.0;
        }
        if alive[trial] == 0.0 {
            coefficients.push(None);
            continue;
        }
        steps[trial] += 1.0;
        let correction1 = 1.0 - BETA1.powf(steps[trial]);
        let correction2 = 1.0 - BETA2.powf(steps[trial]);
        let scale = clip_norm[trial] / (norms[trial] + CLIP_EPSILON);
        coefficients.push(Some(Coefficients {
            // `f64::min` would turn the NaN of a bad gradient into 1 and hide it.
            scale: if clip_norm[trial].is_infinite() || scale > 1.0 { 1.0 } else { scale as f32 },
            step_size: (lr[trial] / correction1) as f32,
            root2_inverse: (1.0 / correction2.sqrt()) as f32,
        }));
    }
    coefficients
}

fn norms(parameters: &[Parameter], gradients: &[Tensor], trials: usize) -> Vec<f64> {
    let mut totals = vec![0.0; trials];
    for (parameter, gradient) in parameters.iter().zip(gradients) {
        let length = gradient.numel() / parameter.trials;
        let values = slice::<f32>(gradient, gradient.numel());
        for (total, own) in totals.iter_mut().zip(values.chunks_exact(length)) {
            *total += sum_of_squares(own);
        }
    }
    totals.into_iter().map(f64::sqrt).collect()
}

fn update(
    target: &mut [f32],
    gradient: &[f32],
    moments: (&mut [f32], &mut [f32]),
    coefficients: Coefficients,
) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has the feature that the function is compiled for.
        return unsafe { update_avx2(target, gradient, moments, coefficients) };
    }
    update_lanes(target, gradient, moments, coefficients);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn update_avx2(
    target: &mut [f32],
    gradient: &[f32],
    moments: (&mut [f32], &mut [f32]),
    coefficients: Coefficients,
) {
    update_lanes(target, gradient, moments, coefficients);
}

#[inline(always)]
fn update_lanes(
    target: &mut [f32],
    gradient: &[f32],
    (first, second): (&mut [f32], &mut [f32]),
    coefficients: Coefficients,
) {
    let Coefficients { scale, step_size, root2_inverse } = coefficients;
    let (rest1, rest2) = ((1.0 - BETA1) as f32, (1.0 - BETA2) as f32);
    let (beta2, epsilon) = (BETA2 as f32, EPSILON as f32);
    let moments = first.iter_mut().zip(second);
    for ((target, gradient), (first, second)) in target.iter_mut().zip(gradient).zip(moments) {
        let gradient = gradient * scale;
        *first += (gradient - *first) * rest1;
        *second = *second * beta2 + gradient * gradient * rest2;
        *target -= step_size * *first / (second.sqrt() * root2_inverse + epsilon);
    }
}

fn sum_of_squares(values: &[f32]) -> f64 {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has the feature that the function is compiled for.
        return unsafe { sum_of_squares_avx2(values) };
    }
    sum_of_squares_lanes(values)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sum_of_squares_avx2(values: &[f32]) -> f64 {
    sum_of_squares_lanes(values)
}

#[inline(always)]
fn sum_of_squares_lanes(values: &[f32]) -> f64 {
    let mut total = 0.0;
    for chunk in values.chunks(CHUNK) {
        let mut lanes = [0.0f32; LANES];
        let (blocks, rest) = chunk.as_chunks::<LANES>();
        for block in blocks {
            for (lane, value) in lanes.iter_mut().zip(block) {
                *lane += value * value;
            }
        }
        for (lane, value) in lanes.iter_mut().zip(rest) {
            *lane += value * value;
        }
        total += lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>();
    }
    total
}

/// The memory of a contiguous CPU tensor of the kind of `T`.
fn slice<T: tch::kind::Element>(tensor: &Tensor, length: usize) -> &[T] {
    check::<T>(tensor, length);
    // SAFETY: checked contiguous, on the CPU, of this kind and length; it lives while borrowed.
    unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast(), length) }
}

/// As `slice`, to write. Each tensor of a step is borrowed once, and no other thread has it.
#[expect(clippy::mut_from_ref, reason = "libtorch's tensors are shared handles by design")]
fn slice_mut<T: tch::kind::Element>(tensor: &Tensor, length: usize) -> &mut [T] {
    check::<T>(tensor, length);
    // SAFETY: as in `slice`; parameters, gradients, moments and scalars never share memory.
    unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast(), length) }
}

fn check<T: tch::kind::Element>(tensor: &Tensor, length: usize) {
    assert!(tensor.is_contiguous(), "fused Adam needs contiguous tensors");
    assert!(tensor.device() == tch::Device::Cpu, "fused Adam runs on a CPU");
    assert!(tensor.kind() == T::KIND, "fused Adam got a tensor of another kind");
    assert!(tensor.numel() == length, "fused Adam got a tensor of another size");
}
