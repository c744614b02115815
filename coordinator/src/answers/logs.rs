//! Questions to workers for the newest lines of a running trial's trainer, and their answers.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use common::ids::{TrialId, WorkerId};
use tokio::sync::oneshot;

use crate::driver::Inbox;
use crate::rpc::convert;

/// How long a worker may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// Questions that wait at one time; more than an operator asks.
const WAITING_MAX: usize = 256;
/// Longest answer; it goes on to the client in one message.
const TEXT_BYTES_MAX: usize = 512 << 10;

/// The questions that wait for an answer.
#[derive(Debug, Default)]
pub struct Logs(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    answers: BTreeMap<u64, oneshot::Sender<String>>,
}

impl Logs {
    /// Asks a worker; none where it does not answer in time.
    pub async fn ask(&self, inbox: &Inbox, worker: WorkerId, trial: TrialId) -> Option<String> {
        let (request, answered) = self.register()?;
        inbox.ask_log(worker, request, trial).await.ok()?;
        let text = tokio::time::timeout(ANSWER_WAIT, answered).await;
        self.waiting().answers.remove(&request);
        Some(convert::newest(text.ok()?.ok()?, TEXT_BYTES_MAX))
    }

    /// A worker's answer. One that nobody waits for any more is dropped.
    pub fn answer(&self, request: u64, text: String) {
        if let Some(answer) = self.waiting().answers.remove(&request) {
            drop(answer.send(text));
        }
    }

    fn register(&self) -> Option<(u64, oneshot::Receiver<String>)> {
        let mut waiting = self.waiting();
        if waiting.answers.len() >= WAITING_MAX {
            return None;
        }
        waiting.last += 1;
        let request = waiting.last;
        let (answer, answered) = oneshot::channel();
        waiting.answers.insert(request, answer);
        Some((request, answered))
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
