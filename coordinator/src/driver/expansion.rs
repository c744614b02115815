//! From validated sweep files to the scheduler's events, in chunks, on a thread of their own.

use common::ids::SweepName;
use common::spec::{Fusion, Sweep};
use scheduler::Applied;
use scheduler::event::{self, Event, SweepHeader, Trial};
use tokio::sync::mpsc;

/// Trials of one chunk: a few milliseconds in the scheduler and one transaction in the store, so
/// that heartbeats and reports are served between two.
const CHUNK_TRIALS_MAX: usize = 5_000;
/// Chunks that wait for the driver: one is made while one is applied.
const CHUNKS_WAITING_MAX: usize = 1;

/// Starts expanding; the events end when every sweep is expanded. Dropping the receiver stops it.
pub(super) fn start(sweeps: Vec<Sweep>) -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(CHUNKS_WAITING_MAX);
    tokio::task::spawn_blocking(move || {
        for sweep in &sweeps {
            if expand(sweep, &sender).is_none() {
                return;
            }
        }
    });
    receiver
}

/// None where nobody listens any more.
fn expand(sweep: &Sweep, events: &mpsc::Sender<Event>) -> Option<()> {
    let send = |event| events.blocking_send(event).ok();
    send(Event::SweepApplied(header(sweep)))?;
    let mut expansion = sweep.expand();
    loop {
        let mut trials = Vec::new();
        for (config, id, seed) in expansion.by_ref().take(CHUNK_TRIALS_MAX) {
            trials.push(Trial { id, config, seed });
        }
        if trials.is_empty() {
            return send(Event::SweepExpanded(sweep.name.clone()));
        }
        send(Event::TrialsAdded(sweep.name.clone(), trials))?;
    }
}

/// What applying a sweep came to, in words.
pub(super) fn told(name: &SweepName, applied: Applied) -> String {
    let Applied { is_again, added, removed, unchanged } = applied;
    let trials = if added == 1 { "trial" } else { "trials" };
    if is_again {
        format!("sweep {name}: {added} {trials} added, {removed} removed, {unchanged} unchanged")
    } else {
        format!("sweep {name}: {added} {trials}")
    }
}

pub(super) fn header(sweep: &Sweep) -> SweepHeader {
    SweepHeader {
        name: sweep.name.clone(),
        yaml: sweep.yaml.clone(),
        model: sweep.model,
        data: sweep.data,
        fusion: match sweep.fusion {
            Fusion::Auto => event::Fusion::Auto,
            Fusion::Off => event::Fusion::Off,
            Fusion::Size(size) => event::Fusion::Size(size),
        },
        priority: sweep.priority,
        failures_max: sweep.budget.failures,
        slot_seconds_max: sweep.budget.hours.map(|hours| hours * 3600.0),
        same_error_max: sweep.budget.same_error,
        data_digest: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applying_says_what_it_did() {
        let name = "fast".parse().expect("a name");
        let first = Applied { added: 24, ..Applied::default() };
        assert_eq!(told(&name, first), "sweep fast: 24 trials");
        let again = Applied { is_again: true, added: 8, removed: 8, unchanged: 4 };
        assert_eq!(told(&name, again), "sweep fast: 8 trials added, 8 removed, 4 unchanged");
    }

    #[test]
    fn a_sweep_comes_in_chunks_and_ends() {
        let text = "name: many\nmodel: mlp\ndata: strokes\nseeds: 6000\ngrid: {depth: [2, 3]}\n";
        let options = common::spec::Options::default();
        let (sweep, _) = common::spec::load(text, "many.yaml", &options).expect("valid");
        let (sender, mut receiver) = mpsc::channel(16);
        expand(&sweep, &sender).expect("somebody listens");
        drop(sender);
        let mut sizes = Vec::new();
        let mut ends = 0;
        while let Some(event) = receiver.blocking_recv() {
            match event {
                Event::TrialsAdded(name, trials) => {
                    assert_eq!(name, sweep.name);
                    sizes.push(trials.len());
                }
                Event::SweepExpanded(name) => {
                    assert_eq!(name, sweep.name);
                    ends += 1;
                }
                Event::SweepApplied(header) => assert!(sizes.is_empty() && header.yaml.len() > 9),
                other => panic!("unexpected {other:?}"),
            }
        }
        assert_eq!((sizes, ends), (vec![5_000, 5_000, 2_000], 1));
    }
}
