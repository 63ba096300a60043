//! What waits to be sent, in order, without stamps: a stamp is given when an observation is sent.

use std::collections::{HashMap, VecDeque};

use domain::node::{Gap, GapRange, GapReason};
use domain::observation::SpoolPlace;
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

    fn state_of(&self) -> Option<ContainerId> {
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

    fn is_history(&self) -> bool {
        matches!(self.observation.observed, Observed::Event(_) | Observed::Correction(_) | Observed::Nothing)
    }

    fn dropped_before(&self) -> Option<u64> {
        match &self.observation.observed {
            Observed::Gap(Gap { reason: GapReason::QueueFull, range: GapRange::Engine { lost, .. }, .. }) => *lost,
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
}

/// Observations that wait to be sent.
#[derive(Debug)]
pub(crate) struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
    spool_id: u64,
    next_position: u64,
    count_max: usize,
    bytes_max: usize,
}

/// What was dropped to keep the queue within its bounds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) count: u64,
    pub(crate) ticks: Vec<u64>,
}

impl Queue {
    pub(crate) fn new(spool_id: u64, count_max: usize, bytes_max: usize) -> Self {
        Self { items: VecDeque::new(), bytes: 0, spool_id, next_position: 1, count_max, bytes_max }
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts one at the end.
    pub(crate) fn push(&mut self, mut observation: Observation, tick: Option<u64>) -> Dropped {
        observation.spool_place = Some(SpoolPlace { spool_id: self.spool_id, position: self.next_position });
        self.next_position += 1;
        let item = Item::new(observation, tick);
        self.bytes += item.size;
        self.items.push_back(item);
        if self.is_over(1, 1) { self.shrink() } else { Dropped::default() }
    }

    /// Takes the first ones: at least one if there is any, then as many as fit.
    pub(crate) fn pop(&mut self, count_max: usize, bytes_max: usize) -> Vec<Item> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(item) = self.items.front() {
            if !taken.is_empty() && (taken.len() >= count_max || bytes + item.size > bytes_max) {
                break;
            }
            bytes += item.size;
            taken.extend(self.items.pop_front());
        }
        self.bytes -= bytes;
        taken
    }

    /// A new life begins: `hello` first, then what the older life sent without an acknowledgement, then what waits.
    /// Of both only history is left: a death the older life saw late must not be followed by an older look.
    pub(crate) fn begin(&mut self, hello: Observation, unacknowledged: Vec<Item>) {
        let waiting = std::mem::take(&mut self.items);
        let history = unacknowledged.into_iter().chain(waiting).map(|item| item.observation.into_history());
        let history = history.filter(|observation| observation.observed != Observed::Nothing);
        self.items = std::iter::once(hello).chain(history).map(|observation| Item::new(observation, None)).collect();
        self.bytes = self.items.iter().map(Item::size).sum();
    }

    fn is_over(&self, numerator: usize, denominator: usize) -> bool {
        self.items.len() > self.count_max / denominator * numerator
            || self.bytes > self.bytes_max / denominator * numerator
    }

    /// Drops down to seven eighths, so that the next push does not have to drop again:
    /// first states that a newer one in the queue makes superfluous, then history, then states.
    fn shrink(&mut self) -> Dropped {
        let mut newest = HashMap::new();
        for (index, item) in self.items.iter().enumerate() {
            newest.extend(item.state_of().map(|id| (id, index)));
        }
        let mut dropped = Dropped::default();
        let superseded = |index: usize, item: &Item| item.state_of().is_some_and(|id| newest[&id] > index);
        self.drop_oldest(superseded, &mut dropped);
        self.drop_oldest(|_, item| item.is_history(), &mut dropped);
        self.drop_oldest(|_, item| item.state_of().is_some(), &mut dropped);
        dropped
    }

    fn drop_oldest(&mut self, may_go: impl Fn(usize, &Item) -> bool, dropped: &mut Dropped) {
        if !self.is_over(7, 8) {
            return;
        }
        let items = std::mem::take(&mut self.items);
        // Gaps are merged, so what is counted here is what would be left if nothing more were dropped.
        let mut left = items.len();
        for (index, item) in items.into_iter().enumerate() {
            let over = left > self.count_max / 8 * 7 || self.bytes > self.bytes_max / 8 * 7;
            let gap_before = self.items.back().and_then(Item::dropped_before);
            let lost = if over && may_go(index, &item) { Some(1) } else { item.dropped_before() };
            let Some(lost) = lost else {
                self.items.push_back(item);
                continue;
            };
            if item.dropped_before().is_none() {
                dropped.count += 1;
                dropped.ticks.extend(item.tick);
            }
            self.bytes -= item.size;
            let mut merged = gap(&item.observation, lost + gap_before.unwrap_or(0));
            if gap_before.is_some() {
                let before = self.items.pop_back();
                self.bytes -= before.as_ref().map_or(0, Item::size);
                merged.observation.observed_at =
                    before.map_or(merged.observation.observed_at, |before| before.observation.observed_at);
                left -= 1;
            }
            self.bytes += merged.size;
            self.items.push_back(merged);
        }
    }
}

fn gap(dropped: &Observation, lost: u64) -> Item {
    let gap = Gap {
        reason: GapReason::QueueFull,
        range: GapRange::Engine { lost: Some(lost), since: None, until: None },
        action: "the newest state of each container is kept".to_owned(),
    };
    let Observation { observed_at, cause, spool_place, event: _, observed: _ } = *dropped;
    Item::new(Observation { observed_at, cause, event: None, spool_place, observed: Observed::Gap(gap) }, None)
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

#[cfg(test)]
mod tests {
    use domain::observation::Cause;
    use domain::{Container, EngineEvent, Timestamp};

    use super::*;

    fn id(number: u8) -> ContainerId {
        [number; 32].into()
    }

    fn observation(observed: Observed) -> Observation {
        Observation { observed_at: Timestamp(0), cause: Cause::Event, event: None, spool_place: None, observed }
    }

    fn state(number: u8) -> Observation {
        let node = "n".parse().unwrap();
        observation(Observed::Container(Box::new(Container::unheard_of(id(number), node, Default::default()))))
    }

    fn event(number: u8) -> Observation {
        let event = EngineEvent {
            action: "die".into(),
            time: None,
            signal: None,
            exit_code: None,
            exec_duration_seconds: None,
            replayed: false,
        };
        Observation { event: Some(event), ..observation(Observed::Event(id(number))) }
    }

    fn shown(items: &[Item]) -> String {
        let word = |item: &Item| match &item.observation.observed {
            Observed::Container(c) => format!("s{}", c.id.as_bytes()[0]),
            Observed::Event(id) => format!("e{}", id.as_bytes()[0]),
            Observed::Gap(_) => format!("gap{}", item.dropped_before().unwrap()),
            Observed::Removed(_)
            | Observed::Hello(_)
            | Observed::Stating(_)
            | Observed::Listed(_)
            | Observed::Blind(_)
            | Observed::Correction(_)
            | Observed::Nothing => format!("{:?}", item.observation.observed),
        };
        items.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    fn queue(count_max: usize) -> Queue {
        Queue::new(7, count_max, usize::MAX)
    }

    #[test]
    fn first_in_first_out_within_the_bounds_of_a_message() {
        let mut queue = queue(100);
        for number in 1..=5 {
            queue.push(event(number), None);
        }
        let size = Item::new(event(1), None).size();
        assert_eq!(shown(&queue.pop(3, usize::MAX)), "e1 e2 e3");
        assert_eq!(shown(&queue.pop(9, size)), "e4");
        assert_eq!(shown(&queue.pop(9, 0)), "e5");
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    }

    #[test]
    fn the_newest_state_of_each_container_survives_and_losses_are_counted() {
        let mut queue = queue(16);
        let mut lost = 0;
        for round in 0..100 {
            lost += queue.push(if round % 3 == 0 { event(1) } else { state(round % 2) }, Some(u64::from(round))).count;
        }
        assert!(queue.len() <= 16);
        let items = queue.pop(99, usize::MAX);
        let gaps: u64 = items.iter().filter_map(Item::dropped_before).sum();
        assert_eq!(gaps, lost);
        let kept = items.iter().filter(|item| item.dropped_before().is_none()).count() as u64;
        assert_eq!(kept + lost, 100);
        for newest in [98, 97] {
            assert!(items.iter().any(|item| item.tick == Some(newest)), "{newest}: {}", shown(&items));
        }
        let places: Vec<_> = items.iter().map(|item| item.observation.spool_place.unwrap().position).collect();
        assert!(places.is_sorted(), "{places:?}");
    }

    #[test]
    fn neighbours_that_are_dropped_are_one_gap() {
        let mut queue = queue(8);
        for _ in 0..8 {
            queue.push(state(1), Some(1));
        }
        let dropped = queue.push(state(2), None);
        assert_eq!(dropped.count, 3);
        assert_eq!(dropped.ticks, [1, 1, 1]);
        assert_eq!(shown(&queue.pop(99, usize::MAX)), "gap3 s1 s1 s1 s1 s1 s2");
    }

    #[test]
    fn a_new_life_keeps_history_and_places_but_no_state() {
        let mut queue = queue(100);
        queue.push(state(1), Some(1));
        queue.push(event(2), None);
        queue.push(event(3), None);
        let sent = queue.pop(2, usize::MAX);
        queue.begin(observation(Observed::Nothing), sent);
        let items = queue.pop(99, usize::MAX);
        let places: Vec<_> =
            items.iter().map(|item| item.observation.spool_place.map(|place| place.position)).collect();
        assert_eq!(places, [None, Some(2), Some(3)]);
        assert_eq!(shown(&items[1..]), "e2 e3");
    }
}
