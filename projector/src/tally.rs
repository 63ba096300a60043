//! Numbers that are summed over the partitions.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use domain::Partition;
use domain::node::NodeStatus;
use service::Metrics;

/// What one partition counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// Records that are not yet in the store.
    pub(crate) lag: u64,
    /// Nodes by status.
    pub(crate) nodes: BTreeMap<NodeStatus, u64>,
}

/// The sums.
pub(crate) struct Tally {
    metrics: Metrics,
    counts: Mutex<BTreeMap<Partition, Counts>>,
}

impl Tally {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { metrics, counts: Mutex::default() }
    }

    /// Takes in what a partition counts now.
    pub(crate) fn set(&self, partition: Partition, counts: Counts) {
        let mut all = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(partition, counts);
        let gauge = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.metrics.projector_lag(gauge(all.values().map(|counts| counts.lag).sum()));
        for status in NodeStatus::ALL {
            let nodes = all.values().filter_map(|counts| counts.nodes.get(status)).sum();
            self.metrics.nodes(status.as_str(), gauge(nodes));
        }
    }
}
