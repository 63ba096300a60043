//! Writes records: atomic batches, each fenced by the stream's last sequence.

use std::time::Duration;

use async_nats::{Client, HeaderMap, header};
use bytes::Bytes;
use domain::record::STAMP_HEADER;
use domain::wire::Wire;
use domain::{Partition, Prefix, Record};

/// How long a batch may take to be acknowledged.
const ACKNOWLEDGE_TIME: Duration = Duration::from_secs(5);
/// Most bytes of one batch: what a server holds in memory until it is whole.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// The records may stand in the stream or not, in part after a crash of the server: only reading tells.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsure {
    /// The server refuses: another writer was faster, or the stream is not what it was.
    #[error("the server refuses the records: {0}")]
    Refused(String),
    /// No word came back.
    #[error("no acknowledgement of the records: {0}")]
    Silent(String),
}

/// Publishes records after the sequence that they expect.
///
/// # Errors
/// Anything but the acknowledgement of every batch at just the expected place.
pub(crate) async fn publish(
    client: &Client,
    prefix: &Prefix,
    partition: Partition,
    mut expected: u64,
    records: &[Record],
    batch_max: usize,
) -> Result<(), Unsure> {
    let messages: Vec<Message> = records.iter().map(|record| Message::new(prefix, partition, record)).collect();
    let mut rest = messages.as_slice();
    while !rest.is_empty() {
        let (batch, others) = rest.split_at(batch_length(rest, batch_max));
        publish_batch(client, expected, batch).await?;
        expected += count(batch);
        rest = others;
    }
    Ok(())
}

struct Message {
    subject: String,
    stamp: Option<String>,
    payload: Bytes,
}

impl Message {
    fn new(prefix: &Prefix, partition: Partition, record: &Record) -> Self {
        Self {
            subject: prefix.state(partition, &record.node, &record.state_subject()),
            stamp: record.stamp_header(),
            payload: record.encode().into(),
        }
    }
}

fn batch_length(messages: &[Message], max: usize) -> usize {
    let mut bytes = 0;
    let fits = messages.iter().take(max).take_while(|message| {
        bytes += message.payload.len();
        bytes <= BATCH_BYTES_MAX
    });
    fits.count().max(1)
}

fn count(batch: &[Message]) -> u64 {
    u64::try_from(batch.len()).expect("a length fits")
}

async fn publish_batch(client: &Client, expected: u64, batch: &[Message]) -> Result<(), Unsure> {
    let id = format!("{:016x}", service::random());
    let silent = |error: &dyn std::fmt::Display| Unsure::Silent(error.to_string());
    for (index, message) in batch.iter().enumerate() {
        let mut headers = HeaderMap::new();
        if index == 0 {
            headers.insert(header::NATS_EXPECTED_LAST_SEQUENCE, expected.to_string().as_str());
        }
        if let Some(stamp) = &message.stamp {
            headers.insert(STAMP_HEADER, stamp.as_str());
        }
        if batch.len() > 1 {
            headers.insert("Nats-Batch-Id", id.as_str());
            headers.insert("Nats-Batch-Sequence", (index + 1).to_string().as_str());
        }
        let (subject, payload) = (message.subject.clone(), message.payload.clone());
        if index + 1 < batch.len() {
            client.publish_with_headers(subject, headers, payload).await.map_err(|error| silent(&error))?;
            continue;
        }
        if batch.len() > 1 {
            headers.insert("Nats-Batch-Commit", "1");
        }
        let request = client.request_with_headers(subject, headers, payload);
        let reply = tokio::time::timeout(ACKNOWLEDGE_TIME, request).await.map_err(|error| silent(&error))?;
        let reply = reply.map_err(|error| silent(&error))?;
        return acknowledged(&reply.payload, expected + count(batch));
    }
    Ok(())
}

/// The acknowledgement names the sequence of the last record of the batch.
fn acknowledged(payload: &[u8], expected: u64) -> Result<(), Unsure> {
    let refused = |reason: String| Err(Unsure::Refused(reason));
    let Ok(reply) = serde_json::from_slice::<serde_json::Value>(payload) else {
        return refused("an acknowledgement that cannot be read".to_owned());
    };
    if let Some(error) = reply.get("error") {
        return refused(error.get("description").and_then(|text| text.as_str()).unwrap_or("an error").to_owned());
    }
    match reply.get("seq").and_then(serde_json::Value::as_u64) {
        Some(sequence) if sequence == expected => Ok(()),
        sequence => refused(format!("stored up to sequence {sequence:?}, not {expected}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_expected_place_is_an_acknowledgement() {
        assert!(acknowledged(br#"{"stream":"S","seq":7}"#, 7).is_ok());
        assert!(acknowledged(br#"{"stream":"S","seq":8}"#, 7).is_err());
        assert!(acknowledged(br#"{"error":{"code":400,"description":"wrong last sequence: 9"}}"#, 7).is_err());
        assert!(acknowledged(b"", 7).is_err());
    }
}
