//! Dropout after an activation: none, static, or gradual in one of two forms.
//!
//! Inverted dropout is `x·mask/(1-p)`. Gradual dropout is the gradual identity -> dropout:
//! - `rate` anneals the rate, `p(t) = g·p`: `x·mask/(1-g·p)` (treeano's `GradualDropoutNode`);
//! - `mix` is the definition's weighted mean, `(1-g)·x + g·x·mask/(1-p)`.
//!
//! Both are one product `x·f` with a random factor f of two values, so no branch is computed twice;
//! in evaluation, and while nothing can be dropped, they are the identity and draw nothing.
//! f depends on (seed, epoch, step, layer, element) through Philox: element i of `[B, C]` is kept
//! where word i is below keep·2^32.

use common::philox::Philox;
use tch::{Kind, Tensor};

use crate::round_keys::RoundKeys;

const TWO_32: f64 = 4_294_967_296.0;

/// Form of gradual dropout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// The rate is g·p.
    Rate,
    /// The output is mixed with the input.
    Mix,
}

/// Dropout of one trial; p in [0, 1) is the probability that a unit is dropped.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Dropout {
    /// None.
    None,
    /// The rate p throughout.
    Static {
        /// Rate.
        p: f64,
    },
    /// From none to p as the gate opens.
    Gradual {
        /// Rate at gate 1.
        p: f64,
        /// How it gets there.
        form: Form,
    },
}

/// The factor of one unit: `kept` with probability `keep`, else `dropped`. Its mean is 1.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Noise {
    /// Probability of `kept`.
    pub keep: f64,
    /// Factor of a unit that is kept.
    pub kept: f64,
    /// Factor of a unit that is dropped.
    pub dropped: f64,
}

impl Noise {
    /// No noise: the factor is 1.
    pub const NONE: Noise = Noise { keep: 1.0, kept: 1.0, dropped: 1.0 };

    /// Whether the factor is 1 for certain.
    pub fn is_none(&self) -> bool {
        *self == Noise::NONE
    }

    fn of_rate(p: f64) -> Noise {
        assert!((0.0..1.0).contains(&p), "dropout drops with a probability below 1, not {p}");
        if p == 0.0 {
            return Noise::NONE;
        }
        Noise { keep: 1.0 - p, kept: 1.0 / (1.0 - p), dropped: 0.0 }
    }
}

impl Dropout {
    /// The noise at this gate in training.
    pub fn noise(self, gate: f64) -> Noise {
        match self {
            Dropout::None => Noise::NONE,
            Dropout::Static { p } => Noise::of_rate(p),
            Dropout::Gradual { p, form: Form::Rate } => Noise::of_rate(gate * p),
            Dropout::Gradual { p, form: Form::Mix } => {
                let full = Noise::of_rate(p);
                if full.is_none() || gate == 0.0 {
                    return Noise::NONE;
                }
                let mixed = |factor| (1.0 - gate) + gate * factor;
                Noise { keep: full.keep, kept: mixed(full.kept), dropped: mixed(full.dropped) }
            }
        }
    }
}

/// Where in training a factor is drawn; `epochs[k]` is trial k's own.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// Epoch of each trial, from 1.
    pub epochs: &'a [u32],
    /// Step of the epoch.
    pub step: u32,
    /// Hidden layer.
    pub layer: u32,
}

/// The factors of every unit, `shape` = `[K, B, C]` in `kind`, drawn on the host for a CPU tensor.
/// `streams[k]` is keyed by (trial k's seed, dropout).
pub fn factors(
    noises: &[Noise],
    streams: &[Philox],
    site: Site<'_>,
    shape: [i64; 3],
    kind: Kind,
) -> Tensor {
    assert_eq!(shape[0], noises.len() as i64, "one noise per trial");
    match kind {
        Kind::Double => drawn(noises, streams, site, shape, |value| value),
        #[expect(clippy::cast_possible_truncation, reason = "a factor is rounded to the kind")]
        _ => drawn(noises, streams, site, shape, |value| value as f32),
    }
}

fn drawn<T: tch::kind::Element + Copy>(
    noises: &[Noise],
    streams: &[Philox],
    site: Site<'_>,
    shape: [i64; 3],
    rounded: impl Fn(f64) -> T,
) -> Tensor {
    let count = usize::try_from(shape[1] * shape[2]).expect("a size is not negative");
    let mut mask = vec![0.0; count];
    let mut values = Vec::with_capacity(count * noises.len());
    for ((noise, stream), epoch) in noises.iter().zip(streams).zip(site.epochs) {
        let (kept, dropped) = (rounded(noise.kept), rounded(noise.dropped));
        if noise.is_none() {
            values.resize(values.len() + count, kept);
            continue;
        }
        stream.keep_mask(*epoch, site.step, site.layer, noise.keep, &mut mask);
        values.extend(mask.iter().map(|&unit| if unit > 0.0 { kept } else { dropped }));
    }
    Tensor::from_slice(&values).view(shape)
}

/// The noises of a stack on the device, each `[K, 1]`.
#[derive(Debug)]
pub struct Noises {
    /// A unit is kept where its word is below this, i64.
    pub threshold: Tensor,
    /// Factor of a unit that is kept.
    pub kept: Tensor,
    /// Factor of a unit that is dropped.
    pub dropped: Tensor,
    /// Epoch of each trial, i64.
    pub epochs: Tensor,
}

impl Noises {
    /// The threshold that stands for a noise; whole, so that f64 carries it exactly.
    pub fn threshold(noise: Noise) -> f64 {
        (noise.keep * TWO_32).floor()
    }

    /// The factors of every unit, `shape` = `[K_l, B, C]` with the first `K_l` trials.
    pub fn factors(&self, keys: &RoundKeys, step: u32, layer: u32, shape: [i64; 3]) -> Tensor {
        let trials = shape[0];
        let words = keys.words(&self.epochs, step, layer, trials, shape[1] * shape[2]);
        let first = |tensor: &Tensor| tensor.narrow(0, 0, trials);
        let is_kept = words.lt_tensor(&first(&self.threshold));
        first(&self.kept).where_self(&is_kept, &first(&self.dropped)).view(shape)
    }
}
