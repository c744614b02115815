//! `cluttered-mnist`: MNIST's digits at random places of a larger image, among pieces of other
//! digits (Mnih et al. 2014; the procedure of deepmind/mnist-cluttered).
//!
//! An image is a blank 60×60; six 8×8 pieces, each from a random place of a random digit of the
//! same split, are added at random places, then the 28×28 digit at a random place. Sums stop at
//! 255 after each. Integers alone, and randomness keyed by (split, image): the bytes are the same
//! on every machine.

use super::{DataSet, Split};
use crate::config::Data;
use crate::philox::{Philox, Purpose};

const SIDE: usize = 60;
const PIXELS: usize = SIDE * SIDE;
const DIGIT_SIDE: usize = 28;
const DIGIT_PIXELS: usize = DIGIT_SIDE * DIGIT_SIDE;
const PIECE_SIDE: usize = 8;
const PIECES: usize = 6;

/// Of train, val and test; a change is a new recipe version. 0 splits MNIST.
const SEEDS: [u64; 3] = [1, 2, 3];
/// Of a place: row and column.
const PLACE_WORDS: usize = 2;
/// Of a piece: its digit, its place there, its place here.
const PIECE_WORDS: usize = 1 + 2 * PLACE_WORDS;

/// The data set of an MNIST in memory: 252 MB, in well under a second.
pub fn generate(mnist: &DataSet) -> DataSet {
    let [train, val, test] = SEEDS;
    DataSet {
        name: Data::ClutteredMnist,
        shape: [1, SIDE, SIDE],
        classes: mnist.classes,
        train: cluttered(&mnist.train, train),
        val: cluttered(&mnist.val, val),
        test: cluttered(&mnist.test, test),
        digest: digest(&mnist.digest),
    }
}

/// The digest of what `generate` makes of an MNIST of this digest. The bytes follow from the source
/// and the recipe, so their names are hashed and nothing is made.
pub fn digest(mnist: &str) -> String {
    let data = Data::ClutteredMnist;
    let name = format!("{} {} of mnist {mnist}", data.name(), data.recipe_version());
    blake3::hash(name.as_bytes()).to_hex().to_string()
}

/// A split of 28×28 images, each amid pieces of the others; labels and order stay.
fn cluttered(digits: &Split, seed: u64) -> Split {
    let philox = Philox::new(seed, Purpose::Data);
    let mut images = vec![0; digits.labels.len() * PIXELS];
    for (index, image) in (0..).zip(images.chunks_exact_mut(PIXELS)) {
        draw(&philox, index, &digits.images, image);
    }
    Split { images, labels: digits.labels.clone() }
}

/// Draws one image on a blank one.
fn draw(philox: &Philox, index: u32, digits: &[u8], image: &mut [u8]) {
    let mut words = [0; PLACE_WORDS + PIECES * PIECE_WORDS];
    philox.words(0, index, 0, &mut words);
    let (place, pieces) = words.split_at(PLACE_WORDS);
    let count = digits.len() / DIGIT_PIXELS;
    for piece in pieces.chunks_exact(PIECE_WORDS) {
        let digit = digit_at(digits, below(piece[0], count));
        let source = [1, 2].map(|word| below(piece[word], DIGIT_SIDE - PIECE_SIDE + 1));
        let target = [3, 4].map(|word| below(piece[word], SIDE - PIECE_SIDE + 1));
        add(digit, source, PIECE_SIDE, image, target);
    }
    let target = [0, 1].map(|word| below(place[word], SIDE - DIGIT_SIDE + 1));
    add(digit_at(digits, index as usize), [0, 0], DIGIT_SIDE, image, target);
}

fn digit_at(digits: &[u8], index: usize) -> &[u8] {
    &digits[index * DIGIT_PIXELS..][..DIGIT_PIXELS]
}

/// A number in 0..count; a word has bits enough that its bias is below 2^-16 of a probability.
fn below(word: u32, count: usize) -> usize {
    ((u64::from(word) * count as u64) >> 32) as usize
}

/// Adds a square of a digit to a square of the image; places are row and column.
fn add(digit: &[u8], source: [usize; 2], side: usize, image: &mut [u8], target: [usize; 2]) {
    for row in 0..side {
        let from = &digit[(source[0] + row) * DIGIT_SIDE + source[1]..][..side];
        let to = &mut image[(target[0] + row) * SIDE + target[1]..][..side];
        for (pixel, ink) in to.iter_mut().zip(from) {
            *pixel = pixel.saturating_add(*ink);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Digits of one ink value each.
    fn flat(values: &[u8]) -> Split {
        let images = values.iter().flat_map(|value| [*value; DIGIT_PIXELS]).collect();
        Split { images, labels: vec![7; values.len()] }
    }

    #[test]
    fn an_image_is_the_same_drawn_alone() {
        let digits = flat(&[10, 20, 30, 40]);
        let split = cluttered(&digits, 2);
        assert_eq!(split.labels, digits.labels);
        let mut image = [0; PIXELS];
        draw(&Philox::new(2, Purpose::Data), 3, &digits.images, &mut image);
        assert_eq!(image, split.images[3 * PIXELS..]);
        assert_ne!(cluttered(&digits, 1), split, "each split is drawn anew");
    }

    /// With pieces of no ink the digit stands alone, whole, at its drawn place.
    #[test]
    fn the_digit_is_whole_and_ink_stops_at_255() {
        let mut values = vec![0; 1000];
        values[0] = 200;
        let image = &cluttered(&flat(&values), 1).images[..PIXELS];
        assert_eq!(image.iter().filter(|pixel| **pixel >= 200).count(), DIGIT_PIXELS);
        let images = cluttered(&flat(&[200; 50]), 1).images;
        assert!(images.iter().all(|pixel| [0, 200, 255].contains(pixel)));
        assert!(images.contains(&255), "pieces overlap somewhere");
        let inked = images.chunks(PIXELS).map(|image| image.iter().filter(|p| **p > 0).count());
        let most = DIGIT_PIXELS + PIECES * PIECE_SIDE * PIECE_SIDE;
        assert!(inked.clone().all(|count| (DIGIT_PIXELS..=most).contains(&count)));
    }

    /// Uniform places reach both edges, and no further: an index beyond would panic.
    #[test]
    fn places_reach_the_edges() {
        for count in [21, 33, 53] {
            assert_eq!((below(0, count), below(u32::MAX, count)), (0, count - 1));
        }
        let images = cluttered(&flat(&[9; 10_000]), 3).images;
        let inked = |row: usize, column: usize| {
            images.chunks(PIXELS).any(|image| image[row * SIDE + column] > 0)
        };
        assert!(inked(0, 0) && inked(0, SIDE - 1) && inked(SIDE - 1, 0));
        assert!(inked(SIDE - 1, SIDE - 1));
    }
}
