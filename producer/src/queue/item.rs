//! An observation that waits.

use domain::node::{Gap, GapRange, GapReason};
use domain::{ContainerId, Observation, Observed};

/// An observation that has no stamp yet.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) observation: Observation,
    /// Tick of the look it came from, open until it has a stamp.
    pub(crate) tick: Option<u64>,
    size: usize,
}

impl Item {
    pub(crate) fn new(observation: Observation, tick: Option<u64>) -> Self {
        let size = size_of(&observation);
        Self { observation, tick, size }
    }

    /// About how many bytes it takes, in memory and on the wire.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Its place among all that waited, from 1; 0 for a `hello`, which waits for nothing.
    pub(crate) fn number(&self) -> u64 {
        self.observation.spool_place.map_or(0, |place| place.position)
    }

    /// What is left of it as history, if anything.
    pub(crate) fn history(&self) -> Option<Observation> {
        let history = self.observation.clone().into_history();
        (history.observed != Observed::Nothing).then_some(history)
    }

    pub(super) fn state_of(&self) -> Option<ContainerId> {
        match &self.observation.observed {
            Observed::Container(container) | Observed::Removed(container) => Some(container.id),
            Observed::Event(_)
            | Observed::Hello(_)
            | Observed::Stating(_)
            | Observed::Listed(_)
            | Observed::Blind(_)
            | Observed::Gap(_)
            | Observed::Correction(_)
            | Observed::Nothing => None,
        }
    }

    pub(super) fn is_history(&self) -> bool {
        matches!(self.observation.observed, Observed::Event(_) | Observed::Correction(_) | Observed::Nothing)
    }

    /// There is something in it that is left as history.
    pub(super) fn is_told(&self) -> bool {
        self.observation.event.is_some() || matches!(self.observation.observed, Observed::Correction(_))
    }

    pub(super) fn dropped_before(&self) -> Option<u64> {
        lost_before(&self.observation)
    }
}

/// More than were ever dropped: a file of the spool may say anything, and what it says is added up.
const DROPPED_MAX: u64 = 1 << 40;

/// How much was dropped at a bound of this producer, where that is what an observation says.
pub(crate) fn lost_before(observation: &Observation) -> Option<u64> {
    match &observation.observed {
        Observed::Gap(Gap { reason: GapReason::QueueFull, range: GapRange::Engine { lost, .. }, .. }) => {
            lost.map(|lost| lost.min(DROPPED_MAX))
        }
        Observed::Gap(_)
        | Observed::Container(_)
        | Observed::Removed(_)
        | Observed::Event(_)
        | Observed::Hello(_)
        | Observed::Stating(_)
        | Observed::Listed(_)
        | Observed::Blind(_)
        | Observed::Correction(_)
        | Observed::Nothing => None,
    }
}

/// What stands in the place of what was dropped last.
pub(crate) fn gap(dropped: &Observation, lost: u64) -> Observation {
    let gap = Gap {
        reason: GapReason::QueueFull,
        range: GapRange::Engine { lost: Some(lost), since: None, until: None },
        action: "the newest state of each container is kept".to_owned(),
    };
    let Observation { observed_at, cause, spool_place, event: _, observed: _ } = *dropped;
    Observation { observed_at, cause, event: None, spool_place, observed: Observed::Gap(gap) }
}

fn size_of(observation: &Observation) -> usize {
    const FIXED: usize = 96;
    FIXED
        + match &observation.observed {
            Observed::Container(c) | Observed::Removed(c) => {
                let texts = [&c.name, &c.image, &c.image_id].map(String::len).iter().sum::<usize>();
                let optional = [&c.error, &c.project, &c.service];
                let optional = optional.into_iter().flatten().map(String::len).sum::<usize>();
                let labels = c.labels.iter().map(|(key, value)| key.len() + value.len() + 8).sum::<usize>();
                256 + texts + optional + labels + c.ports.len() * 32
            }
            Observed::Listed(listed) => listed.ids.len() * 34,
            Observed::Stating(ids) => ids.iter().map(|id| id.len() + 2).sum(),
            Observed::Blind(reason) => reason.len(),
            Observed::Correction(correction) => {
                64 + correction.fields.iter().map(|field| field.len() + 2).sum::<usize>()
            }
            Observed::Event(_) | Observed::Gap(_) => 96,
            Observed::Hello(_) => 256,
            Observed::Nothing => 0,
        }
}
