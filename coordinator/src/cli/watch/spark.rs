//! A line of blocks that shows how a number went.

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The last values in at most `width` blocks, the lowest of them at the bottom; where there are
/// more values than blocks, each block is the mean of its share. What is not finite is a blank.
pub(super) fn line(values: &[f64], width: usize) -> String {
    let shares = values.len().min(width);
    let mut means = Vec::with_capacity(shares);
    for share in 0..shares {
        let (from, to) = (share * values.len() / shares, (share + 1) * values.len() / shares);
        means.push(mean(&values[from..to]));
    }
    let finite = || means.iter().copied().filter(|mean| mean.is_finite());
    let (low, high) = (finite().fold(f64::INFINITY, f64::min), finite().fold(0.0, f64::max));
    let block = |mean: &f64| {
        if !mean.is_finite() {
            return ' ';
        }
        let height = if high > low { (mean - low) / (high - low) } else { 0.0 };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in [0, 7]")]
        let at = (height * 7.0).round().clamp(0.0, 7.0) as usize;
        BLOCKS[at]
    };
    means.iter().map(block).collect()
}

fn mean(values: &[f64]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    let count = values.len() as f64;
    values.iter().sum::<f64>() / count
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_rise_and_fall_with_their_values() {
        assert_eq!(line(&[0.0, 0.5, 1.0], 10), "▁▅█");
        assert_eq!(line(&[3.0, 3.0], 10), "▁▁");
        assert_eq!(line(&[1.0, f64::NAN, 0.0], 10), "█ ▁");
        assert_eq!(line(&[4.0, 4.0, 0.0, 0.0], 2), "█▁");
        assert_eq!(line(&[], 10), "");
    }

    proptest! {
        #[test]
        fn lines_fit(values in prop::collection::vec(any::<f64>(), 0..99), width in 0..40usize) {
            let line = line(&values, width);
            prop_assert_eq!(line.chars().count(), values.len().min(width));
        }
    }
}
