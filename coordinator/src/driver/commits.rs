//! The order of things: what the scheduler decided goes to the writer, and its messages come back
//! when it is committed, in the order in which it was decided.

use prometheus::Histogram;
use scheduler::{Effects, Message};
use tokio::sync::{mpsc, oneshot};

use super::failures::FailedTrial;
use crate::store::writer::{BATCHES_WAITING_MAX, Batch, COMMIT_ROWS_MAX, Writer, Written, rows_of};
use crate::store::{Store, StoreError};

/// Batches that are not committed yet. No more than the writer's queue holds, so that sending one
/// never waits.
const UNCOMMITTED_MAX: usize = BATCHES_WAITING_MAX;
/// Rows that are not committed yet. More than the chunks of an expansion that wait at a time have,
/// so that they keep no report out; a hundred bytes or two each, so that memory is bounded.
const UNCOMMITTED_ROWS_MAX: usize = 4 * COMMIT_ROWS_MAX;
/// Batches that a chunk of an expansion may wait behind: with more, leases and acknowledgements
/// would wait seconds for the rows of a large sweep.
const UNCOMMITTED_BEFORE_CHUNK_MAX: usize = 4;

/// What follows a commit.
#[derive(Debug)]
pub(super) enum Then {
    /// These messages are sent, and these failures told.
    Send { messages: Vec<Message>, failed: Vec<FailedTrial> },
    /// Somebody who waits for everything before it is told.
    Answer(Answer),
}

/// Tells somebody who waits for a commit.
pub(super) struct Answer(Box<dyn FnOnce() + Send>);

impl Answer {
    /// Sends this value to whoever waits for it, who may have gone.
    pub fn new<T: Send + 'static>(value: T, to: oneshot::Sender<T>) -> Answer {
        Answer(Box::new(move || drop(to.send(value))))
    }

    /// Tells it.
    pub fn tell(self) {
        (self.0)();
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Answer")
    }
}

/// The writer stopped; the store that it gave back is to be read again.
pub(super) struct Failed {
    pub error: StoreError,
    pub store: Box<dyn Store>,
}

/// What is decided and not yet committed.
pub(super) struct Commits {
    writer: Writer<Then>,
    written: mpsc::Receiver<Written<Then>>,
    uncommitted: usize,
    uncommitted_rows: usize,
    seconds: Histogram,
}

impl Commits {
    /// Starts the writer of a store. Fails where the system gives no thread.
    pub fn start(store: Box<dyn Store>, seconds: Histogram) -> std::io::Result<Commits> {
        // One place more than batches: the writer must never wait for the driver.
        let (sender, written) = mpsc::channel(UNCOMMITTED_MAX + 1);
        let writer = Writer::spawn(store, move |written| {
            // Nobody listens after the driver's end, when everything is committed.
            drop(sender.blocking_send(written));
        })?;
        Ok(Commits { writer, written, uncommitted: 0, uncommitted_rows: 0, seconds })
    }

    /// Whether another batch can be taken.
    pub fn has_room(&self) -> bool {
        // An event gives one batch, and a stream that is closed on the way another.
        self.uncommitted + 2 <= UNCOMMITTED_MAX && self.uncommitted_rows < UNCOMMITTED_ROWS_MAX
    }

    /// Whether a chunk of an expansion can be taken.
    pub fn has_room_for_chunk(&self) -> bool {
        self.uncommitted < UNCOMMITTED_BEFORE_CHUNK_MAX
    }

    /// Everything is committed.
    pub fn is_empty(&self) -> bool {
        self.uncommitted == 0
    }

    /// Takes what one `apply` gave, and the failed trials among it.
    pub async fn push(&mut self, effects: Effects, failed: Vec<FailedTrial>) {
        let Effects { changes, messages, acted: _ } = effects;
        if changes.is_empty() && messages.is_empty() {
            return;
        }
        self.send(Batch { changes, payload: Then::Send { messages, failed } }).await;
    }

    /// Answers when everything before is committed.
    pub async fn push_answer(&mut self, answer: Answer) {
        self.send(Batch { changes: Vec::new(), payload: Then::Answer(answer) }).await;
    }

    async fn send(&mut self, batch: Batch<Then>) {
        self.uncommitted += 1;
        self.uncommitted_rows += batch.changes.iter().map(rows_of).sum::<usize>();
        // A batch that is refused is dropped with the memory: `next` tells of the failure.
        drop(self.writer.send(batch).await);
    }

    /// What the next commit is followed by; waits while nothing is committed.
    pub async fn next(&mut self) -> Result<Vec<Then>, Failed> {
        match self.written.recv().await.expect("the writer tells of its end") {
            Written::Committed { payloads, rows, seconds } => {
                self.uncommitted -= payloads.len();
                self.uncommitted_rows -= rows;
                if rows > 0 {
                    self.seconds.observe(seconds);
                }
                Ok(payloads)
            }
            Written::Failed { error, store, uncommitted: _ } => Err(Failed { error, store }),
        }
    }

    /// Ends the writer once everything is committed.
    pub async fn close(self) {
        assert!(self.is_empty(), "a writer with work left is not closed");
        let closed = tokio::task::spawn_blocking(move || drop(self.writer.close()));
        closed.await.expect("closing the writer does not panic");
    }
}
