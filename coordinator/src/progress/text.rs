//! The words of progress: what matters most stands first, since a terminal cuts off what is
//! beyond its last column.

use std::time::Duration;

use scheduler::overview::{Counts, SweepOverview, SweepState};

/// Template of a sweep's first line: its message is `counts`.
pub(super) const BAR: &str = "{prefix} [{bar:16}] {pos}/{len} done, {wide_msg}";
/// Template of the line below: its message is `below`.
pub(super) const BELOW: &str = "  {wide_msg}";

/// Where a sweep stands, in one line.
pub(super) fn line(sweep: &SweepOverview, trouble: Option<&str>) -> String {
    let (done, wanted) = (sweep.counts.done(), sweep.counts.wanted());
    let mut text = format!("{}: {done}/{wanted} done, {}", sweep.name, counts(sweep));
    for part in pace(sweep) {
        text.push_str(", ");
        text.push_str(&part);
    }
    if let Some(reason) = reason(sweep, trouble) {
        text.push_str(&format!(" - {reason}"));
    }
    text
}

/// Its trials that are not simply done.
pub(super) fn counts(sweep: &SweepOverview) -> String {
    let counts = &sweep.counts;
    let Counts { running, failed, diverged, cancelled, .. } = counts;
    match cancelled {
        0 => format!("{running} running, {failed} failed, {diverged} diverged"),
        _ => format!(
            "{running} running, {failed} failed, {diverged} diverged, {cancelled} cancelled"
        ),
    }
}

/// What is wrong, then the pace. Never empty: an empty line would look like a fault.
pub(super) fn below(sweep: &SweepOverview, trouble: Option<&str>) -> String {
    let mut parts = Vec::new();
    parts.extend(reason(sweep, trouble).map(str::to_owned));
    parts.extend(pace(sweep));
    if parts.is_empty() {
        parts.push("no ETA yet".into());
    }
    parts.join(", ")
}

/// How long it takes, the best trial, how fast it goes: those that are known.
fn pace(sweep: &SweepOverview) -> Vec<String> {
    let mut parts = Vec::new();
    if let Some(seconds) = sweep.eta_seconds {
        parts.push(format!("ETA {}", duration(seconds)));
    }
    if let Some((trial, error)) = sweep.best {
        parts.push(format!("best {:.2}% ({trial})", error * 100.0));
    }
    if sweep.counts.running > 0 && sweep.examples_per_second > 0.0 {
        parts.push(format!("{:.0} examples/s", sweep.examples_per_second));
    }
    parts
}

fn reason<'a>(sweep: &'a SweepOverview, trouble: Option<&'a str>) -> Option<&'a str> {
    let state = match &sweep.state {
        SweepState::Running | SweepState::Completed => None,
        SweepState::Paused => Some("paused"),
        SweepState::Cancelled => Some("cancelled"),
        SweepState::Stopped { reason } | SweepState::Waiting { reason } => Some(reason.as_str()),
    };
    trouble.or(state)
}

/// Which commands tell of a sweep's failed trials; none where none failed.
pub(super) fn failures(sweep: &SweepOverview) -> Option<String> {
    let name = &sweep.name;
    let count = match sweep.counts.failed {
        0 => return None,
        1 => "1 trial".into(),
        failed => format!("{failed} trials"),
    };
    Some(format!(
        "sweep {name}: {count} failed; `coordinator status {name}` and `coordinator trial {name} \
         TRIAL` say why"
    ))
}

/// How far a sweep came before the stop that was asked for.
pub(super) fn stopped(sweep: &SweepOverview) -> String {
    let (done, wanted) = (sweep.counts.done(), sweep.counts.wanted());
    format!("sweep {}: {done} of {wanted} done; the same command continues", sweep.name)
}

/// Two units at most: `45 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.
fn duration(seconds: f64) -> String {
    // A century and more is of no use to anybody.
    let seconds = Duration::try_from_secs_f64(seconds.min(1e10)).unwrap_or_default().as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use common::config::{Data, Model};
    use common::ids::TrialId;

    pub(in crate::progress) fn sweep(state: SweepState, counts: Counts) -> SweepOverview {
        SweepOverview {
            name: "depth".parse().expect("a name"),
            model: Model::Mlp,
            data: Data::Strokes,
            counts,
            configs: 1,
            configs_done: 0,
            best: Some((TrialId(0xff), 0.0231)),
            epochs_total: 0,
            examples_total: 0,
            examples_per_second: 1234.4,
            eta_seconds: Some(200.0),
            active: Vec::new(),
            active_truncated: false,
            state,
        }
    }

    const COUNTS: Counts = Counts {
        pending: 5,
        running: 2,
        completed: 3,
        diverged: 1,
        failed: 1,
        cancelled: 0,
        removed: 0,
    };

    #[test]
    fn a_line_has_everything_that_an_operator_asks() {
        let running = sweep(SweepState::Running, COUNTS);
        assert_eq!(
            line(&running, None),
            "depth: 5/12 done, 2 running, 1 failed, 1 diverged, ETA 3 min 20 s, \
             best 2.31% (00000000000000ff), 1234 examples/s"
        );
        let waiting = sweep(SweepState::Waiting { reason: "no worker".into() }, COUNTS);
        assert!(line(&waiting, None).ends_with(" - no worker"));
        assert!(
            line(&waiting, Some("the store failed: full")).ends_with(" - the store failed: full")
        );
    }

    /// The first 80 columns of a sweep's lines.
    fn screen(sweep: &SweepOverview, trouble: Option<&str>) -> [String; 2] {
        let bar = BAR
            .replace("{prefix}", sweep.name.as_str())
            .replace("{bar:16}", &"=".repeat(16))
            .replace("{pos}", &sweep.counts.done().to_string())
            .replace("{len}", &sweep.counts.wanted().to_string())
            .replace("{wide_msg}", &counts(sweep));
        let below = BELOW.replace("{wide_msg}", &below(sweep, trouble));
        [bar, below].map(|line| line.chars().take(80).collect())
    }

    #[test]
    fn eighty_columns_show_what_matters_most() {
        let mut sweep = sweep(SweepState::Running, COUNTS);
        sweep.name = "quickstart".parse().expect("a name");
        sweep.counts = Counts { pending: 110, running: 12, completed: 96, ..COUNTS };
        sweep.eta_seconds = Some(3_599.0);
        assert_eq!(
            screen(&sweep, None),
            [
                "quickstart [================] 98/220 done, 12 running, 1 failed, 1 diverged",
                "  ETA 59 min 59 s, best 2.31% (00000000000000ff), 1234 examples/s",
            ]
        );
        let lines = screen(&sweep, Some("the store failed: the disk is full"));
        assert!(lines[1].starts_with("  the store failed: the disk is full, ETA"), "{lines:?}");
        (sweep.eta_seconds, sweep.best, sweep.examples_per_second) = (None, None, 0.0);
        assert_eq!(screen(&sweep, None)[1], "  no ETA yet");
    }

    #[test]
    fn a_closing_line_says_what_comes_next() {
        let mut sweep = sweep(SweepState::Running, COUNTS);
        assert_eq!(stopped(&sweep), "sweep depth: 5 of 12 done; the same command continues");
        let line = failures(&sweep).expect("one failed");
        assert_eq!(
            line,
            "sweep depth: 1 trial failed; `coordinator status depth` and `coordinator trial depth \
             TRIAL` say why"
        );
        sweep.counts.failed = 7;
        assert!(failures(&sweep).expect("some").starts_with("sweep depth: 7 trials failed; "));
        sweep.counts.failed = 0;
        assert_eq!(failures(&sweep), None);
    }

    #[test]
    fn durations_are_read_at_a_glance() {
        let cases = [
            (0.4, "0 s"),
            (59.0, "59 s"),
            (200.0, "3 min 20 s"),
            (7_500.0, "2 h 5 min"),
            (273_600.0, "3 d 4 h"),
            (-1.0, "0 s"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(duration(seconds), expected, "{seconds}");
        }
    }
}
