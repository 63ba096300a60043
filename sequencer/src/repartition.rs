//! Changes the number of partitions: the streams are made anew, and producers are asked for everything.

use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::{self, Context as JetStream, ErrorCode};
use domain::{Partition, Partitions, Prefix};
use futures::TryStreamExt;
use service::Failure;

use crate::streams::{Unmade, make};
use crate::{Config, Limits};

/// How long a server may take for one of the changes: it may have much to delete.
const CHANGE_TIME: Duration = Duration::from_secs(30);
/// How often what may come right by itself is tried.
const TRIES_MAX: u32 = 20;
/// How long between two of them.
const RETRY_TIME: Duration = Duration::from_millis(500);

/// The streams that are there, of whatever number of partitions: a change that was cut short leaves some of two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Their names, and how many messages each holds.
    pub streams: Vec<(String, u64)>,
    /// For how many partitions they were made, where all say the same and none is absent.
    pub partitions: Option<Partitions>,
    /// How many servers hold each.
    pub replicas: usize,
    /// Bounds that they were made with.
    pub limits: Limits,
}

/// Looks which streams there are. Changes nothing.
///
/// # Errors
/// NATS does not answer, or one of them was made by another hand.
pub async fn survey(client: &Client, prefix: &Prefix) -> Result<Survey, Failure> {
    let jetstream = patient(client);
    let failed = |error: &dyn std::fmt::Display| Failure::unanswered(format!("cannot list the streams: {error}"));
    let found: Vec<_> = jetstream.streams().try_collect().await.map_err(|error| failed(&error))?;
    let mut survey = Survey { streams: Vec::new(), partitions: None, replicas: 1, limits: Limits::default() };
    let mut counts = Vec::new();
    for stream in found.iter().filter(|stream| is_ours(prefix, &stream.config.name)) {
        let name = stream.config.name.clone();
        let Some(count) = stream.config.metadata.get(&prefix.partitions_metadata()) else {
            return Err(Failure::failed(format!(
                "stream {name} was not made by deckwatch; remove it, or use another --prefix"
            )));
        };
        counts.push(count.parse::<Partitions>().ok());
        survey.replicas = stream.config.num_replicas;
        if name == prefix.raw_stream() {
            survey.limits.raw_bytes_max = stream.config.max_bytes;
        } else if name == prefix.state_stream(Partition(0)) {
            survey.limits.state_bytes_max = stream.config.max_bytes;
        }
        survey.streams.push((name, stream.state.messages));
    }
    survey.streams.sort();
    let first = counts.first().copied().flatten();
    survey.partitions = first.filter(|count| {
        let all = count.all().map(|partition| prefix.state_stream(partition)).chain(others(prefix));
        let mut all: Vec<_> = all.collect();
        all.sort();
        counts.iter().all(|other| other == &first) && survey.streams.iter().map(|(name, _)| name).eq(&all)
    });
    Ok(survey)
}

/// Makes the streams anew for `config.partitions`. May be cut short anywhere, and begun again.
///
/// # Errors
/// NATS refuses, or does not answer.
pub async fn remake(client: &Client, config: &Config, survey: &Survey) -> Result<(), Failure> {
    let jetstream = patient(client);
    let prefix = &config.prefix;
    // Who holds a node's name, and what nobody could read, does not depend on partitions. First: a sequencer that is
    // started too early, with the old number, is refused.
    for name in [format!("KV_{}", prefix.nodes_bucket()), prefix.dead_stream()] {
        if survey.streams.iter().any(|(there, _)| *there == name) {
            rename(&jetstream, &name, config).await?;
        }
    }
    let kept = [format!("KV_{}", prefix.nodes_bucket()), prefix.dead_stream()];
    for (name, _) in survey.streams.iter().filter(|(name, _)| !kept.contains(name)) {
        match jetstream.delete_stream(name).await {
            Ok(_) => {}
            Err(error) if is_not_there(&error) => {}
            Err(error) => return Err(unanswered("delete", name, &error)),
        }
    }
    let mut tries = 0;
    loop {
        match make(&jetstream, config).await {
            Ok(()) => return Ok(()),
            Err(Unmade::Never(failure)) => return Err(failure),
            Err(Unmade::Later(reason)) if tries >= TRIES_MAX => return Err(Failure::unanswered(reason)),
            Err(Unmade::Later(_)) => tries += 1,
        }
        tokio::time::sleep(RETRY_TIME).await;
    }
}

/// A stream says that it is one of so many partitions, and stays as it is.
async fn rename(jetstream: &JetStream, name: &str, config: &Config) -> Result<(), Failure> {
    let stream = jetstream.get_stream(name).await.map_err(|error| unanswered("read", name, &error))?;
    let mut changed = stream.cached_info().config.clone();
    changed.metadata.insert(config.prefix.partitions_metadata(), config.partitions.to_string());
    jetstream.update_stream(changed).await.map(drop).map_err(|error| unanswered("change", name, &error))
}

fn patient(client: &Client) -> JetStream {
    let mut jetstream = jetstream::new(client.clone());
    jetstream.set_timeout(CHANGE_TIME);
    jetstream
}

fn unanswered(what: &str, stream: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::unanswered(format!("cannot {what} the stream {stream}: {error}; say it again: it goes on where it ended"))
}

fn is_not_there(error: &jetstream::context::DeleteStreamError) -> bool {
    use jetstream::context::GetStreamErrorKind::JetStream;
    matches!(error.kind(), JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// Streams of which there is one, however many partitions there are.
fn others(prefix: &Prefix) -> [String; 4] {
    let bucket = |bucket: String| format!("KV_{bucket}");
    [prefix.raw_stream(), prefix.dead_stream(), bucket(prefix.nodes_bucket()), bucket(prefix.leases_bucket())]
}

fn is_ours(prefix: &Prefix, name: &str) -> bool {
    let number = name.rsplit('_').next().and_then(|number| number.parse().ok());
    let is_state = number.is_some_and(|number| prefix.state_stream(Partition(number)) == name);
    is_state || others(prefix).iter().any(|other| other == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_others_are_left_alone() {
        let prefix = Prefix::default();
        let ours = |name| is_ours(&prefix, name);
        assert!(ours("DECKWATCH_RAW") && ours("DECKWATCH_STATE_0") && ours("DECKWATCH_STATE_1023"));
        assert!(ours("KV_DECKWATCH_LEASES") && ours("KV_DECKWATCH_NODES") && ours("DECKWATCH_DEAD"));
        for other in ["DECKWATCH_STATE_", "DECKWATCH_STATE_x", "DECKWATCH_STATE_01", "DECKWATCH_2_STATE_1", "KV_X"] {
            assert!(!ours(other), "{other}");
        }
    }
}
