//! Whether this life may go on to send: it must know that its claim still holds.
//!
//! After a cut of the connection, or a pause of this program, another may have claimed the node since. What is sent under
//! a claim that is passed is stored and counts for nothing: it would be lost, where the next life could still tell it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// A claim that was seen to hold is trusted for so many heartbeats: it is looked at each heartbeat.
const TRUST_HEARTBEATS: u32 = 2;
/// And not for less than this: a pause that short is too short for anybody to take the node.
const TRUST_MIN: Duration = Duration::from_secs(8);
/// A server that tells for so long what was before the claim does not lag behind: the claim is gone.
const BEHIND_MAX: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Instant,
    connects: u64,
    /// Since when only what was before it is told.
    behind: Option<Instant>,
}

/// When the claim was last seen to hold, and over which connection.
pub(crate) struct Fence {
    trust: Duration,
    seen: Mutex<Seen>,
    doubted: Notify,
}

impl Fence {
    /// It was claimed just now, over the connection of that number.
    pub(crate) fn new(heartbeat: Duration, now: Instant, connects: u64) -> Self {
        let trust = heartbeat.saturating_mul(TRUST_HEARTBEATS).max(TRUST_MIN);
        Self { trust, seen: Mutex::new(Seen { at: now, connects, behind: None }), doubted: Notify::new() }
    }

    /// The claim may be taken to hold. Where not, whoever waits for [`Fence::doubted`] is told.
    pub(crate) fn holds(&self, now: Instant, connects: u64) -> bool {
        let Seen { at, connects: of, .. } = *self.seen();
        let holds = of == connects && now.saturating_duration_since(at) < self.trust;
        if !holds {
            self.doubted.notify_one();
        }
        holds
    }

    /// Waits until it is doubted.
    pub(crate) async fn doubted(&self) {
        self.doubted.notified().await;
    }

    /// It was seen to hold, by a question over that connection that was asked then.
    pub(crate) fn held(&self, now: Instant, connects: u64) {
        *self.seen() = Seen { at: now, connects, behind: None };
    }

    /// What was before it was told. Says whether that lasts for too long to be a server that lags behind.
    pub(crate) fn behind(&self, now: Instant) -> bool {
        let since = *self.seen().behind.get_or_insert(now);
        now.saturating_duration_since(since) >= BEHIND_MAX
    }

    /// Nobody looks any more; what is trusted now is trusted once more.
    pub(crate) fn prolong(&self, now: Instant, connects: u64) {
        if self.holds(now, connects) {
            self.held(now, connects);
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_doubted_after_a_pause_and_on_another_connection() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let fence = Fence::new(Duration::from_secs(5), began, 1);
        assert!(fence.holds(at(9), 1));
        assert!(!fence.holds(at(9), 2), "another may have claimed while it was cut off");
        assert!(!fence.holds(at(10), 1));
        fence.prolong(at(10), 1);
        assert!(!fence.holds(at(10), 1), "what is in doubt stays so");
        fence.held(at(10), 2);
        assert!(fence.holds(at(19), 2));
        fence.prolong(at(19), 2);
        assert!(fence.holds(at(28), 2));
    }

    #[test]
    fn a_server_that_lags_behind_catches_up_and_one_that_lost_the_claim_does_not() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let fence = Fence::new(Duration::from_secs(5), began, 1);
        assert_eq!([0, 5, 9, 10].map(|seconds| fence.behind(at(seconds))), [false, false, false, true]);
        fence.held(at(11), 1);
        assert_eq!([12, 21, 22].map(|seconds| fence.behind(at(seconds))), [false, false, true]);
    }

    #[test]
    fn a_short_heartbeat_makes_no_doubts() {
        let began = Instant::now();
        let fence = Fence::new(Duration::from_secs(1), began, 1);
        assert!(fence.holds(began + Duration::from_secs(7), 1));
    }
}
