//! What NATS does not permit, as the server says it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::Health;

/// Most refusals that are remembered: what is missing beyond that is seen when these are granted.
const REFUSALS_MAX: usize = 16;

/// What a client may be refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// To publish on a subject.
    Publish(String),
    /// To subscribe to a subject.
    Subscribe(String),
}

impl Act {
    /// What a server's error says was refused; `None` where it is about something else.
    pub(crate) fn refused(error: &str) -> Option<Self> {
        let (_, what) = error.split_once("Permissions Violation for ")?;
        let subject = what.split('"').nth(1)?;
        if what.starts_with("Publish") {
            Some(Self::Publish(family(subject)))
        } else if what.starts_with("Subscription") {
            Some(Self::Subscribe(family(subject)))
        } else {
            None
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publish(subject) => write!(f, "publish on {subject}"),
            Self::Subscribe(subject) => write!(f, "subscribe to {subject}"),
        }
    }
}

/// The subject, or a pattern for those of which there are many: each says the same.
fn family(subject: &str) -> String {
    let tokens: Vec<&str> = subject.split('.').collect();
    let kept = match tokens.as_slice() {
        [inbox, ..] if inbox.starts_with("_INBOX") => 1,
        // `$JS.API`, or `deckwatch.js` where an account has another name for it.
        [_, "API" | "js", "CONSUMER", "MSG", "NEXT", _, ..] => 6,
        [_, "API" | "js", "CONSUMER", _, _, ..] => 5,
        [_, "state" | "rpc" | "dead", _, ..] => 2,
        _ => return subject.to_owned(),
    };
    if tokens.len() == kept { subject.to_owned() } else { format!("{}.>", tokens[..kept].join(".")) }
}

/// What was refused to the connections of one role, or of one question.
#[derive(Clone, Default)]
pub struct Permissions(Arc<Mutex<Refusals>>);

#[derive(Default)]
struct Refusals {
    acts: BTreeSet<Act>,
    /// Where they are told.
    health: Option<Health>,
}

impl Permissions {
    /// What was refused until now.
    pub fn refused(&self) -> BTreeSet<Act> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).acts.clone()
    }

    /// From now on what is refused is told there.
    pub(crate) fn tell(&self, health: Health) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).health = Some(health);
    }

    /// Takes note of an error that the server sent.
    pub(crate) fn note(&self, error: &str) {
        let Some(act) = Act::refused(error) else { return };
        let mut refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if refusals.acts.len() >= REFUSALS_MAX || !refusals.acts.insert(act) {
            return;
        }
        if let Some(health) = &refusals.health {
            health.unready("permissions", reason(&refusals.acts));
        }
    }

    /// A new connection: the server says anew what it refuses.
    pub(crate) fn forget(&self) {
        let mut refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.acts.clear();
        if let Some(health) = &refusals.health {
            health.ready("permissions");
        }
    }
}

fn reason(acts: &BTreeSet<Act>) -> String {
    let acts: Vec<String> = acts.iter().map(ToString::to_string).collect();
    format!("NATS does not permit to {}; permit it there, then start this anew", acts.join(", to "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLISH: &str = "Permissions Violation for Publish to \"deckwatch.state.0.n.node\"";

    #[test]
    fn what_was_refused_is_read_from_the_servers_words() {
        let refused = |error| Act::refused(error).map(|act| act.to_string());
        assert_eq!(refused(PUBLISH).unwrap(), "publish on deckwatch.state.>");
        let subscription = "Permissions Violation for Subscription to \"_INBOX.abc.*\" using queue \"q\"";
        assert_eq!(refused(subscription).unwrap(), "subscribe to _INBOX.>");
        let api = |subject: &str| Act::refused(&format!("Permissions Violation for Publish to \"{subject}\""));
        let published = |subject: &str| Some(Act::Publish(subject.to_owned()));
        assert_eq!(api("$JS.API.CONSUMER.CREATE.S.x.y"), published("$JS.API.CONSUMER.CREATE.S.>"));
        assert_eq!(api("$JS.API.CONSUMER.MSG.NEXT.S.x"), published("$JS.API.CONSUMER.MSG.NEXT.S.>"));
        assert_eq!(api("deckwatch.js.CONSUMER.CREATE.S.x.y"), published("deckwatch.js.CONSUMER.CREATE.S.>"));
        assert_eq!(api("$JS.API.CONSUMER.LIST.S"), published("$JS.API.CONSUMER.LIST.S"));
        assert_eq!(refused("Authorization Violation"), None);
        assert_eq!(refused("Permissions Violation for Publish to"), None);
    }

    #[test]
    fn what_is_refused_is_told_once_and_bounded() {
        let (permissions, health) = (Permissions::default(), Health::default());
        permissions.tell(health.clone());
        permissions.note(PUBLISH);
        permissions.note(PUBLISH);
        let told = || health.reasons().into_iter().map(|(_, reason)| reason).collect::<String>();
        assert!(told().starts_with("NATS does not permit to publish on deckwatch.state.>; "), "{}", told());
        for number in 0..100 {
            permissions.note(&format!("Permissions Violation for Publish to \"x.{number}\""));
        }
        assert_eq!(permissions.refused().len(), REFUSALS_MAX);
        permissions.forget();
        assert!(health.is_ready() && permissions.refused().is_empty());
    }
}
