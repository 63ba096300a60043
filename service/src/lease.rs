//! Leases: which instance of a role works on a partition.
//!
//! As Kubernetes does it: the holder raises a counter; another takes the lease when it saw the counter stand still
//! for [`TAKE_AFTER`] of its own monotonic clock. That is liveness. Safety comes from elsewhere: the expected last
//! sequence of a stream, the expected checkpoint of a store.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use domain::Instance;
use domain::node::Lease as Value;
use domain::wire::Wire;
use tokio::sync::watch;

use crate::Stop;
use crate::kv::{Bucket, Error};

/// How long a counter must have stood still before another takes the lease.
pub const TAKE_AFTER: Duration = Duration::from_secs(4);
/// How often [`Lease::tick`] is to be called.
pub const TICK: Duration = Duration::from_secs(1);

/// Does the work beside a lease: `work` is told whether it is held, and says in `healthy` whether it gets on.
pub async fn beside<F>(lease: Lease, healthy: &AtomicBool, work: impl FnOnce(watch::Receiver<bool>) -> F) -> F::Output
where
    F: Future,
{
    let (held, holding) = watch::channel(false);
    let done = Stop::new();
    let working = async {
        let result = work(holding).await;
        // Given back last: who takes it then finds nothing under way.
        done.trigger();
        result
    };
    tokio::join!(working, keep(lease, held, healthy, &done)).0
}

/// Takes the lease when it can be had and raises its counter while the work is `healthy`: else another instance is to
/// take it. Tells in `held` whether this one has it; gives it back when `done`.
pub async fn keep(mut lease: Lease, held: watch::Sender<bool>, healthy: &AtomicBool, done: &Stop) {
    while !done.is_stopped() {
        if healthy.load(Ordering::SeqCst) {
            lease.tick().await;
        }
        let is_held = lease.is_held();
        held.send_if_modified(|held| std::mem::replace(held, is_held) != is_held);
        done.sleep(TICK).await;
    }
    lease.release().await;
}

/// One lease, as one instance sees it.
pub struct Lease {
    bucket: Bucket,
    key: String,
    instance: Instance,
    seen: Seen,
}

/// What was seen of the lease, and since when it stands still.
struct Seen {
    revision: u64,
    since: Instant,
    held_until: Option<Instant>,
}

impl Lease {
    /// The lease under `key`, not yet held.
    pub fn new(bucket: Bucket, key: String, instance: Instance) -> Self {
        Self { bucket, key, instance, seen: Seen { revision: 0, since: Instant::now(), held_until: None } }
    }

    /// Raises the counter, or tries to take the lease. To be called each [`TICK`] while the work goes on:
    /// who does not call it loses it. Says whether it is held.
    pub async fn tick(&mut self) -> bool {
        match self.attempt().await {
            Ok(true) => self.seen.held_until = Some(Instant::now() + TAKE_AFTER),
            Ok(false) | Err(Error::Conflict) => self.seen.held_until = None,
            // Nothing is known; what was held is held until another could have taken it.
            Err(Error::NoStream(_) | Error::Unreachable(_)) => {}
        }
        self.is_held()
    }

    /// It was held at the last tick, and nobody can have taken it since.
    pub fn is_held(&self) -> bool {
        self.seen.held_until.is_some_and(|until| Instant::now() < until)
    }

    async fn attempt(&mut self) -> Result<bool, Error> {
        let entry = self.bucket.get(&self.key).await?;
        let revision = entry.as_ref().map_or(0, |entry| entry.revision);
        let value = entry.and_then(|entry| Value::decode(&entry.value).ok());
        if revision != self.seen.revision {
            self.seen.revision = revision;
            self.seen.since = Instant::now();
        }
        let holder = value.and_then(|value| value.holder);
        let free = holder.is_none_or(|holder| holder == self.instance);
        if !free && self.seen.since.elapsed() < TAKE_AFTER {
            return Ok(false);
        }
        let counter = value.map_or(0, |value| value.counter).wrapping_add(1);
        self.write(Some(self.instance), counter).await?;
        if holder != Some(self.instance) {
            tracing::info!(lease = self.key, "took the lease");
        }
        Ok(true)
    }

    async fn write(&mut self, holder: Option<Instance>, counter: u64) -> Result<(), Error> {
        let value = Value { holder, counter }.encode();
        self.seen.revision = self.bucket.update(&self.key, value.into(), self.seen.revision).await?;
        self.seen.since = Instant::now();
        Ok(())
    }

    /// Gives the lease back, so that another need not wait. Of no consequence if it fails.
    pub async fn release(&mut self) {
        if self.is_held() {
            self.seen.held_until = None;
            if let Err(error) = self.write(None, 0).await {
                tracing::debug!(lease = self.key, %error, "could not give the lease back");
            }
        }
    }
}
