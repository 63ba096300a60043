//! How long to rest after writing lives that broke off.

use std::time::Duration;

/// The first rest; twice as long each time.
const REST: Duration = Duration::from_millis(500);
/// The longest rest: longer than it takes another instance to take the lease.
const REST_MAX: Duration = Duration::from_secs(8);
/// A life that lasts so long was none that is refused as soon as it writes.
const STEADY: Duration = Duration::from_secs(10);
/// How long a life has to last until it is called ready, after one that broke off.
const READY_AFTER: Duration = Duration::from_secs(2);

/// Lives that broke off one after the other. Who is refused each time lets another instance try.
#[derive(Debug, Default)]
pub(super) struct Retries {
    row: u32,
    broke: bool,
}

impl Retries {
    /// A life broke off that lasted so long; answers how long to rest.
    pub(super) fn broke(&mut self, lasted: Duration) -> Duration {
        self.broke = true;
        self.row = if lasted >= STEADY { 0 } else { self.row.saturating_add(1) };
        REST.saturating_mul(2_u32.saturating_pow(self.row.saturating_sub(1))).min(REST_MAX)
    }

    /// How long the next life has to last until it is called ready.
    pub(super) fn steady_after(&self) -> Duration {
        if self.broke { READY_AFTER } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_refused_each_time_rests_until_another_may_take_the_lease() {
        let mut retries = Retries::default();
        let rests: Vec<_> = (0..6).map(|_| retries.broke(Duration::from_millis(20)).as_millis()).collect();
        assert_eq!(rests, [500, 1000, 2000, 4000, 8000, 8000]);
        assert_eq!(retries.steady_after(), READY_AFTER);
    }

    #[test]
    fn one_lost_acknowledgement_costs_a_moment() {
        let mut retries = Retries::default();
        assert_eq!(retries.steady_after(), Duration::ZERO);
        assert_eq!(retries.broke(Duration::from_secs(3600)), REST);
        assert_eq!(retries.broke(Duration::from_secs(3600)), REST);
        assert_eq!(retries.steady_after(), READY_AFTER);
    }
}
