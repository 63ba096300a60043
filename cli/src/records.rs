//! Records that stand now, read once, newest last.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use async_nats::jetstream::consumer::DeliverPolicy;
use domain::revision::Place;
use domain::{Partition, Partitions, Record, Revision, Timestamp, json};
use futures::StreamExt;
use service::Failure;

use crate::out;
use crate::streams::{Streams, Trouble, decode};

/// Most records that are kept of a partition, and shown of all: the newest ones.
const RECORDS_MAX: usize = 10_000;
/// How long the server may be silent while there is more.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// A record in its place.
pub(crate) struct Placed {
    partition: Partition,
    place: Place,
    /// The record.
    pub(crate) record: Record,
}

impl Placed {
    /// The record as `watch` prints it; its revision only where the record's place is all of it.
    pub(crate) fn json(&self, partitions: Partitions) -> serde_json::Value {
        let revision = Revision { partitions: [(self.partition, self.place)].into(), ..Revision::default() };
        let mut json = json::record(&self.record, &revision);
        if partitions != Partitions::ONE
            && let Some(fields) = json.as_object_mut()
        {
            fields.remove("revision");
        }
        json
    }
}

/// The newest records of each partition, as they come.
#[derive(Default)]
pub(crate) struct Newest {
    partitions: BTreeMap<Partition, VecDeque<Placed>>,
    left_out: bool,
}

/// Records by time, newest last.
pub(crate) struct Kept {
    /// The records.
    pub(crate) records: Vec<Placed>,
    /// There are older ones.
    left_out: bool,
}

impl Newest {
    /// Takes the next record of a partition.
    pub(crate) fn take(&mut self, partition: Partition, sequence: u64, record: Record) {
        let records = self.partitions.entry(partition).or_default();
        records.push_back(Placed { partition, place: Place { sequence, writer: record.writer }, record });
        if records.len() > RECORDS_MAX {
            self.left_out = true;
            records.pop_front();
        }
    }

    /// The records of all partitions by time. Within a partition their order stands, even if a clock was set back
    /// meanwhile.
    pub(crate) fn in_order(self) -> Kept {
        let mut all = Vec::new();
        for records in self.partitions.into_values() {
            let mut latest = Timestamp(i64::MIN);
            for placed in records {
                latest = latest.max(placed.record.recorded_at);
                all.push((latest, placed));
            }
        }
        all.sort_by_key(|(latest, _)| *latest);
        let over = all.len().saturating_sub(RECORDS_MAX);
        let records = all.into_iter().skip(over).map(|(_, placed)| placed).collect();
        Kept { records, left_out: self.left_out || over > 0 }
    }
}

impl Kept {
    /// Says on standard error if older ones are left out.
    pub(crate) fn warn(&self) {
        if self.left_out {
            out::complain(&format!(
                "only the last {RECORDS_MAX} records are shown; `watch --from` reads all that is kept"
            ));
        }
    }
}

/// Day and time of a record, for people.
pub(crate) fn day_and_time(time: Timestamp) -> String {
    time.to_string().get(..19).unwrap_or_default().replace('T', " ")
}

/// Reads what stands now under some subjects of a partition, up to and with what their leader says is the last: the
/// server that reads may lag behind.
pub(crate) async fn read(
    streams: &Streams,
    partition: Partition,
    subjects: Vec<String>,
    policy: DeliverPolicy,
    mut take: impl FnMut(u64, Record),
) -> Result<(), Failure> {
    let Some(last) = streams.last_of(partition, &subjects).await? else { return Ok(()) };
    let mut messages = streams.read_subjects(partition, subjects, policy).await?;
    loop {
        let message = tokio::time::timeout(SILENCE_MAX, messages.next()).await;
        let message =
            message.map_err(|_| Trouble::Away("NATS does not tell all the records that it has".to_owned()))?;
        let message = message.ok_or_else(|| Trouble::Away("NATS ended the reading".to_owned()))?;
        let message = message.map_err(|error| Trouble::Away(format!("NATS does not go on: {error}")))?;
        let (sequence, record) = decode(&message)?;
        take(sequence, record);
        if sequence >= last {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::Subject;

    use super::*;
    use crate::sample;

    fn record(recorded_at: i64) -> Record {
        let mut record = sample::record(Subject::Container(Box::new(sample::container(1, "web"))));
        record.recorded_at = Timestamp(recorded_at);
        record
    }

    fn kept(records: &[(u32, u64, i64)]) -> Kept {
        let mut newest = Newest::default();
        for (partition, sequence, at) in records {
            newest.take(Partition(*partition), *sequence, record(*at));
        }
        newest.in_order()
    }

    #[test]
    fn records_of_several_partitions_are_in_the_order_of_time() {
        let merged = kept(&[(0, 1, 10), (0, 2, 30), (0, 3, 20), (1, 7, 5), (1, 8, 25), (1, 9, 40)]);
        let order: Vec<_> = merged.records.iter().map(|placed| placed.place.sequence).collect();
        assert_eq!(order, [7, 1, 8, 2, 3, 9], "by time, and a clock that was set back changes no order");
        assert!(!merged.left_out);
    }

    #[test]
    fn no_more_than_the_newest_are_kept() {
        let many: Vec<_> = (0..i64::try_from(RECORDS_MAX).unwrap() + 2).map(|at| (0, at.unsigned_abs(), at)).collect();
        let merged = kept(&many);
        assert_eq!((merged.records.len(), merged.records[0].place.sequence), (RECORDS_MAX, 2));
        assert!(merged.left_out);
    }

    #[test]
    fn a_revision_is_told_where_it_is_whole() {
        let kept = kept(&[(0, 7, 1)]);
        assert_eq!(kept.records[0].json(Partitions::ONE)["revision"], "0:7.0000000000000001");
        let two = "2".parse().unwrap();
        assert!(kept.records[0].json(two).get("revision").is_none());
    }
}
