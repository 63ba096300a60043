//! What an instance has seen of the leases and of other instances, and what it does next. No I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use domain::Instance;
use domain::node::Lease as Value;

use super::TAKE_AFTER;
use super::share::{Standing, shares};

/// How long after a counter was raised it is raised again; a little less than a second, as a look comes late.
const RAISE_AFTER: Duration = Duration::from_millis(800);
/// How long a lease that another is to take may be free before this instance takes it.
const FREE_MAX: Duration = Duration::from_secs(2);
/// How long what was taken because another did not come is kept, even if that is more than a share.
const KEPT: Duration = Duration::from_secs(30);
/// How long who works may take to end it; after that the lease is raised no more.
const DRAIN_MAX: Duration = Duration::from_secs(5);
/// How long the key of an instance stands still before it is removed.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// How long there may be between two looks: after a longer time others could not write either, or this one stood still.
const LOOKS_APART_MAX: Duration = Duration::from_secs(2);

/// A key of the bucket, as a look found it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) revision: u64,
    /// None for one that was given back, or that cannot be read.
    pub(super) value: Option<Value>,
    /// How old its last write is by the times of the server that stored it, where those tell.
    pub(super) age: Option<Duration>,
}

/// How this instance stands to a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mine {
    /// The work gets on, or would.
    pub(super) healthy: bool,
    /// Somebody works.
    pub(super) working: bool,
}

/// What is to be done about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    /// Raise its counter, or take it.
    Write,
    /// End the work, so that another takes it.
    Drain,
    /// Give it back: nobody works any more.
    Release,
}

/// All leases of a role and its instances.
pub(super) struct Roster {
    me: Instance,
    leases: Vec<Seen>,
    members: BTreeMap<Instance, Watched>,
    looked: Option<Instant>,
}

/// The key of another instance, since when it is seen to stand still, and how old it was then.
#[derive(Clone, Copy, Debug)]
struct Watched {
    revision: u64,
    since: Instant,
    age: Duration,
}

impl Watched {
    fn stands_still(&self, now: Instant) -> Duration {
        now.duration_since(self.since) + self.age
    }
}

/// A lease, and what this instance does about it.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    revision: u64,
    holder: Option<Instance>,
    counter: u64,
    since: Option<Instant>,
    raised: Option<Instant>,
    /// Since when it is to be had, and is to be another's.
    open_since: Option<Instant>,
    kept_until: Option<Instant>,
    drained_since: Option<Instant>,
}

impl Roster {
    pub(super) fn new(me: Instance, partitions: usize) -> Self {
        Self { me, leases: vec![Seen::default(); partitions], members: BTreeMap::new(), looked: None }
    }

    /// Takes in what a look found.
    pub(super) fn take_in(
        &mut self,
        now: Instant,
        leases: &BTreeMap<usize, Found>,
        members: &BTreeMap<Instance, Found>,
    ) {
        let apart = self.looked.replace(now).map_or(LOOKS_APART_MAX, |looked| now.duration_since(looked));
        let looks_again = apart >= LOOKS_APART_MAX;
        for (partition, seen) in self.leases.iter_mut().enumerate() {
            let found = leases.get(&partition);
            let revision = found.map_or(0, |found| found.revision);
            let is_mine = seen.holder == Some(self.me);
            // A server that lags behind knows less than who holds it.
            if revision > seen.revision || (revision < seen.revision && !is_mine) {
                let value = found.and_then(|found| found.value);
                seen.note(now, revision, value.and_then(|value| value.holder), value.map_or(0, |value| value.counter));
            }
            if looks_again && !is_mine {
                (seen.since, seen.open_since) = (Some(now), None);
            }
            seen.since.get_or_insert(now);
        }
        self.members.retain(|member, _| members.contains_key(member));
        for (member, found) in members.iter().filter(|(member, _)| **member != self.me) {
            let watched = self.members.entry(*member).or_insert_with(|| {
                // Seen for the first time: it may have been written long ago.
                let age = found.age.unwrap_or(TAKE_AFTER).min(FORGOTTEN_AFTER);
                Watched { revision: found.revision, since: now, age }
            });
            if watched.revision != found.revision {
                *watched = Watched { revision: found.revision, since: now, age: Duration::ZERO };
            } else if looks_again && watched.age.is_zero() {
                watched.since = now;
            }
        }
    }

    /// Instances whose keys stand still for long, with their last revision.
    pub(super) fn forgotten(&self, now: Instant) -> Vec<(Instance, u64)> {
        let gone = self.members.iter().filter(|(_, watched)| watched.stands_still(now) >= FORGOTTEN_AFTER);
        gone.map(|(member, watched)| (*member, watched.revision)).collect()
    }

    /// What is to be done about each lease. `joins`: this instance is ready for a share.
    pub(super) fn steps(&mut self, now: Instant, mine: &[Mine], joins: bool) -> Vec<Step> {
        let standings: Vec<_> = self.leases.iter().map(|seen| seen.standing(now)).collect();
        let alive = self.members.iter().filter(|(_, watched)| watched.stands_still(now) < TAKE_AFTER);
        let alive: BTreeSet<_> = alive.map(|(member, _)| *member).chain(joins.then_some(self.me)).collect();
        let whose = shares(&standings, &alive);
        let leases = self.leases.iter_mut().zip(mine).zip(standings).zip(whose);
        leases.map(|(((seen, mine), standing), whose)| seen.step(now, self.me, *mine, standing, whose)).collect()
    }

    /// What is to be done about each lease when this instance ends: what nobody works on is given back.
    pub(super) fn last_steps(&mut self, now: Instant, mine: &[Mine]) -> Vec<Step> {
        let leases = self.leases.iter_mut().zip(mine);
        leases
            .map(|(seen, mine)| {
                if seen.holder != Some(self.me) {
                    return Step::Nothing;
                }
                seen.drained_since.get_or_insert(now);
                seen.drain(now, *mine)
            })
            .collect()
    }

    /// Leases that are held and must be raised before anything else is asked.
    pub(super) fn due(&self, now: Instant, mine: &[Mine]) -> Vec<usize> {
        let leases = self.leases.iter().zip(mine).enumerate();
        let due = leases.filter(|(_, (seen, mine))| {
            seen.holder == Some(self.me) && mine.healthy && seen.drained_since.is_none() && seen.is_due(now)
        });
        due.map(|(partition, _)| partition).collect()
    }

    /// The revision that a write must find, and what it writes.
    pub(super) fn next(&self, partition: usize) -> (u64, Value) {
        let seen = &self.leases[partition];
        (seen.revision, Value { holder: Some(self.me), counter: seen.counter.wrapping_add(1) })
    }

    /// The same for giving it back. The counter stays: who reads it sees no other work.
    pub(super) fn last(&self, partition: usize) -> (u64, Value) {
        let seen = &self.leases[partition];
        (seen.revision, Value { holder: None, counter: seen.counter })
    }

    /// It was written at this revision, by a write that began at that time.
    pub(super) fn wrote(&mut self, partition: usize, began: Instant, revision: u64, value: Value) {
        let seen = &mut self.leases[partition];
        let was_mine = seen.holder == Some(self.me);
        seen.note(began, revision, value.holder, value.counter);
        seen.raised = value.holder.map(|_| began);
        if !was_mine && seen.open_since.is_some_and(|since| began.duration_since(since) >= FREE_MAX) {
            seen.kept_until = Some(began + KEPT);
        }
        seen.open_since = None;
        if value.holder.is_none() {
            (seen.kept_until, seen.drained_since) = (None, None);
        }
    }

    /// Another was faster: the next look tells who.
    pub(super) fn lost(&mut self, now: Instant, partition: usize) {
        let seen = &mut self.leases[partition];
        *seen = Seen { since: Some(now), ..Seen::default() };
    }

    /// The work under it is to end, and nothing else may begin.
    pub(super) fn is_drained(&self, partition: usize) -> bool {
        self.leases[partition].drained_since.is_some()
    }

    /// Another instance works on it, as far as is known.
    pub(super) fn is_anothers(&self, now: Instant, partition: usize) -> bool {
        matches!(self.leases[partition].standing(now), Standing::Live(holder) if holder != self.me)
    }
}

impl Seen {
    fn note(&mut self, now: Instant, revision: u64, holder: Option<Instance>, counter: u64) {
        (self.revision, self.holder, self.counter, self.since) = (revision, holder, counter, Some(now));
    }

    fn standing(&self, now: Instant) -> Standing {
        let stands_still = self.since.is_none_or(|since| now.duration_since(since) >= TAKE_AFTER);
        match self.holder {
            None => Standing::Free,
            Some(holder) if stands_still => Standing::Stale(holder),
            Some(holder) => Standing::Live(holder),
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.raised.is_none_or(|raised| now.duration_since(raised) >= RAISE_AFTER)
    }

    fn step(&mut self, now: Instant, me: Instance, mine: Mine, standing: Standing, whose: Option<Instance>) -> Step {
        let anothers = whose.is_some_and(|whose| whose != me);
        if standing.holder() == Some(me) {
            self.open_since = None;
            let kept = self.kept_until.is_some_and(|until| now < until);
            if self.drained_since.is_some() {
                return self.drain(now, mine);
            }
            if anothers && !kept {
                self.drained_since = Some(now);
                return if mine.working { Step::Drain } else { Step::Release };
            }
            return if mine.healthy && self.is_due(now) { Step::Write } else { Step::Nothing };
        }
        self.drained_since = None;
        if matches!(standing, Standing::Live(_)) {
            self.open_since = None;
            return Step::Nothing;
        }
        if !mine.healthy {
            self.open_since = None;
            return Step::Nothing;
        }
        let open_since = *self.open_since.get_or_insert(now);
        let waited = now.duration_since(open_since) >= FREE_MAX;
        if !anothers || waited { Step::Write } else { Step::Nothing }
    }

    fn drain(&self, now: Instant, mine: Mine) -> Step {
        if !mine.working {
            return Step::Release;
        }
        let in_time = self.drained_since.is_some_and(|since| now.duration_since(since) < DRAIN_MAX);
        if mine.healthy && in_time && self.is_due(now) { Step::Write } else { Step::Drain }
    }
}

#[cfg(test)]
mod tests;
