//! What a table can show of a trial: its metrics, and how it ended.

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

/// How a trial can end by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// It has a result.
    Completed,
    /// Its loss became NaN or infinite.
    Diverged,
    /// Its trainer died, or could not train it.
    Failed,
}

/// What the cells of a table of configs are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shown {
    /// Mean and spread of a metric.
    Metric(Metric),
    /// How many trials ended so.
    Count(Ended),
}

impl Default for Shown {
    fn default() -> Shown {
        Shown::Metric(Metric::TestError)
    }
}

impl Shown {
    /// Metrics first.
    pub const ALL: [Shown; 11] = {
        let mut all = [Shown::Count(Ended::Completed); 11];
        let mut at = 0;
        while at < Metric::ALL.len() {
            all[at] = Shown::Metric(Metric::ALL[at]);
            at += 1;
        }
        all[at + 1] = Shown::Count(Ended::Diverged);
        all[at + 2] = Shown::Count(Ended::Failed);
        all
    };

    /// As it is asked for.
    pub const fn name(self) -> &'static str {
        match self {
            Shown::Metric(metric) => metric.name(),
            Shown::Count(Ended::Completed) => "completed",
            Shown::Count(Ended::Diverged) => "diverged",
            Shown::Count(Ended::Failed) => "failed",
        }
    }

    /// By its name.
    pub fn named(name: &str) -> Option<Shown> {
        Shown::ALL.into_iter().find(|shown| shown.name() == name)
    }

    /// Less of it is better.
    pub const fn lower_is_better(self) -> bool {
        match self {
            Shown::Metric(metric) => metric.lower_is_better(),
            Shown::Count(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_file_may_ask_for_every_metric() {
        assert_eq!(Metric::ALL.map(Metric::name), common::spec::METRICS);
        let shown = [&common::spec::METRICS[..], &common::spec::OUTCOMES].concat();
        assert_eq!(Shown::ALL.map(Shown::name), *shown);
        let choosing = Metric::ALL.into_iter().filter(|metric| metric.lower_is_better());
        let choosing: Vec<&str> = choosing.map(Metric::name).collect();
        assert_eq!(choosing, common::spec::METRICS_TO_CHOOSE_BY);
    }
}
