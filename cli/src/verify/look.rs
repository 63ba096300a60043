//! Looks at a node: asks its producer, then reads what Redis holds, once that covers the answer.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::Client;
use domain::names::Request;
use domain::node::{NodeChange, NodeStatus};
use domain::rpc::{ReplayRequest, ReplayResponse};
use domain::{NodeName, Partition, Partitions, Prefix, Stamp, Subject};
use service::Failure;
use service::redis::Store;
use tokio::time::Instant;
use view::keys::{self, NodeKeys};
use view::producer::{self, Snapshot, Unanswered};
use view::record::State;
use view::store::{self, NodeView};

use super::judge::{Answer, Difference, Look, confirmed, differences, stamp, status};
use crate::picture;

/// How long a producer may take to say that it is there.
const CALL_TIME: Duration = Duration::from_secs(3);
/// How long one that is there may take to answer; both together are what a question may take.
const STATES_TIME: Duration = Duration::from_secs(6);
/// How long Redis may take to get as far as an answer.
const COVER_TIME: Duration = Duration::from_secs(5);
/// How long between two reads of what is waited for.
const COVER_PAUSE: Duration = Duration::from_millis(100);
/// Most looks at a node: what differs in one and has moved by the next is looked at again.
const LOOKS_MAX: usize = 3;
/// How long between two looks: keys in other slots follow a moment later.
const LOOK_PAUSE: Duration = Duration::from_millis(300);

/// Where to look.
pub(super) struct Eyes {
    /// NATS.
    pub(super) client: Client,
    /// Redis.
    pub(super) store: Store,
    /// What names begin with.
    pub(super) prefix: Prefix,
    /// How many partitions there are.
    pub(super) partitions: Partitions,
}

/// What is thought of a node.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    /// The node.
    pub(super) node: NodeName,
    /// How many containers were compared.
    pub(super) containers: usize,
    /// What differs.
    pub(super) differences: Vec<Difference>,
    /// Why its engine could not be asked, or the answer not be compared.
    pub(super) unasked: Option<String>,
}

impl Eyes {
    /// The nodes that Redis or the ordered record knows, but for those that were retired.
    pub(super) async fn nodes(&self) -> Result<BTreeSet<NodeName>, Failure> {
        let away =
            |error: view::record::Error| Failure::unanswered(format!("{error}; see if NATS is overloaded or stopped"));
        let stored = store::nodes(&self.store, &self.prefix).await.map_err(|error| picture::failure(&error))?;
        let mut nodes: BTreeSet<NodeName> = stored.into_iter().collect();
        let jetstream = async_nats::jetstream::new(self.client.clone());
        for partition in self.partitions.all() {
            let state = State::open(&jetstream, &self.prefix, partition).await.map_err(away)?;
            for node in state.nodes().await.map_err(away)?.difference(&nodes.clone()) {
                let last = state.last_of(node).await.map_err(away)?;
                let retired = |subject: &Subject| matches!(subject, Subject::Node(NodeChange::Forgotten));
                if last.is_some_and(|(_, record)| !retired(&record.subject)) {
                    nodes.insert(node.clone());
                }
            }
        }
        Ok(nodes)
    }

    /// Partitions of which nothing in Redis is current.
    pub(super) async fn stale(&self) -> Result<BTreeSet<Partition>, Failure> {
        let mut stale = BTreeSet::new();
        for partition in self.partitions.all() {
            let found = store::partition(&self.store, &self.prefix, partition).await;
            if found.map_err(|error| picture::failure(&error))?.is_none() {
                stale.insert(partition);
            }
        }
        Ok(stale)
    }

    /// Asks a node's producer if it is there.
    pub(super) async fn call(&self, node: NodeName) -> (NodeName, Result<(), Unanswered>) {
        // Epoch 0 asks only who is there.
        let question = ReplayRequest { epoch: 0, from_seq: 0, to_seq: 0 };
        let subject = self.prefix.rpc(&node, Request::Replay);
        let answer: Result<ReplayResponse, _> = producer::ask(&self.client, subject, &question, CALL_TIME).await;
        (node, answer.map(drop))
    }

    /// Looks at a node until it is clear what differs.
    ///
    /// # Errors
    /// No answer from Redis.
    pub(super) async fn judge(&self, node: NodeName, there: Result<(), Unanswered>) -> Result<Verdict, Failure> {
        let mut look = match there {
            Ok(()) => self.look(&node).await?,
            Err(why) => self.look_without(&node, |view| unasked(view, &why)).await?,
        };
        let mut found = Vec::new();
        for _ in 1..LOOKS_MAX {
            if differences(&look).is_empty() || !found.is_empty() {
                break;
            }
            tokio::time::sleep(LOOK_PAUSE).await;
            let again = match &look.answer {
                Answer::Covered { .. } | Answer::NoStamp(_) => self.look(&node).await?,
                // Who could not be asked is not asked again.
                Answer::Nothing(why) => self.look_without(&node, |_| why.clone()).await?,
            };
            found = confirmed(&look, &again);
            look = again;
        }
        let (containers, unasked) = match look.answer {
            Answer::Covered { containers, .. } => (containers.len(), None),
            Answer::NoStamp(_) => (0, None),
            Answer::Nothing(reason) => (0, Some(reason)),
        };
        Ok(Verdict { node, containers, differences: found, unasked })
    }

    async fn look(&self, node: &NodeName) -> Result<Look, Failure> {
        let every = producer::Look::AtAll;
        let asked = producer::snapshot(&self.client, &self.prefix, node, None, every, STATES_TIME).await;
        let snapshot = match asked {
            Ok(snapshot) => snapshot,
            Err(why) => return self.look_without(node, |view| unasked(view, &why)).await,
        };
        let (answer, keys) = self.cover(node, snapshot).await?;
        let listed = self.is_listed(node).await?;
        Ok(Look { answer, keys, listed })
    }

    /// Looks at what Redis holds alone; `why` is said of what it holds.
    async fn look_without(&self, node: &NodeName, why: impl FnOnce(&NodeView) -> String) -> Result<Look, Failure> {
        let keys = self.keys(node).await?;
        let listed = self.is_listed(node).await?;
        Ok(Look { answer: Answer::Nothing(why(&keys.view)), keys, listed })
    }

    async fn is_listed(&self, node: &NodeName) -> Result<bool, Failure> {
        let listed = store::nodes(&self.store, &self.prefix).await.map_err(|error| picture::failure(&error))?;
        Ok(listed.contains(node))
    }

    /// Reads the node's keys until they cover the answer.
    async fn cover(&self, node: &NodeName, snapshot: Snapshot) -> Result<(Answer, NodeKeys), Failure> {
        let wanted = Stamp { epoch: snapshot.head.responder.epoch, seq: snapshot.head.seq };
        let deadline = Instant::now() + COVER_TIME;
        loop {
            let keys = self.keys(node).await?;
            let Err(why) = covers(&keys.view, wanted) else {
                let engine_id = snapshot.head.responder.engine_id;
                return Ok((Answer::Covered { engine_id, containers: snapshot.containers }, keys));
            };
            if Instant::now() >= deadline {
                let answer = if stamp(&keys.view).is_none() { Answer::NoStamp(wanted) } else { Answer::Nothing(why) };
                return Ok((answer, keys));
            }
            tokio::time::sleep(COVER_PAUSE).await;
        }
    }

    async fn keys(&self, node: &NodeName) -> Result<NodeKeys, Failure> {
        let read = keys::examine(&self.store, &self.prefix, node).await;
        read.map_err(|error| picture::failure(&error))?.ok_or_else(|| {
            Failure::unanswered(format!(
                "Redis at {} lacks deckwatch's functions; start a projector of this version",
                self.store.address()
            ))
        })
    }
}

/// What Redis holds of the node is at least as new as the stamp, and shows it alive.
fn covers(view: &NodeView, wanted: Stamp) -> Result<(), String> {
    match (&view.checkpoint, stamp(view), status(view)) {
        (None, _, _) => Err("Redis does not say up to where it has the node; see the projector's /readyz".to_owned()),
        (Some(checkpoint), _, _) if checkpoint.rebuild.is_some() => {
            Err("Redis builds the node anew; ask again in a moment".to_owned())
        }
        (Some(_), None, _) => Err("Redis has no stamp of the node".to_owned()),
        (Some(_), Some(have), _) if have < wanted => Err(format!(
            "Redis has the node up to {have}, the producer is at {wanted}; see the /readyz of sequencer and projector"
        )),
        (Some(_), Some(_), Some(NodeStatus::Alive)) => Ok(()),
        (Some(_), Some(_), Some(away @ (NodeStatus::Lost | NodeStatus::Blind))) => {
            Err(format!("Redis still says {away}, and its producer answers; ask again in a moment"))
        }
        (Some(_), Some(_), None) => Err("Redis does not say how the node is".to_owned()),
    }
}

/// Why nobody could be asked, with what Redis knows of it.
fn unasked(view: &NodeView, why: &Unanswered) -> String {
    let since = view.node.get("status_since").and_then(|since| since.get(..19)).unwrap_or_default();
    match status(view) {
        Some(away @ (NodeStatus::Lost | NodeStatus::Blind)) => format!("{away} since {since}: {why}"),
        Some(NodeStatus::Alive) | None => why.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use domain::revision::Place;
    use view::checkpoint::{Checkpoint, Rebuild};

    use super::*;

    fn view(fields: &[(&str, &str)]) -> NodeView {
        let node = fields.iter().map(|(field, text)| ((*field).to_owned(), (*text).to_owned())).collect();
        let checkpoint = Checkpoint { partition: Partition(0), place: Place::EMPTY, rebuild: None };
        NodeView { checkpoint: Some(checkpoint), node, containers: Vec::new(), unreadable: Vec::new() }
    }

    #[test]
    fn only_what_is_as_new_as_the_answer_is_compared() {
        let wanted = Stamp { epoch: 2, seq: 5 };
        let at = |epoch, seq, status| covers(&view(&[("epoch", epoch), ("seq", seq), ("status", status)]), wanted);
        assert_eq!(at("2", "5", "alive"), Ok(()));
        assert_eq!(at("3", "1", "alive"), Ok(()));
        assert!(at("2", "4", "alive").unwrap_err().contains("up to 2.4"));
        assert!(at("1", "9", "alive").is_err());
        assert!(at("2", "5", "lost").unwrap_err().contains("lost"));
        assert!(at("x", "5", "alive").is_err());
        let mut anew = view(&[("epoch", "9"), ("seq", "9"), ("status", "alive")]);
        let rebuild = Rebuild { token: "t".to_owned(), since: domain::Timestamp(0), stated: false };
        anew.checkpoint.as_mut().unwrap().rebuild = Some(rebuild);
        assert!(covers(&anew, wanted).unwrap_err().contains("anew"));
        anew.checkpoint = None;
        assert!(covers(&anew, wanted).is_err());
    }

    #[test]
    fn a_node_that_is_known_to_be_away_is_told_as_such() {
        let lost = view(&[("status", "lost"), ("status_since", "2026-01-01T12:00:01.000000000Z")]);
        let why = unasked(&lost, &Unanswered::Nobody);
        assert_eq!(why, "lost since 2026-01-01T12:00:01: nobody answers for the node");
        assert_eq!(unasked(&view(&[("status", "alive")]), &Unanswered::Nobody), "nobody answers for the node");
    }
}
