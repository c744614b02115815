//! Initial weights `[out, in]`, drawn in f64 on the CPU from Philox (seed, init) at counter layer:
//! the same for a trial on every device and among any companions. Biases start at 0.
//!
//! - orthogonal: QR of a Gaussian matrix with R's diagonal made positive, which is Haar-distributed
//!   (Saxe et al. 2013; Mezzadri 2007). Rows are orthonormal where out <= in, else columns.
//! - he: N(0, 2/in) (He et al. 2015).
//! - xavier: N(0, 2/(in + out)), the normal form of Glorot & Bengio 2010.
//! - normal: N(0, 0.01²), small weights without regard to the layer's size.
//!
//! Each is then multiplied by a gain.

use common::philox::{Philox, Purpose};
use tch::Tensor;

/// Standard deviation of `Init::Normal`.
const NORMAL_DEVIATION: f64 = 0.01;

/// More layers than a net has.
const PART_STRIDE: u32 = 1 << 16;

/// Places among the initial weights and random draws of what a layer has beside its convolution.
pub(crate) fn counter(layer: usize, part: Part) -> u32 {
    let layer = u32::try_from(layer).expect("a net has fewer than 2^32 layers");
    layer + PART_STRIDE * part as u32
}

/// The place of a layer's random draws at one of its applications.
pub(crate) fn at_application(layer: u32, application: u32) -> u32 {
    let offset = application.checked_mul(PART_STRIDE).expect("an image has few rows");
    layer.checked_add(offset).expect("an image has few rows")
}

/// What belongs to a layer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    /// The convolution itself.
    Main = 0,
    /// The 1×1 after it.
    Nin = 1,
    /// The gate of a highway layer.
    Gate = 2,
    /// The filter of gated pooling.
    Filter = 3,
    /// The recurrence of a recurrent layer.
    Recurrent = 4,
}

/// How initial weights are drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Init {
    /// Semi-orthogonal, Haar-distributed.
    Orthogonal,
    /// Normal, variance 2/in.
    He,
    /// Normal, variance 2/(in + out).
    Xavier,
    /// Normal, standard deviation 0.01.
    Normal,
}

impl Init {
    /// Weights `[outputs, inputs]` in f64 on the CPU of layer `layer` of the trial with this seed.
    pub fn weight(self, gain: f64, seed: u64, layer: u32, outputs: usize, inputs: usize) -> Tensor {
        let gaussian = gaussian(seed, layer, outputs, inputs);
        #[expect(clippy::cast_precision_loss, reason = "sizes stay far below 2^53")]
        let (fan_in, fan_out) = (inputs as f64, outputs as f64);
        match self {
            Init::Orthogonal => orthogonalised(&gaussian) * gain,
            Init::He => gaussian * ((2.0 / fan_in).sqrt() * gain),
            Init::Xavier => gaussian * ((2.0 / (fan_in + fan_out)).sqrt() * gain),
            Init::Normal => gaussian * (NORMAL_DEVIATION * gain),
        }
    }
}

/// Weights `[outputs, inputs]` of this standard deviation in f64 on the CPU, at counter `layer`.
pub fn normal(deviation: f64, seed: u64, layer: u32, outputs: usize, inputs: usize) -> Tensor {
    gaussian(seed, layer, outputs, inputs) * deviation
}

fn gaussian(seed: u64, layer: u32, outputs: usize, inputs: usize) -> Tensor {
    let mut draws = vec![0.0; outputs * inputs];
    Philox::new(seed, Purpose::Init).normals(0, 0, layer, &mut draws);
    Tensor::from_slice(&draws).view([outputs as i64, inputs as i64])
}

/// The semi-orthogonal factor of a matrix, unique by the sign of R's diagonal.
fn orthogonalised(gaussian: &Tensor) -> Tensor {
    let size = gaussian.size();
    let is_wide = size[0] < size[1];
    let tall = if is_wide { gaussian.transpose(0, 1) } else { gaussian.shallow_clone() };
    let (q, r) = Tensor::linalg_qr(&tall, "reduced");
    let signs = r.diagonal(0, 0, 1).sign();
    let q = q * signs;
    if is_wide { q.transpose(0, 1).contiguous() } else { q }
}
