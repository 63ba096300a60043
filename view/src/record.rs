//! The ordered record of one partition. What decides anything is read from the stream's leader.

use std::collections::BTreeSet;

use async_nats::jetstream;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use bytes::Bytes;
use domain::names::StateSubject;
use domain::wire::{Invalid, Wire};
use domain::{ContainerId, NodeName, NodeState, Partition, Partitions, Prefix, Record, Writer};
use futures::{StreamExt, TryStreamExt};

/// What a stream holds: its first and last sequence. Empty: `last + 1 == first`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First sequence that is there.
    pub first: u64,
    /// Last sequence that was given.
    pub last: u64,
}

impl Span {
    /// Whether the stream holds that sequence.
    pub fn holds(self, sequence: u64) -> bool {
        // An empty stream that never held anything is told as 0 to 0.
        sequence > 0 && (self.first..=self.last).contains(&sequence)
    }
}

/// What it means that a container has no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// It is not there: what tells of all containers is kept.
    Proof,
    /// It may be there, and its record too old to be kept.
    NoProof,
}

impl Absence {
    /// `writer` is that of the record at which the node's last whole statement begins, if that is kept: each container
    /// that was there then has a record from there on.
    fn of(node: &NodeState, writer: Option<Writer>) -> Self {
        let is_kept = node.whole_sequence > 0 && writer == Some(Writer(node.whole_writer));
        if is_kept { Self::Proof } else { Self::NoProof }
    }
}

/// Why the record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stream is not there.
    #[error("there is no stream {0}")]
    NoStream(String),
    /// No answer, or one that tells nothing.
    #[error("{doing}: {why}")]
    Unreachable {
        /// What was being done.
        doing: &'static str,
        /// Why it could not be.
        why: String,
    },
}

/// Turns a client's error into ours.
fn unreachable<E: std::fmt::Display>(doing: &'static str) -> impl Fn(E) -> Error {
    move |error| Error::Unreachable { doing, why: error.to_string() }
}

/// Which stream it is, and what it holds, as its leader says.
#[derive(Clone, Debug, PartialEq)]
pub struct Extent {
    /// When it was made: another one is another stream.
    pub created: String,
    /// What it holds.
    pub span: Span,
    /// How many partitions its metadata names.
    pub partitions: Option<Partitions>,
}

/// One message of the record.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its place in the stream.
    pub sequence: u64,
    /// The node by the message's subject; `None` where the subject is none of ours.
    pub node: Option<NodeName>,
    /// How many messages follow, as far as the server knew.
    pub pending: u64,
    payload: Bytes,
}

impl Entry {
    /// Bytes of its payload.
    pub fn size(&self) -> usize {
        self.payload.len()
    }

    /// The record.
    ///
    /// # Errors
    /// It cannot be read, or is of another node than its subject says.
    pub fn record(&self) -> Result<Record, Invalid> {
        let record = Record::decode(&self.payload)?;
        match &self.node {
            Some(node) if *node == record.node => Ok(record),
            Some(_) | None => Err(Invalid::Contradiction("subject", "node")),
        }
    }
}

/// The stream of a partition's ordered record.
#[derive(Clone, Debug)]
pub struct State {
    context: jetstream::Context,
    stream: Stream<()>,
    prefix: Prefix,
    partition: Partition,
}

impl State {
    /// The stream of a partition. Asks nothing: whether it is there, [`State::extent`] tells.
    ///
    /// # Errors
    /// The name is none of a stream.
    pub async fn open(context: &jetstream::Context, prefix: &Prefix, partition: Partition) -> Result<Self, Error> {
        let stream = context.get_stream_no_info(prefix.state_stream(partition)).await;
        let stream = stream.map_err(unreachable("opening the stream"))?;
        Ok(Self { context: context.clone(), stream, prefix: prefix.clone(), partition })
    }

    /// Which stream it is and what it holds.
    ///
    /// # Errors
    /// It is not there, or nobody answers.
    pub async fn extent(&self) -> Result<Extent, Error> {
        let name = self.prefix.state_stream(self.partition);
        let doing = "asking for the state of the stream";
        let answer = self.context.request(format!("STREAM.INFO.{name}"), &serde_json::json!({})).await;
        let info: jetstream::stream::Info = match answer.map_err(unreachable(doing))? {
            Response::Ok(info) => info,
            Response::Err { error } if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                return Err(Error::NoStream(name));
            }
            Response::Err { error } => return Err(unreachable(doing)(error)),
        };
        let partitions = info.config.metadata.get(&self.prefix.partitions_metadata());
        Ok(Extent {
            created: info.created.to_string(),
            span: Span { first: info.state.first_sequence, last: info.state.last_sequence },
            partitions: partitions.and_then(|count| count.parse().ok()),
        })
    }

    /// The nodes that have a record about themselves.
    pub async fn nodes(&self) -> Result<BTreeSet<NodeName>, Error> {
        let doing = "listing the nodes of the stream";
        let words = format!("{}.state.{}.*.node", self.prefix, self.partition);
        let subjects = self.stream.info_with_subjects(words).await.map_err(unreachable(doing))?;
        let subjects: Vec<(String, usize)> = subjects.try_collect().await.map_err(unreachable(doing))?;
        Ok(subjects.iter().filter_map(|(subject, _)| Some(self.prefix.parse_state(subject)?.1)).collect())
    }

    /// The record at a sequence, from the leader; `None` where there is none that can be read.
    pub async fn record_at(&self, sequence: u64) -> Result<Option<Record>, Error> {
        let message = self.stream.get_raw_message(sequence).await;
        self.found(message).map(|found| found.map(|(_, record)| record))
    }

    /// The writer of the record at a sequence.
    pub async fn writer_at(&self, sequence: u64) -> Result<Option<Writer>, Error> {
        Ok(self.record_at(sequence).await?.map(|record| record.writer))
    }

    /// A node's last record about itself with its sequence, from the leader.
    pub async fn last_of(&self, node: &NodeName) -> Result<Option<(u64, Record)>, Error> {
        let subject = self.prefix.state(self.partition, node, &StateSubject::Node);
        let message = self.stream.get_last_raw_message_by_subject(&subject).await;
        self.found(message)
    }

    /// A container's last record with its sequence, from the leader.
    pub async fn last_of_container(&self, node: &NodeName, id: &ContainerId) -> Result<Option<(u64, Record)>, Error> {
        let subject = self.prefix.state(self.partition, node, &StateSubject::Container(*id));
        let message = self.stream.get_last_raw_message_by_subject(&subject).await;
        self.found(message)
    }

    /// What it means that a container of a node has no record. To be asked after that was seen, with what a record from
    /// before it says of the node: else both may be trimmed, or told, between the questions.
    pub async fn absence(&self, node: &NodeState) -> Result<Absence, Error> {
        let writer = if node.whole_sequence > 0 { self.writer_at(node.whole_sequence).await? } else { None };
        Ok(Absence::of(node, writer))
    }

    /// Containers of a node that have a record.
    pub async fn containers(&self, node: &NodeName) -> Result<BTreeSet<ContainerId>, Error> {
        let doing = "listing the containers of the stream";
        let words = format!("{}.state.{}.{node}.*", self.prefix, self.partition);
        let subjects = self.stream.info_with_subjects(words).await.map_err(unreachable(doing))?;
        let subjects: Vec<(String, usize)> = subjects.try_collect().await.map_err(unreachable(doing))?;
        let ids = subjects.iter().filter_map(|(subject, _)| match self.prefix.parse_state(subject)?.2 {
            StateSubject::Container(id) => Some(id),
            StateSubject::Node | StateSubject::Gap => None,
        });
        Ok(ids.collect())
    }

    fn found(
        &self,
        message: Result<jetstream::message::StreamMessage, jetstream::stream::LastRawMessageError>,
    ) -> Result<Option<(u64, Record)>, Error> {
        match message {
            Ok(message) => Ok(Record::decode(&message.payload).ok().map(|record| (message.sequence, record))),
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(None),
                LastRawMessageErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    Err(Error::NoStream(self.prefix.state_stream(self.partition)))
                }
                LastRawMessageErrorKind::JetStream(_)
                | LastRawMessageErrorKind::InvalidSubject
                | LastRawMessageErrorKind::Other => Err(unreachable("reading a record")(error)),
            },
        }
    }

    /// Reads on after a sequence, in order.
    pub async fn follow(&self, after: u64) -> Result<Follower, Error> {
        let doing = "reading the record";
        let config = OrderedConfig {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: after + 1 },
            max_expires: service::nats::READ_TIME,
            ..OrderedConfig::default()
        };
        let consumer = self.stream.create_consumer(config).await.map_err(unreachable(doing))?;
        let messages = consumer.messages().await.map_err(unreachable(doing))?;
        Ok(Follower { messages, prefix: self.prefix.clone(), partition: self.partition })
    }
}

/// The record as it comes, in order.
pub struct Follower {
    messages: Ordered,
    prefix: Prefix,
    partition: Partition,
}

impl Follower {
    /// The next message. May be dropped and called again: nothing is lost by it.
    pub async fn next(&mut self) -> Result<Entry, Error> {
        let doing = "reading the record";
        let message = match self.messages.next().await {
            None => return Err(Error::Unreachable { doing, why: "the consumer ended".to_owned() }),
            Some(message) => message.map_err(unreachable(doing))?,
        };
        let info = message.info().map_err(unreachable(doing))?;
        let node = match self.prefix.parse_state(&message.subject) {
            Some((partition, node, _)) if partition == self.partition => Some(node),
            Some(_) | None => None,
        };
        let (sequence, pending) = (info.stream_sequence, info.pending);
        Ok(Entry { sequence, node, pending, payload: message.message.payload })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_statement_that_is_kept_tells_what_is_not_there() {
        let stated = NodeState { whole_sequence: 12, whole_writer: 7, ..NodeState::default() };
        assert_eq!(Absence::of(&stated, Some(Writer(7))), Absence::Proof);
        assert_eq!(Absence::of(&stated, Some(Writer(8))), Absence::NoProof, "cut and grown again");
        assert_eq!(Absence::of(&stated, None), Absence::NoProof, "trimmed");
        assert_eq!(Absence::of(&NodeState::default(), Some(Writer(0))), Absence::NoProof, "none was made");
    }
}
