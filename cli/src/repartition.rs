//! `repartition`: changes the number of partitions.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::Client;
use domain::node::Lease;
use domain::partition::Partitions;
use domain::wire::Wire;
use domain::{Instance, Prefix};
use sequencer::{Config, Survey};
use service::kv::{Bucket, Error};
use service::lease::TAKE_AFTER;
use service::redis::Store;
use service::{Failure, nats};

use crate::ask::{self, ServerArgs};
use crate::out::{self, Ended};

/// Roles that work on partitions.
const ROLES: [&str; 3] = ["sequencer", "projector", "reconciler"];
/// How long it is looked whether a counter rises: who does not raise it within that time does not work.
const WATCH_TIME: Duration = TAKE_AFTER;
/// Keys of Redis that are deleted at once.
const KEYS_MAX: usize = 500;

const EXAMPLES: &str = "\
Examples:
  deckwatch repartition --partitions 8          say what it would do
  deckwatch repartition --partitions 8 --yes    do it

Stop all sequencers, projectors and reconcilers first; producers go on. Then start them with the new number.
The record begins anew: revisions, history and gaps of before are gone. Each producer is asked for everything,
and until it has said that its containers read `unknown`.";

/// Arguments of `repartition`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// How many partitions there are to be
    #[arg(long, env = "DECKWATCH_PARTITIONS", value_name = "NUMBER")]
    partitions: Partitions,
    /// Do it
    #[arg(long, env = "DECKWATCH_YES")]
    yes: bool,
    #[command(flatten)]
    servers: ServerArgs,
}

/// Says what it will do, and does it if told to.
pub(crate) async fn run(args: &Args) -> Result<(), Ended> {
    let (settings, store) = args.servers.reach().await?;
    let (prefix, wanted) = (&args.servers.common.prefix, args.partitions);
    let what = format!("NATS at {} or Redis at {}", settings.servers, store.address());
    let looking = async {
        let client = nats::connect(&settings, "deckwatch repartition").await?;
        store.check().await?;
        let survey = sequencer::survey(&client, prefix).await?;
        let stored = stored_partitions(&store, prefix).await?;
        if !survey.streams.is_empty() && !is_done(&survey, stored.as_deref(), wanted) {
            refuse_workers(&client, prefix).await?;
        }
        Ok((client, survey, stored))
    };
    let (client, survey, stored) = ask::within(&what, Box::pin(looking)).await?;
    if survey.streams.is_empty() {
        let servers = &settings.servers;
        return Err(Ended::Failed(Failure::failed(format!(
            "there are no streams of {prefix} in NATS at {servers}: start a sequencer with --partitions {wanted}, or \
             name the right --prefix"
        ))));
    }
    if is_done(&survey, stored.as_deref(), wanted) {
        return out::line(&format!("there are {wanted} partitions already: nothing is changed"));
    }
    for line in plan(&survey, wanted) {
        out::line(&line)?;
    }
    if !args.yes {
        return Err(Ended::Failed(Failure::failed("nothing is changed; to do it say it again with --yes")));
    }
    let config = Config {
        nats: settings,
        prefix: prefix.clone(),
        partitions: wanted,
        replicas: survey.replicas,
        heartbeat: Duration::ZERO,
        lost_after: Duration::ZERO,
        gap_wait: Duration::ZERO,
        instance: Instance(0),
        limits: survey.limits,
    };
    // First of all nothing is current any more, and last of all Redis says the new number: whatever comes between, who
    // says it again finds it to be done.
    forget_currency(&store, prefix).await?;
    sequencer::remake(&client, &config, &survey).await?;
    let mut set = redis::cmd("HSET");
    set.arg(prefix.meta_key()).arg("partitions").arg(wanted.count());
    store.query::<i64>(&set).await.map_err(|error| unfinished(&error))?;
    out::line(&format!(
        "there are {wanted} partitions; start sequencers and projectors with --partitions {wanted}, and reconcilers"
    ))
}

fn is_done(survey: &Survey, stored: Option<&str>, wanted: Partitions) -> bool {
    survey.partitions == Some(wanted) && stored.is_none_or(|stored| stored == wanted.to_string())
}

/// What will be done, a line each.
fn plan(survey: &Survey, wanted: Partitions) -> Vec<String> {
    let from = survey.partitions.map_or("a change that was cut short".to_owned(), |count| count.to_string());
    let kept = |name: &str| name.ends_with("_NODES") || name.ends_with("_DEAD");
    let gone = survey.streams.iter().filter(|(name, _)| !kept(name));
    let gone = gone.map(|(name, messages)| format!("  delete the stream {name}, with {messages} messages"));
    let head = format!("from {from} to {wanted} partitions:");
    let tail = [
        format!("  make the streams of {wanted} partitions, empty: revisions, history and gaps of before are gone"),
        format!(
            "  say in Redis that there are {wanted}; its containers read `unknown` until their producers state them"
        ),
    ];
    std::iter::once(head).chain(gone).chain(tail).collect()
}

/// Nobody may work on partitions: refuses while a lease is held by one who raises it.
async fn refuse_workers(client: &Client, prefix: &Prefix) -> Result<(), Failure> {
    let bucket = Bucket::new(client.clone(), prefix.leases_bucket());
    let before = held(&bucket).await?;
    if before.is_empty() {
        return Ok(());
    }
    tokio::time::sleep(WATCH_TIME).await;
    let mut after = held(&bucket).await?;
    after.retain(|key, revision| before.get(key) != Some(revision));
    let mut roles: Vec<_> = ROLES.into_iter().filter(|role| after.keys().any(|key| key.starts_with(role))).collect();
    let Some(last) = roles.pop() else { return Ok(()) };
    let first = if roles.is_empty() { String::new() } else { format!("{} and ", roles.join(", ")) };
    Err(Failure::failed(format!(
        "{first}{last} still run: stop all sequencers, projectors and reconcilers (an `up` has one of each), then say it \
         again"
    )))
}

/// Leases and instances that somebody holds, with their revisions.
async fn held(bucket: &Bucket) -> Result<BTreeMap<String, u64>, Failure> {
    let mut held = BTreeMap::new();
    for filter in ROLES.iter().flat_map(|role| [format!("{role}.*"), format!("{role}.member.*")]) {
        let listed = match bucket.list(&filter).await {
            Ok(listed) => listed,
            // A change that was cut short deleted it.
            Err(Error::NoStream(_)) => return Ok(held),
            Err(error) => return Err(Failure::unanswered(format!("cannot see who works: {error}; ask again"))),
        };
        held.extend(listed.into_iter().filter_map(|listed| {
            Lease::decode(&listed.entry.value).ok()?.holder?;
            Some((listed.key, listed.entry.revision))
        }));
    }
    Ok(held)
}

/// How many partitions Redis has keys of; none where it has none.
async fn stored_partitions(store: &Store, prefix: &Prefix) -> Result<Option<String>, Failure> {
    let mut ask = redis::cmd("HGET");
    ask.arg(prefix.meta_key()).arg("partitions");
    store.query(&ask).await.map_err(|error| Failure::unanswered(format!("cannot ask Redis: {error}")))
}

/// Nothing in Redis is current, whatever the number of partitions was.
async fn forget_currency(store: &Store, prefix: &Prefix) -> Result<(), Failure> {
    let max = Partitions::try_from(Partitions::MAX).map_err(|error| Failure::failed(error.to_string()))?;
    let keys: Vec<_> = max.all().map(|partition| prefix.partition_key(partition)).collect();
    for keys in keys.chunks(KEYS_MAX) {
        let mut pipeline = redis::pipe();
        for key in keys {
            pipeline.cmd("DEL").arg(key);
        }
        store.pipeline::<Vec<i64>>(&pipeline).await.map_err(|error| unfinished(&error))?;
    }
    Ok(())
}

fn unfinished(error: &dyn std::fmt::Display) -> Failure {
    Failure::unanswered(format!("Redis does not take the change: {error}; say it again: it goes on where it ended"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey(partitions: Option<u32>) -> Survey {
        let partitions = partitions.map(|count| Partitions::try_from(count).unwrap());
        let streams = vec![("DECKWATCH_DEAD".to_owned(), 1), ("DECKWATCH_STATE_0".to_owned(), 7)];
        Survey { streams, partitions, replicas: 1, limits: sequencer::Limits::default() }
    }

    #[test]
    fn it_is_done_when_streams_and_redis_say_so() {
        let four = Partitions::try_from(4).unwrap();
        assert!(is_done(&survey(Some(4)), Some("4"), four));
        assert!(is_done(&survey(Some(4)), None, four), "nothing is in Redis yet");
        assert!(!is_done(&survey(Some(4)), Some("1"), four), "cut short before Redis was told");
        assert!(!is_done(&survey(None), Some("4"), four), "cut short among the streams");
        assert!(!is_done(&survey(Some(1)), Some("1"), four));
    }

    #[test]
    fn the_plan_names_what_is_deleted() {
        let lines = plan(&survey(Some(1)), Partitions::try_from(4).unwrap());
        assert_eq!(lines[0], "from 1 to 4 partitions:");
        assert_eq!(lines[1], "  delete the stream DECKWATCH_STATE_0, with 7 messages");
        assert!(lines.iter().all(|line| !line.contains("DEAD")), "{lines:?}");
    }
}
