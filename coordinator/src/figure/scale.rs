//! Scales of an axis and their ticks. Total: any finite numbers make a scale.

/// A magnitude beyond which a number is not drawn: a loss of this size is of no use, and sums and
/// differences below it stay finite.
const MAGNITUDE_MAX: f64 = 1e150;
/// One below is 0: reciprocals stay finite, and a logarithmic axis ends.
const MAGNITUDE_MIN: f64 = 1e-150;
/// A step is this times a power of ten.
const MANTISSAS: [f64; 3] = [1.0, 2.0, 5.0];
/// Largest ratio of a logarithmic axis that has ticks at 1, 2 and 5 of each decade.
const DECADES_OF_FINE_TICKS: f64 = 3.0;

/// The number as it is drawn, if it can be.
pub(super) fn drawable(value: f64) -> Option<f64> {
    let is_drawable = value.is_finite() && value.abs() <= MAGNITUDE_MAX;
    is_drawable.then_some(if value.abs() < MAGNITUDE_MIN { 0.0 } else { value })
}

/// The smallest and the largest of those that can be drawn.
pub(super) fn range(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    let mut range: Option<(f64, f64)> = None;
    for value in values.into_iter().filter_map(drawable) {
        let (low, high) = range.unwrap_or((value, value));
        range = Some((low.min(value), high.max(value)));
    }
    range
}

/// From numbers to places: 0 at the lower end of the axis, 1 at the upper.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    log: bool,
}

/// A tick: its number and its text.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Tick {
    pub value: f64,
    pub text: String,
}

impl Scale {
    /// An axis whose ends are round: those of its outer ticks, of which it has at most
    /// `ticks_max`.
    pub fn round((low, high): (f64, f64), log: bool, ticks_max: usize) -> (Scale, Vec<Tick>) {
        if log && low >= MAGNITUDE_MIN {
            return round_log(low, high, ticks_max);
        }
        let (low, high) = spread(low, high);
        let step = step(low, high, ticks_max, true);
        let (first, last) = multiples_of(low, high, step, true);
        let ticks = multiples(first, last, step);
        let scale = Scale { low: low.min(first * step), high: high.max(last * step), log: false };
        (scale, ticks)
    }

    /// An axis that ends a little beyond what it shows.
    pub fn tight((low, high): (f64, f64), log: bool) -> Scale {
        const MARGIN: f64 = 0.04;
        if log && low >= MAGNITUDE_MIN {
            let ratio = (high / low).powf(MARGIN).max(1.02);
            return Scale { low: low / ratio, high: high * ratio, log: true };
        }
        let (low, high) = spread(low, high);
        let margin = MARGIN * (high - low);
        Scale { low: low - margin, high: high + margin, log: false }
    }

    /// Exactly these ends.
    pub fn exact(low: f64, high: f64) -> Scale {
        let (low, high) = spread(low, high);
        Scale { low, high, log: false }
    }

    pub fn is_log(&self) -> bool {
        self.log
    }

    /// Whether the number is on the axis.
    pub fn has(&self, value: f64) -> bool {
        // An end that is a value but for its rounding is one.
        let slack = 1e-9 * (self.high - self.low);
        value >= self.low - slack && value <= self.high + slack && !(self.log && value <= 0.0)
    }

    /// Where the number lies, 0 to 1: what is out of the axis lies at its end.
    pub fn at(&self, value: f64) -> f64 {
        let place = if self.log {
            let value = value.max(self.low);
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        if place.is_finite() { place.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// Round ticks within the axis, at most `ticks_max`.
    pub fn ticks(&self, ticks_max: usize) -> Vec<Tick> {
        if self.log {
            let fine = log_ticks(self.low, self.high, ticks_max);
            if fine.len() >= 2 {
                return fine;
            }
        }
        let step = step(self.low, self.high, ticks_max, false);
        let (first, last) = multiples_of(self.low, self.high, step, false);
        multiples(first, last, step)
    }
}

/// Ends that differ.
fn spread(low: f64, high: f64) -> (f64, f64) {
    let size = low.abs().max(high.abs());
    if high - low > 1e-9 * size {
        return (low, high);
    }
    let half = if size > 0.0 { 0.05 * size } else { 0.5 };
    (low - half, high + half)
}

/// The smallest round step of which at most `ticks_max` multiples are needed: `beyond` the ends,
/// or within them.
fn step(low: f64, high: f64, ticks_max: usize, beyond: bool) -> f64 {
    let power = ((high - low).max(f64::MIN_POSITIVE)).log10().floor();
    let exponents = [-2.0, -1.0, 0.0, 1.0];
    let mut last = 0.0;
    for exponent in exponents {
        for mantissa in MANTISSAS {
            let step = mantissa * 10f64.powf(power + exponent);
            let (first, end) = multiples_of(low, high, step, beyond);
            last = step;
            if end - first + 1.0 <= ticks_max.max(3) as f64 {
                return step;
            }
        }
    }
    last
}

/// The first and the last multiple of a step.
fn multiples_of(low: f64, high: f64, step: f64, beyond: bool) -> (f64, f64) {
    // A number that is a multiple but for its rounding is one.
    const ROUNDING: f64 = 1e-9;
    let (low, high) = (low / step, high / step);
    match beyond {
        true => ((low + ROUNDING).floor(), (high - ROUNDING).ceil()),
        false => ((low - ROUNDING).ceil(), (high + ROUNDING).floor()),
    }
}

/// `first * step` to `last * step`.
fn multiples(first: f64, last: f64, step: f64) -> Vec<Tick> {
    const TICKS_MAX: usize = 64;
    let mut values = Vec::new();
    let mut at = first;
    while at <= last && values.len() < TICKS_MAX {
        values.push(at * step);
        at += 1.0;
    }
    labelled(&values, step)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0..=12")]
fn labelled(values: &[f64], step: f64) -> Vec<Tick> {
    let largest = values.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    let decimals = (-(step.log10() + 1e-9).floor()).clamp(0.0, 12.0) as usize;
    let digits = (largest.log10().floor() - step.log10().floor()).clamp(0.0, 12.0) as usize;
    let is_plain = largest < 1e6 && step >= 1e-4;
    let text = |value: f64| match is_plain {
        true => format!("{value:.decimals$}"),
        false => scientific(value, digits),
    };
    let ticks = values.iter().map(|value| {
        // 3 * 0.1 is not 0.3, and -0 is 0.
        let value = if value.abs() < 1e-9 * step { 0.0 } else { *value };
        Tick { value, text: text(value) }
    });
    ticks.collect()
}

fn round_log(low: f64, high: f64, ticks_max: usize) -> (Scale, Vec<Tick>) {
    let (low, high) = if high > low * 1.001 { (low, high) } else { (low / 1.5, high * 1.5) };
    let below = round_numbers(low / 10.0, high).into_iter().rfind(|value| *value <= low);
    let above = round_numbers(low, high * 10.0).into_iter().find(|value| *value >= high);
    let (low, high) = (below.unwrap_or(low), above.unwrap_or(high));
    (Scale { low, high, log: true }, log_ticks(low, high, ticks_max))
}

/// 1, 2 and 5 of each decade within these ends.
fn round_numbers(low: f64, high: f64) -> Vec<f64> {
    let (first, last) = (low.log10().floor(), high.log10().ceil());
    let mut values = Vec::new();
    let mut power = first;
    while power <= last {
        values.extend(MANTISSAS.iter().map(|mantissa| mantissa * 10f64.powf(power)));
        power += 1.0;
    }
    let is_within = |value: &f64| *value >= low * (1.0 - 1e-9) && *value <= high * (1.0 + 1e-9);
    values.retain(is_within);
    values
}

fn log_ticks(low: f64, high: f64, ticks_max: usize) -> Vec<Tick> {
    let fine = round_numbers(low, high);
    let decades = (high / low).log10();
    let is_power = |value: f64| (value.log10() - value.log10().round()).abs() < 1e-6;
    let mut values = fine.clone();
    if decades > DECADES_OF_FINE_TICKS || fine.len() > ticks_max {
        values.retain(|value| is_power(*value));
    }
    let every = values.len().div_ceil(ticks_max.max(2)).max(1);
    let ticks =
        values.iter().step_by(every).map(|value| Tick { value: *value, text: short(*value) });
    ticks.collect()
}

/// Whether numbers lie more evenly on a logarithmic axis: they are positive, span most of a
/// decade, and their nearest neighbours are less crowded there.
pub(super) fn wants_log(sorted: &[f64]) -> bool {
    const RATIO_MIN: f64 = 8.0;
    let (Some(low), Some(high)) = (sorted.first(), sorted.last()) else { return false };
    if sorted.len() < 3 || *low <= 0.0 || high / low < RATIO_MIN {
        return false;
    }
    let least = |of: &dyn Fn(f64) -> f64| {
        let span = of(*high) - of(*low);
        let gaps = sorted.windows(2).map(|pair| (of(pair[1]) - of(pair[0])) / span);
        gaps.fold(f64::INFINITY, f64::min)
    };
    least(&f64::ln) > least(&|value| value)
}

/// With at most this many digits behind the point.
fn scientific(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$e}");
    let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
    match digits.contains('.') {
        true => format!("{}e{power}", digits.trim_end_matches('0').trim_end_matches('.')),
        false => format!("{digits}e{power}"),
    }
}

/// The number in a few characters: four significant digits, an exponent where it is far from 1.
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 { "0".into() } else { "–".into() };
    }
    if !(1e-3..1e5).contains(&size) {
        return scientific(value, 2);
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0..=6")]
    let decimals = (3.0 - size.log10().floor()).clamp(0.0, 6.0) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(ticks: &[Tick]) -> Vec<&str> {
        ticks.iter().map(|tick| &*tick.text).collect()
    }

    #[test]
    fn ticks_are_those_a_reader_expects() {
        let (_, ticks) = Scale::round((3.2, 91.0), false, 7);
        assert_eq!(texts(&ticks), ["0", "20", "40", "60", "80", "100"]);
        let (_, ticks) = Scale::round((0.0, 2.3), false, 6);
        assert_eq!(texts(&ticks), ["0.0", "0.5", "1.0", "1.5", "2.0", "2.5"]);
        let (_, ticks) = Scale::round((0.0, 86.0), false, 6);
        assert_eq!(texts(&ticks), ["0", "20", "40", "60", "80", "100"]);
        let (_, ticks) = Scale::round((0.11, 0.42), false, 7);
        assert_eq!(texts(&ticks), ["0.1", "0.2", "0.3", "0.4", "0.5"]);
        let (_, ticks) = Scale::round((0.02, 1.7), true, 7);
        assert_eq!(texts(&ticks), ["0.02", "0.05", "0.1", "0.2", "0.5", "1", "2"]);
        let (_, ticks) = Scale::round((1e-6, 3.0), true, 9);
        assert_eq!(texts(&ticks), ["1e-6", "1e-5", "1e-4", "0.001", "0.01", "0.1", "1"]);
        let (_, ticks) = Scale::round((-1.0, 1.0), false, 6);
        assert_eq!(texts(&ticks), ["-1.0", "-0.5", "0.0", "0.5", "1.0"]);
    }

    #[test]
    fn numbers_are_short() {
        let cases = [
            (1.7320508076, "1.732"),
            (0.0003, "3e-4"),
            (1e-5, "1e-5"),
            (1234.5, "1234"),
            (50_000.0, "50000"),
            (123_456.0, "1.23e5"),
            (0.5, "0.5"),
            (200.0, "200"),
            (-0.0, "0"),
            (f64::NAN, "–"),
        ];
        for (value, expected) in cases {
            assert_eq!(short(value), expected, "{value}");
        }
    }

    #[test]
    fn depths_are_logarithmic_and_rates_are_not() {
        assert!(wants_log(&[2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0]));
        assert!(wants_log(&[2.0, 10.0, 30.0, 60.0]));
        assert!(wants_log(&[1e-5, 1e-4, 1e-3]));
        assert!(!wants_log(&[0.1, 0.3, 0.5, 0.7, 0.9]));
        assert!(!wants_log(&[0.0, 5.0, 50.0]), "zero has no place there");
        assert!(!wants_log(&[2.0, 200.0]), "two points look the same on both");
        let counts: Vec<f64> = (1..=20).map(f64::from).collect();
        assert!(!wants_log(&counts));
    }

    fn finite() -> impl Strategy<Value = f64> {
        prop_oneof![
            (-1e3..1e3f64),
            any::<f64>().prop_filter_map("drawable", drawable),
            Just(0.0),
            (-1e-8..1e-8f64),
        ]
    }

    proptest! {
        #[test]
        fn round_scales_cover_the_numbers_with_round_ticks(
            a in finite(), b in finite(), log in any::<bool>(), ticks_max in 3..12usize,
        ) {
            let (low, high) = (a.min(b), a.max(b));
            let (scale, ticks) = Scale::round((low, high), log, ticks_max);
            prop_assert!(scale.low <= low + 1e-9 * low.abs(), "{scale:?}");
            prop_assert!(high <= scale.high + 1e-9 * high.abs(), "{scale:?}");
            prop_assert!((1..=ticks_max).contains(&ticks.len()), "{ticks:?}");
            let places: Vec<f64> = ticks.iter().map(|tick| scale.at(tick.value)).collect();
            prop_assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
            for place in [scale.at(low), scale.at(high), scale.at(f64::NAN)] {
                prop_assert!((0.0..=1.0).contains(&place));
            }
        }

        #[test]
        fn round_linear_scales_end_at_their_outer_ticks(
            a in -1e6..1e6f64, span in 1e-3..1e6f64, ticks_max in 4..12usize,
        ) {
            let (scale, ticks) = Scale::round((a, a + span), false, ticks_max);
            prop_assert!(ticks.len() <= ticks_max && ticks.len() >= 2, "{ticks:?}");
            prop_assert!(scale.at(ticks[0].value) < 1e-9);
            prop_assert!(scale.at(ticks[ticks.len() - 1].value) > 1.0 - 1e-9);
            let step = ticks[1].value - ticks[0].value;
            let mantissa = step / 10f64.powf(step.log10().floor() + 0.0);
            let near = |m: f64| (mantissa / m - 1.0).abs() < 1e-4;
            prop_assert!([1.0, 2.0, 5.0, 10.0].into_iter().any(near), "{step}");
            let texts: std::collections::BTreeSet<&str> =
                ticks.iter().map(|tick| &*tick.text).collect();
            prop_assert_eq!(texts.len(), ticks.len(), "texts differ");
        }

        #[test]
        fn places_keep_the_order_of_numbers(
            a in finite(), b in finite(), c in finite(), log in any::<bool>(),
        ) {
            let mut sorted = [a, b, c];
            sorted.sort_by(f64::total_cmp);
            let scale = Scale::tight((sorted[0], sorted[2]), log);
            let places = sorted.map(|value| scale.at(value));
            prop_assert!(places.is_sorted(), "{places:?}");
            prop_assert!(scale.ticks(8).len() <= 12);
        }

        #[test]
        fn short_texts_are_short(value in any::<f64>()) {
            prop_assert!(short(value).chars().count() <= 10, "{}", short(value));
        }
    }
}
