//! `SweepService`: what clients ask. Answers come from the store, read off the async threads; what
//! only the running coordinator knows is added from the driver's picture.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use common::ids::{SweepName, WorkerId};
use common::spec;
use common::telemetry::chain;
use common::wire;
use common::wire::sweep_service_server::SweepService;
use scheduler::Acted;
use scheduler::event::Event;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::logs::Logs;
use super::{gpus, live};
use crate::driver::{Done, Driven, Inbox, Stopped};
use crate::gpus::Gpus;
use crate::query::{Class, QueryError, Reader, suggest};

/// Readers at one time: each has a connection and a thread. Further calls wait their turn.
const READERS_MAX: usize = 8;
/// Parts of an answer that wait for a slow client; each is below the largest message.
const PARTS_WAITING_MAX: usize = 2;

/// The service.
pub struct Sweeps {
    inbox: Inbox,
    driven: Driven,
    gpus: Gpus,
    state: PathBuf,
    logs: Arc<Logs>,
    readers: Arc<Semaphore>,
}

impl Sweeps {
    /// A service on the store of a state directory and the driver.
    pub fn new(
        inbox: Inbox,
        driven: Driven,
        gpus: Gpus,
        state: PathBuf,
        logs: Arc<Logs>,
    ) -> Sweeps {
        let readers = Arc::new(Semaphore::new(READERS_MAX));
        Sweeps { inbox, driven, gpus, state, logs, readers }
    }

    /// Reads the store with a connection of its own.
    async fn read<T, F>(&self, read: F) -> Result<T, Status>
    where
        T: Send + 'static,
        F: FnOnce(&Reader) -> Result<T, QueryError> + Send + 'static,
    {
        let turn = Arc::clone(&self.readers).acquire_owned().await;
        let turn = turn.expect("the readers' turns are never closed");
        let state = self.state.clone();
        let answer = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            Reader::open(&state).and_then(|reader| read(&reader)).map_err(|error| status(&error))
        });
        answer.await.map_err(|_| Status::internal("reading the store panicked"))?
    }

    /// As `read`, of an answer that comes in parts.
    async fn stream<T, F>(&self, read: F) -> Response<ReceiverStream<Result<T, Status>>>
    where
        T: Send + 'static,
        F: FnOnce(&Reader, Parts<'_, T>) -> Result<(), QueryError> + Send + 'static,
    {
        let turn = Arc::clone(&self.readers).acquire_owned().await;
        let turn = turn.expect("the readers' turns are never closed");
        let state = self.state.clone();
        let (sender, receiver) = mpsc::channel(PARTS_WAITING_MAX);
        tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let mut send = |part| match sender.blocking_send(Ok(part)) {
                Ok(()) => ControlFlow::Continue(()),
                // The client has gone.
                Err(_) => ControlFlow::Break(()),
            };
            let read = Reader::open(&state).and_then(|reader| read(&reader, &mut send));
            if let Err(error) = read {
                drop(sender.blocking_send(Err(status(&error))));
            }
        });
        Response::new(ReceiverStream::new(receiver))
    }
}

/// Takes the parts of an answer.
type Parts<'s, T> = &'s mut dyn FnMut(T) -> ControlFlow<()>;

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl SweepService for Sweeps {
    type GetTableStream = ReceiverStream<Result<wire::TablePart, Status>>;
    type GetProbeStream = ReceiverStream<Result<wire::ProbeConfig, Status>>;

    async fn list_sweeps(
        &self,
        _request: Request<wire::ListSweepsRequest>,
    ) -> Answer<wire::ListSweepsResponse> {
        let mut sweeps = self.read(Reader::sweeps).await?;
        let overview = Arc::clone(&self.driven.overview.borrow());
        let health = self.driven.health.borrow().clone();
        for sweep in &mut sweeps {
            live::complete_sweep(sweep, &overview, &health);
        }
        Ok(Response::new(wire::ListSweepsResponse { sweeps }))
    }

    async fn get_sweep(&self, request: Request<wire::GetSweepRequest>) -> Answer<wire::Sweep> {
        let name = request.into_inner().sweep;
        let mut sweep = self.read(move |reader| reader.sweep(&name)).await?;
        let health = self.driven.health.borrow().clone();
        live::complete_sweep(&mut sweep, &self.driven.overview.borrow(), &health);
        Ok(Response::new(sweep))
    }

    async fn get_table(
        &self,
        request: Request<wire::TableRequest>,
    ) -> Answer<ReceiverStream<Result<wire::TablePart, Status>>> {
        let request = request.into_inner();
        Ok(self.stream(move |reader, send| reader.table(&request, send)).await)
    }

    async fn get_expectations(
        &self,
        request: Request<wire::GetExpectationsRequest>,
    ) -> Answer<wire::Expectations> {
        let name = request.into_inner().sweep;
        self.read(move |reader| reader.expectations(&name)).await.map(Response::new)
    }

    async fn get_probe(
        &self,
        request: Request<wire::GetProbeRequest>,
    ) -> Answer<ReceiverStream<Result<wire::ProbeConfig, Status>>> {
        let request = request.into_inner();
        Ok(self.stream(move |reader, send| reader.probe(&request, send)).await)
    }

    async fn get_trial(&self, request: Request<wire::GetTrialRequest>) -> Answer<wire::Trial> {
        let wire::GetTrialRequest { sweep, trial } = request.into_inner();
        let mut trial = self.read(move |reader| reader.trial(&sweep, &trial)).await?;
        if trial.state == "pending" {
            let explained = match trial.id.parse() {
                Ok(id) => self.inbox.explain(id).await.ok().flatten(),
                Err(_) => None,
            };
            trial.pending_reason = explained.unwrap_or(trial.pending_reason);
        }
        Ok(Response::new(trial))
    }

    async fn get_log(&self, request: Request<wire::GetLogRequest>) -> Answer<wire::GetLogResponse> {
        let wire::GetLogRequest { sweep, trial } = request.into_inner();
        let (of_sweep, of_trial) = (sweep.clone(), trial.clone());
        let stored = self.read(move |reader| reader.trial(&of_sweep, &of_trial)).await?;
        let running = stored.attempts.last().filter(|attempt| attempt.state == "running");
        let worker = running.and_then(|attempt| attempt.worker.parse::<WorkerId>().ok());
        if let (Some(worker), Ok(id)) = (worker, stored.id.parse())
            && let Some(text) = self.logs.ask(&self.inbox, worker, id).await
        {
            return Ok(Response::new(wire::GetLogResponse { text, source: "live".into() }));
        }
        self.read(move |reader| reader.log(&sweep, &trial)).await.map(Response::new)
    }

    async fn list_workers(
        &self,
        _request: Request<wire::ListWorkersRequest>,
    ) -> Answer<wire::ListWorkersResponse> {
        let mut workers = self.read(Reader::workers).await?;
        let overview = Arc::clone(&self.driven.overview.borrow());
        live::complete_workers(&mut workers, &overview, self.driven.clock);
        gpus::complete_workers(&mut workers, &self.gpus);
        Ok(Response::new(wire::ListWorkersResponse { workers }))
    }

    async fn apply_sweep(
        &self,
        request: Request<wire::ApplySweepRequest>,
    ) -> Answer<wire::ApplySweepResponse> {
        let wire::ApplySweepRequest { yaml, prune, points_set, trials_max } = request.into_inner();
        let options = spec::Options { trials_max, ..spec::Options::default() };
        let loaded = tokio::task::spawn_blocking(move || {
            spec::load(&yaml, "the applied file", &options).map_err(|errors| errors.render(false))
        });
        let loaded = loaded.await.map_err(|_| Status::internal("reading the file panicked"))?;
        let (mut sweep, _) = loaded.map_err(Status::invalid_argument)?;
        sweep.are_points_set = points_set;
        let name = sweep.name.to_string();
        let done = self.inbox.apply(sweep, prune).await.map_err(unavailable)?;
        let Done { applied, held } = done.map_err(Status::failed_precondition)?;
        Ok(Response::new(wire::ApplySweepResponse {
            sweep: name,
            again: applied.is_again,
            added: applied.added,
            removed: applied.removed,
            unchanged: applied.unchanged,
            held: held.unwrap_or_default(),
        }))
    }

    async fn pause_sweep(&self, request: Request<wire::ActOnSweepRequest>) -> Acts {
        self.act_on_sweep(request, Event::SweepPaused).await
    }

    async fn resume_sweep(&self, request: Request<wire::ActOnSweepRequest>) -> Acts {
        self.act_on_sweep(request, Event::SweepResumed).await
    }

    async fn cancel_sweep(&self, request: Request<wire::ActOnSweepRequest>) -> Acts {
        self.act_on_sweep(request, Event::SweepCancelled).await
    }

    async fn retry_sweep(&self, request: Request<wire::ActOnSweepRequest>) -> Acts {
        self.act_on_sweep(request, Event::SweepRetried).await
    }

    async fn drain_worker(&self, request: Request<wire::DrainWorkerRequest>) -> Acts {
        let name = request.into_inner().worker;
        let worker = name.parse().map_err(|_| self.unknown("worker", &name))?;
        self.act(Event::WorkerDrained(worker), "worker", &name).await
    }
}

type Acts = Answer<wire::ActedResponse>;

impl Sweeps {
    async fn act_on_sweep(
        &self,
        request: Request<wire::ActOnSweepRequest>,
        event: fn(SweepName) -> Event,
    ) -> Acts {
        let name = request.into_inner().sweep;
        let sweep = name.parse().map_err(|_| self.unknown("sweep", &name))?;
        self.act(event(sweep), "sweep", &name).await
    }

    async fn act(&self, event: Event, what: &str, name: &str) -> Acts {
        match self.inbox.act(event).await.map_err(unavailable)? {
            Acted::Unknown => Err(self.unknown(what, name)),
            Acted::Refused(why) => {
                Err(Status::failed_precondition(format!("{what} `{name}`: {why}")))
            }
            Acted::Done { pending, running } => {
                Ok(Response::new(wire::ActedResponse { pending, running }))
            }
        }
    }

    fn unknown(&self, what: &str, name: &str) -> Status {
        let overview = self.driven.overview.borrow();
        let (list, near) = match what {
            "sweep" => {
                let names = overview.sweeps.iter().map(|sweep| sweep.name.as_str());
                ("list", suggest(name, names))
            }
            _ => {
                let ids = overview.workers.iter().map(|worker| worker.id.as_str());
                ("workers", suggest(name, ids))
            }
        };
        let near = near.map_or(String::new(), |near| format!(" (did you mean `{near}`?)"));
        let text = format!("unknown {what} `{name}`{near}; `coordinator {list}` shows those known");
        Status::not_found(text)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn unavailable(stopped: Stopped) -> Status {
    Status::unavailable(stopped.to_string())
}

fn status(error: &QueryError) -> Status {
    let text = chain(error);
    match error.class() {
        Class::NotFound => Status::not_found(text),
        Class::Invalid => Status::invalid_argument(text),
        Class::Internal => Status::internal(text),
    }
}
