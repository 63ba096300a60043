//! A look that somebody wants, and how patient it is: what it finds may be what an event on its way tells better.

use std::time::Duration;

use domain::{Cause, Container, fields};
use tokio::sync::oneshot;

/// What is found before its event is told, or is not there before its `destroy` is, is given this long for the event,
/// which knows more, to arrive.
pub(super) const EVENT_WAIT: Duration = Duration::from_millis(300);
/// So often at least: a loaded engine tells of a start a second after it shows it. And so often at most, where each
/// look finds another change than the one before.
const EVENT_WAITS_MIN: u8 = 4;
const EVENT_WAITS_MAX: u8 = 6;

/// A look that somebody wants.
pub(super) struct Wanted {
    pub(super) cause: Cause,
    pub(super) always: bool,
    /// Not to be there is to be gone.
    pub(super) gone: bool,
    /// What it finds may be what an event on its way will tell, and knows more about.
    pub(super) patient: bool,
    /// How often it was made in vain: an event was given the time to come.
    pub(super) waits: u8,
    /// What it found then.
    pub(super) seen: Option<Box<Container>>,
    pub(super) done: Option<oneshot::Sender<Outcome>>,
}

/// What came of a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is there, or known to be gone.
    Seen,
    /// It could not be looked at.
    Failed(String),
}

impl Wanted {
    pub(super) fn new(cause: Cause) -> Self {
        let patient = cause == Cause::Snapshot;
        Self { cause, always: false, gone: true, patient, waits: 0, seen: None, done: None }
    }

    /// The engine changes first and tells then. A change that is another one than before has its own event.
    pub(super) fn waits_for_event(&self, found: &Container) -> bool {
        let is_the_same = |seen: &Container| fields::differences(seen, found).is_empty();
        let stands = self.waits >= EVENT_WAITS_MIN && self.seen.as_deref().is_some_and(is_the_same);
        self.patient && self.waits < EVENT_WAITS_MAX && !stands
    }

    /// What is found after it was waited for is what no event told: as if a snapshot found it.
    pub(super) fn wait(&mut self, found: Option<&Container>) {
        self.waits = self.waits.saturating_add(1);
        self.seen = found.cloned().map(Box::new);
        if self.cause == Cause::Event {
            self.cause = Cause::Snapshot;
        }
    }

    pub(super) fn answer(self, outcome: Outcome) {
        if let Some(done) = self.done {
            // Who asked may have gone.
            drop(done.send(outcome));
        }
    }
}
