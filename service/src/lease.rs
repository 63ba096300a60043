//! Leases: which instance of a role works on a partition.
//!
//! As Kubernetes does it: the holder raises a counter; another takes the lease when it saw the counter stand still
//! for [`TAKE_AFTER`] of its own monotonic clock. That is liveness. Safety comes from elsewhere: the expected last
//! sequence of a stream, the expected checkpoint of a store.
//!
//! Instances share the partitions evenly ([`share`]). Each raises a counter of its own too, while its work gets on, so
//! that the others know of it: who holds more than its share ends that work, then gives the lease back; who holds less
//! takes what is free at once. What nobody comes for is taken by any.

mod keeper;
mod roster;
pub mod share;

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::Partition;
use tokio::sync::{Notify, watch};

pub use keeper::{Keeper, beside};

/// How long a counter must have stood still before another takes the lease.
pub const TAKE_AFTER: Duration = Duration::from_secs(4);

/// What keeper and worker tell each other of one lease.
#[derive(Clone, Copy, Debug)]
struct State {
    /// Until then nobody else can have taken it.
    until: Option<Instant>,
    working: bool,
    healthy: bool,
    /// Another instance works.
    anothers: bool,
    /// Nobody will work any more.
    dropped: bool,
}

impl State {
    fn is_held(&self) -> bool {
        // By the clock, not by who last looked at it: who was frozen must not believe in what it held before.
        self.until.is_some_and(|until| Instant::now() < until)
    }
}

/// One partition's lease, as who works on it sees it. When the role ends it is given back as soon as this is dropped.
pub struct Lease {
    partition: Partition,
    state: watch::Sender<State>,
    ended: Arc<Notify>,
}

impl Lease {
    fn new(partition: Partition, ended: Arc<Notify>) -> Self {
        let state = State { until: None, working: false, healthy: true, anothers: false, dropped: false };
        Self { partition, state: watch::Sender::new(state), ended }
    }

    /// Which partition it is.
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// Waits until it is held, and begins to work: it is not given back before what this returns is dropped.
    pub async fn held(&self) -> Held {
        let mut state = self.state.subscribe();
        loop {
            let begun = self.state.send_if_modified(|state| {
                state.working = state.is_held();
                state.working
            });
            if begun {
                return Held { state: self.state.clone(), ended: Arc::clone(&self.ended) };
            }
            // This side has the sender, so it does not end.
            drop(state.changed().await);
        }
    }

    /// It is held now.
    pub fn is_held(&self) -> bool {
        self.state.borrow().is_held()
    }

    /// Waits until it is taken, or given up, after it was as told.
    pub async fn turned(&self, was_held: bool) {
        let mut state = self.state.subscribe();
        // This side has the sender, so it does not end.
        drop(state.wait_for(|state| state.is_held() != was_held).await);
    }

    /// The work gets on, or would.
    pub fn is_healthy(&self) -> bool {
        self.state.borrow().healthy
    }

    /// Says whether the work gets on: else another instance is to take the lease.
    pub fn set_healthy(&self, healthy: bool) {
        self.state.send_if_modified(|state| std::mem::replace(&mut state.healthy, healthy) != healthy);
    }

    /// Another instance works on the partition.
    pub fn is_anothers(&self) -> bool {
        self.state.borrow().anothers
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.state.send_modify(|state| state.dropped = true);
        self.ended.notify_one();
    }
}

/// A lease that is held, and worked under.
pub struct Held {
    state: watch::Sender<State>,
    ended: Arc<Notify>,
}

impl Held {
    /// The work has to end: another instance may have the lease, or is to have it.
    pub fn is_lost(&self) -> bool {
        !self.state.borrow().is_held()
    }

    /// Waits until the work has to end.
    pub async fn lost(&self) {
        let mut state = self.state.subscribe();
        loop {
            let Some(until) = state.borrow_and_update().until.filter(|until| Instant::now() < *until) else { return };
            tokio::select! {
                // This side has the sender, so it does not end.
                changed = state.changed() => drop(changed),
                () = tokio::time::sleep_until(until.into()) => {}
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.state.send_modify(|state| state.working = false);
        self.ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_for(lease: &Lease, time: Duration) {
        lease.state.send_modify(|state| state.until = Some(Instant::now() + time));
    }

    #[tokio::test]
    async fn work_begins_when_it_is_held_and_ends_when_it_is_taken_back() {
        let lease = Lease::new(Partition(0), Arc::default());
        let waits = tokio::time::timeout(Duration::from_millis(20), lease.held()).await;
        assert!(waits.is_err());
        held_for(&lease, Duration::from_secs(60));
        let held = lease.held().await;
        assert!(!held.is_lost() && lease.state.borrow().working);
        lease.state.send_modify(|state| state.until = None);
        held.lost().await;
        assert!(held.is_lost() && lease.state.borrow().working, "not given back before the work ended");
        drop(held);
        assert!(!lease.state.borrow().working);
    }

    #[tokio::test]
    async fn who_was_frozen_does_not_believe_in_what_it_held() {
        let lease = Lease::new(Partition(0), Arc::default());
        held_for(&lease, Duration::from_millis(20));
        let held = lease.held().await;
        // No task ran meanwhile that could have told.
        std::thread::sleep(Duration::from_millis(30));
        assert!(held.is_lost());
        held.lost().await;
        drop(held);
        let waits = tokio::time::timeout(Duration::from_millis(20), lease.held()).await;
        assert!(waits.is_err());
    }
}
