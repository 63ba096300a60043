//! `history`: the records of one container, newest last, also after its removal.

use std::collections::{BTreeSet, VecDeque};

use async_nats::jetstream::consumer::DeliverPolicy;
use domain::names::StateSubject;
use domain::revision::Place;
use domain::{ContainerId, NodeName, Partition, Partitions, Prefix, Record, Revision, Subject, Timestamp, json};
use futures::StreamExt;
use service::Failure;
use service::args::{CommonArgs, NatsArgs, RedisArgs};
use service::redis::Store;

use crate::ask::{self, Plain};
use crate::filter::{Meant, meant};
use crate::out::{self, Ended};
use crate::streams::{Streams, Trouble, decode};
use crate::watch::line;
use crate::{inspect, picture, table};

/// Most records that are shown: the newest ones.
const RECORDS_MAX: usize = 10_000;

const EXAMPLES: &str = "\
Examples:
  deckwatch history web             by name, also of one that is gone
  deckwatch history 3f2a            by the beginning of its id
  deckwatch history web -o json     a JSON object a line, oldest first

Records are kept for 7 days at most, fewer where they would need too much room. Times are UTC.

`.revision` in JSON is where `watch --from` goes on. Where there is more than one partition
it is left out: where the others stood at that time is not known.";

/// Arguments of `history`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Its id, the beginning of it, or its name
    container: String,
    /// Only on this node; may be repeated
    #[arg(long, env = "DECKWATCH_NODE", value_name = "NAME", value_delimiter = ',')]
    node: Vec<NodeName>,
    /// Form of the output
    #[arg(short, long, env = "DECKWATCH_OUTPUT", value_name = "FORM", default_value = "table")]
    output: Plain,
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    nats: NatsArgs,
    #[command(flatten)]
    redis: RedisArgs,
}

/// Prints the records.
pub(crate) async fn run(args: &Args) -> Result<(), Ended> {
    let settings = ask::nats_settings(&args.nats, &args.common).await?;
    let store = Store::new(ask::redis_settings(&args.redis, &args.common).await?);
    let what = format!("NATS at {}", settings.servers);
    let asked = async {
        let streams = Streams::open(&settings, &args.common.prefix).await?;
        let ids = ids(&streams, &store, args).await?;
        let (records, left_out) = records(&streams, &ids, args).await?;
        Ok((records, left_out, streams.partitions))
    };
    let (records, left_out, partitions) = ask::within(&what, Box::pin(asked)).await?;
    if left_out {
        out::complain(&format!("only the last {RECORDS_MAX} records are shown; `watch --from` reads all that is kept"));
    }
    match args.output {
        Plain::Json => records.iter().try_for_each(|placed| out::line(&json(placed, partitions).to_string())),
        Plain::Table => {
            let headings = ["TIME", "NODE", "CONTAINER ID", "NAME", "WHAT", "STATE"];
            out::data(&table::render(&headings, records.iter().map(|placed| row(&placed.record)).collect()))
        }
    }
}

/// A record as `watch` prints it; its revision only where the record's place is all of it.
fn json(placed: &Placed, partitions: Partitions) -> serde_json::Value {
    let revision = Revision { partitions: [(placed.partition, placed.place)].into(), ..Revision::default() };
    let mut json = json::record(&placed.record, &revision);
    if partitions != Partitions::ONE
        && let Some(fields) = json.as_object_mut()
    {
        fields.remove("revision");
    }
    json
}

fn row(record: &Record) -> Vec<String> {
    let (id, name, state) = match &record.subject {
        Subject::Container(c) => (c.id.short(), c.name.clone(), line::state(record, c)),
        Subject::Event(id) => (id.short(), String::new(), String::new()),
        Subject::Node(_) | Subject::Gap(_) | Subject::Correction(_) => Default::default(),
    };
    vec![day_and_time(record.recorded_at), record.node.to_string(), id, name, line::trigger(record), state]
}

fn day_and_time(time: Timestamp) -> String {
    time.to_string().get(..19).unwrap_or_default().replace('T', " ")
}

/// Whose history: of the container that Redis knows by that word, else of those that the record knows by it.
async fn ids(streams: &Streams, store: &Store, args: &Args) -> Result<BTreeSet<ContainerId>, Failure> {
    let word = &args.container;
    // Redis knows what is there now; without it the record knows all, but asks more of NATS.
    if let Ok(picture) = picture::read(store, &args.common.prefix).await {
        let all = picture.containers().filter(|c| args.node.is_empty() || args.node.contains(&c.node)).collect();
        match meant(all, word, |container| container.id, |container| &container.name) {
            Meant::One(container) => return Ok([container.id].into()),
            Meant::Several(found) => {
                let ids: BTreeSet<ContainerId> = found.iter().map(|container| container.id).collect();
                // The same container under several nodes' names has one history on each.
                return if ids.len() == 1 { Ok(ids) } else { Err(inspect::ambiguous(word, &found)) };
            }
            Meant::Nothing => {}
        }
    }
    let known = known_ids(streams).await?;
    let prefix = word.to_ascii_lowercase();
    let by_id: BTreeSet<ContainerId> =
        known.into_iter().filter(|id| !prefix.is_empty() && id.to_string().starts_with(&prefix)).collect();
    if by_id.len() == 1 {
        return Ok(by_id);
    }
    let by_name = ids_named(streams, word).await?;
    match (by_name.is_empty(), by_id.len()) {
        (false, _) => Ok(by_name),
        (true, 0) => Err(Failure::failed(format!(
            "no container `{word}` in the record; `deckwatch ps` lists those that are there, the record forgets after 7 days"
        ))),
        (true, many) => Err(Failure::failed(format!("`{word}` is the beginning of {many} ids; give more of it"))),
    }
}

/// Every container that the record has.
async fn known_ids(streams: &Streams) -> Result<BTreeSet<ContainerId>, Failure> {
    let mut ids = BTreeSet::new();
    for partition in streams.partitions.all() {
        let subjects = streams.subjects(partition, &of_containers(&streams.prefix, partition)).await?;
        ids.extend(subjects.iter().filter_map(|subject| match streams.prefix.parse_state(subject)? {
            (_, _, StateSubject::Container(id)) => Some(id),
            (_, _, StateSubject::Node | StateSubject::Gap) => None,
        }));
    }
    Ok(ids)
}

/// All containers whose last record bears the name: it may have been given again and again.
async fn ids_named(streams: &Streams, name: &str) -> Result<BTreeSet<ContainerId>, Failure> {
    let mut ids = BTreeSet::new();
    for partition in streams.partitions.all() {
        let subjects = vec![of_containers(&streams.prefix, partition)];
        read(streams, partition, subjects, DeliverPolicy::LastPerSubject, |_, record| {
            if let Subject::Container(container) = record.subject
                && container.name == name
            {
                ids.insert(container.id);
            }
        })
        .await?;
    }
    Ok(ids)
}

fn of_containers(prefix: &Prefix, partition: Partition) -> String {
    // `node` and `gap` stand at the same place; what is none of a container's is passed over.
    format!("{}*.*", prefix.state_all(partition).trim_end_matches('>'))
}

/// A record in its place.
struct Placed {
    partition: Partition,
    place: Place,
    record: Record,
}

async fn records(streams: &Streams, ids: &BTreeSet<ContainerId>, args: &Args) -> Result<(Vec<Placed>, bool), Failure> {
    let mut all = Vec::new();
    let mut left_out = false;
    for partition in streams.partitions.all() {
        let mut records = VecDeque::new();
        let subjects = ids.iter().map(|id| streams.prefix.state_of_container(partition, id)).collect();
        read(streams, partition, subjects, DeliverPolicy::All, |sequence, record| {
            if args.node.is_empty() || args.node.contains(&record.node) {
                records.push_back(Placed { partition, place: Place { sequence, writer: record.writer }, record });
                if records.len() > RECORDS_MAX {
                    left_out = true;
                    records.pop_front();
                }
            }
        })
        .await?;
        all.push(records);
    }
    let mut records = merge(all);
    let over = records.len().saturating_sub(RECORDS_MAX);
    records.drain(..over);
    Ok((records, left_out || over > 0))
}

/// The records of all partitions by time, newest last. Within a partition their order stands, even if a clock was
/// set back meanwhile.
fn merge(partitions: Vec<VecDeque<Placed>>) -> Vec<Placed> {
    let mut all = Vec::new();
    for records in partitions {
        let mut latest = Timestamp(i64::MIN);
        for placed in records {
            latest = latest.max(placed.record.recorded_at);
            all.push((latest, placed));
        }
    }
    all.sort_by_key(|(latest, _)| *latest);
    all.into_iter().map(|(_, placed)| placed).collect()
}

/// Reads what stands now under some subjects of a partition.
async fn read(
    streams: &Streams,
    partition: Partition,
    subjects: Vec<String>,
    policy: DeliverPolicy,
    mut take: impl FnMut(u64, Record),
) -> Result<(), Failure> {
    let (mut messages, mut left) = streams.read_subjects(partition, subjects, policy).await?;
    while left > 0 {
        let message = match messages.next().await {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(Trouble::Away(format!("NATS does not go on: {error}")).into()),
            None => return Err(Trouble::Away("NATS ended the reading".to_owned()).into()),
        };
        let (sequence, record) = decode(&message)?;
        take(sequence, record);
        // What was trimmed meanwhile does not come.
        let pending = message.info().map_or(0, |info| info.pending);
        left = (left - 1).min(pending);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use domain::Writer;

    use super::*;
    use crate::sample;

    fn placed(partition: u32, sequence: u64, recorded_at: i64) -> Placed {
        let mut record = sample::record(Subject::Container(Box::new(sample::container(1, "web"))));
        record.recorded_at = Timestamp(recorded_at);
        Placed { partition: Partition(partition), place: Place { sequence, writer: Writer(1) }, record }
    }

    #[test]
    fn records_of_several_partitions_are_in_the_order_of_time() {
        let first = [placed(0, 1, 10), placed(0, 2, 30), placed(0, 3, 20)];
        let second = [placed(1, 7, 5), placed(1, 8, 25), placed(1, 9, 40)];
        let merged = merge(vec![first.into(), second.into()]);
        let order: Vec<_> = merged.iter().map(|placed| placed.place.sequence).collect();
        assert_eq!(order, [7, 1, 8, 2, 3, 9], "by time, and a clock that was set back changes no order");
    }

    #[test]
    fn a_revision_is_told_where_it_is_whole() {
        let placed = placed(0, 7, 1);
        assert_eq!(json(&placed, Partitions::ONE)["revision"], "0:7.0000000000000001");
        let two = "2".parse().unwrap();
        assert!(json(&placed, two).get("revision").is_none());
    }
}
