//! Sends what is queued to the stream, and the same bytes again until they are known to be stored.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::connection::State;
use async_nats::{Client, Message, StatusCode};
use bytes::Bytes;
use futures::StreamExt;
use service::{Health, Stop};

use crate::core::Core;
use crate::fence::Fence;

/// How often the connection is looked at while something is under way.
const CONNECTION_LOOK: Duration = Duration::from_millis(200);

/// Sends for one epoch.
pub(crate) struct Sender {
    pub(crate) core: Arc<Core>,
    pub(crate) client: Client,
    pub(crate) subject: String,
    pub(crate) health: Health,
    pub(crate) fence: Arc<Fence>,
    pub(crate) epoch: u64,
    pub(crate) bytes_max: usize,
}

impl Sender {
    /// Runs until told to stop.
    ///
    /// Acknowledgements come to one inbox: the client's own requests would keep an entry for each that times out.
    pub(crate) async fn run(self, stop: Stop) {
        let inbox = self.client.new_inbox();
        let mut acknowledgements = loop {
            match self.client.subscribe(format!("{inbox}.*")).await {
                Ok(subscription) => break subscription,
                Err(error) => tracing::warn!(%error, "cannot subscribe to acknowledgements"),
            }
            if !stop.sleep(CONNECTION_LOOK).await {
                return;
            }
        };
        let mut was_connected = true;
        loop {
            let is_connected = self.client.connection_state() == State::Connected;
            if is_connected && !was_connected {
                self.core.reconnected();
            }
            was_connected = is_connected;
            let may_send = is_connected && self.fence.holds(Instant::now(), connects(&self.client));
            if may_send {
                self.send(&inbox, &stop).await;
            }
            let due = self.core.deadline().map(|due| due.min(Instant::now() + CONNECTION_LOOK));
            tokio::select! {
                () = stop.stopped() => return,
                () = self.core.work.notified(), if may_send => {}
                message = acknowledgements.next() => match message {
                    Some(message) => self.take_in(&message),
                    None => return,
                },
                () = sleep_until(due, may_send) => {}
            }
        }
    }

    async fn send(&self, inbox: &str, stop: &Stop) {
        for (first_seq, bytes) in self.core.take_due() {
            self.publish(inbox, first_seq, bytes, stop).await;
        }
        while let Some((first_seq, bytes)) = self.core.next_message(self.bytes_max) {
            self.publish(inbox, first_seq, bytes, stop).await;
        }
    }

    async fn publish(&self, inbox: &str, first_seq: u64, bytes: Bytes, stop: &Stop) {
        let published = self.client.publish_with_reply(self.subject.clone(), format!("{inbox}.{first_seq}"), bytes);
        tokio::select! {
            // The client's buffer is full while the connection is cut. What is not published now is due again later.
            () = stop.stopped() => {}
            published = tokio::time::timeout(CONNECTION_LOOK, published) => {
                if let Ok(Err(error)) = published {
                    tracing::warn!(%error, first_seq, "cannot publish");
                }
            }
        }
    }

    fn take_in(&self, message: &Message) {
        let Some(first_seq) = message.subject.rsplit('.').next().and_then(|first| first.parse().ok()) else { return };
        match refusal(message) {
            None => {
                self.health.ready("stream");
                self.core.acknowledged(self.epoch, first_seq);
            }
            Some(reason) => {
                self.health.unready("stream", reason);
                self.core.refused(self.epoch, first_seq);
            }
        }
    }
}

/// Why the message is not stored; `None` where it is.
fn refusal(message: &Message) -> Option<String> {
    if message.status == Some(StatusCode::NO_RESPONDERS) {
        let why =
            "nobody takes observations: no sequencer has made the stream yet, or NATS does not permit to publish there";
        return Some(format!("{why} (ask `deckwatch doctor --for producer`)"));
    }
    let answer: serde_json::Value = match serde_json::from_slice(&message.payload) {
        Ok(answer) => answer,
        Err(error) => return Some(format!("the stream of observations answers what is no JSON: {error}")),
    };
    if let Some(error) = answer.get("error") {
        let text = error.get("description").and_then(serde_json::Value::as_str).unwrap_or("no reason given");
        return Some(format!("the stream of observations refuses a message: {text}"));
    }
    answer.get("seq").is_none().then(|| "the stream of observations answers without a sequence".to_owned())
}

/// The number of the connection: another one after each cut.
pub(crate) fn connects(client: &Client) -> u64 {
    client.statistics().connects.load(Ordering::Relaxed)
}

async fn sleep_until(due: Option<Instant>, may_send: bool) {
    match due {
        _ if !may_send => tokio::time::sleep(CONNECTION_LOOK).await,
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
