//! Takes away what a measurement left in servers that are somebody's.

use async_nats::{Client, jetstream};
use domain::{Partition, Prefix};
use service::redis::{Error, Store};

/// Keys that are asked for at once.
const SCAN_COUNT: u64 = 1000;

/// Removes the prefix's streams and buckets.
pub(crate) async fn nats(client: &Client, prefix: &Prefix, ceiling: String) {
    let jetstream = jetstream::new(client.clone());
    let buckets = [prefix.nodes_bucket(), prefix.leases_bucket()].map(|bucket| format!("KV_{bucket}"));
    let streams = [prefix.raw_stream(), prefix.state_stream(Partition(0)), prefix.dead_stream(), ceiling];
    for stream in streams.into_iter().chain(buckets) {
        // One that was not made cannot be removed either.
        if let Err(error) = jetstream.delete_stream(&stream).await {
            tracing::debug!(%error, stream, "not removed");
        }
    }
}

/// Removes the prefix's keys and functions.
pub(crate) async fn redis(store: &Store, prefix: &Prefix) {
    if let Err(error) = remove_keys(store, prefix).await {
        tracing::warn!(%error, %prefix, "what was measured with is left in Redis");
    }
}

async fn remove_keys(store: &Store, prefix: &Prefix) -> Result<(), Error> {
    let mut cursor = 0;
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(format!("{prefix}:*")).arg("COUNT").arg(SCAN_COUNT);
        let (next, keys): (u64, Vec<String>) = store.query(&scan).await?;
        if !keys.is_empty() {
            store.query::<()>(redis::cmd("UNLINK").arg(&keys)).await?;
        }
        if next == 0 {
            break;
        }
        cursor = next;
    }
    store.query(redis::cmd("FUNCTION").arg("DELETE").arg(prefix.library(view::SCHEMA))).await
}
