use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Why a program is not ready: a reason for each condition that does not hold.
#[derive(Clone)]
pub struct Health {
    /// Whose conditions these are, where several share a program; else empty.
    part: Arc<str>,
    conditions: Arc<Mutex<Conditions>>,
    /// What each part says of itself beside.
    notes: Arc<Mutex<BTreeMap<Arc<str>, String>>>,
}

/// By part and name.
type Conditions = BTreeMap<(Arc<str>, &'static str), Condition>;

/// One condition: why it does not hold, if it does not.
struct Condition {
    reason: Option<String>,
    /// It held once: that it no longer does is worth a warning.
    held: bool,
}

impl Default for Health {
    fn default() -> Self {
        Self { part: "".into(), conditions: Arc::default(), notes: Arc::default() }
    }
}

impl Health {
    /// The same program's health, with conditions of their own for one of its roles, or one part of a role.
    pub fn of(&self, part: &str) -> Self {
        let part = format!("{} {part}", self.part);
        Self {
            part: part.trim_start().into(),
            conditions: Arc::clone(&self.conditions),
            notes: Arc::clone(&self.notes),
        }
    }

    /// The condition does not hold, for this reason. A reason that is new is logged once.
    pub fn unready(&self, condition: &'static str, reason: impl Into<String>) {
        let reason = reason.into();
        let mut conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        let known = conditions.entry((Arc::clone(&self.part), condition));
        let known = known.or_insert(Condition { reason: None, held: false });
        if known.reason.as_ref() == Some(&reason) {
            return;
        }
        let part = &*self.part;
        if known.held {
            tracing::warn!(part, condition, reason, "not ready");
        } else {
            tracing::info!(part, condition, reason, "not ready yet");
        }
        known.reason = Some(reason);
    }

    /// The condition holds. That it holds again is logged once.
    pub fn ready(&self, condition: &'static str) {
        let mut conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        let known = conditions.entry((Arc::clone(&self.part), condition));
        let known = known.or_insert(Condition { reason: None, held: true });
        known.held = true;
        if known.reason.take().is_some() {
            tracing::info!(part = &*self.part, condition, "ready");
        }
    }

    /// Says something of this part for people, whether it is ready or not.
    pub fn note(&self, text: String) {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).insert(Arc::clone(&self.part), text);
    }

    /// What each part says of itself.
    pub fn notes(&self) -> Vec<String> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// This part has ended: its conditions count no more.
    pub fn forget(&self) {
        let mut conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        conditions.retain(|(part, _), _| *part != self.part);
    }

    /// Every condition that was told of holds. Before the first one nothing is known: that is not ready.
    pub fn is_ready(&self) -> bool {
        let conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        !conditions.is_empty() && conditions.values().all(|known| known.reason.is_none())
    }

    /// Every condition that does not hold, with its reason.
    pub fn reasons(&self) -> Vec<(String, String)> {
        let conditions = self.conditions.lock().unwrap_or_else(PoisonError::into_inner);
        let named = conditions.iter().filter_map(|((part, condition), known)| {
            let name = format!("{part} {condition}").trim_start().to_owned();
            Some((name, known.reason.clone()?))
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
    fn who_has_told_of_nothing_is_not_ready() {
        let health = Health::default();
        assert!(!health.is_ready());
        health.ready("nats");
        assert!(health.is_ready());
        health.unready("redis", "away");
        assert!(!health.is_ready());
    }

    #[test]
    fn each_part_counts_for_itself() {
        let health = Health::default();
        health.of("sequencer").of("partition 1").unready("records", "away");
        health.of("sequencer").of("partition 0").ready("records");
        assert_eq!(health.reasons(), [("sequencer partition 1 records".to_owned(), "away".to_owned())]);
        health.of("sequencer").of("partition 0").forget();
        assert!(!health.is_ready(), "only what that part said is forgotten");
        health.of("sequencer").of("partition 1").forget();
        assert_eq!(health.reasons(), []);
    }
}
