//! What the servers do when nobody else does anything: the same bytes, without deckwatch.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream::{self, Context as JetStream};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use domain::record::STAMP_HEADER;
use domain::{NodeName, Partition};
use futures::{StreamExt, TryStreamExt};
use service::Failure;
use service::redis::Store;
use tokio::time::Instant;

use crate::Config;
use crate::report::Ceiling;

/// Records, and hashes, that are written again and again.
const SAMPLE_MAX: u64 = 500;
/// Most messages that wait for their acknowledgement.
const SINGLES_MAX: usize = 256;
/// Batches that wait for theirs, and pipelines that wait for their answer: one is made while another is stored.
const BATCHES_MAX: usize = 2;
/// Most bytes of the stream. The other settings are those of the stream of records.
const STREAM_BYTES_MAX: i64 = 1 << 30;

/// A message as it stands in the stream of records.
struct Message {
    subject: String,
    stamp: Option<String>,
    payload: Bytes,
}

/// Measures each for that time, with the records and hashes that the load left.
pub(crate) async fn measure(
    config: &Config,
    client: &Client,
    store: &Store,
    nodes: &[&NodeName],
    time: Duration,
) -> Result<Ceiling, Failure> {
    let jetstream = jetstream::new(client.clone());
    let messages = prepare(config, &jetstream).await.map_err(failed)?;
    let bytes = messages.iter().map(|message| message.payload.len()).sum::<usize>() / messages.len().max(1);
    let publish_singles_per_second = singles(&jetstream, &messages, time).await.map_err(failed)?;
    let publish_batches_per_second = batches(config, client, &messages, time).await.map_err(failed)?;
    drop(jetstream.delete_stream(stream(config)).await);
    let hset_per_second = hset(config, store, nodes, time).await?;
    Ok(Ceiling { record_bytes: bytes, publish_singles_per_second, publish_batches_per_second, hset_per_second })
}

/// Name of the stream that is written to.
pub(crate) fn stream(config: &Config) -> String {
    format!("{}_CEILING", config.prefix.state_stream(Partition(0)))
}

/// Makes the stream, and takes records of the real one.
async fn prepare(config: &Config, jetstream: &JetStream) -> Result<Vec<Message>, async_nats::Error> {
    let records = jetstream.get_stream(config.prefix.state_stream(Partition(0))).await?;
    let info = records.get_info().await?;
    let mut settings = info.config;
    settings.name = stream(config);
    settings.subjects = vec![format!("{}.ceiling.>", config.prefix)];
    settings.max_bytes = STREAM_BYTES_MAX;
    settings.metadata.clear();
    jetstream.create_stream(settings).await?;
    let last = info.state.last_sequence;
    let mut messages = Vec::new();
    for sequence in last.saturating_sub(SAMPLE_MAX).max(info.state.first_sequence)..=last {
        let message = records.direct_get(sequence).await?;
        let rest = message.subject.splitn(3, '.').nth(2).unwrap_or_default();
        messages.push(Message {
            subject: format!("{}.ceiling.{rest}", config.prefix),
            stamp: message.headers.get(STAMP_HEADER).map(|stamp| stamp.to_string()),
            payload: message.payload,
        });
    }
    Ok(messages)
}

impl Message {
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(stamp) = &self.stamp {
            headers.insert(STAMP_HEADER, stamp.as_str());
        }
        headers
    }
}

/// Messages a second, each acknowledged, many under way.
async fn singles(jetstream: &JetStream, messages: &[Message], time: Duration) -> Result<f64, async_nats::Error> {
    let begin = Instant::now();
    let (end, stored) = (begin + time, AtomicU64::new(0));
    futures::stream::iter(messages.iter().cycle())
        .take_while(|_| std::future::ready(Instant::now() < end))
        .map(async |message| {
            let (subject, payload) = (message.subject.clone(), message.payload.clone());
            jetstream.publish_with_headers(subject, message.headers(), payload).await?.await?;
            stored.fetch_add(1, Ordering::Relaxed);
            Ok::<_, async_nats::Error>(())
        })
        .buffer_unordered(SINGLES_MAX)
        .try_collect::<()>()
        .await?;
    Ok(rate(&stored, begin))
}

/// Messages a second in atomic batches.
async fn batches(
    config: &Config,
    client: &Client,
    messages: &[Message],
    time: Duration,
) -> Result<f64, async_nats::Error> {
    let begin = Instant::now();
    let (end, stored) = (begin + time, AtomicU64::new(0));
    let batch: Vec<&Message> = messages.iter().cycle().take(config.batch_records.max(2)).collect();
    futures::stream::repeat(&batch)
        .take_while(|_| std::future::ready(Instant::now() < end))
        .map(async |batch| {
            publish_batch(client, batch).await?;
            stored.fetch_add(u64::try_from(batch.len()).unwrap_or_default(), Ordering::Relaxed);
            Ok::<_, async_nats::Error>(())
        })
        .buffer_unordered(BATCHES_MAX)
        .try_collect::<()>()
        .await?;
    Ok(rate(&stored, begin))
}

async fn publish_batch(client: &Client, batch: &[&Message]) -> Result<(), async_nats::Error> {
    let id = format!("{:016x}", service::random());
    for (message, sequence) in batch.iter().zip(1..) {
        let mut headers = message.headers();
        headers.insert("Nats-Batch-Id", id.as_str());
        headers.insert("Nats-Batch-Sequence", sequence.to_string().as_str());
        let (subject, payload) = (message.subject.clone(), message.payload.clone());
        if sequence < batch.len() {
            client.publish_with_headers(subject, headers, payload).await?;
            continue;
        }
        headers.insert("Nats-Batch-Commit", "1");
        let reply = client.request_with_headers(subject, headers, payload).await?;
        let reply = String::from_utf8_lossy(&reply.payload).into_owned();
        if reply.contains("\"error\"") {
            return Err(reply.into());
        }
    }
    Ok(())
}

/// Hashes of containers a second, in pipelines.
async fn hset(config: &Config, store: &Store, nodes: &[&NodeName], time: Duration) -> Result<f64, Failure> {
    let mut hashes = Vec::new();
    for node in nodes {
        let view = view::store::read_node(store, &config.prefix, node).await.map_err(failed)?;
        hashes.extend(view.containers.iter().map(domain::fields::container));
        if hashes.len() >= config.batch_records {
            break;
        }
    }
    let mut pipeline = redis::pipe();
    let count = config.batch_records.max(1);
    for (number, hash) in hashes.iter().cycle().take(count).enumerate() {
        pipeline.hset_multiple(format!("{}:ceiling:{number}", config.prefix), hash).ignore();
    }
    let begin = Instant::now();
    let (end, stored) = (begin + time, AtomicU64::new(0));
    futures::stream::repeat(&pipeline)
        .take_while(|_| std::future::ready(Instant::now() < end))
        .map(async |pipeline| {
            store.pipeline::<()>(pipeline).await.map_err(failed)?;
            stored.fetch_add(u64::try_from(count).unwrap_or_default(), Ordering::Relaxed);
            Ok::<_, Failure>(())
        })
        .buffer_unordered(BATCHES_MAX)
        .try_collect::<()>()
        .await?;
    Ok(rate(&stored, begin))
}

fn rate(stored: &AtomicU64, begin: Instant) -> f64 {
    stored.load(Ordering::Relaxed) as f64 / begin.elapsed().as_secs_f64()
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::failed(format!("cannot measure the servers' own ceiling: {error}"))
}
