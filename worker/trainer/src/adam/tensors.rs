//! The step in tensor operations: any device, any floating kind, no read-back.

use gradnet::stacked::Parameter;
use tch::{Kind, Tensor};

use super::{Adam, BETA1, BETA2, CLIP_EPSILON, EPSILON};

pub(super) fn step(
    adam: &mut Adam,
    parameters: &[Parameter],
    gradients: &[Tensor],
    loss: &Tensor,
) -> Tensor {
    let scalars = &mut adam.scalars;
    let norm = norms(gradients, loss);
    let finite = loss.isfinite().to_kind(Kind::Double);
    scalars.alive = &scalars.alive * finite;
    scalars.steps += &scalars.alive;
    let scale = (&scalars.clip_norm / (&norm + CLIP_EPSILON)).clamp_max(1.0);
    let scale = scale.where_self(&scalars.clip_norm.isfinite(), &scale.ones_like());
    let correction1: Tensor = 1.0 - (&scalars.steps * BETA1.ln()).exp();
    let correction2: Tensor = 1.0 - (&scalars.steps * BETA2.ln()).exp();
    // Once for all parameters, in their kind: every conversion is a kernel on a GPU.
    let kind = gradients.first().expect("a model has parameters").kind();
    let alive = scalars.alive.gt(0.5);
    let scale = scale.to_kind(kind);
    let step_size = (&scalars.lr / correction1).to_kind(kind);
    let root2 = correction2.sqrt().to_kind(kind);
    for (at, (parameter, gradient)) in parameters.iter().zip(gradients).enumerate() {
        let per_trial = |tensor: &Tensor| broadcast(tensor, gradient);
        let alive = per_trial(&alive);
        let gradient = gradient * per_trial(&scale);
        let (first, second) = (&mut adam.first[at], &mut adam.second[at]);
        let first_new = first.lerp(&gradient, 1.0 - BETA1);
        let second_new = &*second * BETA2 + (1.0 - BETA2) * gradient.square();
        first.copy_(&first_new.where_self(&alive, first));
        second.copy_(&second_new.where_self(&alive, second));
        let update = first_new / (second_new.sqrt() / per_trial(&root2) + EPSILON);
        let update = update * per_trial(&step_size);
        let mut target = parameter.tensor.detach();
        target.copy_(&(&target - update).where_self(&alive, &target));
    }
    norm
}

/// Norm of each trial's gradients, `[K]` in f64.
fn norms(gradients: &[Tensor], loss: &Tensor) -> Tensor {
    let total = Tensor::zeros([loss.size()[0]], (Kind::Double, loss.device()));
    for gradient in gradients {
        let trials = gradient.size()[0];
        let squares = gradient.reshape([trials, -1]).square();
        let sum = squares.sum_dim_intlist([1i64].as_slice(), false, Kind::Double);
        let _ = total.narrow(0, 0, trials).f_add_(&sum).expect("the sum is [K_l]");
    }
    total.sqrt()
}

/// The first `K_l` of `[K]` as `[K_l, 1, …]` in the rank of `like`: a view.
fn broadcast(scalar: &Tensor, like: &Tensor) -> Tensor {
    let mut shape = vec![1; like.dim()];
    shape[0] = like.size()[0];
    scalar.narrow(0, 0, shape[0]).view(shape.as_slice())
}
