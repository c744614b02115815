//! How large a config's network is and how much work an example takes: for estimates and for
//! ordering trials, not for exact accounting. Biases and gates of a few numbers count as nothing
//! where weights do the work.

use crate::config::{Config, Model, Param};

/// Size and work of one trial's network.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Work {
    /// Weights and biases.
    pub parameters: f64,
    /// Multiplications of one example's forward pass.
    pub multiplications: f64,
    /// Numbers of one example's activations.
    pub units: f64,
}

impl Work {
    /// Of a config's network.
    pub fn of(config: &Config) -> Work {
        let mut work = Work { parameters: 0.0, multiplications: 0.0, units: 0.0 };
        match config.model {
            Model::Mlp => work.mlp(config),
            Model::Cnn => work.cnn(config),
            Model::Stn => work.stn(config),
            Model::Rnn => work.rnn(config),
        }
        work
    }

    /// Adds a layer of `inputs` × `outputs` weights that is applied at `places` places.
    fn layer(&mut self, inputs: f64, outputs: f64, places: f64) {
        self.parameters += inputs * outputs + outputs;
        self.multiplications += inputs * outputs * places;
        self.units += outputs * places;
    }

    fn mlp(&mut self, config: &Config) {
        let ([channels, height, columns], classes) = sizes(config);
        let (depth, width) = (number(config, Param::Depth), number(config, Param::Width));
        self.layer(channels * height * columns, width, 1.0);
        self.parameters += (depth - 1.0) * (width * width + width);
        self.multiplications += (depth - 1.0) * width * width;
        self.units += (depth - 1.0) * width;
        self.layer(width, classes, 1.0);
    }

    fn cnn(&mut self, config: &Config) {
        let ([channels, height, columns], classes) = sizes(config);
        let width = number(config, Param::Width);
        let word = |param| config.word(param).unwrap_or_default();
        let mut inputs = channels;
        let mut places = height * columns;
        for (layer, (widths, area, pooled)) in CNN_LAYERS.into_iter().enumerate() {
            let outputs = widths * width;
            let is_equal = layer > 0 && inputs == outputs;
            self.layer(inputs * area, outputs, places);
            match word(Param::Conv) {
                "nin" | "conv_to_nin" if area > 1.0 => self.layer(outputs, outputs, places),
                "highway" if is_equal => self.layer(inputs * area, outputs, places),
                _ => {}
            }
            if word(Param::Norm) != "none" {
                self.parameters += 2.0 * outputs;
                self.units += outputs * places;
            }
            if pooled {
                places /= 4.0;
            }
            inputs = outputs;
        }
        self.layer(inputs, classes, places);
    }

    fn stn(&mut self, config: &Config) {
        let (_, classes) = sizes(config);
        if config.word(Param::Transformer) != Some("none") {
            self.layer(25.0, 20.0, 56.0 * 56.0);
            self.layer(25.0 * 20.0, 20.0, 24.0 * 24.0);
            self.layer(20.0 * 144.0, 50.0, 1.0);
            self.layer(50.0, 6.0, 1.0);
        }
        self.layer(9.0, 32.0, 18.0 * 18.0);
        self.layer(9.0 * 32.0, 32.0, 7.0 * 7.0);
        self.layer(32.0 * 9.0, 256.0, 1.0);
        self.layer(256.0, classes, 1.0);
    }

    fn rnn(&mut self, config: &Config) {
        let ([channels, rows, columns], classes) = sizes(config);
        let width = number(config, Param::Width);
        let mut inputs = channels * columns;
        for _ in 0..config.count(Param::Depth).unwrap_or(1) {
            self.layer(inputs + width, width, rows);
            inputs = width;
        }
        self.layer(width, classes, 1.0);
    }
}

/// Channels in units of the width, filter area, pooling afterwards (`gradnet`'s `net/cnn.rs`).
const CNN_LAYERS: [(f64, f64, bool); 7] = [
    (1.0, 9.0, false),
    (1.0, 9.0, true),
    (2.0, 9.0, false),
    (2.0, 9.0, false),
    (2.0, 9.0, true),
    (2.0, 9.0, false),
    (2.0, 1.0, false),
];

fn sizes(config: &Config) -> ([f64; 3], f64) {
    (config.data.image().map(to_f64), to_f64(config.data.examples().classes))
}

fn number(config: &Config, param: Param) -> f64 {
    config.number(param).unwrap_or(1.0)
}

#[expect(clippy::cast_precision_loss, reason = "an estimate needs no more than 53 bits")]
fn to_f64(count: usize) -> f64 {
    count as f64
}
