//! A recurrent network that reads an image row by row, the paper's future work: a recurrence that
//! goes from linear to its nonlinearity as the activation's gate opens.
//!
//! `h_t = act(W·x_t + U·h_{t-1} + b)` with h_0 = 0, `depth` such layers one above the other,
//! dropout after each on the way up; the logits are a linear map of the top layer's last state.
//! With `activation: grelu` the recurrence begins linear, and orthogonal U keeps its signal over
//! any number of steps; `activation: relu` is the plain comparison.
//!
//! Parameters: `hidden.l.input.weight` `[K, width, columns]`, `hidden.l.recurrent.weight`
//! `[K, width, width]`, `hidden.l.bias` `[K, width]`, …, `output.weight`, `output.bias`.

use tch::Tensor;

use super::{Net, with_trial_axis};
use crate::activation;
use crate::component::Component;
use crate::init::{Part, counter};
use crate::linear::{self, Linear};
use crate::pass::Pass;
use crate::stacked::Builder;

/// A stack of networks of one depth.
#[derive(Debug)]
pub(super) struct Rnn {
    columns: i64,
    hidden: Vec<Layer>,
    output: Linear,
}

#[derive(Debug)]
struct Layer {
    input: Tensor,
    recurrent: Tensor,
    bias: Tensor,
    activation: Box<dyn Component>,
}

impl Rnn {
    pub(super) fn new(
        builder: &mut Builder<'_>,
        columns: usize,
        width: usize,
        classes: usize,
    ) -> Rnn {
        let depth = builder.trials[0].depth;
        let same = builder.trials.iter().all(|trial| trial.depth == depth);
        assert!(same, "recurrent networks of a stack have one depth");
        let live = builder.trials.len();
        let mut hidden = Vec::with_capacity(depth);
        for layer in 0..depth {
            let name = format!("hidden.{layer}");
            let inputs = if layer == 0 { columns } else { width };
            let [input_place, recurrent_place] =
                [Part::Main, Part::Recurrent].map(|part| counter(layer, part));
            let input = builder.parameter(format!("{name}.input.weight"), live, |trial| {
                trial.init.weight(trial.init_gain, trial.seed, input_place, width, inputs)
            });
            let recurrent = builder.parameter(format!("{name}.recurrent.weight"), live, |trial| {
                trial.init.weight(trial.init_gain, trial.seed, recurrent_place, width, width)
            });
            let bias = builder.constant(format!("{name}.bias"), live, &[width], 0.0);
            let activation = activation::after(builder, &name, live, width, input_place);
            hidden.push(Layer { input, recurrent, bias, activation });
        }
        let output = Linear::new(builder, "output", live, [classes, width], |trial| {
            trial.init.weight(1.0, trial.seed, counter(depth, Part::Main), classes, width)
        });
        Rnn { columns: columns as i64, hidden, output }
    }
}

impl Net for Rnn {
    fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Tensor {
        let (trials, batch, inputs) = (pass.trials() as i64, x.size()[1], x.size()[2]);
        assert_eq!(inputs % self.columns, 0, "x holds whole rows");
        let rows = inputs / self.columns;
        let x = x.expand([trials, batch, inputs], false);
        // Time runs along the batch axis of one product for all steps, the rows of step 0 first.
        let x = x.reshape([trials, batch, rows, self.columns]).transpose(1, 2);
        let mut sequence = x.reshape([trials, rows * batch, self.columns]);
        if trials == 1 {
            sequence = sequence.squeeze_dim(0);
        }
        let axis = sequence.dim() as i64 - 2;
        for (index, layer) in (0u32..).zip(&self.hidden) {
            let states = layer.forward(&sequence, rows, pass);
            let last = index as usize + 1 == self.hidden.len();
            let above = if last {
                states.last().expect("an image has rows").shallow_clone()
            } else {
                Tensor::cat(&states, axis)
            };
            sequence = pass.dropped_out(above, index);
        }
        with_trial_axis(self.output.apply(&sequence), pass.trials())
    }
}

impl Layer {
    /// The state after each of `rows` steps, each `[K, B, width]`, or `[B, width]` of one trial.
    fn forward(&self, sequence: &Tensor, rows: i64, pass: &Pass<'_>) -> Vec<Tensor> {
        let axis = sequence.dim() as i64 - 2;
        let inputs = linear::forward(sequence, &self.input, &self.bias).chunk(rows, axis);
        let recurrent = self.recurrent.transpose(1, 2);
        let mut states: Vec<Tensor> = Vec::with_capacity(inputs.len());
        for (row, input) in (0u32..).zip(inputs) {
            let sum = match states.last() {
                None => input,
                Some(state) if pass.trials() == 1 => input.addmm(state, &recurrent.get(0)),
                Some(state) => input.baddbmm(state, &recurrent, 1.0, 1.0),
            };
            states.push(self.activation.forward(&sum, &pass.at_application(row)));
        }
        states
    }
}
