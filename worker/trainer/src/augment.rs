//! Horizontal flips: each training example is mirrored with probability 1/2, anew in every epoch.
//!
//! A flip depends on (seed, epoch, example) through Philox, never on the order of the examples. The
//! draws of an epoch are moved to the device once, and a step mirrors its images there.

use common::philox::{Philox, Purpose};
use tch::{Device, Kind, Tensor};

const PROBABILITY: f32 = 0.5;

/// Which examples each trial mirrors in its epoch, `[K, count]`, bool on the device. `trials` are
/// seed, epoch (from 1) and whether the trial flips at all; none where no trial does.
pub fn flips(trials: &[(u64, u32, bool)], count: usize, device: Device) -> Option<Tensor> {
    if !trials.iter().any(|(_, _, flips)| *flips) {
        return None;
    }
    let mut all = Vec::with_capacity(trials.len() * count);
    let mut draws = vec![0.0; count];
    for (seed, epoch, flips) in trials {
        Philox::new(*seed, Purpose::Augment).uniforms(*epoch, 0, 0, &mut draws);
        all.extend(draws.iter().map(|draw| u8::from(*flips && *draw < PROBABILITY)));
    }
    let all = Tensor::from_slice(&all).view([trials.len() as i64, count as i64]);
    Some(all.to_device(device).to_kind(Kind::Bool))
}

/// Images `[K, B, C·H·W]`, mirrored where `flips` `[K, B]` says so.
pub fn flipped(images: &Tensor, flips: &Tensor, [channels, height, width]: [usize; 3]) -> Tensor {
    let (trials, batch, _) = images.size3().expect("images are [K, B, inputs]");
    let size = [trials, batch, channels as i64, height as i64, width as i64];
    let upright = images.view(size);
    let mirrored = upright.flip([4]);
    mirrored.where_self(&flips.view([trials, batch, 1, 1, 1]), &upright).view_as(images)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_examples_are_mirrored_anew_in_each_epoch_and_trial() {
        let count = 4000;
        let trials = [(1, 1, true), (1, 2, true), (2, 1, true), (1, 1, false), (1, 1, true)];
        let flips = flips(&trials, count, Device::Cpu).expect("some trials flip");
        let share = |row: i64| flips.get(row).to_kind(Kind::Double).mean(Kind::Double);
        for row in [0, 1, 2] {
            assert!((share(row).double_value(&[]) - 0.5).abs() < 0.03);
        }
        assert_eq!(share(3).double_value(&[]), 0.0);
        assert_eq!(flips.get(0), flips.get(4));
        assert_ne!(flips.get(0), flips.get(1));
        assert_ne!(flips.get(0), flips.get(2));
        assert!(super::flips(&[(1, 1, false)], count, Device::Cpu).is_none());
    }

    #[test]
    fn a_flip_mirrors_columns_and_leaves_the_others_alone() {
        let images = Tensor::arange(2 * 3 * 12, (Kind::Float, Device::Cpu)).view([2, 3, 12]);
        let flips = Tensor::from_slice(&[1u8, 0, 0, 0, 0, 1]).view([2, 3]).to_kind(Kind::Bool);
        let flipped = flipped(&images, &flips, [2, 2, 3]);
        let row = |k: i64, b: i64| Vec::<f32>::try_from(flipped.get(k).get(b)).expect("a row");
        let mirrored = [2., 1., 0., 5., 4., 3., 8., 7., 6., 11., 10., 9.];
        assert_eq!(row(0, 0), mirrored);
        assert_eq!(row(1, 2), mirrored.map(|value| value + 60.0));
        for (k, b) in [(0, 1), (0, 2), (1, 0), (1, 1)] {
            assert_eq!(flipped.get(k).get(b), images.get(k).get(b));
        }
    }
}
