//! Reads the ordered record, so that a writing life begins where the last one ended.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::Context as JetStream;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::stream::{LastRawMessageErrorKind, RawMessageErrorKind, Stream};
use domain::record::Recovery;
use domain::wire::Wire;
use domain::{NodeName, Partition, Record, Writer};

use crate::Config;
use crate::partition::{Recovered, Start, fold_recovered};
use crate::records::{Read, Records};
use crate::warm::End;
use crate::whole;
use crate::worker::Broken;
use crate::worker::along::Along;

/// How long the server may be silent while records are read.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Most records since the last one that was read along: to read all anew costs no more then.
const LEFT_MAX: u64 = 50_000;

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
    pub(crate) fn of(stream: &Stream) -> Self {
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
    open_state(jetstream, config, partition).await.map(|stream| Extent::of(&stream))
}

pub(crate) async fn open_state(jetstream: &JetStream, config: &Config, partition: Partition) -> Result<Stream, Broken> {
    let stream = jetstream.get_stream(config.prefix.state_stream(partition)).await;
    stream.map_err(|error| Broken::new("cannot look at the stream of records", &error))
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

/// Where to begin, and what the records tell: those that were not read along, if that still counts, else all.
pub(crate) async fn recover(
    jetstream: &JetStream,
    config: &Config,
    partition: Partition,
    along: Option<Along>,
) -> Result<Told, Broken> {
    let whole::Whole { stream, trimmed } = whole::open(jetstream, &config.prefix.state_stream(partition)).await?;
    let extent = Extent::of(&stream);
    let all = config.prefix.state_all(partition);
    let read = match along {
        Some(along) if !trimmed => read_on(&stream, all.clone(), extent, along).await?,
        Some(_) | None => None,
    };
    let read_along = read.is_some();
    let (recovered, recovery) = match read {
        Some(read) => read,
        None if stream.cached_info().state.messages > 0 => read_last_records(&stream, all, extent.last).await?,
        None => (BTreeMap::new(), None),
    };
    let raw = look_at_raw(jetstream, config).await?;
    let (raw_next, raw_cut) = begin(raw, recovery);
    let writer = Writer(service::random());
    let Extent { created: state_created, last, .. } = extent;
    tracing::info!(%partition, last, raw_next, raw_cut, read_along, nodes = recovered.len(), %writer, "recovered");
    let start = Start { writer, last, raw_next, raw_created: raw.created, raw_cut, trimmed, now: 0 };
    Ok(Told { start, state_created, nodes: recovered })
}

/// What the records tell, and what the last of them says of a restart.
type Recalled = (BTreeMap<NodeName, Recovered>, Option<Recovery>);

/// Reads what came since; none if what was read along is not what the leader has, or too much came.
async fn read_on(stream: &Stream, all: String, extent: Extent, along: Along) -> Result<Option<Recalled>, Broken> {
    let Along { created, mut warm } = along;
    let Some(end) = warm.end() else { return Ok(None) };
    let kept = (extent.first..=extent.last).contains(&end.sequence);
    let left = extent.last.saturating_sub(end.sequence);
    if created != extent.created || !kept || left > LEFT_MAX || !is_written(stream, end).await? {
        return Ok(None);
    }
    if left > 0 {
        let from = DeliverPolicy::ByStartSequence { start_sequence: end.sequence + 1 };
        let mut records = Records::open(stream, all, from).await?;
        for sequence in end.sequence + 1..=extent.last {
            let read = in_time(records.next()).await?;
            match read.record {
                Ok(record) if read.sequence == sequence => warm.fold(sequence, record),
                Ok(_) | Err(_) => return Ok(None),
            }
        }
    }
    let recovery = warm.end().map(|end| end.recovery);
    Ok(Some((warm.recovered(extent.first), recovery)))
}

/// The leader has that record, by that writer.
pub(crate) async fn is_written(stream: &Stream, end: End) -> Result<bool, Broken> {
    match stream.get_raw_message(end.sequence).await {
        Ok(message) => Ok(Record::decode(&message.payload).is_ok_and(|record| record.writer == end.writer)),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(false),
        Err(error) => Err(Broken::new("cannot look at a record", &error)),
    }
}

async fn in_time<T>(read: impl Future<Output = Result<T, Broken>>) -> Result<T, Broken> {
    let silent = |_| Err(Broken::because("the records cannot be read: the server is silent"));
    tokio::time::timeout(SILENCE_MAX, read).await.unwrap_or_else(silent)
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

/// The last record of each subject, in the stream's order, up to and with `last`, the leader's last one.
async fn read_last_records(stream: &Stream, all: String, last: u64) -> Result<Recalled, Broken> {
    let mut recovered = BTreeMap::new();
    let mut records = Records::open(stream, all, DeliverPolicy::LastPerSubject).await?;
    loop {
        let Read { sequence, record } = in_time(records.next()).await?;
        if sequence > last {
            return Err(Broken::because("another sequencer writes at the same time"));
        }
        let mut recovery = None;
        match record {
            Ok(record) => {
                recovery = Some(record.recovery);
                fold_recovered(&mut recovered, record);
            }
            Err(error) => {
                // Nobody but a sequencer writes here. What is not of its making cannot be built upon.
                tracing::error!(sequence, %error, "a record that cannot be read is passed over");
            }
        }
        if sequence == last {
            return Ok((recovered, recovery));
        }
    }
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
