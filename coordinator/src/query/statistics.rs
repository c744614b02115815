//! The numbers of a table: summaries over seeds, and the layout of rows and columns. Pure; NaN
//! neither goes in nor comes out.

use std::collections::{BTreeMap, BTreeSet};

/// A metric over the seeds of a config.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Summary {
    /// Values, at least 1.
    pub n: usize,
    /// Mean.
    pub mean: f64,
    /// Sample standard deviation (n - 1); none below two values.
    pub std: Option<f64>,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
    /// Middle value, or the mean of the two middle ones.
    pub median: f64,
}

/// Summarises the finite ones of `values`; none where there is none.
pub fn summarise(values: &[f64]) -> Option<Summary> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let (min, max) = (*sorted.first()?, *sorted.last()?);
    let (mut mean, mut std) = moments(&sorted, 1.0);
    if !mean.is_finite() || std.is_some_and(|std| !std.is_finite()) {
        // Squares or sums of huge values overflow; of values of at most 1 they cannot.
        (mean, std) = moments(&sorted, min.abs().max(max.abs()));
    }
    let n = sorted.len();
    let (low, high) = (sorted[(n - 1) / 2], sorted[n / 2]);
    Some(Summary {
        n,
        mean: mean.clamp(min, max),
        std: std.map(|std| std.min(f64::MAX)),
        min,
        max,
        median: low + (high / 2.0 - low / 2.0) * if low == high { 0.0 } else { 1.0 },
    })
}

/// Mean and sample standard deviation, computed on values divided by `scale`.
fn moments(values: &[f64], scale: f64) -> (f64, Option<f64>) {
    #[expect(clippy::cast_precision_loss, reason = "counts of values stay far below 2^53")]
    let n = values.len() as f64;
    let mut sum = 0.0;
    for value in values {
        sum += value / scale;
    }
    let mean = sum / n;
    if values.len() < 2 {
        return (mean * scale, None);
    }
    let mut squares = 0.0;
    for value in values {
        squares += (value / scale - mean).powi(2);
    }
    (mean * scale, Some((squares / (n - 1.0)).sqrt() * scale))
}

/// Which of a column's means are the lowest: several where they tie, none where there is none.
pub fn lowest(means: &[Option<f64>]) -> Vec<bool> {
    let least = means.iter().flatten().copied().min_by(f64::total_cmp);
    means.iter().map(|mean| mean.is_some() && *mean == least).collect()
}

/// Where a group of trials stands: the ranks of its values of the row parameters, and of the
/// column parameters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Place {
    /// By row parameter.
    pub row: Box<[usize]>,
    /// By column parameter.
    pub column: Box<[usize]>,
}

/// A layout: rows and columns in the order of their ranks, and the groups of each cell.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pivot {
    /// Ranks by row parameter.
    pub rows: Vec<Box<[usize]>>,
    /// Ranks by column parameter.
    pub columns: Vec<Box<[usize]>>,
    /// Groups by indices of row and column; a combination without groups is absent.
    pub cells: BTreeMap<(usize, usize), Vec<usize>>,
}

/// Lays out groups by their places.
pub fn pivot(places: &[Place]) -> Pivot {
    let rows: BTreeSet<&[usize]> = places.iter().map(|place| &*place.row).collect();
    let columns: BTreeSet<&[usize]> = places.iter().map(|place| &*place.column).collect();
    let rows: Vec<Box<[usize]>> = rows.into_iter().map(Box::from).collect();
    let columns: Vec<Box<[usize]>> = columns.into_iter().map(Box::from).collect();
    let mut cells: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
    for (group, place) in places.iter().enumerate() {
        let row = rows.binary_search(&place.row).expect("made of the same places");
        let column = columns.binary_search(&place.column).expect("made of the same places");
        cells.entry((row, column)).or_default().push(group);
    }
    Pivot { rows, columns, cells }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn summary_of_nothing_is_none() {
        assert_eq!(summarise(&[]), None);
        assert_eq!(summarise(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY]), None);
    }

    #[test]
    fn summary_of_one_value_has_no_spread() {
        let alone = summarise(&[f64::NAN, 0.25]).unwrap();
        let expected = Summary { n: 1, mean: 0.25, std: None, min: 0.25, max: 0.25, median: 0.25 };
        assert_eq!(alone, expected);
    }

    #[test]
    fn summary_uses_the_sample_deviation() {
        let summary = summarise(&[4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!((summary.n, summary.mean, summary.median), (4, 2.5, 2.5));
        assert_eq!((summary.min, summary.max), (1.0, 4.0));
        assert!((summary.std.unwrap() - (5.0f64 / 3.0).sqrt()).abs() < 1e-15);
        assert_eq!(summarise(&[3.0, 9.0, 4.0]).unwrap().median, 4.0);
    }

    #[test]
    fn summary_of_huge_values_stays_finite() {
        let summary = summarise(&[f64::MAX, f64::MAX, -f64::MAX]).unwrap();
        assert!(summary.mean.is_finite() && summary.std.unwrap().is_finite());
        assert_eq!(summarise(&[f64::MAX, f64::MAX]).unwrap().median, f64::MAX);
        assert_eq!(summarise(&[-f64::MAX, f64::MAX]).unwrap().median, 0.0);
    }

    #[test]
    fn lowest_marks_ties_and_only_values() {
        assert_eq!(lowest(&[None, Some(2.0), Some(1.0), Some(1.0)]), [false, false, true, true]);
        assert_eq!(lowest(&[None, None]), [false, false]);
        assert!(lowest(&[]).is_empty());
    }

    fn place(row: &[usize], column: &[usize]) -> Place {
        Place { row: row.into(), column: column.into() }
    }

    #[test]
    fn pivot_sorts_by_rank_and_leaves_holes() {
        let places = [place(&[10], &[1]), place(&[2], &[0]), place(&[2], &[1]), place(&[2], &[1])];
        let pivot = pivot(&places);
        assert_eq!(pivot.rows, [Box::from([2]), Box::from([10])]);
        assert_eq!(pivot.columns, [Box::from([0]), Box::from([1])]);
        let cells = [((0, 0), vec![1]), ((0, 1), vec![2, 3]), ((1, 1), vec![0])];
        assert_eq!(pivot.cells, BTreeMap::from(cells));
    }

    #[test]
    fn pivot_without_parameters_is_one_cell() {
        let pivot = pivot(&[Place::default()]);
        assert_eq!((pivot.rows.len(), pivot.columns.len(), pivot.cells.len()), (1, 1, 1));
    }

    proptest! {
        #[test]
        fn summary_is_ordered_and_finite(values in prop::collection::vec(any::<f64>(), 0..9)) {
            if let Some(summary) = summarise(&values) {
                prop_assert!(summary.min <= summary.median && summary.median <= summary.max);
                prop_assert!(summary.min <= summary.mean && summary.mean <= summary.max);
                prop_assert_eq!(summary.std.is_some(), summary.n > 1);
                prop_assert!(summary.std.is_none_or(|std| std.is_finite() && std >= 0.0));
            }
        }
    }
}
