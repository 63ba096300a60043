//! What an event of the engine means to us.

use std::collections::{HashSet, VecDeque};

use bollard::models::{EventActor, EventMessage, EventMessageTypeEnum as EventType};
use domain::{ContainerId, EngineEvent, Timestamp};

/// Actions of containers that are history, and after which a container is looked at.
pub(crate) const CONTAINER_ACTIONS: [&str; 13] = [
    "create",
    "start",
    "die",
    "stop",
    "kill",
    "oom",
    "pause",
    "unpause",
    "restart",
    "rename",
    "update",
    "destroy",
    "health_status",
];

/// Actions of networks after which the container that they name is looked at: a start that fails emits no more.
pub(crate) const NETWORK_ACTIONS: [&str; 2] = ["connect", "disconnect"];

/// Most bytes of an action that are kept.
const ACTION_MAX: usize = 64;
/// Events that are remembered as seen: the engine's own memory holds 256.
const SEEN_MAX: usize = 4096;

/// What tells one event from another. The engine may deliver one twice, and does after a reconnect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    nanos: i64,
    kind: Option<Kind>,
    action: String,
    id: String,
}

/// Just enough of an event's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Container,
    Network,
    Other,
}

/// An event that concerns us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It happened to a container, and is history.
    Container {
        id: ContainerId,
        event: EngineEvent,
        /// Name and image, for a container of which nothing else is known.
        name: String,
        image: String,
    },
    /// A container may have changed.
    Hint(ContainerId),
}

/// The identity of an event.
pub(crate) fn key(message: &EventMessage) -> Key {
    let kind = message.typ.map(|kind| match kind {
        EventType::CONTAINER => Kind::Container,
        EventType::NETWORK => Kind::Network,
        EventType::EMPTY
        | EventType::BUILDER
        | EventType::CONFIG
        | EventType::DAEMON
        | EventType::IMAGE
        | EventType::NODE
        | EventType::PLUGIN
        | EventType::SECRET
        | EventType::SERVICE
        | EventType::VOLUME => Kind::Other,
    });
    let id = message.actor.as_ref().and_then(|actor| actor.id.clone()).unwrap_or_default();
    // One network event names a container in its attributes, and two may share a nanosecond.
    let container = message.actor.as_ref().and_then(|actor| attribute(actor, "container")).unwrap_or_default();
    Key { nanos: nanos(message), kind, action: message.action.clone().unwrap_or_default(), id: id + container }
}

/// The identities that an event of a container may have had: Podman calls a destroy `remove`.
pub(crate) fn keys_of(id: ContainerId, action: &str, nanos: i64) -> Vec<Key> {
    let other = (action == "destroy").then_some("remove");
    let key = |action: &str| Key { nanos, kind: Some(Kind::Container), action: action.to_owned(), id: id.to_string() };
    std::iter::once(action).chain(other).map(key).collect()
}

/// The engine's clock at an event; 0 if it says none.
pub(crate) fn nanos(message: &EventMessage) -> i64 {
    message.time_nano.or_else(|| message.time?.checked_mul(1_000_000_000)).unwrap_or_default()
}

/// What an event means to us, if anything.
pub(crate) fn read(message: &EventMessage, replayed: bool) -> Option<Heard> {
    let actor = message.actor.as_ref()?;
    let action = message.action.as_deref()?;
    match message.typ? {
        EventType::CONTAINER => {
            let id = actor.id.as_deref()?.parse().ok()?;
            // `health_status: healthy`; Podman calls a destroy `remove`.
            let word = action.split(':').next().unwrap_or_default().trim();
            let word = if word == "remove" { "destroy" } else { word };
            if !CONTAINER_ACTIONS.contains(&word) {
                return None;
            }
            let action = if word == "health_status" { cut(action) } else { word.to_owned() };
            let nanos = nanos(message);
            let event = EngineEvent {
                action,
                time: (nanos != 0).then_some(Timestamp(nanos)),
                signal: number(actor, "signal").filter(|_| word == "kill"),
                exit_code: number(actor, "exitCode").filter(|_| word == "die"),
                exec_duration_seconds: number(actor, "execDuration").filter(|_| word == "die"),
                replayed,
            };
            let text = |key| attribute(actor, key).unwrap_or_default().to_owned();
            Some(Heard::Container { id, event, name: text("name"), image: text("image") })
        }
        EventType::NETWORK if NETWORK_ACTIONS.contains(&action) => {
            attribute(actor, "container")?.parse().ok().map(Heard::Hint)
        }
        EventType::NETWORK
        | EventType::EMPTY
        | EventType::BUILDER
        | EventType::CONFIG
        | EventType::DAEMON
        | EventType::IMAGE
        | EventType::NODE
        | EventType::PLUGIN
        | EventType::SECRET
        | EventType::SERVICE
        | EventType::VOLUME => None,
    }
}

fn attribute<'a>(actor: &'a EventActor, key: &str) -> Option<&'a str> {
    actor.attributes.as_ref()?.get(key).map(String::as_str)
}

fn number<T: std::str::FromStr>(actor: &EventActor, key: &str) -> Option<T> {
    attribute(actor, key)?.parse().ok()
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(ACTION_MAX)].to_owned()
}

/// The events that were seen last.
#[derive(Default)]
pub(crate) struct Seen {
    keys: HashSet<Key>,
    order: VecDeque<Key>,
}

impl Seen {
    /// Takes note of one; says whether it is new.
    pub(crate) fn note(&mut self, key: Key) -> bool {
        if !self.keys.insert(key.clone()) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > SEEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.keys.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(json: &str) -> EventMessage {
        serde_json::from_str(json).unwrap()
    }

    fn container_event(action: &str, attributes: &str) -> EventMessage {
        let id = "ab".repeat(32);
        message(&format!(
            r#"{{"status":"x","Type":"container","Action":"{action}","Actor":{{"ID":"{id}","Attributes":{{{attributes}}}}},"scope":"local","time":1795000000,"timeNano":1795000000123456789}}"#
        ))
    }

    fn event(message: &EventMessage) -> Option<EngineEvent> {
        match read(message, false)? {
            Heard::Container { event, .. } => Some(event),
            Heard::Hint(_) => None,
        }
    }

    #[test]
    fn a_death_bears_code_and_duration() {
        let died = event(&container_event("die", r#""exitCode":"3","execDuration":"7","signal":"1""#)).unwrap();
        assert_eq!((died.exit_code, died.exec_duration_seconds, died.signal), (Some(3), Some(7), None));
        assert_eq!(died.time, Some(Timestamp(1_795_000_000_123_456_789)));
        let kill = event(&container_event("kill", r#""signal":"15""#)).unwrap();
        assert_eq!(kill.signal, Some(15));
    }

    #[test]
    fn only_whitelisted_actions_are_history() {
        for action in ["exec_create: sh -c x", "exec_start: sh", "exec_die", "attach", "resize", "top", "archive-path"]
        {
            assert_eq!(read(&container_event(action, ""), false), None, "{action}");
        }
        assert_eq!(event(&container_event("health_status: unhealthy", "")).unwrap().action, "health_status: unhealthy");
        assert_eq!(event(&container_event("remove", "")).unwrap().action, "destroy");
    }

    #[test]
    fn a_network_hints_at_a_container() {
        let id = "cd".repeat(32);
        let disconnect = message(&format!(
            r#"{{"Type":"network","Action":"disconnect","Actor":{{"ID":"net","Attributes":{{"container":"{id}","name":"bridge"}}}},"timeNano":5}}"#
        ));
        assert_eq!(read(&disconnect, false), Some(Heard::Hint(id.parse().unwrap())));
        assert_eq!(read(&message(r#"{"Type":"image","Action":"tag","Actor":{"ID":"x"}}"#), false), None);
        assert_eq!(read(&message("{}"), false), None);
    }

    #[test]
    fn the_same_event_is_new_once() {
        let mut seen = Seen::default();
        let event = container_event("die", "");
        assert!(seen.note(key(&event)));
        assert!(!seen.note(key(&event)));
        assert!(seen.note(key(&container_event("stop", ""))));
        for nanos in 0..i64::try_from(SEEN_MAX).unwrap() {
            seen.note(key(&EventMessage { time_nano: Some(nanos), ..event.clone() }));
        }
        assert_eq!((seen.keys.len(), seen.order.len()), (SEEN_MAX, SEEN_MAX));
        assert!(seen.note(key(&event)), "the oldest are forgotten");
    }
}
