//! `watch`: changes in order, one a line.

mod follow;
pub(crate) mod line;

use std::time::Duration;

use domain::Revision;
use service::Failure;
use service::args::{CommonArgs, NatsArgs};
use tokio::sync::mpsc;
use view::cursor::Cursor;

use crate::ask::{self, Plain};
use crate::filter::Filters;
use crate::out::{self, Ended};
use crate::streams::Streams;
use follow::{Followed, Seen, follow, verify};

/// Most records that are read ahead of what is written.
const AHEAD_MAX: usize = 256;
/// How often it is looked if anybody still reads.
const LOOK_TIME: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "\
Examples:
  deckwatch watch                           every change from now on
  deckwatch watch --name web --node n1      of containers named like `web` on n1
  deckwatch watch -o json | jq .container   a JSON object a line
  revision=$(deckwatch ps -o json | jq -er .revision) &&
  deckwatch watch --from \"$revision\"        all since that list, nothing twice

Times are UTC. A revision that is too old is refused (exit code 3), never moved.";

/// Arguments of `watch`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Go on after this revision, as `ps -o json` and `watch -o json` print it [default: new changes only]
    #[arg(long, env = "DECKWATCH_FROM", value_name = "REVISION")]
    from: Option<Revision>,
    /// End after this many lines
    #[arg(long, env = "DECKWATCH_COUNT", value_name = "NUMBER")]
    count: Option<u64>,
    /// Form of the output
    #[arg(short, long, env = "DECKWATCH_OUTPUT", value_name = "FORM", default_value = "table")]
    output: Plain,
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    filters: Filters,
    #[command(flatten)]
    nats: NatsArgs,
}

/// Watches until Ctrl-C, until `--count` lines are written or nobody reads them.
pub(crate) async fn run(args: Args) -> Result<(), Ended> {
    let settings = ask::nats_settings(&args.nats, &args.common).await?;
    let what = format!("NATS at {}", settings.servers);
    let started = async {
        let streams = Streams::open(&settings, &args.common.prefix).await?;
        let cursor = start(&streams, args.from.clone()).await?;
        Ok((streams, cursor))
    };
    let watching = async {
        let (streams, cursor) = ask::within(&what, Box::pin(started)).await?;
        go_on(&streams, cursor, &args).await
    };
    tokio::select! {
        ended = watching => ended,
        () = ask::told_to_end() => Ok(()),
    }
}

/// Where to begin: after the revision, if every stream still has what follows it; else at the end of every stream.
async fn start(streams: &Streams, from: Option<Revision>) -> Result<Cursor, Failure> {
    let Some(revision) = from else {
        let mut revision = Revision::default();
        for partition in streams.partitions.all() {
            revision.partitions.insert(partition, streams.end(partition).await?);
        }
        return cursor(revision, streams);
    };
    let cursor = cursor(revision, streams)?;
    for (partition, place, further) in cursor.places() {
        verify(streams, partition, &Seen { place, further }).await?;
    }
    Ok(cursor)
}

fn cursor(revision: Revision, streams: &Streams) -> Result<Cursor, Failure> {
    Cursor::at(revision, streams.partitions).map_err(|foreign| {
        Failure::unanswered(format!("{foreign}; list again (`deckwatch ps -o json`) and watch from that revision"))
    })
}

async fn go_on(streams: &Streams, mut cursor: Cursor, args: &Args) -> Result<(), Ended> {
    let (sender, mut records) = mpsc::channel(AHEAD_MAX);
    for (partition, place, further) in cursor.places() {
        tokio::spawn(follow(streams.clone(), partition, Seen { place, further }, sender.clone()));
    }
    drop(sender);
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut look = tokio::time::interval(LOOK_TIME);
    while left > 0 {
        let followed = tokio::select! {
            followed = records.recv() => followed,
            _ = look.tick() => {
                if out::is_closed() {
                    return Err(Ended::Closed);
                }
                continue;
            }
        };
        let Some(followed) = followed else { break };
        let Followed { partition, place, record } = followed?;
        let news = cursor.advance(partition, place, &record.node);
        if !news || !args.filters.fits_record(&record) {
            continue;
        }
        match args.output {
            Plain::Json => out::line(&domain::json::record(&record, &cursor.revision()).to_string())?,
            Plain::Table => out::line(&line::line(&record))?,
        }
        left -= 1;
    }
    Ok(())
}
