//! What is under way to the stream: sent, and not known to be stored.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::queue::Item;

/// How long an acknowledgement is waited for before the same bytes are sent again; doubled each time.
const ACKNOWLEDGEMENT_WAIT: Duration = Duration::from_secs(2);
/// The longest such wait.
const ACKNOWLEDGEMENT_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long after a refusal the same bytes are sent again.
const REFUSED_WAIT: Duration = Duration::from_millis(500);

struct Flight {
    last_seq: u64,
    bytes: Bytes,
    items: Vec<Item>,
    attempts: u32,
    due: Instant,
}

/// The stamps of one epoch, and the messages under way. The first message is the `hello`, alone.
pub(crate) struct Window {
    next_seq: u64,
    flights: BTreeMap<u64, Flight>,
    messages_max: usize,
    span_max: u64,
}

impl Window {
    pub(crate) fn new(messages_max: usize, span_max: u64) -> Self {
        Self { next_seq: 1, flights: BTreeMap::new(), messages_max, span_max }
    }

    /// The last sequence number given; 0 before the `hello`.
    pub(crate) fn last_seq(&self) -> u64 {
        self.next_seq - 1
    }

    /// The sequence number up to which all is acknowledged.
    pub(crate) fn acknowledged_seq(&self) -> u64 {
        self.flights.keys().next().map_or(self.last_seq(), |first| first - 1)
    }

    /// The `hello` is stored: looks may begin.
    pub(crate) fn is_open(&self) -> bool {
        self.acknowledged_seq() > 0
    }

    /// How many observations the next message may hold.
    pub(crate) fn room(&self) -> usize {
        if self.next_seq == 1 {
            return 1;
        }
        if !self.is_open() || self.flights.len() >= self.messages_max {
            return 0;
        }
        let span = self.last_seq() - self.acknowledged_seq();
        usize::try_from(self.span_max.saturating_sub(span)).unwrap_or(usize::MAX)
    }

    /// Sequence number of the next observation.
    pub(crate) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// A message is being sent.
    pub(crate) fn send(&mut self, items: Vec<Item>, bytes: Bytes, now: Instant) {
        let first = self.next_seq;
        let Some(last_seq) = u64::try_from(items.len()).ok().and_then(|count| (first + count).checked_sub(1)) else {
            return;
        };
        self.next_seq = last_seq + 1;
        self.flights.insert(first, Flight { last_seq, bytes, items, attempts: 0, due: now + ACKNOWLEDGEMENT_WAIT });
    }

    /// A message is stored. Returns what was in it; `None` if that was known.
    pub(crate) fn acknowledge(&mut self, first_seq: u64) -> Option<Vec<Item>> {
        self.flights.remove(&first_seq).map(|flight| flight.items)
    }

    /// A message was refused, so it is not stored: the same bytes again, after a while.
    pub(crate) fn refuse(&mut self, first_seq: u64, now: Instant) {
        if let Some(flight) = self.flights.get_mut(&first_seq) {
            flight.due = now + REFUSED_WAIT;
        }
    }

    /// The connection is new: everything under way is due.
    pub(crate) fn reconnect(&mut self, now: Instant) {
        self.flights.values_mut().for_each(|flight| flight.due = now);
    }

    /// What must be sent again now: the same bytes under the same stamps, for a publish that timed out is unknown.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<(u64, Bytes)> {
        let due = self.flights.iter_mut().filter(|(_, flight)| flight.due <= now);
        due.map(|(first, flight)| {
            flight.attempts += 1;
            let wait = ACKNOWLEDGEMENT_WAIT * 2u32.saturating_pow(flight.attempts.min(8));
            flight.due = now + wait.min(ACKNOWLEDGEMENT_WAIT_MAX);
            (*first, flight.bytes.clone())
        })
        .collect()
    }

    /// When something is due next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.flights.values().map(|flight| flight.due).min()
    }

    /// Nothing is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// What is under way, in order.
    pub(crate) fn items(&self) -> impl Iterator<Item = &Item> {
        self.flights.values().flat_map(|flight| &flight.items)
    }

    /// Something of `from..=to` is under way.
    pub(crate) fn holds(&self, from: u64, to: u64) -> bool {
        self.flights.range(..=to).next_back().is_some_and(|(_, flight)| flight.last_seq >= from)
    }

    /// Ends the epoch: what was not acknowledged, in order.
    pub(crate) fn end(&mut self) -> Vec<Item> {
        std::mem::take(&mut self.flights).into_values().flat_map(|flight| flight.items).collect()
    }
}

#[cfg(test)]
mod tests {
    use domain::{Cause, Observation, Observed, Timestamp};

    use super::*;

    fn items(count: usize) -> Vec<Item> {
        let observation = Observation {
            observed_at: Timestamp(0),
            cause: Cause::Event,
            event: None,
            spool_place: None,
            observed: Observed::Nothing,
        };
        vec![Item::new(observation, None); count]
    }

    #[test]
    fn the_hello_goes_alone_and_first() {
        let now = Instant::now();
        let mut window = Window::new(4, 100);
        assert_eq!((window.room(), window.is_open()), (1, false));
        window.send(items(1), Bytes::new(), now);
        assert_eq!(window.room(), 0);
        assert!(window.acknowledge(1).is_some());
        assert_eq!((window.room(), window.is_open(), window.acknowledged_seq()), (100, true, 1));
    }

    #[test]
    fn the_lowest_unacknowledged_holds_the_others_back() {
        let now = Instant::now();
        let mut window = Window::new(4, 10);
        window.send(items(1), Bytes::new(), now);
        window.acknowledge(1);
        window.send(items(3), Bytes::new(), now);
        window.send(items(4), Bytes::new(), now);
        assert_eq!((window.last_seq(), window.acknowledged_seq(), window.room()), (8, 1, 3));
        window.acknowledge(5);
        assert_eq!((window.acknowledged_seq(), window.room()), (1, 3));
        assert!(window.holds(3, 9) && window.holds(1, 2) && !window.holds(5, 9));
        window.acknowledge(2);
        assert_eq!((window.acknowledged_seq(), window.room()), (8, 10));
        assert!(window.acknowledge(2).is_none());
    }

    #[test]
    fn what_is_unknown_is_sent_again_for_ever() {
        let start = Instant::now();
        let mut window = Window::new(4, 10);
        window.send(items(1), Bytes::from_static(b"hello"), start);
        assert!(window.take_due(start).is_empty());
        let mut now = start;
        for _ in 0..20 {
            now = window.deadline().unwrap();
            assert_eq!(window.take_due(now), [(1, Bytes::from_static(b"hello"))]);
            assert!(window.deadline().unwrap() - now <= ACKNOWLEDGEMENT_WAIT_MAX);
        }
        window.reconnect(now);
        assert_eq!(window.take_due(now).len(), 1);
        assert_eq!(window.end().len(), 1);
        assert!(window.is_empty());
    }
}
