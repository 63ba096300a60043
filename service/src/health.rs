use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Why a program is not ready: a reason for each condition that does not hold.
#[derive(Clone, Default)]
pub struct Health {
    reasons: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

impl Health {
    /// The condition does not hold, for this reason. A reason that is new is logged once.
    pub fn unready(&self, condition: &'static str, reason: impl Into<String>) {
        let reason = reason.into();
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        if reasons.get(condition) != Some(&reason) {
            tracing::warn!(condition, reason, "not ready");
            reasons.insert(condition, reason);
        }
    }

    /// The condition holds. That it holds again is logged once.
    pub fn ready(&self, condition: &'static str) {
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        if reasons.remove(condition).is_some() {
            tracing::info!(condition, "ready");
        }
    }

    /// Every condition that does not hold, with its reason.
    pub fn reasons(&self) -> Vec<(String, String)> {
        let reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        reasons.iter().map(|(condition, reason)| ((*condition).to_owned(), reason.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_condition_counts_for_itself() {
        let health = Health::default();
        health.unready("nats", "away");
        health.unready("redis", "away");
        health.ready("nats");
        assert_eq!(health.reasons(), [("redis".to_owned(), "away".to_owned())]);
    }
}
