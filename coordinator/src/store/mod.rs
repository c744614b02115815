//! The store: what survives the coordinator. One writer changes it, in the order in which the
//! scheduler decided; readers (`query`) have connections of their own.
//!
//! Every implementation of `Store` passes the same suite (`suite`). A store knows domain types
//! only; proto types stop at `rpc` and `query`.

pub mod backup;
pub mod check;
pub mod endpoint;
mod error;
pub mod lock;
pub mod sqlite;
#[cfg(test)]
mod suite;
pub(crate) mod text;
pub mod writer;

use common::ids::SweepName;
use scheduler::{Change, Event};

pub use error::{StoreError, Trouble};
pub use sqlite::SqliteStore;

/// Rows of one event of a restoration: small enough that none stalls whoever applies them.
pub const RESTORE_ROWS_MAX: usize = 5_000;

/// What the coordinator needs of a store.
pub trait Store: Send {
    /// Stores all changes, in order, in one transaction; `at_unix_ms` is the time of their rows.
    ///
    /// When it returns, the changes outlive a power cut. `StoreError::NotCommitted` means that
    /// none is stored and the store can be used on. After `StoreError::Unknown` all or none are:
    /// drop what is in memory and `restore`.
    fn commit(&mut self, changes: &[Change], at_unix_ms: u64) -> Result<(), StoreError>;

    /// Sends what is stored to `sink`: sweeps with their standing, oldest first, then trials, then
    /// members by sweep in the order of expansion, both in pages of at most `RESTORE_ROWS_MAX`,
    /// then `Event::Restored`. Whoever was attached when the store was last written counts as
    /// detached from here on.
    ///
    /// A stored trial's `val_error` is its outcome's where it has one, else the latest epoch's.
    fn restore(&mut self, sink: &mut dyn FnMut(Event)) -> Result<(), StoreError>;

    /// Sweeps whose expansion was cut off, oldest first: apply their `yaml` again.
    fn unexpanded(&mut self) -> Result<Vec<SweepName>, StoreError>;
}
