//! Reads the stream of observations of one partition, in order.

use async_nats::jetstream::Context as JetStream;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use domain::wire::Wire;
use domain::{Batch, NodeName, Partition, Prefix};

use crate::Config;
use crate::worker::Broken;

/// Begins to read at a sequence.
pub(crate) async fn read_from(
    jetstream: &JetStream,
    config: &Config,
    partition: Partition,
    sequence: u64,
) -> Result<pull::Ordered, Broken> {
    let stream = jetstream.get_stream_no_info(config.prefix.raw_stream()).await;
    let stream = stream.map_err(|error| Broken::new("cannot read the observations", &error))?;
    let reader = stream.create_consumer(pull::OrderedConfig {
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: sequence.max(1) },
        filter_subject: config.prefix.raw_stored(partition),
        max_expires: service::nats::READ_TIME,
        ..pull::OrderedConfig::default()
    });
    let reader = reader.await.map_err(|error| Broken::new("cannot read the observations", &error))?;
    reader.messages().await.map_err(|error| Broken::new("cannot read the observations", &error))
}

/// A message of the stream: its sequence, and what it says or why that cannot be read.
pub(crate) struct Read {
    pub(crate) raw_sequence: u64,
    pub(crate) says: Result<Batch, Unreadable>,
}

/// A message that cannot be read.
pub(crate) struct Unreadable {
    pub(crate) node: Option<NodeName>,
    pub(crate) reason: &'static str,
    pub(crate) detail: String,
}

/// Takes a message apart.
pub(crate) fn parse(prefix: &Prefix, partition: Partition, message: &Message) -> Result<Read, Broken> {
    let info = message.info().map_err(|error| Broken::new("an observation without a place", &error.to_string()))?;
    Ok(Read { raw_sequence: info.stream_sequence, says: parse_batch(prefix, partition, message) })
}

fn parse_batch(prefix: &Prefix, partition: Partition, message: &Message) -> Result<Batch, Unreadable> {
    let subject = message.subject.as_str();
    let Some((stored_in, node)) = prefix.parse_raw_stored(subject) else {
        return Err(Unreadable { node: None, reason: "subject", detail: format!("subject {subject}") });
    };
    let unreadable = |reason, detail: String| Unreadable { node: Some(node.clone()), reason, detail };
    let batch = Batch::decode(&message.payload).map_err(|error| unreadable("invalid", error.to_string()))?;
    if batch.node != node || stored_in != partition {
        return Err(unreadable("other_node", format!("a message of node {} under {subject}", batch.node)));
    }
    Ok(batch)
}
