//! When a partition may be called current.

use std::collections::VecDeque;
use std::time::Duration;

/// How many ends of the stream are remembered from one heartbeat.
const ENDS_PER_HEARTBEAT: u32 = 16;

/// Decides when the key that says "this partition is current" is renewed. No wall clock: `now` is monotonic.
#[derive(Debug, Default)]
pub(crate) struct Renewal {
    /// When it was last renewed.
    renewed: Option<Duration>,
    /// The sequencer's counter, as last seen.
    counter: Option<u64>,
    /// The counter rose since the last renewal.
    rose: bool,
    /// Ends of the stream with the time they were read at, oldest first.
    ends: VecDeque<(Duration, u64)>,
}

/// What was seen of the partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// The sequencer's lease counter, where it could be read.
    pub(crate) counter: Option<u64>,
    /// Last sequence of the stream, as its leader says.
    pub(crate) end: u64,
    /// Last sequence that is applied.
    pub(crate) applied: u64,
}

impl Renewal {
    /// A heartbeat has passed since the last renewal, or there was none: it is time to look.
    pub(crate) fn is_due(&self, now: Duration, heartbeat: Duration) -> bool {
        self.renewed.is_none_or(|renewed| now.saturating_sub(renewed) >= heartbeat)
    }

    /// Takes in what was seen; says whether the partition is current.
    pub(crate) fn is_current(&mut self, now: Duration, heartbeat: Duration, look: Look) -> bool {
        if let Some(counter) = look.counter {
            // A counter that fell belongs to a lease that was made anew: it has to rise from there.
            self.rose = match self.counter {
                None => false,
                Some(before) => counter > before || (counter == before && self.rose),
            };
            self.counter = Some(counter);
        }
        // Few enough to be bounded, often enough to be exact to a fraction of a heartbeat.
        let apart = heartbeat / ENDS_PER_HEARTBEAT;
        if self.ends.back().is_none_or(|(read, _)| now.saturating_sub(*read) >= apart) {
            self.ends.push_back((now, look.end));
        }
        // Of the ends that are at least a heartbeat old the newest is enough.
        while self.ends.get(1).is_some_and(|(read, _)| now.saturating_sub(*read) >= heartbeat) {
            self.ends.pop_front();
        }
        let settled = self.ends.front().filter(|(read, _)| now.saturating_sub(*read) >= heartbeat);
        let applied = look.applied >= look.end || settled.is_some_and(|(_, end)| look.applied >= *end);
        self.rose && look.counter.is_some() && applied
    }

    /// It was renewed.
    pub(crate) fn renewed(&mut self, now: Duration) {
        self.renewed = Some(now);
        self.rose = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEAT: Duration = Duration::from_secs(5);

    fn look(counter: u64, end: u64, applied: u64) -> Look {
        Look { counter: Some(counter), end, applied }
    }

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn current_as_soon_as_the_counter_rose_once() {
        let mut renewal = Renewal::default();
        assert!(renewal.is_due(s(0), BEAT));
        assert!(!renewal.is_current(s(0), BEAT, look(7, 3, 3)));
        assert!(!renewal.is_current(s(1), BEAT, look(7, 3, 3)));
        assert!(renewal.is_current(s(2), BEAT, look(8, 3, 3)));
        renewal.renewed(s(2));
        assert!(!renewal.is_due(s(6), BEAT) && renewal.is_due(s(7), BEAT));
        assert!(!renewal.is_current(s(7), BEAT, look(8, 3, 3)), "the sequencer stands still");
        assert!(renewal.is_current(s(8), BEAT, look(9, 3, 3)));
    }

    #[test]
    fn a_new_lease_counts_from_its_own_first_rise() {
        let mut renewal = Renewal::default();
        assert!(!renewal.is_current(s(0), BEAT, look(900, 0, 0)));
        assert!(!renewal.is_current(s(1), BEAT, look(1, 0, 0)));
        assert!(renewal.is_current(s(2), BEAT, look(2, 0, 0)));
        assert!(!renewal.is_current(s(3), BEAT, Look { counter: None, end: 0, applied: 0 }));
    }

    #[test]
    fn records_older_than_a_heartbeat_must_be_applied() {
        let mut renewal = Renewal::default();
        assert!(!renewal.is_current(s(0), BEAT, look(1, 100, 40)));
        assert!(!renewal.is_current(s(4), BEAT, look(2, 200, 100)), "100 is not yet known to be old");
        assert!(renewal.is_current(s(5), BEAT, look(3, 300, 100)));
        assert!(!renewal.is_current(s(9), BEAT, look(4, 400, 100)), "200 is old by now");
        assert!(renewal.is_current(s(9), BEAT, look(5, 400, 400)));
    }
}
