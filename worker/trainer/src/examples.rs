//! A data set on the device, as `f32` in [0, 1]: a training step moves no data from the host.

use common::config::Data;
use common::data::{self, DataSet, Split};
use tch::{Device, Kind, Tensor};

/// Images `[N, inputs]` and labels `[N]` on the device.
#[derive(Debug)]
pub struct Examples {
    /// `[N, inputs]`, f32 in [0, 1].
    pub images: Tensor,
    /// `[N]`, i64.
    pub labels: Tensor,
    /// Channels, height and width of an image.
    pub image: [usize; 3],
}

impl Examples {
    fn upload(split: &Split, image: [usize; 3], device: Device) -> Examples {
        let inputs = image.iter().product::<usize>() as i64;
        let images = Tensor::from_slice(&split.images).view([-1, inputs]);
        let labels = Tensor::from_slice(&split.labels);
        Examples {
            images: images.to_device(device).to_kind(Kind::Float) / 255.0,
            labels: labels.to_device(device).to_kind(Kind::Int64),
            image,
        }
    }

    /// Number of examples.
    pub fn count(&self) -> i64 {
        self.labels.size()[0]
    }

    /// The first examples; all of them where `count` is none or larger. Splits are permuted once
    /// and for all, so the first are a random sample.
    pub fn first(&self, count: Option<usize>) -> Examples {
        let count = count.map_or(self.count(), |count| self.count().min(count as i64));
        Examples {
            images: self.images.narrow(0, 0, count),
            labels: self.labels.narrow(0, 0, count),
            image: self.image,
        }
    }
}

/// The splits of a data set on a device.
#[derive(Debug)]
pub struct DeviceData {
    /// Which data set.
    pub name: Data,
    /// Digest of its content.
    pub digest: String,
    /// Channels, height and width of an image.
    pub image: [usize; 3],
    /// Number of classes.
    pub classes: i64,
    /// Training split.
    pub train: Examples,
    /// Validation split: chooses.
    pub val: Examples,
    /// Test split: read once per trial.
    pub test: Examples,
}

impl DeviceData {
    /// Loads a data set and puts it on the device.
    pub fn load(
        name: Data,
        directory: Option<&std::path::Path>,
        device: Device,
    ) -> Result<DeviceData, data::DataError> {
        Ok(DeviceData::upload(&data::load(name, directory)?, device))
    }

    /// Puts a loaded data set on the device.
    pub fn upload(set: &DataSet, device: Device) -> DeviceData {
        let upload = |split| Examples::upload(split, set.shape, device);
        DeviceData {
            name: set.name,
            digest: set.digest.clone(),
            image: set.shape,
            classes: set.classes as i64,
            train: upload(&set.train),
            val: upload(&set.val),
            test: upload(&set.test),
        }
    }
}
