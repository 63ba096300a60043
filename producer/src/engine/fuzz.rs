//! What an engine answers, taken in without an engine: for the fuzzer.

use domain::{Container, ContainerId, EngineEvent, NodeName, Stamp};

use super::events::{self, Heard};
use super::labels::LabelPolicy;
use super::{row, state};

/// The container of an inspect, as it would be sent; the row of a list is compared with it too.
pub fn inspected(json: &[u8]) -> Option<Container> {
    let node: NodeName = "n1".parse().ok()?;
    let read = state::read(&serde_json::from_slice(json).ok()?, &node, &LabelPolicy::default()).ok()?;
    let mut container = read.container;
    if let Ok(listed) = serde_json::from_slice(json) {
        row::fits(&listed, &container, 0);
    }
    (container.as_of, container.stamp) = (1, Stamp { epoch: 1, seq: 2 });
    Some(container)
}

/// The event of a container, as it would be sent.
pub fn event(json: &[u8]) -> Option<(ContainerId, EngineEvent)> {
    let message = serde_json::from_slice(json).ok()?;
    events::key(&message);
    match events::read(&message, false)? {
        Heard::Container { id, event, .. } => Some((id, event)),
        Heard::Hint(_) => None,
    }
}
