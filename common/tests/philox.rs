//! Philox against its published vectors, and the promises that solo replay rests on.

use std::collections::HashSet;

use common::philox::{Philox, Purpose};
use proptest::prelude::*;

/// Element counts around the sizes of a block and of a vector of blocks.
const COUNTS: [usize; 10] = [0, 1, 3, 4, 5, 63, 64, 65, 130, 1000];

/// The known answers for philox4x32 with 10 rounds that are distributed with Random123.
#[test]
fn block_gives_the_published_vectors() {
    let vectors: [([u32; 4], [u32; 2], [u32; 4]); 3] = [
        ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
        ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
        (
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
        ),
    ];
    for (counter, key, expected) in vectors {
        assert_eq!(Philox::with_key(key).block(counter), expected);
    }
}

#[test]
fn words_are_the_words_of_the_blocks() {
    let philox = Philox::new(11, Purpose::Dropout);
    for count in COUNTS {
        let mut words = vec![0; count];
        philox.words(7, 6, 5, &mut words);
        for (index, word) in words.iter().enumerate() {
            let block = philox.block([index as u32 / 4, 5, 6, 7]);
            assert_eq!(*word, block[index % 4], "element {index} of {count}");
        }
    }
}

#[test]
fn seeds_and_purposes_have_keys_of_their_own() {
    let mut keys = HashSet::new();
    let seeds = (0..2000).chain((0..61).map(|bit| 1_u64 << bit).filter(|seed| *seed >= 2000));
    let mut count = 0;
    for seed in seeds {
        for purpose in Purpose::ALL {
            keys.insert(Philox::new(seed, purpose).block([0; 4]));
            count += 1;
        }
    }
    assert_eq!(keys.len(), count);
}

#[test]
fn uniforms_are_in_range_and_evenly_spread() {
    let mut uniforms = vec![0.0; 100_000];
    Philox::new(3, Purpose::Augment).uniforms(0, 0, 0, &mut uniforms);
    let mut tenths = [0_u32; 10];
    for uniform in &uniforms {
        assert!((0.0..1.0).contains(uniform));
        tenths[(uniform * 10.0) as usize] += 1;
    }
    // Five standard deviations of a count of 100,000 draws at 1/10.
    for count in tenths {
        assert!(count.abs_diff(10_000) < 475, "{tenths:?}");
    }
}

#[test]
fn keep_mask_keeps_its_share_and_scales_it() {
    let philox = Philox::new(5, Purpose::Dropout);
    for keep in [0.1, 0.25, 0.5, 0.7, 0.9] {
        let mut mask = vec![0.0; 100_000];
        philox.keep_mask(2, 3, 4, keep, &mut mask);
        let kept = mask.iter().filter(|value| **value != 0.0).count();
        let deviation = (100_000.0 * keep * (1.0 - keep)).sqrt();
        assert!((kept as f64 - 100_000.0 * keep).abs() < 5.0 * deviation, "{keep}: {kept}");
        assert!(mask.iter().all(|value| *value == 0.0 || *value == (1.0 / keep) as f32));
    }
}

#[test]
fn keep_mask_at_the_ends_keeps_all_or_nothing() {
    let philox = Philox::new(5, Purpose::Dropout);
    let mut mask = [7.0; 100];
    philox.keep_mask(0, 0, 0, 1.0, &mut mask);
    assert_eq!(mask, [1.0; 100]);
    philox.keep_mask(0, 0, 0, 0.0, &mut mask);
    assert_eq!(mask, [0.0; 100]);
}

#[test]
#[should_panic(expected = "a probability to keep, not NaN")]
fn keep_mask_refuses_what_is_no_probability() {
    Philox::new(5, Purpose::Dropout).keep_mask(0, 0, 0, f64::NAN, &mut [0.0]);
}

#[test]
fn normals_have_the_moments_of_the_normal_distribution() {
    let count = 100_000;
    let mut normals = vec![0.0; count];
    Philox::new(9, Purpose::Init).normals(0, 0, 1, &mut normals);
    let moment = |power: i32| normals.iter().map(|x| x.powi(power)).sum::<f64>() / count as f64;
    // Five standard errors: the variances of x, x², x³, x⁴ are 1, 2, 15, 96.
    let error = |variance: f64| 5.0 * (variance / count as f64).sqrt();
    assert!(moment(1).abs() < error(1.0));
    assert!((moment(2) - 1.0).abs() < error(2.0));
    assert!(moment(3).abs() < error(15.0));
    assert!((moment(4) - 3.0).abs() < error(96.0));
}

/// A permutation of three has six results; each should come about equally often.
#[test]
fn permutation_is_unbiased() {
    let philox = Philox::new(1, Purpose::Order);
    let mut counts = std::collections::BTreeMap::new();
    for epoch in 0..60_000 {
        *counts.entry(philox.permutation(epoch, 3)).or_insert(0_u32) += 1;
    }
    assert_eq!(counts.len(), 6);
    // Five standard deviations of a count of 60,000 draws at 1/6.
    for (order, count) in counts {
        assert!(count.abs_diff(10_000) < 457, "{order:?}: {count}");
    }
}

/// Anything drawn changes with these numbers, so every stored result rests on them.
#[test]
fn draws_are_pinned() {
    let philox = Philox::new(42, Purpose::Init);
    let mut uniforms = [0.0; 5];
    philox.uniforms(1, 2, 3, &mut uniforms);
    assert_eq!(
        uniforms.map(f32::to_bits),
        [0x3e8c_ce20, 0x3f5b_bba6, 0x3ea5_f12a, 0x3f78_d4b3, 0x3f53_6be0]
    );
    let mut normals = [0.0; 3];
    philox.normals(1, 2, 3, &mut normals);
    assert_eq!(
        normals.map(f64::to_bits),
        [0xbfe7_15ee_fccd_0ccb, 0x3ff6_f8ea_814d_382a, 0xbfe3_97e7_a882_124f]
    );
    let order = Philox::new(42, Purpose::Order);
    assert_eq!(order.permutation(1, 10), [5, 1, 9, 6, 3, 0, 8, 4, 2, 7]);
    let mut mask = [0.0; 8];
    Philox::new(42, Purpose::Dropout).keep_mask(1, 2, 3, 0.5, &mut mask);
    assert_eq!(mask, [2.0, 2.0, 0.0, 2.0, 2.0, 0.0, 0.0, 2.0]);
}

proptest! {
    #[test]
    fn draws_depend_only_on_their_place(
        seed in any::<u64>(),
        (epoch, step, layer) in any::<(u32, u32, u32)>(),
        (short, long) in (0_usize..200, 200_usize..400),
    ) {
        let philox = Philox::new(seed, Purpose::Dropout);
        let (mut few, mut many) = (vec![0.0; short], vec![0.0; long]);
        philox.uniforms(epoch, step, layer, &mut few);
        philox.uniforms(epoch, step, layer, &mut many);
        prop_assert_eq!(&few[..], &many[..short]);
        philox.keep_mask(epoch, step, layer, 0.3, &mut few);
        philox.keep_mask(epoch, step, layer, 0.3, &mut many);
        prop_assert_eq!(&few[..], &many[..short]);
        let (mut few, mut many) = (vec![0.0; short], vec![0.0; long]);
        philox.normals(epoch, step, layer, &mut few);
        philox.normals(epoch, step, layer, &mut many);
        prop_assert_eq!(&few[..], &many[..short]);
    }

    #[test]
    fn every_part_of_the_place_matters(
        seed in any::<u64>(),
        place in any::<[u32; 3]>(),
        which in 0_usize..3,
    ) {
        let philox = Philox::new(seed, Purpose::Dropout);
        let mut other = place;
        other[which] = other[which].wrapping_add(1);
        let (mut here, mut there) = ([0; 8], [0; 8]);
        philox.words(place[0], place[1], place[2], &mut here);
        philox.words(other[0], other[1], other[2], &mut there);
        prop_assert_ne!(here, there);
    }

    #[test]
    fn permutation_holds_each_item_once(
        (seed, epoch) in any::<(u64, u32)>(),
        count in 0_usize..300,
    ) {
        let mut items = Philox::new(seed, Purpose::Order).permutation(epoch, count);
        items.sort_unstable();
        prop_assert_eq!(items, (0..count as u32).collect::<Vec<_>>());
    }
}
