//! Reads the stream of records, in its order, with none left out.

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::Stream;
use domain::Record;
use domain::wire::{Invalid, Wire};
use futures::StreamExt;
use std::time::Duration;

use crate::worker::Broken;

/// How long the server keeps a reader that went away.
const READER_KEPT: Duration = Duration::from_secs(30);

/// A reader that the server keeps in memory alone, so that none outlives a restart.
pub(crate) struct Records {
    messages: pull::Stream,
    count: u64,
}

/// A record with its place, or why it cannot be read.
pub(crate) struct Read {
    pub(crate) sequence: u64,
    pub(crate) record: Result<Record, Invalid>,
}

impl Records {
    /// Begins to read. The server that reads may lag behind the leader: it begins with what it has, and what it lacks
    /// follows. So only the leader tells where the end is.
    pub(crate) async fn open(stream: &Stream, all: String, from: DeliverPolicy) -> Result<Self, Broken> {
        let failed = |error: &dyn std::fmt::Display| Broken::new("cannot read the records", error);
        let reader = stream.create_consumer(pull::Config {
            deliver_policy: from,
            filter_subject: all,
            ack_policy: AckPolicy::None,
            inactive_threshold: READER_KEPT,
            memory_storage: true,
            num_replicas: 1,
            max_expires: service::nats::READ_TIME,
            ..pull::Config::default()
        });
        let reader = reader.await.map_err(|error| failed(&error))?;
        let messages = reader.messages().await.map_err(|error| failed(&error))?;
        Ok(Self { messages, count: 0 })
    }

    /// The next record. May be dropped and called again: nothing is lost by it.
    pub(crate) async fn next(&mut self) -> Result<Read, Broken> {
        let failed = |error: &dyn std::fmt::Display| Broken::new("the records cannot be read", error);
        let message = self.messages.next().await;
        let message = message.ok_or_else(|| failed(&"the reader ended"))?.map_err(|error| failed(&error))?;
        let info = message.info().map_err(|error| failed(&error.to_string()))?;
        self.count += 1;
        if info.consumer_sequence != self.count {
            return Err(failed(&"the server left some out"));
        }
        Ok(Read { sequence: info.stream_sequence, record: Record::decode(&message.payload) })
    }
}
