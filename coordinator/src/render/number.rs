//! Numbers, times and durations for readers.

/// Below this mean error, in percent, a second decimal tells methods apart.
const PERCENT_OF_TWO_DECIMALS: f64 = 10.0;

/// What a column's numbers are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// A fraction that text shows in percent.
    Percent,
    /// A loss or a norm.
    Loss,
    /// A whole number.
    Count,
    /// Seconds.
    Seconds,
    /// Examples per second.
    Rate,
    /// A gate in [0, 1].
    Gate,
    /// Anything else: a parameter.
    Plain,
}

impl Unit {
    /// Of a metric or column by its name.
    pub fn of(name: &str) -> Unit {
        match name {
            "best_epoch" | "epochs" | "epoch" | "attempts" | "attempt" | "epochs_repeated"
            | "seed" => Unit::Count,
            "seconds" => Unit::Seconds,
            "examples_per_second" => Unit::Rate,
            "gate" => Unit::Gate,
            "grad_norm" => Unit::Loss,
            // The share of trials that did.
            "diverged" => Unit::Percent,
            error if error.ends_with("_error") => Unit::Percent,
            loss if loss.ends_with("_loss") => Unit::Loss,
            _ => Unit::Plain,
        }
    }

    /// The column's header, with the unit where the name does not say it.
    pub fn header(self, name: &str) -> String {
        match self {
            Unit::Percent => format!("{name} %"),
            Unit::Rate => "examples/s".into(),
            Unit::Seconds | Unit::Loss | Unit::Count | Unit::Gate | Unit::Plain => name.into(),
        }
    }

    /// One value.
    pub fn value(self, value: f64) -> String {
        match self {
            Unit::Percent => self.with_decimals(value, 2),
            Unit::Loss => self.with_decimals(value, 4),
            Unit::Gate => self.with_decimals(value, 3),
            Unit::Seconds => self.with_decimals(value, 1),
            Unit::Count | Unit::Rate => self.with_decimals(value, 0),
            Unit::Plain => shortest(value),
        }
    }

    /// Decimals of means and deviations, equal within a table; `least` is its smallest mean.
    pub fn decimals(self, least: f64) -> usize {
        match self {
            Unit::Percent if 100.0 * least < PERCENT_OF_TWO_DECIMALS => 2,
            Unit::Percent | Unit::Count | Unit::Seconds | Unit::Rate => 1,
            Unit::Gate => 3,
            Unit::Loss | Unit::Plain => 4,
        }
    }

    /// A value with this many decimals; a loss out of their reach in scientific form.
    pub fn with_decimals(self, value: f64, decimals: usize) -> String {
        const DECIMAL_MAX: f64 = 1e6;
        let out_of_reach = value.abs() >= DECIMAL_MAX || (value != 0.0 && value.abs() < 1e-3);
        match self {
            Unit::Percent => format!("{:.decimals$}", 100.0 * value),
            Unit::Loss | Unit::Plain if out_of_reach && value.is_finite() => {
                format!("{value:.2e}")
            }
            Unit::Loss | Unit::Plain | Unit::Count | Unit::Seconds | Unit::Rate | Unit::Gate => {
                format!("{value:.decimals$}")
            }
        }
    }
}

/// An error with its unit.
pub fn percent(error: f64) -> String {
    format!("{} %", Unit::Percent.value(error))
}

/// The shortest text that reads back as the number.
pub(super) fn shortest(value: f64) -> String {
    let magnitude = value.abs();
    if value == 0.0 || (1e-4..1e9).contains(&magnitude) || !value.is_finite() {
        format!("{value}")
    } else {
        format!("{value:e}")
    }
}

/// A length of time: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 07 min`, `3 d 04 h`.
pub fn duration(seconds: f64) -> String {
    let seconds = seconds.max(0.0);
    if seconds < 10.0 {
        return format!("{seconds:.1} s");
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let whole = seconds.round() as u64;
    match whole {
        0..120 => format!("{whole} s"),
        120..7_200 => format!("{} min {:02} s", whole / 60, whole % 60),
        7_200..172_800 => format!("{} h {:02} min", whole / 3_600, whole / 60 % 60),
        _ => format!("{} d {:02} h", whole / 86_400, whole / 3_600 % 24),
    }
}

/// A length of time in milliseconds.
pub fn duration_ms(ms: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "rounded to seconds")]
    let seconds = ms as f64 / 1_000.0;
    duration(seconds)
}

/// `2026-11-24 11:05:03`, of milliseconds since 1970, in UTC.
pub fn utc(unix_ms: u64) -> String {
    let seconds = unix_ms / 1_000;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// Year, month and day of a count of days since 1970, by the Gregorian calendar.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    /// From 1 March of the year 0, so that a leap day ends its year.
    const DAYS_TO_1970: u64 = 719_468;
    let since = days + DAYS_TO_1970;
    let (era, of_era) = (since / DAYS_OF_400_YEARS, since % DAYS_OF_400_YEARS);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (400 * era + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let cases = [
            (0, "1970-01-01 00:00:00"),
            (951_782_399_999, "2000-02-28 23:59:59"),
            (951_782_400_000, "2000-02-29 00:00:00"),
            (1_709_251_200_000, "2024-03-01 00:00:00"),
            (1_732_449_903_000, "2024-11-24 12:05:03"),
            (4_107_542_400_000, "2100-03-01 00:00:00"),
        ];
        for (unix_ms, expected) in cases {
            assert_eq!(utc(unix_ms), expected);
        }
    }

    #[test]
    fn durations_have_two_units_at_most() {
        let cases = [
            (0.0, "0.0 s"),
            (-3.0, "0.0 s"),
            (9.94, "9.9 s"),
            (59.6, "60 s"),
            (185.0, "3 min 05 s"),
            (7_620.0, "2 h 07 min"),
            (273_600.0, "3 d 04 h"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(duration(seconds), expected);
        }
        duration(f64::INFINITY);
        duration(f64::NAN);
    }

    #[test]
    fn values_are_shown_in_their_unit() {
        let cases = [
            ("test_error", 0.1234, "12.34"),
            ("train_loss", 0.01234, "0.0123"),
            ("train_loss", 0.000_012_34, "1.23e-5"),
            ("val_loss", 3.2e9, "3.20e9"),
            ("val_loss", 0.0, "0.0000"),
            ("seconds", 12.345, "12.3"),
            ("best_epoch", 7.0, "7"),
            ("gate", 0.5, "0.500"),
            ("lr", 3e-4, "0.0003"),
            ("lr", 1e-5, "1e-5"),
            ("init_gain", 1.732_050_807_6, "1.7320508076"),
        ];
        for (name, value, expected) in cases {
            assert_eq!(Unit::of(name).value(value), expected, "{name}");
        }
        assert_eq!(Unit::of("val_loss").value(f64::NAN), "NaN");
    }
}
