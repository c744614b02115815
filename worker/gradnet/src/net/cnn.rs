//! The CIFAR-10 network of the paper: the topology of Snoek et al. 2015 as in the first author's
//! code (treeano, `examples/activation_transformation/cifar10.py`).
//!
//! | layer | channels | filter | image of 32×32 |
//! |---|---|---|---|
//! | conv.0, conv.1 | w | 3×3 | 32×32 |
//! | pool.0 | | 3×3, stride 2 | 16×16 |
//! | conv.2, conv.3, conv.4 | 2w | 3×3 | 16×16 |
//! | pool.1 | | 3×3, stride 2 | 8×8 |
//! | conv.5 | 2w | 3×3 | 8×8 |
//! | conv.6 | 2w | 1×1 | 8×8 |
//! | conv.7 | classes | 1×1 | 8×8, then their mean |
//!
//! w is 96 in the paper. Each hidden convolution is followed by normalisation, activation and
//! dropout. Identity -> conv and highway replace the layers of equal width (1, 3, 4, 5, 6),
//! conv -> NiN the 3×3 ones.

use tch::{Kind, Tensor};

use super::{Net, images, with_trial_axis};
use crate::component::Component;
use crate::conv::{self, Conv, ConvKind, Shape};
use crate::init::{Part, counter};
use crate::pass::Pass;
use crate::stacked::Builder;
use crate::{conv_to_nin, highway, identity_to_conv, pooling};

/// Hidden layers: channels of the output in units of w, side of the filter, pooling afterwards.
const HIDDEN: [(usize, usize, bool); 7] = [
    (1, 3, false),
    (1, 3, true),
    (2, 3, false),
    (2, 3, false),
    (2, 3, true),
    (2, 3, false),
    (2, 1, false),
];

/// A stack of networks.
#[derive(Debug)]
pub(super) struct Cnn {
    image: [usize; 3],
    hidden: Vec<Layer>,
    output: Conv,
    classes: i64,
}

#[derive(Debug)]
struct Layer {
    unit: Box<dyn Component>,
    pool: Option<Box<dyn Component>>,
}

impl Cnn {
    pub(super) fn new(
        builder: &mut Builder<'_>,
        image: [usize; 3],
        width: usize,
        classes: usize,
    ) -> Cnn {
        let mut inputs = image[0];
        let mut pools = 0;
        let mut hidden = Vec::with_capacity(HIDDEN.len());
        for (layer, (widths, side, pooled)) in HIDDEN.into_iter().enumerate() {
            let outputs = widths * width;
            let shape = Shape { inputs, outputs, side, padding: side / 2 };
            let unit = unit(builder, shape, layer);
            let pool = pooled.then(|| {
                let name = format!("pool.{pools}");
                pools += 1;
                pooling::pool(builder, &name, counter(layer, Part::Filter))
            });
            hidden.push(Layer { unit, pool });
            inputs = outputs;
        }
        let layer = HIDDEN.len();
        let shape = Shape { inputs, outputs: classes, side: 1, padding: 0 };
        let name = format!("conv.{layer}");
        let output = Conv::new(builder, &name, shape, counter(layer, Part::Main), 0.0, |_| 1.0);
        Cnn { image, hidden, output, classes: classes as i64 }
    }
}

/// The hidden layer in the form that the stack's trials have.
fn unit(builder: &mut Builder<'_>, shape: Shape, layer: usize) -> Box<dyn Component> {
    let name = format!("conv.{layer}");
    let unit = conv::unit(builder, &name, shape, counter(layer, Part::Main));
    let kind = builder.trials[0].conv;
    // The image is no layer's output: its channels may equal the width by chance alone.
    let is_equal = layer > 0 && shape.inputs == shape.outputs;
    let class = |kind| match kind {
        ConvKind::Plain | ConvKind::IdentityToConv => 0,
        ConvKind::ConvToNin | ConvKind::Nin => 1,
        ConvKind::Highway => 2,
    };
    let same = builder.trials.iter().all(|trial| class(trial.conv) == class(kind));
    assert!(same, "trials with other tensors are in stacks of their own");
    match kind {
        ConvKind::ConvToNin | ConvKind::Nin if shape.side > 1 => {
            conv_to_nin::with_nin(builder, unit, &name, shape.outputs, layer)
        }
        ConvKind::Plain | ConvKind::IdentityToConv if is_equal => identity_to_conv::faded_in(unit),
        ConvKind::Highway if is_equal => highway::around(builder, unit, &name, shape, layer),
        ConvKind::Plain
        | ConvKind::IdentityToConv
        | ConvKind::ConvToNin
        | ConvKind::Nin
        | ConvKind::Highway => Box::new(unit),
    }
}

impl Net for Cnn {
    fn forward(&self, x: &Tensor, pass: &Pass<'_>) -> Tensor {
        let mut h = images(x, self.image);
        for (index, layer) in (0u32..).zip(&self.hidden) {
            h = layer.unit.forward(&h, pass);
            h = pass.dropped_out(h, index);
            if let Some(pool) = &layer.pool {
                h = pool.forward(&h, pass);
            }
        }
        let places = self.output.forward(&h, pass);
        let logits = places.mean_dim([2i64, 3].as_slice(), false, None::<Kind>);
        let (batch, trials) = (logits.size()[0], pass.trials());
        match trials {
            1 => with_trial_axis(logits, 1),
            _ => logits.view([batch, trials as i64, self.classes]).transpose(0, 1),
        }
    }
}
