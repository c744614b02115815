//! `strokes`: a synthetic data set of handwriting-like digits, drawn from glyphs with random
//! jitter, affine distortion, thickness and noise. It needs no download.
//!
//! The bytes are the same on every machine: plain `f64` arithmetic in a fixed order, which Rust
//! never fuses, `libm` for sine and cosine, and the randomness of an image keyed by (split, image)
//! alone.

use super::glyphs::{self, Point, Polyline};
use super::{DataError, DataSet, Split};
use crate::config::Data;
use crate::philox::{Philox, Purpose};

/// BLAKE3 of the content: per split train, val, test its images, then its labels.
pub(super) const DIGEST: &str = "a7108a319defd6fd9bef8e2f0d4f181e26182c342f2ff6b53ec11eaf89df68cd";

const SEED: u64 = 0;
const SIDE: usize = 28;
const PIXELS: usize = SIDE * SIDE;
/// Images of train, val and test.
const COUNTS: [usize; 3] = [10_000, 2_000, 2_000];

// The distortion; lengths in units of the glyph's box unless in pixels.
const JITTER_DEVIATION: f64 = 0.03;
const ASPECT_MAX: f64 = 0.15;
const SHEAR_MAX: f64 = 0.3;
const ROTATION_MAX_DEGREES: f64 = 15.0;
const BOX_PIXELS: f64 = 20.0;
const SCALE: [f64; 2] = [0.75, 1.05];
/// What makes the task non-linear: a linear model cannot follow a glyph that moves.
const SHIFT_MAX_PIXELS: f64 = 2.5;
const THICKNESS_PIXELS: [f64; 2] = [1.2, 2.8];
const NOISE_DEVIATION: f64 = 0.1;

// The streams of an image. 0 is the permutation's.
const LAYER_DISTORTION: u32 = 1;
const LAYER_JITTER: u32 = 2;
const LAYER_NOISE: u32 = 3;

/// Words of one Gaussian: four uniforms of 16 bits.
const GAUSSIAN_WORDS: usize = 2;

/// The whole data set; fails where this machine's arithmetic is not what it should be.
pub(super) fn generate() -> Result<DataSet, DataError> {
    let generator = Generator::new();
    let [train, val, test] = [0, 1, 2].map(|split| generator.split(split));
    let digest = content_digest(&[&train, &val, &test]);
    if digest != DIGEST {
        return Err(DataError::Generated { data: Data::Strokes, found: digest, expected: DIGEST });
    }
    let shape = [1, SIDE, SIDE];
    Ok(DataSet { name: Data::Strokes, shape, classes: glyphs::COUNT, train, val, test, digest })
}

fn content_digest(splits: &[&Split]) -> String {
    let mut hasher = blake3::Hasher::new();
    for split in splits {
        hasher.update(&split.images);
        hasher.update(&split.labels);
    }
    hasher.finalize().to_hex().to_string()
}

struct Generator {
    philox: Philox,
    glyphs: [Vec<Polyline>; glyphs::COUNT],
}

impl Generator {
    fn new() -> Generator {
        Generator { philox: Philox::new(SEED, Purpose::Data), glyphs: glyphs::all() }
    }

    /// Classes are balanced: the item that the permutation puts at a place decides its class.
    fn split(&self, split: u32) -> Split {
        let count = COUNTS[split as usize];
        let classes = glyphs::COUNT as u32;
        let order = self.philox.permutation(split, count);
        let labels: Vec<u8> = order.iter().map(|item| (item % classes) as u8).collect();
        let mut images = vec![0; count * PIXELS];
        for (index, image) in (0..).zip(images.chunks_exact_mut(PIXELS)) {
            self.draw(split, index, labels[index as usize], image);
        }
        Split { images, labels }
    }

    /// Draws one image; it depends on nothing but its place and its class.
    fn draw(&self, split: u32, index: u32, label: u8, image: &mut [u8]) {
        let distortion = Distortion::new(&self.philox, split, index);
        let glyph = &self.glyphs[usize::from(label)];
        let points: usize = glyph.iter().map(Vec::len).sum();
        let mut jitters = vec![0.0; points * 2];
        self.gaussians(split, index, LAYER_JITTER, &mut jitters);

        let mut canvas = Canvas::new(distortion.thickness);
        let mut jitters = jitters.chunks_exact(2);
        for polyline in glyph {
            let moved: Polyline = polyline
                .iter()
                .zip(&mut jitters)
                .map(|(point, jitter)| {
                    let jittered = [
                        point[0] + JITTER_DEVIATION * jitter[0],
                        point[1] + JITTER_DEVIATION * jitter[1],
                    ];
                    distortion.apply(jittered)
                })
                .collect();
            for ends in moved.windows(2) {
                canvas.stroke(ends[0], ends[1]);
            }
        }

        let mut noise = [0.0; PIXELS];
        self.gaussians(split, index, LAYER_NOISE, &mut noise);
        canvas.expose(&noise, image);
    }

    /// Standard Gaussians, near enough: sums of four uniforms of 16 bits, which are exact.
    fn gaussians(&self, split: u32, index: u32, layer: u32, out: &mut [f64]) {
        // The sum has mean 4 · 65535 / 2 and variance 4 · (65536² - 1) / 12.
        const MEAN: f64 = 131_070.0;
        const DEVIATION: f64 = 37_837.227_237_206_48;
        let mut words = vec![0; out.len() * GAUSSIAN_WORDS];
        self.philox.words(split, index, layer, &mut words);
        for (value, pair) in out.iter_mut().zip(words.chunks_exact(GAUSSIAN_WORDS)) {
            let sum: u32 = pair.iter().map(|word| (word & 0xFFFF) + (word >> 16)).sum();
            *value = (f64::from(sum) - MEAN) / DEVIATION;
        }
    }
}

/// What happens to all points of one image.
struct Distortion {
    aspect: f64,
    shear: f64,
    rotation: [f64; 2],
    scale: f64,
    shift: Point,
    thickness: f64,
}

impl Distortion {
    fn new(philox: &Philox, split: u32, index: u32) -> Distortion {
        let mut words = [0; 8];
        philox.words(split, index, LAYER_DISTORTION, &mut words);
        let within = |word: usize, low: f64, high: f64| {
            let uniform = f64::from(words[word]) / 4_294_967_296.0;
            low + (high - low) * uniform
        };
        let symmetric = |word: usize, max: f64| within(word, -max, max);
        let angle = symmetric(2, ROTATION_MAX_DEGREES) * std::f64::consts::PI / 180.0;
        Distortion {
            aspect: symmetric(0, ASPECT_MAX),
            shear: symmetric(1, SHEAR_MAX),
            rotation: [libm::cos(angle), libm::sin(angle)],
            scale: BOX_PIXELS * within(3, SCALE[0], SCALE[1]),
            shift: [symmetric(4, SHIFT_MAX_PIXELS), symmetric(5, SHIFT_MAX_PIXELS)],
            thickness: within(6, THICKNESS_PIXELS[0], THICKNESS_PIXELS[1]),
        }
    }

    /// From the unit box to pixels, about the centre of both.
    fn apply(&self, point: Point) -> Point {
        let y = (point[1] - 0.5) * (1.0 - self.aspect);
        let x = (point[0] - 0.5) * (1.0 + self.aspect) + self.shear * y;
        let [cosine, sine] = self.rotation;
        let centre = SIDE as f64 / 2.0;
        [
            self.scale * (cosine * x - sine * y) + centre + self.shift[0],
            self.scale * (sine * x + cosine * y) + centre + self.shift[1],
        ]
    }
}

/// Squared distances from the centres of pixels to the nearest stroke; infinite out of its reach.
struct Canvas {
    reach: f64,
    squares: [f64; PIXELS],
}

impl Canvas {
    fn new(thickness: f64) -> Canvas {
        Canvas { reach: thickness / 2.0 + 0.5, squares: [f64::INFINITY; PIXELS] }
    }

    /// Lays a segment down. Only pixels near its bounding box can be in reach.
    fn stroke(&mut self, start: Point, end: Point) {
        let along = [end[0] - start[0], end[1] - start[1]];
        let length_square = along[0] * along[0] + along[1] * along[1];
        let [columns, rows] = [0, 1].map(|axis| {
            let low = start[axis].min(end[axis]) - self.reach;
            let high = start[axis].max(end[axis]) + self.reach;
            pixels(low)..pixels(high)
        });
        for row in rows {
            let y = row as f64 + 0.5 - start[1];
            for column in columns.clone() {
                let x = column as f64 + 0.5 - start[0];
                let dot = x * along[0] + y * along[1];
                let part = if length_square > 0.0 { dot / length_square } else { 0.0 };
                let part = part.clamp(0.0, 1.0);
                let away = [x - part * along[0], y - part * along[1]];
                let square = away[0] * away[0] + away[1] * away[1];
                let nearest = &mut self.squares[row * SIDE + column];
                *nearest = nearest.min(square);
            }
        }
    }

    /// Ink and noise, in 1/255.
    fn expose(&self, noise: &[f64; PIXELS], image: &mut [u8]) {
        let reach_square = self.reach * self.reach;
        for ((pixel, square), noise) in image.iter_mut().zip(&self.squares).zip(noise) {
            let ink = if *square < reach_square {
                (self.reach - libm::sqrt(*square)).min(1.0)
            } else {
                0.0
            };
            let value = (ink + NOISE_DEVIATION * noise).clamp(0.0, 1.0);
            *pixel = (value * 255.0 + 0.5) as u8;
        }
    }
}

/// The number of pixels, 0 to `SIDE`, whose centres are below this coordinate.
fn pixels(coordinate: f64) -> usize {
    // The cast saturates: what is left of the image counts none.
    ((coordinate + 0.5) as usize).min(SIDE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_the_same_drawn_alone() {
        let generator = Generator::new();
        let split = generator.split(1);
        let count = split.labels.len();
        for index in [count - 1, 7, 0] {
            let mut image = [0; PIXELS];
            generator.draw(1, index as u32, split.labels[index], &mut image);
            assert_eq!(image, split.images[index * PIXELS..(index + 1) * PIXELS]);
        }
    }

    /// Looking near a segment's bounding box alone must lose no ink, also at and over the edge.
    #[test]
    fn stroke_inks_what_a_search_of_the_whole_image_does() {
        let segments = [
            ([3.2, 4.7], [20.9, 11.1]),
            ([14.0, 14.0], [14.0, 14.0]),
            ([-3.0, 25.0], [5.0, 31.0]),
            ([27.9, -2.0], [27.9, 40.0]),
            ([-20.0, -20.0], [-15.0, -9.0]),
        ];
        for (start, end) in segments {
            for thickness in THICKNESS_PIXELS {
                let mut canvas = Canvas::new(thickness);
                canvas.stroke(start, end);
                let mut image = [0; PIXELS];
                canvas.expose(&[0.0; PIXELS], &mut image);
                for (index, pixel) in image.iter().enumerate() {
                    let centre = [(index % SIDE) as f64 + 0.5, (index / SIDE) as f64 + 0.5];
                    let ink = (canvas.reach - distance(centre, start, end)).clamp(0.0, 1.0);
                    assert!((f64::from(*pixel) - ink * 255.0).abs() < 0.51, "{centre:?}");
                }
            }
        }
    }

    /// By ternary search, to share nothing with the code under test.
    fn distance(point: Point, start: Point, end: Point) -> f64 {
        let at = |part: f64| {
            let x = start[0] + part * (end[0] - start[0]) - point[0];
            let y = start[1] + part * (end[1] - start[1]) - point[1];
            x.hypot(y)
        };
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..60 {
            let third = (high - low) / 3.0;
            if at(low + third) < at(high - third) {
                high -= third;
            } else {
                low += third;
            }
        }
        at(low)
    }
}
