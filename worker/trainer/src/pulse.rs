//! Signs of life: a trainer that says nothing for long is taken for one that hangs.

use std::time::{Duration, Instant};

use common::wire::{self, from_trainer};

use crate::link::{Commands, Link, LinkError};

/// Time without a message after which a pulse is due: far below the minutes of silence after which
/// an agent kills a trainer, and too long for pulses to be noticed among an agent's work.
pub const PULSE_INTERVAL: Duration = Duration::from_secs(10);

/// A link that knows when something was said last.
pub struct PulsingLink<'a> {
    link: &'a mut dyn Link,
    interval: Duration,
    said_at: Instant,
}

impl<'a> PulsingLink<'a> {
    /// A link on which a pulse is due after so long without a message.
    pub fn new(link: &'a mut dyn Link, interval: Duration) -> PulsingLink<'a> {
        PulsingLink { link, interval, said_at: Instant::now() }
    }

    /// Says that training goes on, where nothing was said for the interval. Cheap enough for every
    /// step.
    pub fn pulse(&mut self) -> Result<(), LinkError> {
        if self.said_at.elapsed() < self.interval {
            return Ok(());
        }
        self.send(from_trainer::Message::Pulse(wire::Pulse {}))
    }
}

impl Link for PulsingLink<'_> {
    fn send(&mut self, message: from_trainer::Message) -> Result<(), LinkError> {
        self.said_at = Instant::now();
        self.link.send(message)
    }

    fn commands(&mut self, wait: bool) -> &mut Commands {
        self.link.commands(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Recorder {
        messages: Vec<from_trainer::Message>,
        commands: Commands,
    }

    impl Link for Recorder {
        fn send(&mut self, message: from_trainer::Message) -> Result<(), LinkError> {
            self.messages.push(message);
            Ok(())
        }

        fn commands(&mut self, _wait: bool) -> &mut Commands {
            &mut self.commands
        }
    }

    #[test]
    fn every_message_puts_the_next_pulse_off() {
        let mut recorder = Recorder::default();
        let interval = Duration::from_secs(3600);
        let mut link = PulsingLink::new(&mut recorder, interval);
        let pulse = from_trainer::Message::Pulse(wire::Pulse {});
        let finished = from_trainer::Message::Finished(wire::CohortFinished { cohort: 1 });
        link.pulse().expect("heard");
        link.interval = Duration::ZERO;
        link.pulse().expect("heard");
        link.interval = interval;
        link.pulse().expect("heard");
        let said_at = link.said_at;
        link.send(finished.clone()).expect("heard");
        assert!(link.said_at > said_at, "any message counts");
        assert_eq!(recorder.messages, [pulse, finished]);
    }
}
