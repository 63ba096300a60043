//! `history`: the records of one container, newest last, also after its removal.

use std::collections::BTreeSet;

use async_nats::jetstream::consumer::DeliverPolicy;
use domain::names::StateSubject;
use domain::{ContainerId, NodeName, Partition, Prefix, Record, Subject};
use service::Failure;
use service::redis::Store;

use crate::ask::{self, Plain, ServerArgs};
use crate::filter::{Meant, meant};
use crate::out::{self, Ended};
use crate::records::{self, Kept, Newest, day_and_time};
use crate::streams::Streams;
use crate::watch::line;
use crate::{inspect, picture, table};

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
    servers: ServerArgs,
}

/// Prints the records.
pub(crate) async fn run(args: &Args) -> Result<(), Ended> {
    let (settings, store) = args.servers.reach().await?;
    let what = format!("NATS at {}", settings.servers);
    let asked = async {
        let streams = Streams::open(&settings, &args.servers.common.prefix).await?;
        let ids = ids(&streams, &store, args).await?;
        let kept = read(&streams, &ids, args).await?;
        Ok((kept, streams.partitions))
    };
    let (kept, partitions) = ask::within(&what, Box::pin(asked)).await?;
    kept.warn();
    match args.output {
        Plain::Json => kept.records.iter().try_for_each(|placed| out::line(&placed.json(partitions).to_string())),
        Plain::Table => {
            let headings = ["TIME", "NODE", "CONTAINER ID", "NAME", "WHAT", "STATE"];
            out::data(&table::render(&headings, kept.records.iter().map(|placed| row(&placed.record)).collect()))
        }
    }
}

fn row(record: &Record) -> Vec<String> {
    let (id, name, state) = match &record.subject {
        Subject::Container(c) => (c.id.short(), c.name.clone(), line::state(record, c)),
        Subject::Event(id) => (id.short(), String::new(), String::new()),
        Subject::Node(_) | Subject::Gap(_) | Subject::Correction(_) => Default::default(),
    };
    vec![day_and_time(record.recorded_at), record.node.to_string(), id, name, line::trigger(record), state]
}

/// Whose history: of the container that Redis knows by that word, else of those that the record knows by it.
async fn ids(streams: &Streams, store: &Store, args: &Args) -> Result<BTreeSet<ContainerId>, Failure> {
    let word = &args.container;
    // Redis knows what is there now; without it the record knows all, but asks more of NATS.
    if let Ok(picture) = picture::read(store, &args.servers.common.prefix).await {
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
        records::read(streams, partition, subjects, DeliverPolicy::LastPerSubject, |_, record| {
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

async fn read(streams: &Streams, ids: &BTreeSet<ContainerId>, args: &Args) -> Result<Kept, Failure> {
    let mut kept = Newest::default();
    for partition in streams.partitions.all() {
        let subjects = ids.iter().map(|id| streams.prefix.state_of_container(partition, id)).collect();
        let read = records::read(streams, partition, subjects, DeliverPolicy::All, |sequence, record| {
            if args.node.is_empty() || args.node.contains(&record.node) {
                kept.take(partition, sequence, record);
            }
        });
        read.await?;
    }
    Ok(kept.in_order())
}
