use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Why a program is not ready: a reason for each condition that does not hold.
#[derive(Clone, Default)]
pub struct Health {
    /// Whose conditions these are, where several roles share a program; else empty.
    role: &'static str,
    reasons: Arc<Mutex<BTreeMap<(&'static str, &'static str), String>>>,
}

impl Health {
    /// The same program's health, with the conditions of one of its roles.
    pub fn of(&self, role: &'static str) -> Self {
        Self { role, reasons: Arc::clone(&self.reasons) }
    }

    /// The condition does not hold, for this reason. A reason that is new is logged once.
    pub fn unready(&self, condition: &'static str, reason: impl Into<String>) {
        let reason = reason.into();
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (self.role, condition);
        if reasons.get(&key) != Some(&reason) {
            tracing::warn!(condition, reason, "not ready");
            reasons.insert(key, reason);
        }
    }

    /// The condition holds. That it holds again is logged once.
    pub fn ready(&self, condition: &'static str) {
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        if reasons.remove(&(self.role, condition)).is_some() {
            tracing::info!(condition, "ready");
        }
    }

    /// Every condition that does not hold, with its reason.
    pub fn reasons(&self) -> Vec<(String, String)> {
        let reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        let named = reasons.iter().map(|((role, condition), reason)| {
            let name = [*role, *condition].join(" ").trim_start().to_owned();
            (name, reason.clone())
        });
        named.collect()
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

    #[test]
    fn each_role_counts_for_itself() {
        let health = Health::default();
        health.of("producer").unready("nats", "away");
        health.of("sequencer").ready("nats");
        assert_eq!(health.reasons(), [("producer nats".to_owned(), "away".to_owned())]);
    }
}
