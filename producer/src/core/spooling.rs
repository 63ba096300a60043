//! The spool: what it has to take, and what it gives back.

use domain::Observation;

use super::Core;
use crate::queue::{Span, Spooled};
use crate::spool::Left;

/// What stands in the spool alone is read when no more than so many are to be sent before it.
pub(super) const READ_AHEAD: usize = 400;
/// So many that the spool does not hold are worth a write at once, where there is little room left.
const UNSPOOLED_MAX: u64 = 16;

impl Core {
    /// What an older process left in the spool goes first.
    pub(crate) fn inherit(&self, left: &Left) {
        let mut state = self.state();
        state.queue.inherit(left.gap.clone(), left.span, left.last);
        drop(state);
        self.work.notify_one();
    }

    /// Another one tells what was seen here, unless this process had an epoch of its own: whether that is so.
    pub(crate) fn discard_own(&self) -> bool {
        let mut state = self.state();
        if state.epoch == 0 {
            state.queue.discard_own();
        }
        state.epoch == 0
    }

    /// Nothing waits.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.state();
        state.queue.is_empty() && state.window.is_empty()
    }

    /// The number that was given last to what waits.
    pub(crate) fn last_number(&self) -> u64 {
        self.state().queue.last_number()
    }

    /// The spool has to be asked, or little room is left for what it does not hold yet.
    pub(crate) fn is_spool_urgent(&self) -> bool {
        let queue = &self.state().queue;
        let unspooled = queue.last_number().saturating_sub(queue.spooled().through);
        queue.wanted(READ_AHEAD).is_some() || unspooled > UNSPOOLED_MAX && queue.is_half_full()
    }

    /// What has waited since that number was given and the spool does not hold, as history, at most so many;
    /// and the number up to which that is all.
    pub(crate) fn to_spool(&self, aged: u64, count_max: usize) -> (Vec<Observation>, u64) {
        let state = self.state();
        let above = state.queue.spooled().through;
        // What is under way stood before all that waits.
        let mut history = Vec::new();
        for item in state.window.items().filter(|item| item.number() > above) {
            if item.number() > aged {
                return (history, aged);
            }
            if history.len() >= count_max {
                return (history, item.number() - 1);
            }
            history.extend(item.history());
        }
        let (more, through) = state.queue.history(above, aged, count_max - history.len());
        history.extend(more);
        (history, through)
    }

    /// Everything below that number is stored in the stream.
    pub(crate) fn spool_floor(&self) -> u64 {
        let state = self.state();
        let under_way = state.window.items().map(crate::queue::Item::number).find(|number| *number != 0);
        under_way.or_else(|| state.queue.first_number()).unwrap_or_else(|| state.queue.last_number() + 1)
    }

    /// The spool holds these numbers, in so many bytes.
    pub(crate) fn set_spooled(&self, spooled: Spooled, bytes: u64) {
        let mut state = self.state();
        state.queue.set_spooled(spooled);
        state.spool_bytes = bytes;
        self.metrics.spool_bytes(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// The number up to which the spool holds what it has to.
    pub(crate) fn spooled_through(&self) -> u64 {
        self.state().queue.spooled().through
    }

    /// What has to be read from the spool now, and how many bytes of it.
    pub(crate) fn wanted_from_spool(&self) -> Option<(Span, usize)> {
        let state = self.state();
        Some((state.queue.wanted(READ_AHEAD)?, state.queue.read_max()))
    }

    /// What was read from it.
    pub(crate) fn put_back(&self, from: u64, through: u64, observations: Vec<Observation>) {
        self.state().queue.put_back(from, through, observations);
        self.work.notify_one();
        self.spooling.notify_one();
    }
}
