//! `forget`: retires a node.

use std::time::Duration;

use async_nats::Client;
use domain::rpc::{ForgetRequest, ForgetResponse};
use domain::{NodeName, Partition, Prefix};
use service::Failure;
use service::redis::{Error, Store};
use tokio::time::Instant;
use view::producer::{self, Unanswered};

use crate::ask::{self, ServerArgs};
use crate::out::{self, Ended};
use crate::streams::Streams;

/// How long the sequencer may take to answer.
const SEQUENCER_TIME: Duration = Duration::from_secs(4);
/// How long a producer may take to answer that it is there.
const PRODUCER_TIME: Duration = Duration::from_millis(500);
/// How long between two looks if Redis has dropped the node.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

const EXAMPLES: &str = "\
Examples:
  deckwatch forget n1     n1 is gone for good, or its name shall be another engine's

Stop the node's producer first, and wait until `deckwatch nodes` shows the node as lost.
Its record says `forgotten`, its keys leave Redis, its name is free. What it did stays in the record.";

/// Arguments of `forget`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Name of the node
    #[arg(value_name = "NODE")]
    name: NodeName,
    #[command(flatten)]
    servers: ServerArgs,
}

/// Retires the node, and waits until Redis has dropped it.
pub(crate) async fn run(args: &Args) -> Result<(), Ended> {
    let deadline = Instant::now() + ask::ANSWER_TIME;
    let (settings, store) = args.servers.reach().await?;
    let what = format!("NATS at {}", settings.servers);
    let prefix = &args.servers.common.prefix;
    let forgotten = async {
        let streams = Streams::open(&settings, prefix).await?;
        let (client, partition) = (streams.client(), streams.partitions.of(&args.name));
        // Where NATS lost its data only Redis tells of a node that did not come back.
        let left = has(&store, prefix, &args.name).await.unwrap_or(false);
        let unknown_too = left && is_silent(&client, prefix, &args.name).await;
        retire(&client, prefix, partition, ForgetRequest { node: args.name.clone(), unknown_too }).await
    };
    ask::within(&what, Box::pin(forgotten)).await?;
    // The projector has what is left of the time.
    tokio::time::timeout_at(deadline, dropped(&store, prefix, &args.name)).await.unwrap_or_else(|_| {
        Err(Failure::unanswered(format!(
            "node {} is forgotten, but Redis at {} still has it; see if a projector runs, by its /readyz",
            args.name,
            store.address()
        )))
    })?;
    out::line(&format!("node {} is forgotten; its name is free", args.name))
}

/// No producer answers for the node.
async fn is_silent(client: &Client, prefix: &Prefix, node: &NodeName) -> bool {
    let look = producer::Look::WhereNeeded;
    let answer = producer::snapshot(client, prefix, node, None, look, PRODUCER_TIME).await;
    matches!(answer, Err(Unanswered::Nobody))
}

/// Asks the sequencer of the node's partition.
async fn retire(client: &Client, prefix: &Prefix, partition: Partition, request: ForgetRequest) -> Result<(), Failure> {
    let node = &request.node;
    let subject = prefix.control_forget(partition);
    let answer: Result<ForgetResponse, Unanswered> = producer::ask(client, subject, &request, SEQUENCER_TIME).await;
    answer.map(drop).map_err(|why| failure(partition, node, &why))
}

fn failure(partition: Partition, node: &NodeName, why: &Unanswered) -> Failure {
    match why {
        Unanswered::Refused { code: 404, .. } => {
            Failure::failed(format!("there is no node {node}; `deckwatch nodes` lists them"))
        }
        Unanswered::Refused { code: 409, .. } => Failure::failed(format!(
            "node {node} is not lost; stop its producer, and wait until `deckwatch nodes` shows the node as lost"
        )),
        Unanswered::Refused { reason, .. } => Failure::failed(format!("node {node} is not forgotten: {reason}")),
        Unanswered::Nobody => Failure::unanswered(format!(
            "node {node} is not forgotten: no sequencer works on partition {partition}; start one"
        )),
        Unanswered::Late(_) | Unanswered::Unreadable(_) | Unanswered::Away(_) => Failure::unanswered(format!(
            "it is not known whether node {node} is forgotten: the sequencer: {why}; ask again"
        )),
    }
}

/// Waits until Redis has nothing of the node.
async fn dropped(store: &Store, prefix: &Prefix, node: &NodeName) -> Result<(), Failure> {
    loop {
        match has(store, prefix, node).await {
            Ok(false) => return Ok(()),
            Ok(true) => tokio::time::sleep(LOOK_PAUSE).await,
            Err(error) => {
                return Err(Failure::unanswered(format!(
                    "node {node} is forgotten, but whether Redis has dropped it is not known: {error}; \
                     start Redis and a projector, or name where Redis is with --redis"
                )));
            }
        }
    }
}

/// Redis has the node's name, or a key that tells of it.
async fn has(store: &Store, prefix: &Prefix, node: &NodeName) -> Result<bool, Error> {
    let listed: bool = store.query(redis::cmd("SISMEMBER").arg(prefix.nodes_key()).arg(node.as_str())).await?;
    let keys =
        [prefix.node_key(node), prefix.containers_key(node), prefix.checkpoint_key(node), prefix.untold_key(node)];
    let there: u32 = store.query(redis::cmd("EXISTS").arg(&keys)).await?;
    Ok(listed || there > 0)
}

#[cfg(test)]
mod tests {
    use service::Exit;

    use super::*;

    #[test]
    fn each_refusal_says_what_to_do() {
        let node: NodeName = "n1".parse().unwrap();
        let told = |why: Unanswered| {
            let failure = failure(Partition(2), &node, &why);
            (failure.exit, failure.message)
        };
        let refused = |code| told(Unanswered::Refused { code, reason: "why".to_owned() });
        assert!(refused(404).1.contains("deckwatch nodes") && refused(404).0 == Exit::Failed);
        assert!(refused(409).1.contains("stop its producer") && refused(409).0 == Exit::Failed);
        assert!(refused(503).1.contains("why"));
        let (exit, message) = told(Unanswered::Nobody);
        assert!(exit == Exit::Unanswered && message.contains("no sequencer works on partition 2"), "{message}");
        assert_eq!(told(Unanswered::Late(SEQUENCER_TIME)).0, Exit::Unanswered);
    }
}
