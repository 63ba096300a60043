//! The ordered record in NATS, read from the leader.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::jetstream::consumer::pull::{self, Config};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, RawMessageErrorKind, Stream};
use async_nats::jetstream::{self, ErrorCode};
use async_nats::{Client, Statistics};
use domain::partition::Partitions;
use domain::revision::Place;
use domain::wire::Wire;
use domain::{Partition, Prefix, Record, Writer};
use service::{Failure, nats};
use view::cursor::Edges;

/// Most messages that one pull brings.
const PULL_MESSAGES: usize = 500;
/// How long one pull lasts.
const PULL_TIME: Duration = Duration::from_secs(30);
/// How often the server says that it is there while it has nothing to send.
const PULL_BEAT: Duration = Duration::from_secs(5);
/// The server forgets a reader that has not asked for this long.
const READER_TIME: Duration = Duration::from_secs(60);

/// Why the ordered record could not be read.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The server is away or too slow: it may come back.
    Away(String),
    /// Waiting does not heal it.
    Final(Failure),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Away(reason) => Self::unanswered(format!("{reason}; see if NATS is overloaded or stopped")),
            Trouble::Final(failure) => failure,
        }
    }
}

/// The streams of the ordered record.
#[derive(Clone)]
pub(crate) struct Streams {
    client: Client,
    jetstream: jetstream::Context,
    /// What names begin with.
    pub(crate) prefix: Prefix,
    /// How many streams there are.
    pub(crate) partitions: Partitions,
}

impl Streams {
    /// Connects, and reads how many partitions there are.
    pub(crate) async fn open(settings: &nats::Settings, prefix: &Prefix) -> Result<Self, Failure> {
        let client = nats::connect(settings, "deckwatch").await?;
        let jetstream = jetstream::new(client.clone());
        let first = prefix.state_stream(Partition(0));
        let stream = jetstream.get_stream(&first).await.map_err(|error| {
            let missing = matches!(error.kind(), GetStreamErrorKind::JetStream(error)
                if error.error_code() == ErrorCode::STREAM_NOT_FOUND);
            let servers = &settings.servers;
            Failure::unanswered(if missing {
                format!("NATS at {servers} has no stream {first}: start a sequencer there (`deckwatch up`), or name the right --prefix")
            } else {
                format!("cannot read the stream {first} in NATS at {servers}: {error}; see if JetStream is on there")
            })
        })?;
        let metadata = &stream.cached_info().config.metadata;
        let partitions = metadata.get(&prefix.partitions_metadata()).and_then(|text| text.parse().ok());
        let partitions = partitions.ok_or_else(|| {
            Failure::unanswered(format!(
                "the stream {first} does not say how many partitions there are: it is none of a deckwatch sequencer's; \
                 name the right --prefix"
            ))
        })?;
        Ok(Self { client, jetstream, prefix: prefix.clone(), partitions })
    }

    /// The connection, for other questions.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// Numbers of the connection: another number of `connects` is another connection.
    pub(crate) fn connects(&self) -> u64 {
        let statistics: &Statistics = &self.client.statistics();
        statistics.connects.load(Ordering::Relaxed)
    }

    /// The stream of a partition. Asks nothing.
    pub(crate) async fn stream(&self, partition: Partition) -> Result<Stream<()>, Trouble> {
        let name = self.prefix.state_stream(partition);
        self.jetstream.get_stream_no_info(&name).await.map_err(|error| Trouble::Away(format!("stream {name}: {error}")))
    }

    /// First and last sequence that the leader has.
    pub(crate) async fn edges(&self, partition: Partition) -> Result<Edges, Trouble> {
        let info = self.stream(partition).await?.get_info().await.map_err(|error| {
            Trouble::Away(format!("cannot read the stream {}: {error}", self.prefix.state_stream(partition)))
        })?;
        Ok(Edges { first: info.state.first_sequence, last: info.state.last_sequence })
    }

    /// Writer of the record at a sequence, as the leader has it; `None` where it has no such record.
    pub(crate) async fn writer(&self, partition: Partition, sequence: u64) -> Result<Option<Writer>, Trouble> {
        let found = self.stream(partition).await?.get_raw_message(sequence).await;
        match found {
            Ok(message) => Ok(Record::decode(&message.payload).ok().map(|record| record.writer)),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(Trouble::Away(format!(
                "cannot read record {sequence} of the stream {}: {error}",
                self.prefix.state_stream(partition)
            ))),
        }
    }

    /// The place of the last record.
    pub(crate) async fn end(&self, partition: Partition) -> Result<Place, Trouble> {
        let last = self.edges(partition).await?.last;
        if last == 0 {
            return Ok(Place::EMPTY);
        }
        // A stream that was trimmed to nothing has no writer to name: what follows is watched, but not resumed.
        let writer = self.writer(partition, last).await?.unwrap_or(Writer(0));
        Ok(Place { sequence: last, writer })
    }

    /// Reads on from a sequence.
    pub(crate) async fn read_from(&self, partition: Partition, sequence: u64) -> Result<pull::Stream, Trouble> {
        let start = DeliverPolicy::ByStartSequence { start_sequence: sequence };
        self.pull(partition, reader(start, Vec::new())).await
    }

    /// Reads all of some subjects.
    pub(crate) async fn read_subjects(
        &self,
        partition: Partition,
        subjects: Vec<String>,
        policy: DeliverPolicy,
    ) -> Result<pull::Stream, Trouble> {
        self.pull(partition, reader(policy, subjects)).await
    }

    /// The sequence of the last record under some subjects, which may have wildcards, as the leader has it.
    pub(crate) async fn last_of(&self, partition: Partition, subjects: &[String]) -> Result<Option<u64>, Trouble> {
        let stream = self.stream(partition).await?;
        let mut last = None;
        for subject in subjects {
            match stream.get_last_raw_message_by_subject(subject).await {
                Ok(message) => last = last.max(Some(message.sequence)),
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {}
                Err(error) => {
                    let name = self.prefix.state_stream(partition);
                    return Err(Trouble::Away(format!("cannot read the last record of the stream {name}: {error}")));
                }
            }
        }
        Ok(last)
    }

    /// Every subject of the partition that fits the filter.
    pub(crate) async fn subjects(&self, partition: Partition, filter: &str) -> Result<Vec<String>, Trouble> {
        use futures::TryStreamExt;
        let away = |error: &dyn std::fmt::Display| {
            Trouble::Away(format!(
                "cannot list subjects of the stream {}: {error}",
                self.prefix.state_stream(partition)
            ))
        };
        let pages = self.stream(partition).await?.info_with_subjects(filter).await.map_err(|error| away(&error))?;
        pages.map_ok(|(subject, _)| subject).try_collect().await.map_err(|error| away(&error))
    }

    async fn pull(&self, partition: Partition, config: Config) -> Result<pull::Stream, Trouble> {
        let consumer = self.stream(partition).await?.create_consumer(config).await.map_err(|error| {
            Trouble::Away(format!("cannot read the stream {}: {error}", self.prefix.state_stream(partition)))
        })?;
        let pulling = consumer.stream().max_messages_per_batch(PULL_MESSAGES).expires(PULL_TIME).heartbeat(PULL_BEAT);
        pulling.messages().await.map_err(|error| Trouble::Away(format!("cannot read from NATS: {error}")))
    }
}

/// A reader that the server keeps in memory alone, so that none outlives a restart and goes on in a stream that was cut.
fn reader(deliver_policy: DeliverPolicy, filter_subjects: Vec<String>) -> Config {
    Config {
        deliver_policy,
        filter_subjects,
        ack_policy: AckPolicy::None,
        inactive_threshold: READER_TIME,
        memory_storage: true,
        num_replicas: 1,
        ..Config::default()
    }
}

/// Takes a message apart: its sequence and its record.
pub(crate) fn decode(message: &jetstream::Message) -> Result<(u64, Record), Trouble> {
    let sequence =
        message.info().map_err(|error| Trouble::Away(format!("a message without a place: {error}")))?.stream_sequence;
    let record = Record::decode(&message.payload).map_err(|error| {
        Trouble::Final(Failure::failed(format!(
            "cannot read record {sequence} under {}: {error}; if a newer deckwatch wrote it, use that one here too",
            message.subject
        )))
    })?;
    Ok((sequence, record))
}
