//! The tasks of a running server, and the order in which they end: the local worker hands back
//! what it trains, then the driver commits everything, then the listeners close.

use std::future::Future;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::ServeError;
use crate::progress::AllDone;

/// What a task ended with.
pub(super) enum Ended {
    /// The driver has committed everything.
    Driver,
    /// A listener, or progress that was told to end.
    Listener,
    /// The local worker.
    Local,
    /// Progress, with every sweep done.
    AllDone(AllDone),
}

/// The tasks.
pub(super) struct Tasks {
    tasks: JoinSet<Result<Ended, ServeError>>,
    /// The local worker has not ended.
    is_local_running: bool,
    /// The driver has not ended.
    is_driver_running: bool,
    /// Tells the local worker to drain.
    pub local: CancellationToken,
    /// Tells the driver to commit what it has and end.
    pub driver: CancellationToken,
    /// Tells everything else to end.
    pub listeners: CancellationToken,
}

impl Tasks {
    pub fn new() -> Tasks {
        Tasks {
            tasks: JoinSet::new(),
            is_local_running: false,
            is_driver_running: false,
            local: CancellationToken::new(),
            driver: CancellationToken::new(),
            listeners: CancellationToken::new(),
        }
    }

    pub fn spawn_driver<F>(&mut self, task: F)
    where
        F: Future<Output = Result<(), ServeError>> + Send + 'static,
    {
        self.is_driver_running = true;
        self.tasks.spawn(async { task.await.map(|()| Ended::Driver) });
    }

    pub fn spawn_local<F>(&mut self, task: F)
    where
        F: Future<Output = Result<(), ServeError>> + Send + 'static,
    {
        self.is_local_running = true;
        self.tasks.spawn(async { task.await.map(|()| Ended::Local) });
    }

    pub fn spawn_listener<F>(&mut self, task: F)
    where
        F: Future<Output = Result<(), ServeError>> + Send + 'static,
    {
        self.tasks.spawn(async { task.await.map(|()| Ended::Listener) });
    }

    pub fn spawn_progress<F>(&mut self, task: F)
    where
        F: Future<Output = Option<AllDone>> + Send + 'static,
    {
        self.tasks.spawn(async { Ok(task.await.map_or(Ended::Listener, Ended::AllDone)) });
    }

    /// Waits for the first task that ends by itself: all done, or an error.
    pub async fn first(&mut self) -> Result<AllDone, ServeError> {
        match self.next().await.expect("the listeners are among the tasks")? {
            Ended::AllDone(done) => Ok(done),
            Ended::Driver | Ended::Listener | Ended::Local => {
                unreachable!("these end with an error, or when they are told to")
            }
        }
    }

    /// Ends every task in order; gives the first error.
    pub async fn shut_down(mut self) -> Result<(), ServeError> {
        self.local.cancel();
        let mut result = Ok(());
        loop {
            if !self.is_local_running {
                self.driver.cancel();
            }
            if !self.is_driver_running {
                self.listeners.cancel();
            }
            match self.next().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => result = result.and(Err(error)),
                None => return result,
            }
        }
    }

    async fn next(&mut self) -> Option<Result<Ended, ServeError>> {
        let joined = self.tasks.join_next().await?;
        let ended = joined.map_err(ServeError::Panicked).flatten();
        match &ended {
            Ok(Ended::Local) | Err(ServeError::Local(_)) => self.is_local_running = false,
            Ok(Ended::Driver) | Err(ServeError::Driver(_)) => self.is_driver_running = false,
            // Whose panic it was is not known: nothing is waited for.
            Err(ServeError::Panicked(_)) => {
                self.is_local_running = false;
                self.is_driver_running = false;
            }
            Ok(Ended::Listener | Ended::AllDone(_)) | Err(_) => {}
        }
        Some(ended)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    type Log = Arc<Mutex<Vec<&'static str>>>;

    fn note(log: &Log, what: &'static str) {
        log.lock().expect("no panic").push(what);
    }

    async fn when(
        token: CancellationToken,
        log: Log,
        what: &'static str,
    ) -> Result<(), ServeError> {
        token.cancelled().await;
        note(&log, what);
        Ok(())
    }

    fn tasks(log: &Log) -> Tasks {
        let mut tasks = Tasks::new();
        tasks.spawn_driver(when(tasks.driver.clone(), Arc::clone(log), "driver"));
        tasks.spawn_listener(when(tasks.listeners.clone(), Arc::clone(log), "listener"));
        tasks
    }

    #[tokio::test]
    async fn the_worker_ends_before_the_driver_and_the_driver_before_the_listeners() {
        let log = Log::default();
        let mut tasks = tasks(&log);
        tasks.spawn_local(when(tasks.local.clone(), Arc::clone(&log), "local"));
        tasks.shut_down().await.expect("no errors");
        assert_eq!(*log.lock().expect("no panic"), ["local", "driver", "listener"]);
    }

    #[tokio::test]
    async fn a_failed_task_does_not_hold_up_the_end() {
        let log = Log::default();
        let mut tasks = tasks(&log);
        tasks.spawn_local(async {
            let source = std::io::Error::other("gone");
            Err(ServeError::Local(crate::local::LocalError::Wait(source)))
        });
        tasks.first().await.expect_err("the worker failed");
        tasks.shut_down().await.expect("no further errors");
        assert_eq!(*log.lock().expect("no panic"), ["driver", "listener"]);
    }
}
