//! Signs of life.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State;
use bytes::Bytes;
use domain::Prefix;
use domain::wire::Wire;
use service::Stop;

use crate::core::Core;

/// Beats at each interval, and at once when the epoch's `hello` is stored.
pub(crate) async fn run(core: Arc<Core>, client: Client, prefix: Prefix, interval: Duration, stop: Stop) {
    let mut open = core.watch_open();
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.stopped() => return,
            _ = ticks.tick() => {}
            changed = open.changed() => if changed.is_err() { return },
        }
        beat(&core, &client, &prefix).await;
    }
}

/// Beats once. Not while the connection is cut: what is sent late is no sign of life.
pub(crate) async fn beat(core: &Core, client: &Client, prefix: &Prefix) {
    if client.connection_state() != State::Connected {
        return;
    }
    let subject = prefix.beat(&core.identity.node);
    if let Err(error) = client.publish(subject, Bytes::from(core.heartbeat().encode())).await {
        tracing::debug!(%error, "no heartbeat");
    }
}
