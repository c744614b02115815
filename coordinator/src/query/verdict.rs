//! Whether a claim about two configs held: the difference of two means over seeds with Welch's
//! interval, and what the claim says of it. Pure; values are finite.

use common::expectation::Relation;
use statrs::distribution::{ContinuousCDF, StudentsT};

use super::statistics::{Summary, summarise};

/// What became of a claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The whole interval agrees.
    Supported,
    /// The whole interval disagrees.
    Contradicted,
    /// Part of it does, or there is none.
    Undecided,
}

/// The difference of two means, first minus second, and its confidence interval.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Difference {
    /// Of the means.
    pub mean: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Welch's t; none where neither side has any spread, and the interval is the mean alone.
    pub t: Option<f64>,
    /// Welch's degrees of freedom; none as `t`.
    pub degrees_of_freedom: Option<f64>,
}

/// The difference of the means of two samples by Welch's method, which takes no equal variances.
/// None where a side has fewer than two values: without its spread there is no interval.
pub fn difference(first: &[f64], second: &[f64], confidence: f64) -> Option<Difference> {
    assert!((0.5..=0.999).contains(&confidence), "the sweep file's confidence is checked");
    let (first, second) = (summarise(first)?, summarise(second)?);
    let squared_error = |side: &Summary| side.std.map(|std| std * std / count(side));
    let (one, other) = (squared_error(&first)?, squared_error(&second)?);
    let mean = first.mean - second.mean;
    let sum = one + other;
    if sum == 0.0 {
        let (low, high) = (mean, mean);
        return Some(Difference { mean, low, high, t: None, degrees_of_freedom: None });
    }
    // Shares, so that squares of small variances do not vanish.
    let share = |side: &Summary, error: f64| (error / sum).powi(2) / (count(side) - 1.0);
    let degrees_of_freedom = 1.0 / (share(&first, one) + share(&second, other));
    let half = quantile(0.5 + confidence / 2.0, degrees_of_freedom) * sum.sqrt();
    Some(Difference {
        mean,
        low: mean - half,
        high: mean + half,
        t: Some(mean / sum.sqrt()),
        degrees_of_freedom: Some(degrees_of_freedom),
    })
}

/// The quantile of Student's t. The library's search goes astray at millions of degrees of
/// freedom; from `FREEDOM_MAX` on the quantile no longer changes by more than 0.1 %.
fn quantile(probability: f64, degrees_of_freedom: f64) -> f64 {
    const FREEDOM_MAX: f64 = 5_000.0;
    let students = StudentsT::new(0.0, 1.0, degrees_of_freedom.min(FREEDOM_MAX));
    students.expect("above 0 and finite").inverse_cdf(probability)
}

#[expect(clippy::cast_precision_loss, reason = "counts of values stay far below 2^53")]
fn count(side: &Summary) -> f64 {
    side.n as f64
}

/// What a claim says of a difference.
pub fn verdict(relation: Relation, difference: &Difference) -> Verdict {
    let Difference { low, high, .. } = *difference;
    let (agrees, disagrees) = match relation {
        Relation::Less => (high < 0.0, low > 0.0),
        Relation::Similar { within } => {
            (-within <= low && high <= within, high < -within || low > within)
        }
    };
    match (agrees, disagrees) {
        (true, _) => Verdict::Supported,
        (false, true) => Verdict::Contradicted,
        (false, false) => Verdict::Undecided,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn near(found: f64, expected: f64, digits: i32) {
        assert!((found - expected).abs() < 0.51 * 10f64.powi(-digits), "{found}, not {expected}");
    }

    #[test]
    fn quantiles_are_those_of_published_tables() {
        // Two-sided 95 % and 99 %.
        let table = [
            (1.0, 12.706, 63.657),
            (2.0, 4.303, 9.925),
            (4.0, 2.776, 4.604),
            (10.0, 2.228, 3.169),
            (30.0, 2.042, 2.750),
            (120.0, 1.980, 2.617),
            (1e7, 1.960, 2.577),
        ];
        for (freedom, at_95, at_99) in table {
            near(quantile(0.975, freedom), at_95, 3);
            near(quantile(0.995, freedom), at_99, 3);
        }
    }

    /// The three examples of Wikipedia's "Welch's t-test": t and degrees of freedom as printed.
    #[test]
    fn differences_are_those_of_published_examples() {
        let a1 = [
            27.5, 21.0, 19.0, 23.6, 17.0, 17.9, 16.9, 20.1, 21.9, 22.6, 23.1, 19.6, 19.0, 21.7,
            21.4,
        ];
        let a2 = [
            27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0, 24.8, 20.2, 21.9, 22.1, 22.9, 20.5,
            24.4,
        ];
        let found = difference(&a1, &a2, 0.95).unwrap();
        near(found.t.unwrap(), -2.46, 2);
        near(found.degrees_of_freedom.unwrap(), 25.0, 1);
        near(found.low, -3.984_096_27, 8);
        near(found.high, -0.349_237_07, 8);
        let b1 = [17.2, 20.9, 22.6, 18.1, 21.7, 21.4, 23.5, 24.2, 14.7, 21.8];
        let b2 = [
            21.5, 22.8, 21.0, 23.0, 21.6, 23.6, 22.5, 20.7, 23.4, 21.8, 20.7, 21.7, 21.5, 22.5,
            23.6, 21.5, 22.5, 23.5, 21.5, 21.8,
        ];
        let found = difference(&b1, &b2, 0.95).unwrap();
        near(found.t.unwrap(), -1.57, 2);
        near(found.degrees_of_freedom.unwrap(), 9.9, 1);
        let c1 = [19.8, 20.4, 19.6, 17.8, 18.5, 18.9, 18.3, 18.9, 19.5, 22.0];
        let c2 = [
            28.2, 26.6, 20.1, 23.3, 25.2, 22.1, 17.7, 27.6, 20.6, 13.7, 23.2, 17.5, 20.6, 18.0,
            23.9, 21.6, 24.3, 20.4, 24.0, 13.2,
        ];
        let found = difference(&c1, &c2, 0.95).unwrap();
        near(found.t.unwrap(), -2.22, 2);
        near(found.degrees_of_freedom.unwrap(), 24.5, 1);
    }

    /// Student's sleep data as R's `t.test(extra ~ group, data = sleep)` prints it.
    #[test]
    fn intervals_are_those_of_a_published_example() {
        let one = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0];
        let other = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4];
        let found = difference(&one, &other, 0.95).unwrap();
        near(found.t.unwrap(), -1.8608, 4);
        near(found.degrees_of_freedom.unwrap(), 17.776, 3);
        near(found.low, -3.365_483_2, 6);
        near(found.high, 0.205_483_2, 6);
        near(found.mean, 0.75 - 2.33, 9);
        assert_eq!(verdict(Relation::Less, &found), Verdict::Undecided);
        let narrower = difference(&one, &other, 0.9).unwrap();
        assert_eq!(verdict(Relation::Less, &narrower), Verdict::Supported);
    }

    #[test]
    fn one_value_has_no_interval() {
        assert_eq!(difference(&[0.1], &[0.1, 0.2], 0.95), None);
        assert_eq!(difference(&[0.1, 0.2], &[], 0.95), None);
    }

    #[test]
    fn without_spread_the_difference_decides() {
        let judged = |one: f64, other: f64, relation| {
            let found = difference(&[one; 3], &[other; 2], 0.95).unwrap();
            assert_eq!((found.low, found.high, found.t), (found.mean, found.mean, None));
            verdict(relation, &found)
        };
        assert_eq!(judged(0.25, 0.5, Relation::Less), Verdict::Supported);
        assert_eq!(judged(0.5, 0.25, Relation::Less), Verdict::Contradicted);
        assert_eq!(judged(0.5, 0.5, Relation::Less), Verdict::Undecided);
        let similar = Relation::Similar { within: 0.25 };
        assert_eq!(judged(0.5, 0.25, similar), Verdict::Supported, "the ends belong to it");
        assert_eq!(judged(0.75, 0.25, similar), Verdict::Contradicted);
    }

    #[test]
    fn spread_on_one_side_alone_is_enough() {
        let found = difference(&[0.5; 4], &[0.1, 0.2, 0.3], 0.95).unwrap();
        near(found.degrees_of_freedom.unwrap(), 2.0, 9);
        near(found.high - found.mean, 4.303 * (0.01f64 / 3.0).sqrt(), 4);
    }

    fn interval(low: f64, high: f64) -> Difference {
        let mean = f64::midpoint(low, high);
        Difference { mean, low, high, t: None, degrees_of_freedom: None }
    }

    #[test]
    fn the_whole_interval_decides() {
        let less = |low, high| verdict(Relation::Less, &interval(low, high));
        assert_eq!(less(-2.0, -1.0), Verdict::Supported);
        assert_eq!(less(-2.0, 0.0), Verdict::Undecided);
        assert_eq!(less(0.0, 1.0), Verdict::Undecided);
        assert_eq!(less(0.5, 1.0), Verdict::Contradicted);
        let similar = |low, high| verdict(Relation::Similar { within: 1.0 }, &interval(low, high));
        assert_eq!(similar(-1.0, 1.0), Verdict::Supported);
        assert_eq!(similar(-1.5, 0.5), Verdict::Undecided);
        assert_eq!(similar(-3.0, 3.0), Verdict::Undecided);
        assert_eq!(similar(-3.0, -1.5), Verdict::Contradicted);
        assert_eq!(similar(1.5, 3.0), Verdict::Contradicted);
    }

    proptest! {
        /// Exchanged sides give the mirrored interval, and the opposite verdict.
        #[test]
        fn differences_are_antisymmetric(
            one in prop::collection::vec(-1e3..1e3f64, 2..8),
            other in prop::collection::vec(-1e3..1e3f64, 2..8),
            confidence in 0.5..0.999f64,
        ) {
            let there = difference(&one, &other, confidence).unwrap();
            let back = difference(&other, &one, confidence).unwrap();
            prop_assert!(there.low <= there.mean && there.mean <= there.high);
            prop_assert_eq!((there.low, there.high), (-back.high, -back.low));
            prop_assert!(there.low.is_finite() && there.high.is_finite());
            let opposite = match verdict(Relation::Less, &there) {
                Verdict::Supported => Verdict::Contradicted,
                Verdict::Contradicted => Verdict::Supported,
                Verdict::Undecided => Verdict::Undecided,
            };
            prop_assert_eq!(verdict(Relation::Less, &back), opposite);
        }

        /// More confidence never makes an interval narrower.
        #[test]
        fn confidence_widens(
            one in prop::collection::vec(0.0..1.0f64, 2..6),
            other in prop::collection::vec(0.0..1.0f64, 2..6),
            low in 0.5..0.98f64,
            more in 0.0..1.0f64,
        ) {
            let high = low + (0.99 - low) * more;
            let narrow = difference(&one, &other, low).unwrap();
            let wide = difference(&one, &other, high).unwrap();
            prop_assert!(wide.low <= narrow.low && narrow.high <= wide.high);
        }

        /// No spread is too small or too large for finite degrees of freedom.
        #[test]
        fn degrees_of_freedom_lie_between_the_smaller_side_and_both(
            exponent in -140..140i32,
            other in -140..140i32,
        ) {
            let sample = |exponent: i32| [0.0, 1.0, 3.0].map(|value| value * 10f64.powi(exponent));
            let found = difference(&sample(exponent), &sample(other), 0.95).unwrap();
            let freedom = found.degrees_of_freedom.unwrap();
            prop_assert!((1.999..4.001).contains(&freedom), "{}", freedom);
        }
    }
}
