//! What clients do to sweeps and workers: told when it is committed.

use common::ids::SweepName;
use common::spec::Sweep;
use scheduler::event::Event;
use scheduler::{Acted, Applied};
use tokio::sync::oneshot;

use super::commits::Answer;
use super::inbox::{Application, Done};
use super::{Driver, expansion, points};

impl Driver {
    pub(super) async fn on_act(&mut self, event: Event, answer: oneshot::Sender<Acted>) {
        let acted = self.apply_action(event).await.expect("an action tells what came of it");
        self.answer(acted, answer).await;
    }

    pub(super) fn on_apply(&mut self, application: Application) {
        self.applications.push_back(application);
        self.apply_next();
    }

    /// Begins with what the next client wants applied, once everything before is expanded.
    pub(super) fn apply_next(&mut self) {
        while self.expansion.is_none()
            && let Some(application) = self.applications.pop_front()
        {
            let sweep = &application.sweep;
            if let Some(mistake) = points::mistake(&self.scheduler, sweep) {
                drop(application.answer.send(Err(mistake)));
                continue;
            }
            // Where the store fails, the file that was given at the start must not come back.
            self.forget_given(&sweep.name.clone());
            self.expansion = Some(expansion::start(vec![sweep.clone()]));
            self.applying = Some(application);
        }
    }

    fn forget_given(&mut self, name: &SweepName) {
        self.sweeps.retain(|given: &Sweep| given.name != *name);
    }

    /// Every member of a sweep was named.
    pub(super) async fn on_applied(&mut self, name: &SweepName, applied: Applied) {
        let Some(Application { prune, answer, .. }) =
            self.applying.take_if(|applying| applying.sweep.name == *name)
        else {
            return;
        };
        if prune {
            self.apply(Event::SweepPruned(name.clone())).await;
        }
        let done = Done { applied, held: self.scheduler.held(name) };
        self.answer(Ok(done), answer).await;
    }

    /// Once everything so far is committed; who asks then sees it in the picture as well.
    async fn answer<T: Send + 'static>(&mut self, value: T, to: oneshot::Sender<T>) {
        self.publisher.publish(&self.scheduler, self.clock.now());
        self.commits.push_answer(Answer::new(value, to)).await;
    }
}
