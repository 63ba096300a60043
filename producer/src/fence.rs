//! Whether this life may go on to send: it must know that its claim still holds.
//!
//! After a cut of the connection, or a pause of this program, another may have claimed the node since. What is sent under
//! a claim that is passed is stored and counts for nothing: it would be lost, where the next life could still tell it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// A claim that was seen to hold is trusted for so many heartbeats: it is looked at each heartbeat.
const TRUST_HEARTBEATS: u32 = 2;
/// And not for less than this: a pause that short is too short for anybody to take the node.
const TRUST_MIN: Duration = Duration::from_secs(8);

#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Instant,
    connects: u64,
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
        Self { trust, seen: Mutex::new(Seen { at: now, connects }), doubted: Notify::new() }
    }

    /// The claim may be taken to hold. Where not, whoever waits for [`Fence::doubted`] is told.
    pub(crate) fn holds(&self, now: Instant, connects: u64) -> bool {
        let Seen { at, connects: of } = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
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
    pub(crate) fn seen(&self, now: Instant, connects: u64) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Seen { at: now, connects };
    }

    /// Nobody looks any more; what is trusted now is trusted once more.
    pub(crate) fn prolong(&self, now: Instant, connects: u64) {
        if self.holds(now, connects) {
            self.seen(now, connects);
        }
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
        fence.seen(at(10), 2);
        assert!(fence.holds(at(19), 2));
        fence.prolong(at(19), 2);
        assert!(fence.holds(at(28), 2));
    }

    #[test]
    fn a_short_heartbeat_makes_no_doubts() {
        let began = Instant::now();
        let fence = Fence::new(Duration::from_secs(1), began, 1);
        assert!(fence.holds(began + Duration::from_secs(7), 1));
    }
}
