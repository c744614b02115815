//! Which epoch's weights count, and when a trial stops: pure, decided on validation data alone.
//!
//! Only eligible epochs are considered (design, section 3): those whose evaluation gate is 1,
//! unless `select: any`. The earliest best wins a tie; patience counts from the first eligible one.

/// Mean loss and error (a fraction) over a split.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Evaluation {
    /// Mean cross-entropy.
    pub loss: f64,
    /// Fraction of wrong answers.
    pub error: f64,
}

/// The best eligible epoch so far.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Best {
    /// Epoch, from 1.
    pub epoch: u32,
    /// Validation loss and error after it.
    pub validation: Evaluation,
    /// Mean training loss during it.
    pub train_loss: f64,
}

/// What an epoch means for its trial.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Train on.
    Continue,
    /// The last epoch is done.
    LastEpoch,
    /// No eligible epoch was better for as long as patience allows.
    PatienceExhausted,
}

/// Early stopping and the choice of the best epoch of one trial.
#[derive(Clone, PartialEq, Debug)]
pub struct Selection {
    epochs: u32,
    patience: Option<u32>,
    best: Option<Best>,
}

impl Selection {
    /// A selection over `epochs` epochs; `best` is that of an earlier attempt, if resumed.
    pub fn new(epochs: u32, patience: Option<u32>, best: Option<Best>) -> Selection {
        Selection { epochs, patience, best }
    }

    /// The best eligible epoch so far.
    pub fn best(&self) -> Option<Best> {
        self.best
    }

    /// Takes an epoch's result; returns whether it is the new best, and what follows.
    pub fn observe(
        &mut self,
        epoch: u32,
        eligible: bool,
        validation: Evaluation,
        train_loss: f64,
    ) -> (bool, Verdict) {
        let better = match self.best {
            None => true,
            Some(best) => validation.error < best.validation.error,
        };
        let improved = eligible && better;
        if improved {
            self.best = Some(Best { epoch, validation, train_loss });
        }
        let waited = self.best.map_or(0, |best| epoch - best.epoch);
        let verdict = if self.patience.is_some_and(|patience| waited >= patience) {
            Verdict::PatienceExhausted
        } else if epoch >= self.epochs {
            Verdict::LastEpoch
        } else {
            Verdict::Continue
        };
        (improved, verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(selection: &mut Selection, errors: &[f64], eligible_from: u32) -> Vec<(bool, Verdict)> {
        let step = |(index, &error): (usize, &f64)| {
            let epoch = index as u32 + 1;
            let validation = Evaluation { loss: 1.0, error };
            selection.observe(epoch, epoch >= eligible_from, validation, 0.5)
        };
        errors.iter().enumerate().map(step).collect()
    }

    #[test]
    fn the_earliest_best_wins_a_tie() {
        let mut selection = Selection::new(4, None, None);
        let steps = run(&mut selection, &[0.3, 0.2, 0.2, 0.2], 1);
        assert_eq!(selection.best().map(|best| best.epoch), Some(2));
        assert!(!steps[2].0 && !steps[3].0);
        assert_eq!(steps[3].1, Verdict::LastEpoch);
    }

    #[test]
    fn epochs_before_the_gate_reaches_one_are_not_chosen() {
        let mut selection = Selection::new(4, None, None);
        run(&mut selection, &[0.01, 0.02, 0.3, 0.4], 3);
        assert_eq!(selection.best().map(|best| best.epoch), Some(3));
    }

    #[test]
    fn patience_counts_from_the_first_eligible_epoch() {
        let mut selection = Selection::new(100, Some(2), None);
        let steps = run(&mut selection, &[0.1, 0.2, 0.3, 0.5, 0.6, 0.7], 4);
        let stopped = steps.iter().position(|step| step.1 == Verdict::PatienceExhausted);
        assert_eq!(stopped, Some(5), "epoch 4 is the first eligible, 5 and 6 do not improve");
    }

    #[test]
    fn an_improvement_renews_patience() {
        let mut selection = Selection::new(100, Some(2), None);
        let steps = run(&mut selection, &[0.5, 0.6, 0.4, 0.6, 0.3, 0.6, 0.6], 1);
        assert!(steps[..6].iter().all(|step| step.1 == Verdict::Continue));
        assert_eq!(steps[6].1, Verdict::PatienceExhausted);
    }

    #[test]
    fn a_resumed_selection_goes_on_as_if_uninterrupted() {
        let errors = [0.5, 0.4, 0.45, 0.44, 0.43, 0.42];
        let mut whole = Selection::new(6, Some(4), None);
        let expected = run(&mut whole, &errors, 1);
        let mut first = Selection::new(6, Some(4), None);
        run(&mut first, &errors[..3], 1);
        let mut second = Selection::new(6, Some(4), first.best());
        for epoch in 4..=6 {
            let validation = Evaluation { loss: 1.0, error: errors[epoch - 1] };
            let step = second.observe(epoch as u32, true, validation, 0.5);
            assert_eq!(step, expected[epoch - 1]);
        }
        assert_eq!(second, whole);
    }
}
