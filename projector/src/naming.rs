//! Names drifts that the projector puts right by itself: counts them, and has the node's producer say them, so that the
//! record tells of them as it does of any other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::NodeName;
use domain::node::{Correction, DriftKind};
use futures::{StreamExt, stream};
use service::Metrics;
use tokio::sync::Notify;
use view::unsaid::Unsaid;

use crate::worker::Shared;

/// How long an answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(2);
/// A drift is said so long after it was found: what is found together is said together, and a node that is built anew
/// has containers again.
const SAID_AFTER: Duration = Duration::from_millis(500);

/// Drifts that are to be said.
pub(crate) struct Drifts {
    metrics: Metrics,
    nodes_max: usize,
    waiting: Mutex<Waiting>,
    news: Notify,
}

#[derive(Default)]
struct Waiting {
    unsaid: BTreeMap<NodeName, Unsaid>,
    /// Nodes whose producers are being told; what is left of that comes back, unless they are retired meanwhile.
    told: BTreeSet<NodeName>,
}

impl Drifts {
    /// None yet, and never of more than `nodes_max` nodes.
    pub(crate) fn new(metrics: Metrics, nodes_max: usize) -> Self {
        Self { metrics, nodes_max, waiting: Mutex::default(), news: Notify::new() }
    }

    /// Counts a drift of keys of a node, and keeps it to be said.
    pub(crate) fn name(&self, node: &NodeName, keys: Vec<String>) {
        let kind = DriftKind::EditedStore;
        self.metrics.drifts(kind.as_str(), 1);
        tracing::warn!(%node, %kind, keys = keys.join(" "), "the store is not as it was written");
        let Waiting { unsaid, .. } = &mut *self.waiting();
        if unsaid.len() < self.nodes_max || unsaid.contains_key(node) {
            let correction = Correction { drift: kind, container_id: None, fields: keys };
            unsaid.entry(node.clone()).or_default().keep(correction);
            self.news.notify_one();
        }
    }

    /// Nobody is left to say those of a node that is retired.
    pub(crate) fn forget(&self, node: &NodeName) {
        let Waiting { unsaid, told } = &mut *self.waiting();
        unsaid.remove(node);
        told.remove(node);
    }

    /// All that is to be said.
    fn take(&self) -> BTreeMap<NodeName, Unsaid> {
        let Waiting { unsaid, told } = &mut *self.waiting();
        let taken = std::mem::take(unsaid);
        *told = taken.keys().cloned().collect();
        taken
    }

    fn put_back(&self, node: NodeName, mut left: Unsaid) {
        let Waiting { unsaid, told } = &mut *self.waiting();
        if told.remove(&node) && !left.is_empty() {
            left.append(unsaid.remove(&node).unwrap_or_default());
            unsaid.insert(node, left);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says drifts until told to stop, and once more then. What a producer cannot be told is kept until it can be.
pub(crate) async fn say(shared: &Shared) {
    let (stop, drifts) = (&shared.context.stop, &shared.drifts);
    loop {
        tokio::select! {
            _ = stop.sleep(shared.config.heartbeat) => {}
            () = drifts.news.notified() => {
                stop.sleep(SAID_AFTER).await;
            }
        }
        let saying = drifts.take().into_iter().map(|(node, unsaid)| say_of(shared, node, unsaid));
        stream::iter(saying).buffer_unordered(shared.config.limits.questions).collect::<()>().await;
        if stop.is_stopped() {
            return;
        }
    }
}

async fn say_of(shared: &Shared, node: NodeName, mut unsaid: Unsaid) {
    // To look at one container costs the engine less than a statement of all.
    let any = shared.keys.any_container(&node).await.ok().flatten();
    let saying = unsaid.say(&shared.client, &shared.config.prefix, &node, any.as_slice(), ANSWER_TIME);
    if let Err(why) = saying.await {
        tracing::debug!(%node, %why, "its producer cannot be told of a drift yet");
    }
    shared.drifts.put_back(node, unsaid);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_retired_while_its_drifts_are_said_does_not_come_back() {
        let drifts = Drifts::new(Metrics::default(), 10);
        let nodes = ["gone", "stays"].map(|name| name.parse::<NodeName>().expect("a name"));
        nodes.iter().for_each(|node| drifts.name(node, vec!["checkpoint".to_owned()]));
        let taken = drifts.take();
        assert_eq!(taken.len(), 2);
        drifts.forget(&nodes[0]);
        taken.into_iter().for_each(|(node, left)| drifts.put_back(node, left));
        assert_eq!(drifts.take().into_keys().collect::<Vec<_>>(), nodes[1..]);
    }
}
