//! The paper's cluttered-MNIST classifier: a 60×60 image is brought to 20×20 by a mean over 3×3, by
//! an affine spatial transformer, or gradually from the one to the other, and classified.
//!
//! Localisation net, of the 60×60 image: `2 × (conv 5×5 to 20, activation, max pool 2), linear to
//! 50, activation, linear to 6`. Classifier, of the 20×20 image: `2 × (conv 3×3 to 32, activation,
//! max pool 2), linear to 256, activation, linear to classes`, with dropout after its hidden
//! activations. Convolutions have no padding. (The paper gives the localisation net's last layer as
//! 10 units; an affine map has 6.)

use tch::Tensor;

use super::{Net, flattened, images, with_trial_axis};
use crate::activation;
use crate::component::{Chain, Component};
use crate::conv::{self, Shape};
use crate::init::{Part, counter};
use crate::linear::Linear;
use crate::pass::Pass;
use crate::stacked::Builder;
use crate::transformer::{self, Transformer};

/// Sizes of the two nets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StnShape {
    /// Channels of the localisation net's convolutions, and its hidden units.
    pub localisation: [usize; 2],
    /// Channels of the classifier's convolutions, and its hidden units.
    pub classifier: [usize; 2],
}

impl StnShape {
    /// Those of the paper.
    pub const PAPER: StnShape = StnShape { localisation: [20, 50], classifier: [32, 256] };
}

/// Places among the initial weights: the localisation net's layers follow the classifier's.
const LOCALISATION: usize = 4;

/// A stack of networks.
#[derive(Debug)]
pub(super) struct Stn {
    downsample: Box<dyn Component>,
    convs: [Chain; 2],
    hidden: Dense,
    output: Linear,
}

impl Stn {
    pub(super) fn new(builder: &mut Builder<'_>, shape: StnShape, classes: usize) -> Stn {
        let same = |transformer: Transformer| {
            let without = transformer == Transformer::None;
            builder.trials.iter().all(|trial| (trial.transformer == Transformer::None) == without)
        };
        let transformer = builder.trials[0].transformer;
        assert!(same(transformer), "a stack transforms all of its trials or none");
        let localisation = (transformer != Transformer::None).then(|| {
            let localisation = Localisation::new(builder, shape.localisation);
            Box::new(localisation) as Box<dyn Component>
        });
        let [channels, units] = shape.classifier;
        let side = transformer::OUTPUT_SIDE;
        let (convs, side) = convs(builder, "classifier", 0, [channels, 3, side]);
        let inputs = channels * side * side;
        let hidden = Dense::new(builder, "classifier.hidden", 2, [units, inputs]);
        let trials = builder.trials.len();
        let output = Linear::new(builder, "output", trials, [classes, units], |trial| {
            let place = counter(3, Part::Main);
            trial.init.weight(1.0, trial.seed, place, classes, units)
        });
        Stn { downsample: transformer::downsample(localisation), convs, hidden, output }
    }
}

impl Net for Stn {
    fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Tensor {
        let side = transformer::INPUT_SIDE;
        let mut h = self.downsample.forward(&images(x, [1, side, side]), pass);
        for (layer, conv) in (0u32..).zip(&self.convs) {
            h = max_pool(&pass.dropped_out(conv.forward(&h, pass), layer));
        }
        let h = flattened(&h, pass.trials());
        let h = pass.dropped_out(self.hidden.forward(&h, pass), 2);
        with_trial_axis(self.output.apply(&h), pass.trials())
    }
}

/// From an image `[B, K, 60, 60]`, or one that all share, to θ - I of each trial, `[K, B, 6]`, or
/// `[B, 6]` of one trial.
#[derive(Debug)]
struct Localisation {
    convs: [Chain; 2],
    hidden: Dense,
    theta: Linear,
}

impl Localisation {
    fn new(builder: &mut Builder<'_>, [channels, units]: [usize; 2]) -> Localisation {
        let side = transformer::INPUT_SIDE;
        let (name, trials) = ("localisation", builder.trials.len());
        let (convs, side) = convs(builder, name, LOCALISATION, [channels, 5, side]);
        let inputs = channels * side * side;
        let hidden = Dense::new(builder, "localisation.hidden", LOCALISATION + 2, [units, inputs]);
        let numbers = transformer::NUMBERS;
        let theta = Linear::new(builder, "localisation.theta", trials, [numbers, units], |trial| {
            let place = counter(LOCALISATION + 3, Part::Main);
            trial.stn_init.weight(trial.seed, place, numbers, units)
        });
        Localisation { convs, hidden, theta }
    }
}

impl Component for Localisation {
    fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Tensor {
        let mut h = x.shallow_clone();
        for conv in &self.convs {
            h = max_pool(&conv.forward(&h, pass));
        }
        self.theta.apply(&self.hidden.forward(&flattened(&h, pass.trials()), pass))
    }
}

/// Two units of `channels` channels and filters of `side`, each to be pooled; and the side of their
/// output where that of the input is `image`. `layer` is the first one's place.
fn convs(
    builder: &mut Builder<'_>,
    name: &str,
    layer: usize,
    [channels, side, image]: [usize; 3],
) -> ([Chain; 2], usize) {
    let mut unit = |index: usize, inputs| {
        let shape = Shape { inputs, outputs: channels, side, padding: 0 };
        let place = counter(layer + index, Part::Main);
        conv::unit(builder, &format!("{name}.conv.{index}"), shape, place)
    };
    let units = [unit(0, 1), unit(1, channels)];
    let halved = |image: usize| (image + 1 - side) / 2;
    (units, halved(halved(image)))
}

fn max_pool(x: &Tensor) -> Tensor {
    x.max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false)
}

/// A linear layer and its activation.
#[derive(Debug)]
struct Dense {
    linear: Linear,
    activation: Box<dyn Component>,
}

impl Dense {
    fn new(builder: &mut Builder<'_>, name: &str, layer: usize, shape: [usize; 2]) -> Dense {
        let (place, live) = (counter(layer, Part::Main), builder.trials.len());
        let linear = Linear::new(builder, name, live, shape, |trial| {
            trial.init.weight(trial.init_gain, trial.seed, place, shape[0], shape[1])
        });
        let activation = activation::after(builder, name, live, shape[0], place);
        Dense { linear, activation }
    }
}

impl Component for Dense {
    fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Tensor {
        self.activation.forward(&self.linear.forward(x, pass), pass)
    }
}
