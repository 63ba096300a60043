//! The key that fences a life: whether it is this life's still.

use std::time::{Duration, Instant};

use async_nats::connection::State;
use bytes::Bytes;
use domain::node::NodeClaim;
use domain::wire::Wire;
use service::kv::{Bucket, Error};

use super::{Over, Producer};
use crate::ask::{Answer, ask};
use crate::fence::Fence;
use crate::sender::connects;

/// After that time a key that looks lost is looked at again.
const DOUBT_WAIT: Duration = Duration::from_millis(300);
/// How long JetStream may take to tell of a bucket.
const BUCKET_WAIT: Duration = Duration::from_secs(3);

/// What is known of the key that fences a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    /// It is this life's.
    Held,
    /// It could not be read.
    Unknown,
    /// What was read is older than this life: the server lags behind, or lost the claim.
    Behind,
    /// It is not: the life is over.
    Lost(Over),
}

impl Producer {
    /// Looks at the key that fences this life; `None` unless the life is over. A server that lags behind, or begins, may
    /// tell what is not so: it is asked twice.
    pub(super) async fn still_holds(&self, revision: u64, fence: &Fence) -> Option<Over> {
        let (asked, connects) = (Instant::now(), connects(&self.client));
        match self.look_at_key(revision).await {
            Key::Held => {
                fence.held(asked, connects);
                None
            }
            Key::Unknown => None,
            Key::Behind => fence.behind(asked).then_some(Over::KeyGone),
            first @ Key::Lost(over) => {
                self.context.stop.sleep(DOUBT_WAIT).await;
                (self.look_at_key(revision).await == first).then_some(over)
            }
        }
    }

    async fn look_at_key(&self, revision: u64) -> Key {
        if self.client.connection_state() != State::Connected {
            return Key::Unknown;
        }
        let bucket = Bucket::new(self.client.clone(), self.config.prefix.nodes_bucket());
        let entry = tokio::select! {
            () = self.context.stop.stopped() => return Key::Unknown,
            entry = bucket.get(self.core.identity.node.as_str()) => entry,
        };
        let entry = match entry {
            Ok(Some(entry)) if !entry.value.is_empty() => entry,
            Ok(Some(_) | None) => return Key::Lost(Over::KeyGone),
            Err(Error::NoStream(_)) if self.is_bucket_gone().await => return Key::Lost(Over::KeyGone),
            Err(Error::NoStream(_) | Error::Conflict | Error::Unreachable(_)) => return Key::Unknown,
        };
        let claim = NodeClaim::decode(&entry.value);
        if entry.revision < revision {
            let is_passed = claim
                .is_ok_and(|claim| claim.instance != self.core.identity.instance && claim.epoch >= self.core.epoch());
            return if is_passed { Key::Lost(Over::Superseded) } else { Key::Behind };
        }
        match claim {
            Ok(claim) if claim.instance == self.core.identity.instance => Key::Held,
            Ok(_) => Key::Lost(Over::Superseded),
            Err(_) => Key::Lost(Over::KeyGone),
        }
    }

    /// That nobody answers for a bucket may mean that its server begins.
    async fn is_bucket_gone(&self) -> bool {
        let subject = format!("$JS.API.STREAM.INFO.KV_{}", self.config.prefix.nodes_bucket());
        let Answer::Said(message) = ask(&self.client, subject, Bytes::new(), BUCKET_WAIT).await else { return false };
        let answer: Option<serde_json::Value> = serde_json::from_slice(&message.payload).ok();
        answer.and_then(|answer| answer.pointer("/error/code")?.as_u64()) == Some(404)
    }
}
