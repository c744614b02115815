//! Fetching: what the coordinator says goes into the view. One that goes away is sought until it is
//! there again; a mistake ends it.

use std::time::Duration;

use common::wire::{GetSweepRequest, SweepProgress, TrialCounts};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tonic::Streaming;

use super::best;
use super::is_over;
use super::view::{Contact, History, View};
use crate::cli::source::{Source, answer, failure};
use crate::cli::{Failure, WatchArgs};
use crate::options::Global;
use crate::render::printable;

/// How often workers are asked for, and with them whether the coordinator is there.
const ASK_EVERY: Duration = Duration::from_secs(3);
/// A coordinator that leaves a question open for longer has gone away.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// Before the first new try; later ones wait twice as long as the one before.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// A coordinator that comes back is found this soon.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The table of a large sweep costs its coordinator some work: the pause after it is so many times
/// as long as it took.
const TABLE_PAUSES: u32 = 10;
/// Trials whose history is shown.
const HISTORIES_MAX: usize = 30;

/// How it ended.
#[derive(Clone, Copy)]
pub(super) enum End {
    /// Nothing more will happen by itself.
    Over,
    /// No coordinator ran: the view holds what one left.
    Left,
}

/// Fills a view.
pub(super) struct Fetch<'a> {
    /// Which sweep, and whom to ask.
    pub args: &'a WatchArgs,
    /// Where it is, where no address is given.
    pub global: &'a Global,
    /// Also what only the screen shows: configs and histories.
    pub with_details: bool,
    /// What is filled.
    pub view: watch::Sender<View>,
}

/// What configs were asked for, and when.
struct Table {
    counts: Option<TrialCounts>,
    not_before: Instant,
}

impl Fetch<'_> {
    /// Fills the view until there is no more to come. Before the first picture every failure is the
    /// end, later only a mistake is.
    pub async fn run(&self) -> Result<End, Failure> {
        let mut pause = PAUSE_MIN;
        loop {
            let heard = self.heard();
            let error = match self.attempt().await {
                Err(Failure::Failed(error)) if self.has_news() => error,
                ended => return ended,
            };
            if self.heard() != heard {
                pause = PAUSE_MIN;
            }
            let why = printable(&format!("{error:#}"));
            self.view.send_modify(|view| view.contact.away = Some(why));
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn has_news(&self) -> bool {
        self.view.borrow().progress.sweep.is_some()
    }

    fn heard(&self) -> Option<Instant> {
        self.view.borrow().contact.heard
    }

    /// Changes the view by something that the coordinator said.
    fn tell(&self, change: impl FnOnce(&mut View)) {
        self.view.send_modify(|view| {
            change(view);
            view.contact = Contact { heard: Some(Instant::now()), away: None };
        });
    }

    /// One connection, until it breaks.
    async fn attempt(&self) -> Result<End, Failure> {
        let coordinator = self.args.place.coordinator.as_deref();
        let mut source = match self.has_news() {
            false => Source::open(coordinator, self.global).await?,
            true => Source::reopen(coordinator, self.global).await?,
        };
        let Source::Server(client) = &mut source else { return self.read(source).await };
        let request = GetSweepRequest { sweep: self.args.sweep.clone() };
        let mut stream = within(async { answer(client.watch_sweep(request).await) }).await?;
        let first = within(next(&mut stream)).await?;
        if self.is_last(first) {
            return Ok(End::Over);
        }
        tokio::select! {
            end = self.follow(stream) => end,
            failure = self.ask(&mut source) => Err(failure),
        }
    }

    /// What a coordinator left.
    async fn read(&self, mut source: Source) -> Result<End, Failure> {
        let sweep = source.sweep(&self.args.sweep).await?;
        let progress = SweepProgress { sweep: Some(sweep), ..SweepProgress::default() };
        let is_over = is_over(&progress);
        if self.has_news() && !is_over {
            let state = self.global.state.display();
            return Err(Failure::Failed(anyhow::anyhow!("no coordinator runs on {state}")));
        }
        let mut view = View { progress, ..View::default() };
        if is_over {
            self.view.send_replace(view);
            return Ok(End::Over);
        }
        if self.with_details {
            view.workers = source.workers().await?;
            view.configs = best::configs(&self.args.sweep, &mut source).await?;
        }
        self.view.send_replace(view);
        Ok(End::Left)
    }

    /// Takes every picture as it comes.
    async fn follow(&self, mut stream: Streaming<SweepProgress>) -> Result<End, Failure> {
        loop {
            if self.is_last(next(&mut stream).await?) {
                return Ok(End::Over);
            }
        }
    }

    /// Shows a picture; nothing comes after the one of a sweep that is over.
    fn is_last(&self, progress: SweepProgress) -> bool {
        let is_over = is_over(&progress);
        self.tell(|view| view.go_on(progress));
        is_over
    }

    /// Asks for what the pictures lack, and fails where no answer comes.
    async fn ask(&self, source: &mut Source) -> Failure {
        let mut tick = interval(ASK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut table = Table { counts: None, not_before: Instant::now() };
        loop {
            tick.tick().await;
            match within(source.workers()).await {
                Ok(workers) => self.tell(|view| view.workers = workers),
                Err(failure) => return failure,
            }
            if self.with_details {
                self.ask_configs(&mut table, source).await;
                self.ask_histories(source).await;
            }
        }
    }

    /// The best configs are others only when trials ended. What cannot be had stays as it was.
    async fn ask_configs(&self, table: &mut Table, source: &mut Source) {
        let asked = Instant::now();
        let counts = self.view.borrow().progress.sweep.as_ref().and_then(|sweep| sweep.trials);
        let ended = counts.map(|it| TrialCounts { pending: 0, running: 0, ..it });
        if ended == table.counts || asked < table.not_before {
            return;
        }
        if let Ok(configs) = within(best::configs(&self.args.sweep, source)).await {
            self.tell(|view| view.configs = configs);
            table.counts = ended;
        }
        table.not_before = Instant::now() + asked.elapsed() * TABLE_PAUSES;
    }

    /// Asks for the histories that the pictures alone do not continue.
    async fn ask_histories(&self, source: &mut Source) {
        let wanted = self.view.borrow().lacking(HISTORIES_MAX);
        let mut found = Vec::new();
        for trial in wanted {
            let asked = within(source.trial(&self.args.sweep, &trial.trial));
            // One that does not answer now would not answer the others either.
            let Ok(answer) = asked.await else { break };
            let last = answer.epochs.last().map_or(0, |epoch| epoch.epoch);
            let errors = answer.epochs.iter().map(|epoch| epoch.val_error).collect();
            let epoch = trial.epoch.max(last);
            found.push((trial.trial, History { errors, epoch, is_running: trial.running }));
        }
        if !found.is_empty() {
            self.tell(|view| view.histories.extend(found));
        }
    }
}

/// The next picture.
async fn next(stream: &mut Streaming<SweepProgress>) -> Result<SweepProgress, Failure> {
    let broken = match stream.message().await {
        Ok(Some(progress)) => return Ok(progress),
        Ok(None) => "the coordinator has ended",
        Err(status) => match failure(status) {
            // What the layers of the connection say of its end means nothing to a reader.
            Failure::Failed(_) => "the connection broke",
            mistake => return Err(mistake),
        },
    };
    Err(Failure::Failed(anyhow::anyhow!(broken)))
}

/// An answer that comes in time.
async fn within<T>(answer: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    timeout(ANSWER_WAIT, answer).await.unwrap_or_else(|_| {
        Err(Failure::Failed(anyhow::anyhow!("the coordinator does not answer")))
    })
}
