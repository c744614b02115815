//! The metrics of a trial that a table can show.

/// A metric of a trial, from its outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Metric {
    /// Test error of the best epoch's weights.
    TestError,
    /// Validation error at the best epoch.
    ValError,
    /// The epoch whose weights were tested.
    BestEpoch,
    /// Training loss at the best epoch.
    TrainLoss,
    /// Validation loss at the best epoch.
    ValLoss,
    /// Test loss of the best epoch's weights.
    TestLoss,
    /// Epochs trained.
    Epochs,
    /// Seconds of training in the last attempt.
    Seconds,
}

impl Metric {
    /// All of them, in the order of a table of trials.
    pub const ALL: [Metric; 8] = [
        Metric::TestError,
        Metric::ValError,
        Metric::BestEpoch,
        Metric::TrainLoss,
        Metric::ValLoss,
        Metric::TestLoss,
        Metric::Epochs,
        Metric::Seconds,
    ];

    /// Its name, which is also its column in the store's table of outcomes.
    pub const fn name(self) -> &'static str {
        match self {
            Metric::TestError => "test_error",
            Metric::ValError => "val_error",
            Metric::BestEpoch => "best_epoch",
            Metric::TrainLoss => "train_loss",
            Metric::ValLoss => "val_loss",
            Metric::TestLoss => "test_loss",
            Metric::Epochs => "epochs",
            Metric::Seconds => "seconds",
        }
    }

    /// Less of it is better: an error or a loss. Of the others none is best.
    pub const fn lower_is_better(self) -> bool {
        match self {
            Metric::TestError
            | Metric::ValError
            | Metric::TrainLoss
            | Metric::ValLoss
            | Metric::TestLoss => true,
            Metric::BestEpoch | Metric::Epochs | Metric::Seconds => false,
        }
    }

    /// A whole number.
    pub const fn is_count(self) -> bool {
        match self {
            Metric::BestEpoch | Metric::Epochs => true,
            Metric::TestError
            | Metric::ValError
            | Metric::TrainLoss
            | Metric::ValLoss
            | Metric::TestLoss
            | Metric::Seconds => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_file_may_ask_for_every_metric() {
        assert_eq!(Metric::ALL.map(Metric::name), common::spec::METRICS);
        let choosing = Metric::ALL.into_iter().filter(|metric| metric.lower_is_better());
        let choosing: Vec<&str> = choosing.map(Metric::name).collect();
        assert_eq!(choosing, common::spec::METRICS_TO_CHOOSE_BY);
    }
}
