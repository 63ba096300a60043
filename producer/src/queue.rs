//! What waits to be sent, in order, without stamps: a stamp is given when an observation is sent.
//!
//! What the spool holds too may leave this memory: only its span stands here then, until its turn comes.

mod item;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};

use domain::observation::SpoolPlace;
use domain::{Cause, Observation, Observed, Timestamp};

pub(crate) use item::{Item, gap, lost_before};

/// What a span takes of the memory.
const SPAN_SIZE: usize = 64;

/// Numbers of observations that wait in the spool alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: u64,
    pub(crate) through: u64,
    /// How many it stands for: not every number in between.
    pub(crate) count: u64,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are items")]
enum Waiting {
    Here(Item),
    InSpool(Span),
}

impl Waiting {
    fn size(&self) -> usize {
        match self {
            Self::Here(item) => item.size(),
            Self::InSpool(_) => SPAN_SIZE,
        }
    }

    fn number(&self) -> u64 {
        match self {
            Self::Here(item) => item.number(),
            Self::InSpool(span) => span.from,
        }
    }

    fn here(&self) -> Option<&Item> {
        match self {
            Self::Here(item) => Some(item),
            Self::InSpool(_) => None,
        }
    }
}

/// Numbers whose history is in the spool: above the first, up to the second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spooled {
    pub(crate) above: u64,
    pub(crate) through: u64,
}

impl Spooled {
    fn holds(&self, number: u64) -> bool {
        self.above < number && number <= self.through
    }
}

/// Observations that wait to be sent.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    spool_id: u64,
    next_position: u64,
    spooled: Spooled,
    count_max: usize,
    bytes_max: usize,
}

/// What was dropped to keep the queue within its bounds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// How many nobody will be told.
    pub(crate) count: u64,
    /// The looks whose states are not sent any more.
    pub(crate) ticks: Vec<u64>,
}

impl Queue {
    pub(crate) fn new(spool_id: u64, count_max: usize, bytes_max: usize) -> Self {
        let spooled = Spooled::default();
        Self { waiting: VecDeque::new(), bytes: 0, spool_id, next_position: 1, spooled, count_max, bytes_max }
    }

    /// How many wait, in the spool or here.
    pub(crate) fn len(&self) -> usize {
        let count = |waiting: &Waiting| match waiting {
            Waiting::Here(_) => 1,
            Waiting::InSpool(span) => usize::try_from(span.count).unwrap_or(usize::MAX).max(1),
        };
        self.waiting.iter().map(count).fold(0, usize::saturating_add)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn is_half_full(&self) -> bool {
        self.is_over(1, 2)
    }

    /// The number that was given last.
    pub(crate) fn last_number(&self) -> u64 {
        self.next_position - 1
    }

    /// The lowest number that waits.
    pub(crate) fn first_number(&self) -> Option<u64> {
        self.waiting.iter().map(Waiting::number).find(|number| *number != 0)
    }

    /// Puts one at the end.
    pub(crate) fn push(&mut self, mut observation: Observation, tick: Option<u64>) -> Dropped {
        observation.spool_place = Some(SpoolPlace { spool_id: self.spool_id, position: self.next_position });
        self.next_position += 1;
        let item = Item::new(observation, tick);
        self.bytes += item.size();
        self.waiting.push_back(Waiting::Here(item));
        if self.is_over(1, 1) { self.shrink() } else { Dropped::default() }
    }

    /// Takes the first ones: at least one if there is any here, then as many as fit.
    pub(crate) fn pop(&mut self, count_max: usize, bytes_max: usize) -> Vec<Item> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(item) = self.waiting.front().and_then(Waiting::here) {
            if !taken.is_empty() && (taken.len() >= count_max || bytes + item.size() > bytes_max) {
                break;
            }
            bytes += item.size();
            if let Some(Waiting::Here(item)) = self.waiting.pop_front() {
                taken.push(item);
            }
        }
        self.bytes -= bytes;
        taken
    }

    /// A new life begins: `hello` first, then what the older life sent without an acknowledgement, then what waits.
    /// Of both only history is left: a death the older life saw late must not be followed by an older look.
    pub(crate) fn begin(&mut self, hello: Observation, unacknowledged: Vec<Item>) {
        let older = std::mem::take(&mut self.waiting);
        let unacknowledged = unacknowledged.into_iter().map(Waiting::Here);
        let history = unacknowledged.chain(older).filter_map(|waiting| match waiting {
            Waiting::Here(item) => item.history().map(here),
            Waiting::InSpool(span) => Some(Waiting::InSpool(span)),
        });
        self.waiting = std::iter::once(here(hello)).chain(history).collect();
        self.bytes = self.waiting.iter().map(Waiting::size).sum();
    }

    /// What an older process left goes first.
    pub(crate) fn inherit(&mut self, gap: Option<Observation>, span: Option<Span>, last: u64) {
        self.next_position = self.next_position.max(last + 1);
        self.spooled = Spooled { above: 0, through: last };
        let left = gap.map(here).into_iter().chain(span.map(Waiting::InSpool));
        self.waiting = left.chain(std::mem::take(&mut self.waiting)).collect();
        self.bytes = self.waiting.iter().map(Waiting::size).sum();
    }

    /// Another one tells what this life has seen.
    pub(crate) fn discard_own(&mut self) {
        let spool_id = self.spool_id;
        self.waiting.retain(|waiting| {
            waiting
                .here()
                .is_none_or(|item| item.observation.spool_place.is_some_and(|place| place.spool_id != spool_id))
        });
        self.bytes = self.waiting.iter().map(Waiting::size).sum();
    }

    /// What waits here of those numbers, as far as it is history, at most so many; and the number up to which that is all.
    pub(crate) fn history(&self, above: u64, through: u64, count_max: usize) -> (Vec<Observation>, u64) {
        let begin = self.waiting.partition_point(|waiting| waiting.number() <= above);
        let mut history = Vec::new();
        for item in self.waiting.range(begin..).filter_map(Waiting::here) {
            if item.number() > through {
                break;
            }
            if history.len() >= count_max {
                return (history, item.number() - 1);
            }
            history.extend(item.history());
        }
        (history, through)
    }

    /// The spool tells what it holds.
    pub(crate) fn set_spooled(&mut self, spooled: Spooled) {
        self.spooled = spooled;
    }

    pub(crate) fn spooled(&self) -> Spooled {
        self.spooled
    }

    /// What has to be read from the spool, because nothing else can be sent, or soon could be, and there is room.
    pub(crate) fn wanted(&self, ahead_max: usize) -> Option<Span> {
        let ahead = self.waiting.iter().take(ahead_max).position(|waiting| waiting.here().is_none())?;
        if ahead > 1 && self.is_over(3, 4) {
            return None;
        }
        match self.waiting.get(ahead)? {
            Waiting::InSpool(span) => Some(*span),
            Waiting::Here(_) => None,
        }
    }

    /// How much may be read at once.
    pub(crate) fn read_max(&self) -> usize {
        self.bytes_max / 16
    }

    /// What the spool holds of a span from that number, all of it up to `through`. What is missing becomes a gap.
    pub(crate) fn put_back(&mut self, from: u64, through: u64, observations: Vec<Observation>) {
        let is_it = |waiting: &Waiting| matches!(waiting, Waiting::InSpool(span) if span.from == from);
        // What was spooled meanwhile has grown into it: it is read again.
        let Some(index) = self.waiting.iter().position(is_it) else { return };
        let behind = self.waiting.split_off(index + 1);
        let Some(Waiting::InSpool(span)) = self.waiting.pop_back() else { return };
        self.bytes -= SPAN_SIZE;
        let count = span.count.saturating_sub(observations.iter().map(weight).sum());
        let rest = if through < span.through {
            Some(Waiting::InSpool(Span { from: through + 1, through: span.through, count }))
        } else {
            (count > 0).then(|| here(gap(&Observation { observed_at: service::clock::now(), ..NOWHERE }, count)))
        };
        for waiting in observations.into_iter().map(here).chain(rest) {
            self.bytes += waiting.size();
            self.waiting.push_back(waiting);
        }
        self.waiting.extend(behind);
    }

    fn is_over(&self, numerator: usize, denominator: usize) -> bool {
        self.waiting.len() > self.count_max / denominator * numerator
            || self.bytes > self.bytes_max / denominator * numerator
    }

    /// Makes room down to seven eighths, so that the next push does not have to do it again:
    /// first states that a newer one in the queue makes superfluous, then history, then states.
    /// What the spool holds as history is not lost.
    fn shrink(&mut self) -> Dropped {
        let mut newest = HashMap::new();
        for (index, item) in self.waiting.iter().enumerate().filter_map(|(index, it)| Some((index, it.here()?))) {
            newest.extend(item.state_of().map(|id| (id, index)));
        }
        let mut dropped = Dropped::default();
        let superseded = |index: usize, item: &Item| item.state_of().is_some_and(|id| newest[&id] > index);
        let spooled = self.spooled;
        let is_spooled = |item: &Item| spooled.holds(item.number()) && item.is_told();
        self.drop_oldest(superseded, is_spooled, &mut dropped);
        self.drop_oldest(|_, item| item.is_history(), is_spooled, &mut dropped);
        self.drop_oldest(|_, item| item.state_of().is_some(), |_| false, &mut dropped);
        dropped
    }

    fn drop_oldest(
        &mut self,
        may_go: impl Fn(usize, &Item) -> bool,
        is_spooled: impl Fn(&Item) -> bool,
        dropped: &mut Dropped,
    ) {
        if !self.is_over(7, 8) {
            return;
        }
        let older = std::mem::take(&mut self.waiting);
        // Gaps and spans are merged, so what is counted here is what would be left if nothing more were dropped.
        let mut left = older.len();
        for (index, waiting) in older.into_iter().enumerate() {
            let over = left > self.count_max / 8 * 7 || self.bytes > self.bytes_max / 8 * 7;
            let instead = match waiting {
                Waiting::InSpool(span) => Waiting::InSpool(span),
                Waiting::Here(item) if over && may_go(index, &item) => {
                    dropped.ticks.extend(item.tick);
                    self.bytes -= item.size();
                    let number = item.number();
                    let instead = if is_spooled(&item) {
                        Waiting::InSpool(Span { from: number, through: number, count: 1 })
                    } else {
                        dropped.count += 1;
                        Waiting::Here(Item::new(gap(&item.observation, 1), None))
                    };
                    self.bytes += instead.size();
                    instead
                }
                Waiting::Here(item) => Waiting::Here(item),
            };
            let size = instead.size();
            match self.waiting.back_mut().and_then(|before| merged(before, &instead)) {
                None => self.waiting.push_back(instead),
                Some(merged) => {
                    let before = self.waiting.pop_back();
                    self.bytes -= before.as_ref().map_or(0, Waiting::size) + size;
                    self.bytes += merged.size();
                    self.waiting.push_back(merged);
                    left -= 1;
                }
            }
        }
    }
}

/// Behind what was found: without a place, which it could only share with one of those.
const NOWHERE: Observation = Observation {
    observed_at: Timestamp(0),
    cause: Cause::List,
    event: None,
    spool_place: None,
    observed: Observed::Nothing,
};

/// How much it stands for.
pub(crate) fn weight(observation: &Observation) -> u64 {
    lost_before(observation).unwrap_or(1)
}

fn here(observation: Observation) -> Waiting {
    Waiting::Here(Item::new(observation, None))
}

/// One that stands for both, where they are neighbours of a kind.
fn merged(before: &Waiting, after: &Waiting) -> Option<Waiting> {
    match (before, after) {
        (Waiting::InSpool(before), Waiting::InSpool(after)) => Some(Waiting::InSpool(Span {
            from: before.from,
            through: after.through,
            count: before.count + after.count,
        })),
        (Waiting::Here(before), Waiting::Here(after)) => {
            let lost = before.dropped_before()? + after.dropped_before()?;
            let observed_at = before.observation.observed_at;
            let gap = gap(&Observation { observed_at, ..after.observation.clone() }, lost);
            Some(Waiting::Here(Item::new(gap, None)))
        }
        // What is counted and not found in the spool becomes that gap again.
        (Waiting::Here(gap), Waiting::InSpool(span)) | (Waiting::InSpool(span), Waiting::Here(gap)) => {
            Some(Waiting::InSpool(Span { count: span.count + gap.dropped_before()?, ..*span }))
        }
    }
}
