//! Reading the store into a scheduler: at the start, and again after the store failed.

use common::ids::SweepName;
use common::spec::{self, Sweep};
use common::telemetry::chain;
use scheduler::event::Event;
use scheduler::{Effects, Scheduler, Settings};

use super::Clock;
use super::unkept::Unkept;
use crate::store::{Store, StoreError};

/// What the store held.
pub struct Restored {
    /// With everything applied.
    pub scheduler: Scheduler,
    /// What applying it asked for.
    pub effects: Effects,
    /// Ready for the writer.
    pub store: Box<dyn Store>,
    /// Sweeps whose expansion was cut off.
    pub unexpanded: Vec<Sweep>,
    /// Sweeps that keep no weights.
    pub unkept: Unkept,
}

/// The store cannot be read.
pub struct NotRestored {
    /// Why.
    pub error: StoreError,
    /// For another try.
    pub store: Box<dyn Store>,
}

/// Reads the store, off the async threads.
pub async fn restore(store: Box<dyn Store>, clock: Clock) -> Result<Restored, NotRestored> {
    let read = tokio::task::spawn_blocking(move || read(store, clock));
    read.await.expect("reading the store does not panic and is never aborted")
}

fn read(mut store: Box<dyn Store>, clock: Clock) -> Result<Restored, NotRestored> {
    let mut scheduler = Scheduler::new(Settings::default());
    let mut effects = Effects::default();
    let mut files = Vec::new();
    let result = store.restore(&mut |event| {
        if let Event::SweepRestored(header) = &event {
            files.push((header.name.clone(), header.yaml.clone()));
        }
        let Effects { changes, messages, acted: _ } = scheduler.apply(clock.now(), event);
        effects.changes.extend(changes);
        effects.messages.extend(messages);
    });
    let unexpanded = result.and_then(|()| store.unexpanded());
    match unexpanded {
        Ok(names) => {
            let unexpanded = sweeps(&names, &files);
            let mut unkept = Unkept::default();
            files.iter().for_each(|(name, yaml)| unkept.note(name, yaml));
            Ok(Restored { scheduler, effects, store, unexpanded, unkept })
        }
        Err(error) => Err(NotRestored { error, store }),
    }
}

/// The stored files of these sweeps. One that this version refuses stays cut off.
fn sweeps(names: &[SweepName], files: &[(SweepName, String)]) -> Vec<Sweep> {
    let options = spec::Options { trials_max: u64::MAX, ..spec::Options::default() };
    let mut sweeps = Vec::new();
    for (name, yaml) in files.iter().filter(|(name, _)| names.contains(name)) {
        match spec::load(yaml, name.as_str(), &options) {
            Ok((sweep, _)) => sweeps.push(sweep),
            Err(errors) => tracing::warn!(
                sweep = %name,
                "its stored file cannot be applied by this version: {}",
                chain(&errors)
            ),
        }
    }
    sweeps
}
