//! `gaps`: what is known to be lost, and which drifts were found, newest last.

use std::collections::BTreeMap;

use async_nats::jetstream::consumer::DeliverPolicy;
use domain::names::StateSubject;
use domain::node::{Correction, Gap, GapRange};
use domain::{NodeName, Record, Revision, Subject};
use service::Failure;
use service::args::{CommonArgs, NatsArgs};

use crate::ask::{self, Plain};
use crate::out::{self, Ended};
use crate::records::{self, Kept, Newest, day_and_time};
use crate::streams::Streams;
use crate::table;

const EXAMPLES: &str = "\
Examples:
  deckwatch gaps                               what was lost, and what was put right
  deckwatch gaps --node n1                     of one node; may be repeated
  deckwatch gaps -o json | jq '.items[].gap'   for scripts

A gap: stamps of a producer, or events of an engine, that are known to be lost.
A correction: Redis and the engine disagreed; it was observed or written again.
Records are kept for 7 days at most, fewer where they would need too much room. Times are UTC.

`.revision` in JSON is where `watch --from` goes on: what follows is not in the list.";

/// Arguments of `gaps`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only of this node; may be repeated
    #[arg(long, env = "DECKWATCH_NODE", value_name = "NAME", value_delimiter = ',')]
    node: Vec<NodeName>,
    /// Form of the output
    #[arg(short, long, env = "DECKWATCH_OUTPUT", value_name = "FORM", default_value = "table")]
    output: Plain,
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    nats: NatsArgs,
}

/// Prints gaps and corrections.
pub(crate) async fn run(args: &Args) -> Result<(), Ended> {
    let settings = ask::nats_settings(&args.nats, &args.common).await?;
    let what = format!("NATS at {}", settings.servers);
    let asked = async {
        let streams = Streams::open(&settings, &args.common.prefix).await?;
        let (revision, kept) = read(&streams, args).await?;
        Ok((streams.partitions, revision, kept))
    };
    let (partitions, revision, kept) = ask::within(&what, Box::pin(asked)).await?;
    kept.warn();
    match args.output {
        Plain::Json => {
            let items: Vec<_> = kept.records.iter().map(|placed| placed.json(partitions)).collect();
            out::json(&serde_json::json!({"revision": revision.to_string(), "items": items}))
        }
        Plain::Table => {
            let headings = ["TIME", "NODE", "WHAT", "RANGE", "REASON", "DONE ABOUT IT"];
            out::data(&table::render(&headings, kept.records.iter().map(|placed| row(&placed.record)).collect()))
        }
    }
}

/// The revision that the list is true at, and the list.
async fn read(streams: &Streams, args: &Args) -> Result<(Revision, Kept), Failure> {
    let mut places = BTreeMap::new();
    let mut newest = Newest::default();
    for partition in streams.partitions.all() {
        // Before the list: a watch from there misses nothing.
        let end = streams.end(partition).await?;
        places.insert(partition, end);
        let filters = args.node.iter().filter(|node| streams.partitions.of(node) == partition);
        let mut subjects: Vec<String> =
            filters.map(|node| streams.prefix.state(partition, node, &StateSubject::Gap)).collect();
        if args.node.is_empty() {
            subjects.push(streams.prefix.state_gaps(partition));
        }
        if subjects.is_empty() {
            continue;
        }
        let read = records::read(streams, partition, subjects, DeliverPolicy::All, |sequence, record| {
            if sequence <= end.sequence {
                newest.take(partition, sequence, record);
            }
        });
        read.await?;
    }
    Ok((Revision { partitions: places, ..Revision::default() }, newest.in_order()))
}

fn row(record: &Record) -> Vec<String> {
    let [what, range, reason, done] = match &record.subject {
        Subject::Gap(gap) => gap_cells(gap),
        Subject::Correction(correction) => correction_cells(correction),
        // Nothing else stands under that subject.
        Subject::Container(_) | Subject::Event(_) | Subject::Node(_) => Default::default(),
    };
    vec![day_and_time(record.recorded_at), record.node.to_string(), what, range, reason, done]
}

fn gap_cells(gap: &Gap) -> [String; 4] {
    let Gap { reason, range, action } = gap;
    let (what, range) = match range {
        GapRange::Stamps { epoch, from, to: Some(to) } => ("stamps", format!("{epoch}.{from}-{to}")),
        GapRange::Stamps { epoch, from, to: None } => ("stamps", format!("{epoch}.{from}-")),
        GapRange::Engine { lost, since, until } => {
            let mut words = lost.map(|lost| vec![lost.to_string()]).unwrap_or_default();
            words.extend(since.map(|since| format!("since {}", day_and_time(since))));
            words.extend(until.map(|until| format!("until {}", day_and_time(until))));
            ("events", words.join(" "))
        }
    };
    [what.to_owned(), range, reason.to_string(), action.clone()]
}

fn correction_cells(correction: &Correction) -> [String; 4] {
    let Correction { drift, container_id, fields } = correction;
    let of = container_id.map_or_else(|| "node".to_owned(), |id| id.short());
    let range = format!("{of} {}", fields.join(" "));
    let done = if container_id.is_some() { "observed again" } else { "written again" };
    ["correction".to_owned(), range, drift.to_string(), done.to_owned()]
}

#[cfg(test)]
mod tests {
    use domain::Timestamp;
    use domain::node::{DriftKind, GapReason};

    use super::*;
    use crate::sample;

    fn cells(subject: Subject) -> Vec<String> {
        row(&sample::record(subject))
    }

    #[test]
    fn a_gap_says_what_why_and_what_was_done() {
        let gap = |range| Gap { reason: GapReason::EndUnknown, range, action: "a statement".to_owned() };
        let open = cells(Subject::Gap(gap(GapRange::Stamps { epoch: 3, from: 5, to: None })));
        assert_eq!(open, ["2026-01-01 12:00:01", "n1", "stamps", "3.5-", "end_unknown", "a statement"]);
        let known = cells(Subject::Gap(gap(GapRange::Stamps { epoch: 3, from: 5, to: Some(9) })));
        assert_eq!(known[3], "3.5-9");
        let engine = GapRange::Engine { lost: Some(7), since: Some(Timestamp(0)), until: None };
        assert_eq!(cells(Subject::Gap(gap(engine)))[2..4], ["events", "7 since 1970-01-01 00:00:00"]);
        let unsure = GapRange::Engine { lost: None, since: None, until: None };
        assert_eq!(cells(Subject::Gap(gap(unsure)))[3], "");
    }

    #[test]
    fn a_correction_names_the_drift_and_the_fields() {
        let found = Correction {
            drift: DriftKind::EditedStore,
            container_id: Some([0xab; 32].into()),
            fields: vec!["status".to_owned(), "pid".to_owned()],
        };
        let row = cells(Subject::Correction(found.clone()));
        assert_eq!(row[2..], ["correction", "abababababab status pid", "edited_store", "observed again"]);
        let of_the_node = Correction { container_id: None, fields: vec!["nodes".to_owned()], ..found };
        let row = cells(Subject::Correction(of_the_node));
        assert_eq!(row[2..], ["correction", "node nodes", "edited_store", "written again"]);
    }
}
