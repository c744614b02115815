//! A trial's history: attempt n up to the epoch that attempt n+1 resumed from, then attempt n+1.

/// The epochs that an attempt recorded, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recorded {
    /// Number of the attempt.
    pub attempt: u32,
    /// Its first epoch.
    pub first: u32,
    /// Its last epoch.
    pub last: u32,
}

/// The part of each attempt that counts, oldest first. `recorded` is in the order of attempts;
/// one without epochs is not in it.
///
/// From the last attempt backwards: each later one overrules the earlier ones from its first
/// epoch on. So no epoch comes twice, and there is no gap as long as every attempt starts no
/// later than after the last epoch of those before it.
pub fn parts(recorded: &[Recorded]) -> Vec<Recorded> {
    debug_assert!(recorded.is_sorted_by(|a, b| a.attempt < b.attempt), "in order of attempts");
    let mut parts = Vec::new();
    let mut before = u32::MAX;
    for attempt in recorded.iter().rev() {
        let last = attempt.last.min(before.saturating_sub(1));
        if attempt.first <= last && attempt.first < before {
            parts.push(Recorded { last, ..*attempt });
            before = attempt.first;
        }
    }
    parts.reverse();
    parts
}

/// Epochs that were recorded and are in no part: a later attempt trained them again, or is to.
pub fn repeated(recorded: &[Recorded]) -> u64 {
    let count = |parts: &[Recorded]| -> u64 {
        parts.iter().map(|part| u64::from(part.last + 1 - part.first)).sum()
    };
    count(recorded) - count(&parts(recorded))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(all: &[(u32, u32, u32)]) -> Vec<Recorded> {
        all.iter().map(|&(attempt, first, last)| Recorded { attempt, first, last }).collect()
    }

    #[test]
    fn history_of_one_attempt_is_all_of_it() {
        assert_eq!(parts(&of(&[(1, 1, 9)])), of(&[(1, 1, 9)]));
        assert_eq!(parts(&[]), []);
    }

    #[test]
    fn history_takes_the_later_attempt_from_where_it_resumed() {
        assert_eq!(parts(&of(&[(1, 1, 5), (2, 4, 8)])), of(&[(1, 1, 3), (2, 4, 8)]));
        assert_eq!(parts(&of(&[(1, 1, 5), (3, 6, 8)])), of(&[(1, 1, 5), (3, 6, 8)]));
    }

    #[test]
    fn what_a_later_attempt_overrules_was_repeated() {
        assert_eq!(repeated(&of(&[(1, 1, 5)])), 0);
        assert_eq!(repeated(&of(&[(1, 1, 5), (2, 6, 8)])), 0);
        assert_eq!(repeated(&of(&[(1, 1, 5), (2, 4, 8), (3, 1, 9)])), 2 + 3 + 5);
    }

    #[test]
    fn history_forgets_what_was_started_over() {
        assert_eq!(parts(&of(&[(1, 1, 5), (2, 1, 2)])), of(&[(2, 1, 2)]));
        assert_eq!(parts(&of(&[(1, 1, 5), (2, 6, 9), (3, 3, 4)])), of(&[(1, 1, 2), (3, 3, 4)]));
    }

    proptest! {
        /// Against the plain rule: what is known after each attempt is the old history below its
        /// first epoch, then its own.
        #[test]
        fn history_is_contiguous_and_the_newest(steps in prop::collection::vec(
            (0.0..=1.0f64, 1u32..6), 0..8,
        )) {
            let mut recorded = Vec::new();
            let mut model: Vec<(u32, u32)> = Vec::new();
            for (attempt, (resumed, length)) in (1..).zip(steps) {
                let kept = (resumed * model.len() as f64) as usize;
                model.truncate(kept);
                let first = kept as u32 + 1;
                let last = kept as u32 + length;
                model.extend((first..=last).map(|epoch| (attempt, epoch)));
                recorded.push(Recorded { attempt, first, last });
            }
            let mut found = Vec::new();
            for part in parts(&recorded) {
                found.extend((part.first..=part.last).map(|epoch| (part.attempt, epoch)));
            }
            let all: u64 = recorded.iter().map(|it| u64::from(it.last + 1 - it.first)).sum();
            prop_assert_eq!(repeated(&recorded), all - model.len() as u64);
            prop_assert_eq!(found, model);
        }
    }
}
