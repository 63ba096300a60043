//! Makes events, and follows how far Redis is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::Prefix;
use service::Failure;
use service::redis::Settings;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::Progress;
use crate::fleet::Fleet;
use crate::tracked::Tracked;

/// Most events under way.
const UNDER_WAY_MAX: u64 = 10_000;
/// Events that are made in one go.
const TURNS_MAX: u64 = 200;
/// How often it is looked whether more are due.
const TICK: Duration = Duration::from_millis(1);
/// Between two readings of how far Redis is: what is read costs it time.
const READ_TIME: Duration = Duration::from_millis(10);
/// How long what is under way may take to Redis.
const DRAIN_MAX: Duration = Duration::from_secs(60);

/// How far Redis is: the last stamps of all nodes, summed up.
#[derive(Default)]
pub(crate) struct Stored {
    stamps: AtomicU64,
    changed: Notify,
}

impl Stored {
    /// Follows until dropped.
    pub(crate) async fn follow(&self, settings: &Settings, prefix: &Prefix, fleet: &Fleet) -> Result<(), Failure> {
        let mut tracked = Tracked::open(settings, "seq").await?;
        let keys: Vec<String> = fleet.nodes.iter().map(|node| prefix.node_key(&node.name)).collect();
        let read = tracked.read(keys.iter()).await?;
        let mut stamps: BTreeMap<String, u64> = keys.into_iter().zip(read.into_iter().map(number)).collect();
        loop {
            self.stamps.store(stamps.values().sum(), Ordering::Relaxed);
            self.changed.notify_one();
            let changed = tracked.changed().await?;
            let read = tracked.read(changed.iter()).await?;
            stamps.extend(changed.into_iter().zip(read.into_iter().map(number)));
            tokio::time::sleep(READ_TIME).await;
        }
    }

    /// Events that are in Redis.
    pub(crate) fn events(&self, fleet: &Fleet) -> u64 {
        self.stamps.load(Ordering::Relaxed).saturating_sub(fleet.other_stamps())
    }

    /// Waits until every event is in Redis, and every other observation too.
    pub(crate) async fn drained(&self, fleet: &Fleet) -> Result<(), Failure> {
        let drained = async {
            while self.stamps.load(Ordering::Relaxed) != fleet.other_stamps() + fleet.emitted() {
                self.changed.notified().await;
            }
        };
        tokio::time::timeout(DRAIN_MAX, drained).await.map_err(|_| {
            let (stored, sent) = (self.events(fleet), fleet.emitted());
            Failure::failed(format!(
                "of {sent} events {stored} are in Redis after a minute; is the machine overloaded?"
            ))
        })
    }
}

fn number(text: Option<String>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Makes events for that time, as many as `rate` a second; without one as many as Redis takes.
pub(crate) async fn make(fleet: &Fleet, stored: &Stored, rate: Option<f64>, time: Duration, told: &Progress<'_>) {
    let (begin, before) = (Instant::now(), fleet.emitted());
    // At most one event of each container is under way, so that each is looked at for each.
    let bound = u64::try_from(fleet.containers()).unwrap_or(u64::MAX).min(UNDER_WAY_MAX);
    let mut ticks = tokio::time::interval(TICK);
    while begin.elapsed() < time {
        ticks.tick().await;
        told.tell(begin.elapsed().as_secs_f64() / time.as_secs_f64());
        loop {
            let emitted = fleet.emitted();
            let room = bound.saturating_sub(emitted.saturating_sub(stored.events(fleet)));
            let due = rate.map_or(u64::MAX, |rate| due(rate, begin.elapsed()).saturating_sub(emitted - before));
            let count = room.min(due).min(TURNS_MAX);
            fleet.turn(count);
            if count < TURNS_MAX {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Events that should have been made by then.
fn due(rate: f64, elapsed: Duration) -> u64 {
    Duration::from_secs_f64((rate * elapsed.as_secs_f64()).clamp(0.0, 1e15)).as_secs()
}
