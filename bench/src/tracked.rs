//! Watches keys of Redis by its client-side caching: it tells of each change to a key that was read, once.

use std::collections::BTreeSet;

use redis::aio::MultiplexedConnection;
use redis::{PushInfo, PushKind, Value};
use service::Failure;
use service::redis::Settings;
use tokio::sync::mpsc;

/// Most keys that are read at once.
const READ_MAX: usize = 500;

/// Keys that are watched, and one field of each.
pub(crate) struct Tracked {
    connection: MultiplexedConnection,
    /// At most one message waits for each key: the next comes after it was read again.
    pushes: mpsc::UnboundedReceiver<PushInfo>,
    field: &'static str,
}

impl Tracked {
    /// Watches nothing yet: what is read is watched.
    pub(crate) async fn open(settings: &Settings, field: &'static str) -> Result<Self, Failure> {
        let (sender, pushes) = mpsc::unbounded_channel();
        let mut connection = service::redis::connect_pushed(settings, sender).await.map_err(unanswered)?;
        let on: Result<(), _> = redis::cmd("CLIENT").arg("TRACKING").arg("ON").query_async(&mut connection).await;
        on.map_err(unanswered)?;
        Ok(Self { connection, pushes, field })
    }

    /// Reads the field of each key.
    pub(crate) async fn read<'a>(
        &mut self,
        keys: impl Iterator<Item = &'a String>,
    ) -> Result<Vec<Option<String>>, Failure> {
        let keys: Vec<&String> = keys.collect();
        let mut values = Vec::with_capacity(keys.len());
        for keys in keys.chunks(READ_MAX) {
            let mut pipeline = redis::pipe();
            for key in keys {
                pipeline.hget(key, self.field);
            }
            let read: Vec<Option<String>> = pipeline.query_async(&mut self.connection).await.map_err(unanswered)?;
            values.extend(read);
        }
        Ok(values)
    }

    /// Waits until some have changed.
    pub(crate) async fn changed(&mut self) -> Result<BTreeSet<String>, Failure> {
        let mut changed = BTreeSet::new();
        while changed.is_empty() {
            let push = self.pushes.recv().await;
            let push = push.ok_or_else(|| Failure::unanswered("the connection to Redis ended"))?;
            changed.extend(keys(push)?);
            while changed.len() < READ_MAX
                && let Ok(push) = self.pushes.try_recv()
            {
                changed.extend(keys(push)?);
            }
        }
        Ok(changed)
    }
}

/// The keys that a push names.
fn keys(push: PushInfo) -> Result<Vec<String>, Failure> {
    if push.kind == PushKind::Disconnection {
        return Err(Failure::unanswered("the connection to Redis ended"));
    }
    let data = if push.kind == PushKind::Invalidate { push.data } else { Vec::new() };
    let named = data.into_iter().flat_map(|value| if let Value::Array(keys) = value { keys } else { Vec::new() });
    Ok(named.filter_map(|key| redis::from_redis_value(key).ok()).collect())
}

pub(crate) fn unanswered(error: impl std::fmt::Display) -> Failure {
    Failure::unanswered(format!("Redis: {error}"))
}
