//! The streams and buckets: made where they are not there, checked where they are.

use std::collections::HashMap;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config as Stream, DiscardPolicy, StorageType};
use async_nats::jetstream::{self, Context as JetStream};
use domain::{Partition, Partitions};
use service::{Context, Failure};

use crate::Config;

/// How long observations are kept at most: a sequencer that is away longer finds gaps.
const RAW_AGE_MAX: Duration = Duration::from_secs(48 * 3600);
/// How long unreadable messages are kept.
const DEAD_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Most bytes of unreadable messages.
const DEAD_BYTES_MAX: i64 = 16 << 20;
/// How long between two attempts.
const RETRY_TIME: Duration = Duration::from_millis(500);

/// Makes and checks all of them, as soon as that is possible. Says whether they are there: no, when stopped first.
///
/// # Errors
/// One of them is there and is not as it must be.
pub(crate) async fn make_until(client: &Client, config: &Config, context: &Context) -> Result<bool, Failure> {
    let jetstream = jetstream::new(client.clone());
    while !context.stop.is_stopped() {
        match make(&jetstream, config).await {
            Ok(()) => {
                context.health.ready("streams");
                return Ok(true);
            }
            Err(Unmade::Later(reason)) => context.health.unready("streams", reason),
            Err(Unmade::Never(failure)) => return Err(failure),
        }
        context.stop.sleep(RETRY_TIME).await;
    }
    Ok(false)
}

/// Looks again each heartbeat until the context is stopped: what was deleted meanwhile is made anew.
pub(crate) async fn keep(client: Client, config: Config, context: Context) {
    let jetstream = jetstream::new(client);
    while context.stop.sleep(config.heartbeat).await {
        match make(&jetstream, &config).await {
            Ok(()) => context.health.ready("streams"),
            Err(Unmade::Later(reason)) => context.health.unready("streams", reason),
            // The work goes on as long as it can; the next start refuses.
            Err(Unmade::Never(failure)) => context.health.unready("streams", failure.message),
        }
    }
}

/// Why the streams are not there.
pub(crate) enum Unmade {
    /// It may come right by itself.
    Later(String),
    /// It will not.
    Never(Failure),
}

/// Makes and checks all of them, once.
pub(crate) async fn make(jetstream: &JetStream, config: &Config) -> Result<(), Unmade> {
    for stream in wanted(config) {
        ensure(jetstream, stream, config.partitions, config).await?;
    }
    Ok(())
}

/// Looks at all of them, and makes none: each one's name, and what is wrong with it.
pub async fn examine(client: &Client, config: &Config) -> Vec<(String, Option<Failure>)> {
    let jetstream = jetstream::new(client.clone());
    let mut found = Vec::new();
    for stream in wanted(config) {
        let name = stream.name.clone();
        let fault = match jetstream.get_stream(&name).await {
            Ok(have) => check(&have.cached_info().config, &stream, config.partitions, config).err(),
            Err(error) => Some(Failure::unanswered(format!(
                "cannot look up stream {name}: {error}; start a sequencer, which makes it"
            ))),
        };
        found.push((name, fault));
    }
    found
}

/// The streams and buckets as they must be.
fn wanted(config: &Config) -> Vec<Stream> {
    let prefix = &config.prefix;
    let count = config.partitions;
    let raw = Stream {
        name: prefix.raw_stream(),
        subjects: vec![prefix.raw_all()],
        subject_transform: Some(jetstream::stream::SubjectTransform {
            source: prefix.raw_all(),
            destination: format!("{prefix}.raw.{{{{partition({count},1)}}}}.{{{{wildcard(1)}}}}"),
        }),
        max_age: RAW_AGE_MAX,
        max_bytes: config.limits.raw_bytes_max,
        discard: DiscardPolicy::New,
        allow_direct: true,
        ..plain(config)
    };
    let dead = Stream {
        name: prefix.dead_stream(),
        subjects: vec![prefix.dead_all()],
        max_age: DEAD_AGE_MAX,
        max_bytes: DEAD_BYTES_MAX,
        ..plain(config)
    };
    let bucket = |bucket: String| Stream {
        name: format!("KV_{bucket}"),
        subjects: vec![format!("$KV.{bucket}.>")],
        max_messages_per_subject: 1,
        allow_direct: true,
        discard: DiscardPolicy::New,
        ..plain(config)
    };
    let states = count.all().map(|partition| state(partition, config));
    let buckets = [prefix.nodes_bucket(), prefix.leases_bucket()].map(bucket);
    std::iter::once(raw).chain(states).chain([dead]).chain(buckets).collect()
}

/// What a subscriber resumes on has no holes: no limit by subject, no deletion, trimmed at its old end alone.
fn state(partition: Partition, config: &Config) -> Stream {
    Stream {
        name: config.prefix.state_stream(partition),
        subjects: vec![config.prefix.state_all(partition)],
        max_age: config.limits.state_age_max,
        max_bytes: config.limits.state_bytes_max,
        discard: DiscardPolicy::Old,
        allow_direct: true,
        allow_atomic_publish: true,
        deny_delete: true,
        ..plain(config)
    }
}

fn plain(config: &Config) -> Stream {
    Stream {
        storage: StorageType::File,
        num_replicas: config.replicas,
        metadata: HashMap::from([(config.prefix.partitions_metadata(), config.partitions.to_string())]),
        ..Stream::default()
    }
}

async fn ensure(jetstream: &JetStream, wanted: Stream, partitions: Partitions, config: &Config) -> Result<(), Unmade> {
    let name = wanted.name.clone();
    match jetstream.get_stream(&name).await {
        Ok(stream) => check(&stream.cached_info().config, &wanted, partitions, config).map_err(Unmade::Never),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(code) if code.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND => {
                create(jetstream, wanted).await
            }
            GetStreamErrorKind::JetStream(code) if code.error_code() == jetstream::ErrorCode::JETSTREAM_NOT_ENABLED => {
                Err(Unmade::Never(Failure::failed("NATS runs without JetStream; start nats-server with -js")))
            }
            GetStreamErrorKind::EmptyName
            | GetStreamErrorKind::InvalidStreamName
            | GetStreamErrorKind::Request
            | GetStreamErrorKind::JetStream(_) => Err(Unmade::Later(format!("cannot look up stream {name}: {error}"))),
        },
    }
}

async fn create(jetstream: &JetStream, wanted: Stream) -> Result<(), Unmade> {
    let name = wanted.name.clone();
    let Err(error) = jetstream.create_stream(wanted).await else {
        tracing::info!(stream = name, "made the stream");
        return Ok(());
    };
    let no_room = matches!(
        error.kind(),
        CreateStreamErrorKind::JetStream(code) if code.error_code() == jetstream::ErrorCode::STORAGE_RESOURCES_EXCEEDED
    );
    // Else another instance made it meanwhile, the cluster has no leader yet…: the next look tells.
    Err(Unmade::Later(if no_room {
        let hint = "give it more disk, or lower --raw-max-bytes and --state-max-bytes";
        format!("NATS has no room for stream {name}: {error}; {hint}")
    } else {
        format!("cannot make stream {name}: {error}")
    }))
}

/// What must fit, or promises break.
fn check(have: &Stream, want: &Stream, partitions: Partitions, config: &Config) -> Result<(), Failure> {
    let name = &want.name;
    let key = config.prefix.partitions_metadata();
    match have.metadata.get(&key) {
        Some(count) if *count == partitions.to_string() => {}
        Some(count) => {
            return Err(Failure::failed(format!(
                "stream {name} was made for {count} partitions, not {partitions}; use --partitions {count}"
            )));
        }
        None => {
            return Err(Failure::failed(format!(
                "stream {name} was not made by deckwatch; remove it, or use another --prefix"
            )));
        }
    }
    let differs = [
        ("subjects", have.subjects != want.subjects),
        ("subject_transform", have.subject_transform != want.subject_transform),
        ("max_msgs_per_subject", have.max_messages_per_subject.max(0) != want.max_messages_per_subject.max(0)),
        ("allow_atomic", have.allow_atomic_publish != want.allow_atomic_publish),
        ("allow_rollup_hdrs", have.allow_rollup),
        ("storage", have.storage != want.storage),
        ("retention", have.retention != want.retention),
        ("discard", have.discard != want.discard),
        ("max_age", have.max_age != want.max_age),
        ("allow_direct", have.allow_direct != want.allow_direct),
        ("deny_delete", have.deny_delete != want.deny_delete),
    ];
    match differs.iter().find(|(_, differs)| *differs) {
        Some((field, _)) => Err(Failure::failed(format!(
            "stream {name} has another {field} than deckwatch needs; remove the stream, or use another --prefix"
        ))),
        None => Ok(()),
    }
}
