//! The local counter that makes the revision an engine lacks.

use std::collections::BTreeSet;

/// A tick: taken before the engine is asked, so that what it answers is at least as fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tick {
    /// Epoch it was taken in; in a later one the look no longer counts.
    pub(crate) epoch: u64,
    /// The counter.
    pub(crate) number: u64,
}

/// The counter, and the looks whose outcome has no stamp yet.
#[derive(Debug, Default)]
pub(crate) struct Ticks {
    last: u64,
    open: BTreeSet<u64>,
}

impl Ticks {
    /// Takes the next one; it is open until closed.
    pub(crate) fn open(&mut self) -> u64 {
        self.last += 1;
        self.open.insert(self.last);
        self.last
    }

    /// The last one taken; 0 before the first.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Its outcome has a stamp, or will never have one.
    pub(crate) fn close(&mut self, number: u64) {
        self.open.remove(&number);
    }

    /// A new epoch: what is under way no longer counts.
    pub(crate) fn close_all(&mut self) {
        self.open.clear();
    }

    /// No look with a lower tick is under way, nor waits for its stamp.
    pub(crate) fn floor(&self) -> u64 {
        self.open.first().copied().unwrap_or(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_the_oldest_look_under_way() {
        let mut ticks = Ticks::default();
        assert_eq!(ticks.floor(), 0);
        let (first, second, third) = (ticks.open(), ticks.open(), ticks.open());
        ticks.close(second);
        assert_eq!(ticks.floor(), first);
        ticks.close(first);
        assert_eq!(ticks.floor(), third);
        ticks.close(third);
        assert_eq!(ticks.floor(), third);
    }
}
