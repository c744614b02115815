//! Where the validation error of a dropout probe starts to rise. Pure.
//!
//! A probe raises the rate from epoch to epoch. Its curve of validation errors is smoothed by a
//! running median of `WINDOW` epochs, centred, cut off at both ends. The minimum e of the smoothed
//! curve has the standard error sqrt(e(1-e)/n) of n validation examples. The rate that is told is
//! that of the last epoch whose smoothed error is at most one standard error above the minimum:
//! after it the error has left the minimum for good. Where that is the last epoch of all, the
//! error did not rise. A minimum of 0 has no standard error, and any error above it is a rise.

/// Epochs of the running median.
const WINDOW: usize = 5;

/// An epoch of a probe.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Point {
    /// Dropout rate after the epoch.
    pub rate: f64,
    /// Validation error after it, a fraction.
    pub val_error: f64,
}

/// What a probe shows.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Course {
    /// The error rises from here on; the error is the smoothed one.
    Rises(Point),
    /// It did not rise up to this rate.
    Level {
        /// Of the last epoch.
        rate: f64,
    },
}

/// What the epochs of a trial show, given its number of validation examples. Epochs without a
/// finite error are passed over; none where none is left.
pub fn course(epochs: &[Point], examples: usize) -> Option<Course> {
    assert!(examples > 0, "a validation set has examples");
    let epochs: Vec<Point> = epochs.iter().copied().filter(|it| it.val_error.is_finite()).collect();
    let last = epochs.last()?;
    let smoothed = smoothed(&epochs);
    let least = smoothed.iter().copied().min_by(f64::total_cmp)?;
    #[expect(clippy::cast_precision_loss, reason = "counts of examples stay far below 2^53")]
    let standard_error = (least * (1.0 - least) / examples as f64).max(0.0).sqrt();
    let at = smoothed.iter().rposition(|error| *error <= least + standard_error)?;
    if at + 1 == epochs.len() {
        return Some(Course::Level { rate: last.rate });
    }
    Some(Course::Rises(Point { rate: epochs[at].rate, val_error: smoothed[at] }))
}

fn smoothed(epochs: &[Point]) -> Vec<f64> {
    let reach = WINDOW / 2;
    let mut smoothed = Vec::with_capacity(epochs.len());
    for at in 0..epochs.len() {
        let window = &epochs[at.saturating_sub(reach)..epochs.len().min(at + reach + 1)];
        let mut errors: Vec<f64> = window.iter().map(|epoch| epoch.val_error).collect();
        errors.sort_by(f64::total_cmp);
        let middle = errors.len() / 2;
        let is_even = errors.len().is_multiple_of(2);
        let below = errors[if is_even { middle - 1 } else { middle }];
        smoothed.push(f64::midpoint(below, errors[middle]));
    }
    smoothed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXAMPLES: usize = 10_000;

    /// Rates that rise evenly to `p`.
    fn probe(p: f64, errors: &[f64]) -> Vec<Point> {
        let rate = |at: usize| p * (at + 1) as f64 / errors.len() as f64;
        let point = |(at, error): (usize, &f64)| Point { rate: rate(at), val_error: *error };
        errors.iter().enumerate().map(point).collect()
    }

    /// Level at 2 %, rising by 1 % per epoch after `knee` epochs.
    fn bent(knee: usize, epochs: usize) -> Vec<f64> {
        (1..=epochs).map(|epoch| 0.02 + 0.01 * epoch.saturating_sub(knee) as f64).collect()
    }

    fn rate(course: Option<Course>) -> f64 {
        match course {
            Some(Course::Rises(point)) => point.rate,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_rate_is_that_of_the_last_epoch_before_the_rise() {
        let found = course(&probe(1.0, &bent(12, 20)), EXAMPLES);
        assert_eq!(found, Some(Course::Rises(Point { rate: 0.6, val_error: 0.02 })));
    }

    #[test]
    fn an_error_that_only_falls_does_not_rise() {
        let falling: Vec<f64> = (0..20).map(|epoch| 0.5 / f64::from(epoch + 1)).collect();
        assert_eq!(course(&probe(0.9, &falling), EXAMPLES), Some(Course::Level { rate: 0.9 }));
        let level = probe(0.9, &[0.1; 7]);
        assert_eq!(course(&level, EXAMPLES), Some(Course::Level { rate: 0.9 }));
    }

    #[test]
    fn an_error_that_rises_from_the_start_tells_the_first_rate() {
        let found = course(&probe(1.0, &bent(0, 20)), EXAMPLES);
        assert_eq!(rate(found), 0.05);
    }

    #[test]
    fn an_outlier_is_no_rise_and_no_minimum() {
        let mut errors = bent(12, 20);
        errors[5] = 0.3;
        errors[17] = 0.0;
        assert_eq!(rate(course(&probe(1.0, &errors), EXAMPLES)), 0.6);
    }

    #[test]
    fn an_error_that_comes_back_has_not_left_for_good() {
        let mut errors = bent(30, 30);
        errors[5..15].fill(0.1);
        errors[25..].fill(0.1);
        assert_eq!(rate(course(&probe(1.0, &errors), EXAMPLES)), 25.0 / 30.0);
    }

    #[test]
    fn epochs_without_an_error_are_passed_over() {
        assert_eq!(course(&[], EXAMPLES), None);
        assert_eq!(course(&probe(1.0, &[f64::NAN; 3]), EXAMPLES), None);
        let mut errors = bent(12, 20);
        errors[3] = f64::NAN;
        assert_eq!(rate(course(&probe(1.0, &errors), EXAMPLES)), 0.6);
        assert_eq!(
            course(&probe(0.5, &[0.1]), EXAMPLES),
            Some(Course::Level { rate: 0.5 }),
            "one epoch cannot rise"
        );
    }

    proptest! {
        /// The rise is where the curve bends, wherever that is, and whatever fell before it.
        #[test]
        fn the_rise_moves_with_the_bend(knee in 3..47usize, epochs in 50..80usize) {
            let mut errors = bent(knee, epochs);
            for (at, error) in errors.iter_mut().enumerate().take(knee) {
                *error += 0.05 * (1.0 - (at + 1) as f64 / knee as f64);
            }
            let found = rate(course(&probe(0.8, &errors), EXAMPLES));
            let expected = 0.8 * knee as f64 / epochs as f64;
            prop_assert!((found - expected).abs() <= 2.0 * 0.8 / epochs as f64 + 1e-12);
        }

        /// Noise far below the standard error of a large rise moves it by a few epochs at most.
        #[test]
        fn noise_hardly_moves_the_rise(
            knee in 5..40usize,
            noise in prop::collection::vec(-0.001..0.001f64, 60),
        ) {
            let mut errors = bent(knee, 60);
            for (error, noise) in errors.iter_mut().zip(&noise) {
                *error += noise;
            }
            let found = rate(course(&probe(0.6, &errors), 2_000));
            prop_assert!((found - 0.01 * knee as f64).abs() <= 0.03 + 1e-12, "{found}");
        }

        /// Fewer examples have a larger standard error, so the rise is told no earlier.
        #[test]
        fn fewer_examples_tell_a_rise_no_earlier(
            errors in prop::collection::vec(0.0..0.5f64, 1..60),
            few in 1..100usize,
            more in 0..10_000usize,
        ) {
            let points = probe(0.9, &errors);
            let place = |course: Option<Course>| match course {
                Some(Course::Rises(point)) => point.rate,
                Some(Course::Level { rate }) => rate,
                None => panic!("there are errors"),
            };
            let of_few = place(course(&points, few));
            prop_assert!(of_few >= place(course(&points, few + more)));
        }

        /// It depends on the errors alone, not on the scale of the rates.
        #[test]
        fn rates_scale(errors in prop::collection::vec(0.0..1.0f64, 1..40), p in 0.1..0.9f64) {
            let at = |course: Option<Course>| match course {
                Some(Course::Rises(point)) => (true, point.rate),
                Some(Course::Level { rate }) => (false, rate),
                None => panic!("there are errors"),
            };
            let (rises, rate) = at(course(&probe(1.0, &errors), EXAMPLES));
            let (also, scaled) = at(course(&probe(p, &errors), EXAMPLES));
            prop_assert_eq!(rises, also);
            prop_assert!((rate * p - scaled).abs() < 1e-12);
        }
    }
}
