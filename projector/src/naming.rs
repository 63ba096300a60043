//! Names drifts that the projector puts right by itself: counts them, and has the node's producer say them, so that the
//! record tells of them as it does of any other.

use std::collections::BTreeMap;
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
    unsaid: Mutex<BTreeMap<NodeName, Unsaid>>,
    news: Notify,
}

impl Drifts {
    /// None yet, and never of more than `nodes_max` nodes.
    pub(crate) fn new(metrics: Metrics, nodes_max: usize) -> Self {
        Self { metrics, nodes_max, unsaid: Mutex::default(), news: Notify::new() }
    }

    /// Counts a drift of keys of a node, and keeps it to be said.
    pub(crate) fn name(&self, node: &NodeName, keys: Vec<String>) {
        let kind = DriftKind::EditedStore;
        self.metrics.drifts(kind.as_str(), 1);
        tracing::warn!(%node, %kind, keys = keys.join(" "), "the store is not as it was written");
        let mut unsaid = self.unsaid();
        if unsaid.len() < self.nodes_max || unsaid.contains_key(node) {
            let correction = Correction { drift: kind, container_id: None, fields: keys };
            unsaid.entry(node.clone()).or_default().keep(correction);
            self.news.notify_one();
        }
    }

    /// Nobody is left to say those of a node that is retired.
    pub(crate) fn forget(&self, node: &NodeName) {
        self.unsaid().remove(node);
    }

    fn put_back(&self, node: NodeName, mut left: Unsaid) {
        if !left.is_empty() {
            let mut unsaid = self.unsaid();
            left.append(unsaid.remove(&node).unwrap_or_default());
            unsaid.insert(node, left);
        }
    }

    fn unsaid(&self) -> MutexGuard<'_, BTreeMap<NodeName, Unsaid>> {
        self.unsaid.lock().unwrap_or_else(PoisonError::into_inner)
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
        let unsaid = std::mem::take(&mut *drifts.unsaid());
        let saying = unsaid.into_iter().map(|(node, unsaid)| say_of(shared, node, unsaid));
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
