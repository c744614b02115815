//! `SweepService`: what clients ask and what they change.

use common::ids::SweepName;
use common::spec;
use common::telemetry::chain;
use common::wire;
use common::wire::sweep_service_server::SweepService;
use scheduler::Acted;
use scheduler::event::Event;
use tokio_stream::StreamExt;
use tokio_stream::adapters::Map;
use tonic::{Request, Response, Status};

use super::watch;
use crate::answers::{AnswerError, Answers, InParts, Parts};
use crate::driver::{Done, Inbox, Stopped};
use crate::query::{Class, QueryError, Reader, suggest};

/// The service.
pub struct Sweeps {
    inbox: Inbox,
    answers: Answers,
}

impl Sweeps {
    /// A service on the driver and its answers.
    pub fn new(inbox: Inbox, answers: Answers) -> Sweeps {
        Sweeps { inbox, answers }
    }

    /// An answer in parts.
    async fn stream<T, F>(&self, read: F) -> Answer<InStatus<T>>
    where
        T: Send + 'static,
        F: FnOnce(&Reader, Parts<'_, T>) -> Result<(), QueryError> + Send + 'static,
    {
        Ok(in_status(self.answers.stream(read).await.map_err(status)?))
    }
}

fn in_status<T>(parts: InParts<T>) -> Response<InStatus<T>> {
    let to_status: ToStatus<T> = |part| part.map_err(status);
    Response::new(parts.map(to_status))
}

type ToStatus<T> = fn(Result<T, AnswerError>) -> Result<T, Status>;
/// Parts of an answer with the errors of gRPC.
type InStatus<T> = Map<InParts<T>, ToStatus<T>>;

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl SweepService for Sweeps {
    type GetTableStream = InStatus<wire::TablePart>;
    type WatchSweepStream = watch::Progress;
    type GetProbeStream = InStatus<wire::ProbeConfig>;
    type GetModelStream = InStatus<wire::ModelPart>;

    async fn list_sweeps(
        &self,
        _request: Request<wire::ListSweepsRequest>,
    ) -> Answer<wire::ListSweepsResponse> {
        let sweeps = self.answers.sweeps().await.map_err(status)?;
        Ok(Response::new(wire::ListSweepsResponse { sweeps }))
    }

    async fn get_sweep(&self, request: Request<wire::GetSweepRequest>) -> Answer<wire::Sweep> {
        let answer = self.answers.sweep(request.into_inner().sweep).await;
        answer.map(Response::new).map_err(status)
    }

    async fn watch_sweep(
        &self,
        request: Request<wire::GetSweepRequest>,
    ) -> Answer<watch::Progress> {
        let name = request.into_inner().sweep;
        let overview = &self.answers.driven().overview;
        match name.parse() {
            Ok(sweep) if watch::has(&overview.borrow(), &sweep) => {
                Ok(Response::new(watch::progress(overview.clone(), sweep)))
            }
            Ok(_) | Err(_) => Err(self.unknown("sweep", &name)),
        }
    }

    async fn get_table(
        &self,
        request: Request<wire::TableRequest>,
    ) -> Answer<InStatus<wire::TablePart>> {
        let request = request.into_inner();
        self.stream(move |reader, send| reader.table(&request, send)).await
    }

    async fn get_expectations(
        &self,
        request: Request<wire::GetExpectationsRequest>,
    ) -> Answer<wire::Expectations> {
        let name = request.into_inner().sweep;
        let answer = self.answers.read(move |reader| reader.expectations(&name)).await;
        answer.map(Response::new).map_err(status)
    }

    async fn get_probe(
        &self,
        request: Request<wire::GetProbeRequest>,
    ) -> Answer<InStatus<wire::ProbeConfig>> {
        let request = request.into_inner();
        self.stream(move |reader, send| reader.probe(&request, send)).await
    }

    async fn get_trial(&self, request: Request<wire::GetTrialRequest>) -> Answer<wire::Trial> {
        let wire::GetTrialRequest { sweep, trial } = request.into_inner();
        self.answers.trial(sweep, trial).await.map(Response::new).map_err(status)
    }

    async fn get_log(&self, request: Request<wire::GetLogRequest>) -> Answer<wire::GetLogResponse> {
        let wire::GetLogRequest { sweep, trial } = request.into_inner();
        self.answers.log(sweep, trial).await.map(Response::new).map_err(status)
    }

    async fn get_model(
        &self,
        request: Request<wire::GetModelRequest>,
    ) -> Answer<InStatus<wire::ModelPart>> {
        let wire::GetModelRequest { sweep, trial } = request.into_inner();
        let parts = self.answers.model(sweep, trial).await.map_err(status)?;
        Ok(in_status(parts))
    }

    async fn list_workers(
        &self,
        _request: Request<wire::ListWorkersRequest>,
    ) -> Answer<wire::ListWorkersResponse> {
        let workers = self.answers.workers().await.map_err(status)?;
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
        let overview = self.answers.driven().overview.borrow();
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

fn status(error: AnswerError) -> Status {
    let text = chain(&error);
    match error {
        AnswerError::Query(error) => match error.class() {
            Class::NotFound => Status::not_found(text),
            Class::Invalid => Status::invalid_argument(text),
            Class::Internal => Status::internal(text),
        },
        AnswerError::Busy => Status::resource_exhausted(text),
        AnswerError::Cut => Status::aborted(text),
        AnswerError::Thread(_) | AnswerError::Panicked => Status::internal(text),
    }
}
