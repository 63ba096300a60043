//! How many records are not yet in the store, summed over the partitions.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use domain::Partition;
use service::Metrics;

/// The sum.
pub(crate) struct Tally {
    metrics: Metrics,
    lags: Mutex<BTreeMap<Partition, u64>>,
}

impl Tally {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { metrics, lags: Mutex::default() }
    }

    /// Takes in how many records of a partition are not yet in the store.
    pub(crate) fn set(&self, partition: Partition, lag: u64) {
        let mut lags = self.lags.lock().unwrap_or_else(PoisonError::into_inner);
        lags.insert(partition, lag);
        self.metrics.projector_lag(i64::try_from(lags.values().sum::<u64>()).unwrap_or(i64::MAX));
    }
}
