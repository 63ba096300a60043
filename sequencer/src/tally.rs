//! How many nodes there are, over all partitions that this instance works on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use domain::Partition;
use service::Metrics;

/// Nodes by status, of each partition that this instance works on.
#[derive(Clone, Default)]
pub(crate) struct Tally(Arc<Mutex<BTreeMap<Partition, Count>>>);

/// Nodes of one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Whose producer speaks and whose engine answers.
    pub alive: i64,
    /// Whose engine cannot be asked.
    pub blind: i64,
    /// Whose producer is silent.
    pub lost: i64,
}

impl Tally {
    /// A partition's count; none where another instance works on it.
    pub(crate) fn set(&self, metrics: &Metrics, partition: Partition, count: Option<Count>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match count {
            Some(count) => drop(counts.insert(partition, count)),
            None => drop(counts.remove(&partition)),
        }
        let sum = |of: fn(&Count) -> i64| counts.values().map(of).sum();
        metrics.nodes("alive", sum(|count| count.alive));
        metrics.nodes("blind", sum(|count| count.blind));
        metrics.nodes("lost", sum(|count| count.lost));
    }
}
