//! Philox4x32-10 (Salmon, Moraes, Dror and Shaw, 2011): random numbers that are a function of
//! where they are used, so that a trial's draws never depend on its companions or on restarts.
//!
//! A generator is keyed by (seed, purpose); its counter is (element / 4, layer, step, epoch), the
//! element being the fastest. Every result is the same on every machine: words and permutations are
//! integer arithmetic, uniforms are exact conversions, and normals use the `libm` crate. This is
//! not a cryptographic generator.

use std::array;

/// What random numbers are drawn for: each purpose has streams of its own, so that a draw added to
/// one shifts no other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Purpose {
    /// Initial weights.
    Init,
    /// The order of the training examples.
    Order,
    /// Dropout masks.
    Dropout,
    /// Augmentation of training examples.
    Augment,
    /// Making and splitting of data sets.
    Data,
    /// Random slopes of activations.
    Slope,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Purpose; 6] = [
        Purpose::Init,
        Purpose::Order,
        Purpose::Dropout,
        Purpose::Augment,
        Purpose::Data,
        Purpose::Slope,
    ];

    /// Below 8 (see `Philox::new`); never changed, since every drawn number depends on it.
    const fn code(self) -> u64 {
        match self {
            Purpose::Init => 0,
            Purpose::Order => 1,
            Purpose::Dropout => 2,
            Purpose::Augment => 3,
            Purpose::Data => 4,
            Purpose::Slope => 5,
        }
    }
}

const ROUNDS: usize = 10;
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const WORDS: usize = 4;
/// Blocks made at once: enough independent work to fill the vector units.
const LANES: usize = 16;
const FILLED: usize = LANES * WORDS;

/// A generator: a key and nothing else, so it is copied freely and has no position to save.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Philox {
    key: [u32; 2],
}

/// Where in a generator's counter space numbers are drawn.
#[derive(Clone, Copy)]
struct Site {
    layer: u32,
    step: u32,
    epoch: u32,
}

impl Philox {
    /// The generator of a seed and a purpose.
    ///
    /// The purpose takes the low three bits and the seed the others, rotated; a bijective mix of
    /// 64 bits follows. So seeds below 2^61 never share a key, whatever the purposes.
    pub const fn new(seed: u64, purpose: Purpose) -> Philox {
        let key = mixed(seed.rotate_left(3) ^ purpose.code());
        Philox { key: [key as u32, (key >> 32) as u32] }
    }

    /// A generator with this very key.
    pub const fn with_key(key: [u32; 2]) -> Philox {
        Philox { key }
    }

    /// The key, for an implementation on another device.
    pub const fn key(&self) -> [u32; 2] {
        self.key
    }

    /// The four words at a counter (element / 4, layer, step, epoch).
    #[inline]
    pub fn block(&self, counter: [u32; 4]) -> [u32; 4] {
        let mut counter = counter;
        let mut key = self.key;
        for _ in 0..ROUNDS {
            let product = |multiplier: u32, word: u32| u64::from(multiplier) * u64::from(word);
            let first = product(MULTIPLIERS[0], counter[0]);
            let second = product(MULTIPLIERS[1], counter[2]);
            counter = [
                (second >> 32) as u32 ^ counter[1] ^ key[0],
                second as u32,
                (first >> 32) as u32 ^ counter[3] ^ key[1],
                first as u32,
            ];
            key = next_key(key);
        }
        counter
    }

    /// Fills `out` with random words; element i is word i % 4 of block i / 4.
    #[inline]
    pub fn words(&self, epoch: u32, step: u32, layer: u32, out: &mut [u32]) {
        self.fill(Site { layer, step, epoch }, out, |word| word);
    }

    /// Fills `out` with uniforms in [0, 1), multiples of 2^-24; element i depends only on
    /// (epoch, step, layer, i).
    #[inline]
    pub fn uniforms(&self, epoch: u32, step: u32, layer: u32, out: &mut [f32]) {
        self.fill(Site { layer, step, epoch }, out, uniform);
    }

    /// Fills `out` with an inverted dropout mask: 1 / keep with probability `keep`, else 0.
    /// Element i is kept where its word is below keep · 2^32.
    ///
    /// Panics unless `keep` is in [0, 1].
    #[inline]
    pub fn keep_mask(&self, epoch: u32, step: u32, layer: u32, keep: f64, out: &mut [f32]) {
        assert!((0.0..=1.0).contains(&keep), "a probability to keep, not {keep}");
        let threshold = (keep * 4_294_967_296.0) as u64;
        // Both ends would need a 33rd bit, or divide by 0.
        let Ok(threshold) = u32::try_from(threshold) else {
            return out.fill(1.0);
        };
        if threshold == 0 {
            return out.fill(0.0);
        }
        let kept = (1.0 / keep) as f32;
        let value = |word| if word < threshold { kept } else { 0.0 };
        self.fill(Site { layer, step, epoch }, out, value);
    }

    /// Fills `out` with standard normals (Box-Muller); elements 2j and 2j + 1 come from block j.
    pub fn normals(&self, epoch: u32, step: u32, layer: u32, out: &mut [f64]) {
        let blocks = u32::try_from(out.len().div_ceil(2)).expect("the counter has 32 bits");
        for (index, pair) in (0..blocks).zip(out.chunks_mut(2)) {
            let words = self.block([index, layer, step, epoch]).map(u64::from);
            let scale = 1.0 / 9_007_199_254_740_992.0;
            // In (0, 1] for the logarithm, in [0, 1) for the angle; 53 bits each.
            let distance = (((words[0] << 32 | words[1]) >> 11) + 1) as f64 * scale;
            let turn = ((words[2] << 32 | words[3]) >> 11) as f64 * scale;
            let radius = libm::sqrt(-2.0 * libm::log(distance));
            let (sine, cosine) = libm::sincos(std::f64::consts::TAU * turn);
            pair[0] = radius * cosine;
            if let Some(second) = pair.get_mut(1) {
                *second = radius * sine;
            }
        }
    }

    /// A uniformly random permutation of 0..count: Fisher-Yates, each draw without bias.
    ///
    /// Panics if `count` exceeds `u32::MAX`.
    pub fn permutation(&self, epoch: u32, count: usize) -> Vec<u32> {
        let count = u32::try_from(count).expect("a permutation's items are numbered by u32");
        let mut items: Vec<u32> = (0..count).collect();
        let mut draws = Draws { philox: *self, epoch, index: 0, words: [0; WORDS], left: 0 };
        for last in (1..count).rev() {
            let other = draws.below(last + 1);
            items.swap(last as usize, other as usize);
        }
        items
    }

    #[inline]
    fn fill<T>(&self, site: Site, out: &mut [T], value: impl Fn(u32) -> T + Copy) {
        u32::try_from(out.len().div_ceil(WORDS)).expect("the counter has 32 bits");
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: this processor has AVX2, which is all that the function asks for.
            return unsafe { self.fill_avx2(site, out, value) };
        }
        self.fill_lanes(site, out, value);
    }

    /// The same code compiled for wider vectors. Integer arithmetic, so the same numbers.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn fill_avx2<T>(&self, site: Site, out: &mut [T], value: impl Fn(u32) -> T + Copy) {
        self.fill_lanes(site, out, value);
    }

    #[inline(always)]
    fn fill_lanes<T>(&self, site: Site, out: &mut [T], value: impl Fn(u32) -> T + Copy) {
        let mut index: u32 = 0;
        let mut chunks = out.chunks_exact_mut(FILLED);
        for chunk in &mut chunks {
            let words = self.lanes(index, site);
            for lane in 0..LANES {
                for word in 0..WORDS {
                    chunk[lane * WORDS + word] = value(words[word][lane]);
                }
            }
            index = index.wrapping_add(LANES as u32);
        }
        for chunk in chunks.into_remainder().chunks_mut(WORDS) {
            let words = self.block([index, site.layer, site.step, site.epoch]);
            for (element, word) in chunk.iter_mut().zip(words) {
                *element = value(word);
            }
            index = index.wrapping_add(1);
        }
    }

    /// `LANES` blocks side by side, word by word. The words sit in 64-bit lanes because that is
    /// where vector units multiply 32 by 32 bits.
    #[inline(always)]
    fn lanes(&self, index: u32, site: Site) -> [[u32; LANES]; WORDS] {
        let mut a: [u64; LANES] = array::from_fn(|lane| u64::from(index) + lane as u64);
        let mut b = [u64::from(site.layer); LANES];
        let mut c = [u64::from(site.step); LANES];
        let mut d = [u64::from(site.epoch); LANES];
        let mut key = self.key;
        for _ in 0..ROUNDS {
            for lane in 0..LANES {
                let first = u64::from(MULTIPLIERS[0]).wrapping_mul(u64::from(a[lane] as u32));
                let second = u64::from(MULTIPLIERS[1]).wrapping_mul(u64::from(c[lane] as u32));
                a[lane] = (second >> 32) ^ b[lane] ^ u64::from(key[0]);
                b[lane] = second;
                c[lane] = (first >> 32) ^ d[lane] ^ u64::from(key[1]);
                d[lane] = first;
            }
            key = next_key(key);
        }
        [a, b, c, d].map(|words| words.map(|word| word as u32))
    }
}

/// A uniform in [0, 1), a multiple of 2^-24, so that the conversion is exact.
#[inline]
fn uniform(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

#[inline]
fn next_key(key: [u32; 2]) -> [u32; 2] {
    [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])]
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): a bijection.
const fn mixed(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// The words of one (epoch, step 0, layer 0), one after another, for draws of unknown number.
struct Draws {
    philox: Philox,
    epoch: u32,
    index: u32,
    words: [u32; WORDS],
    left: usize,
}

impl Draws {
    fn word(&mut self) -> u32 {
        if self.left == 0 {
            self.words = self.philox.block([self.index, 0, 0, self.epoch]);
            self.index = self.index.checked_add(1).expect("fewer than 2^34 draws");
            self.left = WORDS;
        }
        self.left -= 1;
        self.words[WORDS - 1 - self.left]
    }

    /// Uniform in 0..bound (Lemire, 2019): the high half of a product, the few low halves that
    /// would favour some results being drawn again.
    fn below(&mut self, bound: u32) -> u32 {
        let unfair = bound.wrapping_neg() % bound;
        loop {
            let product = u64::from(self.word()) * u64::from(bound);
            if product as u32 >= unfair {
                return (product >> 32) as u32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a machine with wider vectors only this test sees what the others compute.
    #[test]
    fn every_instruction_set_gives_the_same_words() {
        let philox = Philox::new(1, Purpose::Dropout);
        let site = Site { layer: 3, step: u32::MAX, epoch: 5 };
        let (mut chosen, mut portable) = ([0; 3 * FILLED + 7], [0; 3 * FILLED + 7]);
        philox.fill(site, &mut chosen, |word| word);
        philox.fill_lanes(site, &mut portable, |word| word);
        assert_eq!(chosen, portable);
    }
}
