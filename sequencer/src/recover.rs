//! Reads the ordered record, so that a writing life begins where the last one ended.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::Context as JetStream;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use domain::record::Recovery;
use domain::wire::Wire;
use domain::{NodeName, Partition, Record, Writer};
use futures::StreamExt;

use crate::Config;
use crate::partition::{Millis, Recovered, Start, fold_recovered};
use crate::whole;
use crate::worker::Broken;

/// How long the server may be silent while records are read.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// How long the server keeps a reader that went away.
const READER_KEPT: Duration = Duration::from_secs(30);

/// How a stream is, as its leader tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// When it was made, nanoseconds since 1970.
    pub(crate) created: i64,
    /// First sequence that is there.
    pub(crate) first: u64,
    /// Last sequence that was given.
    pub(crate) last: u64,
}

impl Extent {
    fn of(stream: &Stream) -> Self {
        let info = stream.cached_info();
        let created = i64::try_from(info.created.unix_timestamp_nanos()).unwrap_or(i64::MAX);
        Self { created, first: info.state.first_sequence, last: info.state.last_sequence }
    }
}

/// Looks at the stream of observations.
pub(crate) async fn look_at_raw(jetstream: &JetStream, config: &Config) -> Result<Extent, Broken> {
    let stream = jetstream.get_stream(config.prefix.raw_stream()).await;
    let stream = stream.map_err(|error| Broken::new("cannot look at the stream of observations", &error))?;
    Ok(Extent::of(&stream))
}

/// Looks at the stream of records.
pub(crate) async fn look_at_state(
    jetstream: &JetStream,
    config: &Config,
    partition: Partition,
) -> Result<Extent, Broken> {
    let stream = jetstream.get_stream(config.prefix.state_stream(partition)).await;
    let stream = stream.map_err(|error| Broken::new("cannot look at the stream of records", &error))?;
    Ok(Extent::of(&stream))
}

/// What the streams tell.
pub(crate) struct Told {
    /// Where to begin.
    pub(crate) start: Start,
    /// When the stream of records was made, nanoseconds since 1970.
    pub(crate) state_created: i64,
    /// What the records tell of each node.
    pub(crate) nodes: BTreeMap<NodeName, Recovered>,
}

/// Where to begin, and what the records tell.
pub(crate) async fn recover(
    jetstream: &JetStream,
    config: &Config,
    partition: Partition,
    now: Millis,
) -> Result<Told, Broken> {
    let whole::Whole { stream, trimmed } = whole::open(jetstream, &config.prefix.state_stream(partition)).await?;
    let Extent { created: state_created, last, .. } = Extent::of(&stream);
    let mut recovered = BTreeMap::new();
    let mut recovery = None;
    if stream.cached_info().state.messages > 0 {
        read_last_records(&stream, config.prefix.state_all(partition), last, |record, sequence| {
            if sequence == last {
                recovery = Some(record.recovery);
            }
            fold_recovered(&mut recovered, record);
        })
        .await?;
    }
    let raw = look_at_raw(jetstream, config).await?;
    let (raw_next, raw_cut) = begin(raw, recovery);
    let writer = Writer(service::random());
    tracing::info!(%partition, last, raw_next, raw_cut, nodes = recovered.len(), %writer, "recovered");
    let start = Start { writer, last, raw_next, raw_created: raw.created, raw_cut, trimmed, now };
    Ok(Told { start, state_created, nodes: recovered })
}

/// From where the stream of observations is read, and whether some of it may have been lost.
fn begin(raw: Extent, recovery: Option<Recovery>) -> (u64, bool) {
    let first = raw.first.max(1);
    let Some(Recovery { raw_sequence: floor, raw_created }) = recovery else { return (first, false) };
    // Made anew, or cut below the floor: a reader that starts beyond the end would stay silent for ever.
    if raw_created != raw.created || raw.last + 1 < floor {
        return (first, true);
    }
    (floor.max(first), first > floor)
}

/// The last record of each subject, in the stream's order, up to and with `last`.
async fn read_last_records(
    stream: &Stream,
    all: String,
    last: u64,
    mut each: impl FnMut(Record, u64),
) -> Result<(), Broken> {
    let reader = stream.create_consumer(pull::Config {
        deliver_policy: DeliverPolicy::LastPerSubject,
        filter_subject: all,
        ack_policy: AckPolicy::None,
        inactive_threshold: READER_KEPT,
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    });
    let reader = reader.await.map_err(|error| Broken::new("cannot read the records", &error))?;
    let expected = reader.cached_info().num_pending;
    let mut messages = reader.messages().await.map_err(|error| Broken::new("cannot read the records", &error))?;
    let mut count = 0;
    while count < expected {
        let message = tokio::time::timeout(SILENCE_MAX, messages.next()).await;
        let message = message.map_err(|_| Broken::because("the records cannot be read: the server is silent"))?;
        let message = message.ok_or_else(|| Broken::because("the records cannot be read: the reader ended"))?;
        let message = message.map_err(|error| Broken::new("the records cannot be read", &error))?;
        let info = message.info().map_err(|error| Broken::new("the records cannot be read", &error.to_string()))?;
        count += 1;
        if info.consumer_sequence != count {
            return Err(Broken::because("the records cannot be read: the server left some out"));
        }
        if info.stream_sequence > last {
            return Err(Broken::because("another sequencer writes at the same time"));
        }
        match Record::decode(&message.payload) {
            Ok(record) => each(record, info.stream_sequence),
            Err(error) => {
                // Nobody but a sequencer writes here. What is not of its making cannot be built upon.
                tracing::error!(sequence = info.stream_sequence, %error, "a record that cannot be read is passed over");
            }
        }
    }
    Ok(())
}

/// The last message of this partition in the stream of observations, from its leader; 0 if none is kept.
pub(crate) async fn raw_end(jetstream: &JetStream, config: &Config, partition: Partition) -> Result<u64, Broken> {
    let stream = jetstream.get_stream_no_info(config.prefix.raw_stream()).await;
    let stream = stream.map_err(|error| Broken::new("cannot look at the stream of observations", &error))?;
    match stream.get_last_raw_message_by_subject(&config.prefix.raw_stored(partition)).await {
        Ok(message) => Ok(message.sequence),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(0),
        Err(error) => Err(Broken::new("cannot look at the end of the observations", &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(created: i64, first: u64, last: u64) -> Extent {
        Extent { created, first, last }
    }

    fn told(raw_sequence: u64, raw_created: i64) -> Option<Recovery> {
        Some(Recovery { raw_sequence, raw_created })
    }

    #[test]
    fn reading_goes_on_at_the_floor() {
        assert_eq!(begin(raw(1, 1, 90), told(50, 1)), (50, false));
        assert_eq!(begin(raw(1, 50, 90), told(50, 1)), (50, false));
        assert_eq!(begin(raw(1, 50, 49), told(50, 1)), (50, false), "all was read and purged");
    }

    #[test]
    fn a_stream_that_lost_something_is_read_from_its_first() {
        assert_eq!(begin(raw(2, 1, 3), told(50, 1)), (1, true), "made anew");
        assert_eq!(begin(raw(1, 1, 40), told(50, 1)), (1, true), "cut below the floor");
        assert_eq!(begin(raw(1, 60, 90), told(50, 1)), (60, true), "trimmed before it was read");
    }

    #[test]
    fn without_records_reading_begins_at_the_first() {
        assert_eq!(begin(raw(1, 0, 0), None), (1, false));
        assert_eq!(begin(raw(1, 7, 9), None), (7, false));
    }
}
