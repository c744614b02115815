//! Dropout factors drawn where the activations are: Philox4x32-10 in integer tensor operations.
//!
//! Bit for bit the factors that the host draws (`dropout::factors`), so that a trial is the same on
//! every device. Words of 32 bits sit in i64. Each layer takes about 120 element-wise kernels over
//! a quarter of its units; what is moved from the host is per stack or per epoch, never per step.

use common::philox::Philox;
use tch::{Device, Kind, Tensor};

use super::Noise;

const ROUNDS: usize = 10;
const MULTIPLIERS: [i64; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const WORD: i64 = 0xFFFF_FFFF;
const TWO_32: f64 = 4_294_967_296.0;

/// Philox's key of every round and trial, `[10, 2, K, 1]` in i64 on the device.
#[derive(Debug)]
pub struct RoundKeys(Tensor);

impl RoundKeys {
    /// The keys of these streams.
    pub fn new(streams: &[Philox], device: Device) -> RoundKeys {
        let mut keys = streams.iter().map(Philox::key).collect::<Vec<_>>();
        let mut words = Vec::with_capacity(ROUNDS * 2 * keys.len());
        for _ in 0..ROUNDS {
            words.extend(keys.iter().map(|key| i64::from(key[0])));
            words.extend(keys.iter().map(|key| i64::from(key[1])));
            for key in &mut keys {
                *key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
            }
        }
        let shape = [ROUNDS as i64, 2, keys.len() as i64, 1];
        RoundKeys(Tensor::from_slice(&words).view(shape).to_device(device))
    }

    /// Words 0..count of every trial of the first `trials`, `[trials, count]` in i64: word i is
    /// word i % 4 of the block at counter (i / 4, layer, step, epochs[k]). `epochs` is `[K, 1]`.
    pub fn words(&self, epochs: &Tensor, step: u32, layer: u32, trials: i64, count: i64) -> Tensor {
        let options = (Kind::Int64, self.0.device());
        let blocks = (count + 3) / 4;
        let mut counter = [
            Tensor::arange(blocks, options).unsqueeze(0),
            Tensor::full([1, 1], i64::from(layer), options),
            Tensor::full([1, 1], i64::from(step), options),
            epochs.narrow(0, 0, trials),
        ];
        for round in 0..ROUNDS as i64 {
            let keys = self.0.get(round).narrow(1, 0, trials);
            let (high0, low0) = product(&counter[0], MULTIPLIERS[0]);
            let (high1, low1) = product(&counter[2], MULTIPLIERS[1]);
            counter = [
                high1.bitwise_xor_tensor(&counter[1]).bitwise_xor_tensor(&keys.get(0)),
                low1,
                high0.bitwise_xor_tensor(&counter[3]).bitwise_xor_tensor(&keys.get(1)),
                low0,
            ];
        }
        Tensor::stack(&counter, 2).view([trials, blocks * 4]).narrow(1, 0, count)
    }
}

/// High and low word of a product of two words. The product wraps as two's complement does, and
/// the mask undoes the sign that the shift extends.
fn product(words: &Tensor, multiplier: i64) -> (Tensor, Tensor) {
    let product = words * multiplier;
    let high = product.bitwise_right_shift_tensor_scalar(32i64).bitwise_and(WORD);
    (high, product.bitwise_and(WORD))
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
