//! The gate g of one trial: a pure function of epoch and step, computed on the host in f64.
//!
//! `y = (1-g)·early + g·late` with g = f(min(t/τ, 1)) and t in epochs completed. Every shape f goes
//! from 0 at t = 0 to 1 at t = τ and never falls; τ = 0 means g = 1 from the start. The linear
//! shape is the paper's (Almeida & Sauder 2015), the others are ours. Epochs count from 1.

use std::f64::consts::PI;

/// Rate of the exponential shape: it is at 0.92 of its way when half of τ has passed.
const EXPONENTIAL_RATE: f64 = 5.0;

/// Shape of the ramp over x = t/τ in [0, 1].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// x, the paper's.
    Linear,
    /// (1 - cos πx)/2: flat at both ends.
    Cosine,
    /// (1 - e^(-5x))/(1 - e^-5): fast first, then saturating.
    Exponential,
    /// 0 until t = τ, then 1.
    Step,
}

/// When the gate moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Per {
    /// Between epochs: t is whole, so g = 0 throughout the first epoch.
    Epoch,
    /// At every step: t is fractional.
    Step,
}

/// The gate's course through training.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Schedule {
    /// Shape of the ramp.
    pub shape: Shape,
    /// When the gate moves.
    pub per: Per,
    /// τ: the epoch at which the gate reaches 1; at least 0.
    pub tau: f64,
}

impl Schedule {
    /// Gate 1 throughout: that of a trial in which nothing is gradual.
    pub const FULL: Schedule = Schedule { shape: Shape::Linear, per: Per::Step, tau: 0.0 };

    /// Gate during `epoch` (from 1) at `step` (from 0) of its `steps_per_epoch`.
    pub fn gate_at(&self, epoch: u32, step: u32, steps_per_epoch: u32) -> f64 {
        assert!(epoch >= 1, "epochs count from 1");
        assert!(step < steps_per_epoch, "step {step} of {steps_per_epoch}");
        let completed = f64::from(epoch - 1);
        match self.per {
            Per::Epoch => self.gate(completed),
            Per::Step => self.gate(completed + f64::from(step) / f64::from(steps_per_epoch)),
        }
    }

    /// Gate of the evaluation after `epoch` (from 1): g(epoch) where it moves per step, the gate
    /// that the epoch was trained with where it moves per epoch.
    pub fn gate_after(&self, epoch: u32) -> f64 {
        assert!(epoch >= 1, "epochs count from 1");
        match self.per {
            Per::Epoch => self.gate(f64::from(epoch - 1)),
            Per::Step => self.gate(f64::from(epoch)),
        }
    }

    /// Gate at t epochs.
    fn gate(&self, t: f64) -> f64 {
        if t >= self.tau {
            return 1.0;
        }
        let x = t / self.tau;
        match self.shape {
            Shape::Linear => x,
            Shape::Cosine => (1.0 - (PI * x).cos()) / 2.0,
            Shape::Exponential => (-EXPONENTIAL_RATE * x).exp_m1() / (-EXPONENTIAL_RATE).exp_m1(),
            Shape::Step => 0.0,
        }
    }
}
