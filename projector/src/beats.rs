//! Signs of life: noted as they come, written now and then. Outside the checkpoint: they are no part of the record.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_nats::Client;
use domain::node::Heartbeat;
use domain::wire::Wire;
use domain::{NodeName, Prefix, Timestamp};
use futures::StreamExt;
use service::Stop;

/// A sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Beat {
    /// When it came.
    pub(crate) at: Timestamp,
    /// It is a stand-in's.
    pub(crate) stand_in: bool,
}

/// The last sign of life of each node, until it is written.
pub(crate) struct Beats {
    max: usize,
    last: Mutex<BTreeMap<NodeName, Beat>>,
}

impl Beats {
    /// None yet, and never more than `max`.
    pub(crate) fn new(max: usize) -> Self {
        Self { max, last: Mutex::default() }
    }

    fn note(&self, node: NodeName, beat: Beat) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() < self.max || last.contains_key(&node) {
            last.insert(node, beat);
        }
    }

    /// Takes those of the nodes that are asked for.
    pub(crate) fn take(&self, wanted: impl Fn(&NodeName) -> bool) -> BTreeMap<NodeName, Beat> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (taken, left) = std::mem::take(&mut *last).into_iter().partition(|(node, _)| wanted(node));
        *last = left;
        taken
    }
}

/// Listens until told to stop.
pub(crate) async fn listen(client: Client, prefix: Prefix, beats: &Beats, stop: Stop) {
    while !stop.is_stopped() {
        if let Ok(mut subscription) = client.subscribe(prefix.beat_all()).await {
            loop {
                let message = tokio::select! {
                    () = stop.stopped() => return,
                    message = subscription.next() => message,
                };
                let Some(message) = message else { break };
                // A node speaks for itself alone: the subject is what the server checked.
                if let Ok(beat) = Heartbeat::decode(&message.payload)
                    && message.subject.as_str() == prefix.beat(&beat.node)
                {
                    let at = service::clock::now();
                    beats.note(beat.node, Beat { at, stand_in: beat.stand_in });
                }
            }
        }
        stop.sleep(RESUBSCRIBE).await;
    }
}

/// How long to wait before subscribing anew.
const RESUBSCRIBE: std::time::Duration = std::time::Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_and_taken_once() {
        let beats = Beats::new(2);
        let beat = |at| Beat { at: Timestamp(at), stand_in: false };
        let node = |name: &str| name.parse::<NodeName>().unwrap();
        for (name, at) in [("a", 1), ("b", 2), ("c", 3), ("a", 4)] {
            beats.note(node(name), beat(at));
        }
        assert_eq!(beats.take(|name| name.as_str() == "a"), BTreeMap::from([(node("a"), beat(4))]));
        assert_eq!(beats.take(|_| true), BTreeMap::from([(node("b"), beat(2))]));
    }
}
