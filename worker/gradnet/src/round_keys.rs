//! Random words drawn where the activations are: Philox4x32-10 in integer tensor operations.
//!
//! Bit for bit the words that the host draws (`common::philox`), so that a trial is the same on
//! every device. Words of 32 bits sit in i64. Each layer takes about 120 element-wise kernels over
//! a quarter of its units; what is moved from the host is per stack or per epoch, never per step.

use common::philox::Philox;
use tch::{Device, Kind, Tensor};

const ROUNDS: usize = 10;
const MULTIPLIERS: [i64; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const WORD: i64 = 0xFFFF_FFFF;

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
