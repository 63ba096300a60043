//! Whether the engine lost history while nobody listened: its memory of past events holds 256, of all types.

use domain::node::GapReason;

/// Events that the engine remembers, of all types and before any filter (moby `daemon/events`, `eventsLimit`).
pub(crate) const RING_MAX: usize = 256;

/// Why history is lost since the time `cut` of the last event that is known of; `None` if nothing is.
/// `ring` are the times of what the engine remembers, oldest first.
pub(crate) fn lost(ring: &[i64], cut: Option<i64>) -> Option<GapReason> {
    let cut = cut?;
    if ring.first().is_some_and(|oldest| *oldest <= cut) {
        None
    } else if ring.len() >= RING_MAX {
        Some(GapReason::EngineOverflow)
    } else {
        // The event at the cut was in the ring, nothing pushed it out, and it is not there.
        Some(GapReason::EngineRestart)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overflow_and_restart_are_told_apart() {
        let full: Vec<i64> = (1000..1256).collect();
        for (ring, cut, reason) in [
            (&full[..], Some(1100), None),
            (&full[..], Some(1000), None),
            (&full[..], Some(999), Some(GapReason::EngineOverflow)),
            (&full[..10], Some(1005), None),
            (&full[..10], Some(999), Some(GapReason::EngineRestart)),
            (&[], Some(999), Some(GapReason::EngineRestart)),
            (&[], None, None),
            (&full[..], None, None),
        ] {
            assert_eq!(lost(ring, cut), reason, "{} {cut:?}", ring.len());
        }
    }
}
