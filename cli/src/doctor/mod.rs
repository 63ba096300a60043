//! `doctor`: checks what deckwatch stands on, and says what to do about each fault.

mod check;
mod clock;
mod engine;
mod nats;
mod redis;
mod rights;

use domain::NodeName;
use serde_json::json;
use service::Failure;
use service::nats::Settings;
use service::redis::Store;

use crate::address::{self, EngineAddress};
use crate::ask::{ANSWER_TIME, Plain, ServerArgs};
use crate::out::{self, Ended};
use crate::table;
use check::{Check, Outcome};
use rights::For;

const EXAMPLES: &str = "\
Examples:
  deckwatch doctor                                  NATS, Redis and this host's engine
  deckwatch doctor --engine tcp://10.0.0.2:2375     another host's engine
  deckwatch doctor --for producer --nats-nkey nkey  what NATS permits to this node's producer
  deckwatch doctor -o json | jq '.items[] | select(.result != \"ok\")'

One line for each check: ok, warning or failed, and what to do about it. It changes nothing.
With --for only what that role needs is checked, with its key: it tries all that the role does, in a way that has no effect.

Exit code 0: nothing failed; 1: something did.";

/// Arguments of `doctor`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Address of the engine [default: $DOCKER_HOST with its TLS variables, else unix:///var/run/docker.sock]
    #[arg(long, env = "DECKWATCH_ENGINE", value_name = "URL")]
    engine: Option<EngineAddress>,
    /// Check what this role needs, and what NATS permits to it
    #[arg(long = "for", env = "DECKWATCH_FOR", value_name = "ROLE")]
    role: Option<For>,
    /// Name of the node, with `--for producer` [default: the engine's own]
    #[arg(long, env = "DECKWATCH_NODE", value_name = "NAME")]
    node: Option<NodeName>,
    /// Form of the output
    #[arg(short, long, env = "DECKWATCH_OUTPUT", value_name = "FORM", default_value = "table")]
    output: Plain,
    #[command(flatten)]
    servers: ServerArgs,
}

/// Checks everything, and prints what was found.
pub(crate) async fn run(args: &Args) -> Result<(), Ended> {
    let (settings, store) = args.servers.reach().await?;
    let engine = address::engine(args.engine.as_ref())?;
    let found = match args.role {
        None => everything(args, &settings, &store, &engine).await,
        Some(role) => for_role(role, args, &settings, &store, &engine).await,
    };
    print(args.output, &found)?;
    conclude(&found).map_err(Ended::from)
}

fn late(what: &str) -> Vec<Check> {
    let detail = format!("no answer within {} s", ANSWER_TIME.as_secs());
    vec![Check::failed(what, detail, "see if it is overloaded or stopped")]
}

async fn everything(args: &Args, settings: &Settings, store: &Store, engine: &EngineAddress) -> Vec<Check> {
    let prefix = &args.servers.common.prefix;
    let (of_nats, of_redis, (of_engine, _)) = tokio::join!(
        tokio::time::timeout(ANSWER_TIME, Box::pin(nats::checks(settings, prefix))),
        tokio::time::timeout(ANSWER_TIME, Box::pin(redis::checks(store, prefix))),
        Box::pin(engine::checks(engine)),
    );
    let (mut found, partitions) = of_nats.unwrap_or_else(|_| (late("nats"), None));
    found.extend(of_redis.unwrap_or_else(|_| late("redis")));
    if let Some(partitions) = partitions {
        let asked = tokio::time::timeout(ANSWER_TIME / 9, redis::same_partitions(store, prefix, partitions));
        found.extend(asked.await.ok().flatten());
    }
    found.extend(of_engine);
    found
}

/// Each role has servers of its own: nothing is said of those that it does not need.
async fn for_role(role: For, args: &Args, settings: &Settings, store: &Store, engine: &EngineAddress) -> Vec<Check> {
    let prefix = &args.servers.common.prefix;
    let asked = async {
        let (of_others, node) = match role {
            For::Producer => Box::pin(engine::checks(engine)).await,
            For::Projector | For::Reconciler => (Box::pin(redis::checks(store, prefix)).await, None),
            For::Sequencer | For::Reader => (Vec::new(), None),
        };
        let mut found = Box::pin(rights::checks(settings, prefix, role, args.node.as_ref().or(node.as_ref()))).await;
        found.extend(of_others);
        found
    };
    tokio::time::timeout(ANSWER_TIME, asked).await.unwrap_or_else(|_| late("nats"))
}

fn print(output: Plain, found: &[Check]) -> Result<(), Ended> {
    match output {
        Plain::Json => {
            let item = |Check { what, outcome, detail, advice }: &Check| {
                let mut item = json!({"check": what, "result": outcome.as_str(), "detail": detail});
                if !advice.is_empty() {
                    item["advice"] = advice.as_str().into();
                }
                item
            };
            out::json(&json!({"items": found.iter().map(item).collect::<Vec<_>>()}))
        }
        Plain::Table => {
            let row = |Check { what, outcome, detail, advice }: &Check| {
                vec![what.clone(), outcome.as_str().to_owned(), detail.clone(), advice.clone()]
            };
            out::data(&table::render(&["CHECK", "RESULT", "DETAIL", "WHAT TO DO"], found.iter().map(row).collect()))
        }
    }
}

/// Nothing failed; else the failure that names what did.
fn conclude(found: &[Check]) -> Result<(), Failure> {
    let failed = found.iter().filter(|check| check.outcome == Outcome::Failed);
    let mut names: Vec<&str> = failed.map(|check| check.what.as_str()).collect();
    names.dedup();
    if names.is_empty() {
        return Ok(());
    }
    Err(Failure::failed(format!("failed: {}; what to do about each is said beside it", names.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_failed_is_a_failure() {
        let fine = [Check::ok("a", ""), Check::warning("b", "", "")];
        assert_eq!(conclude(&fine), Ok(()));
        let failed = conclude(&[Check::failed("nats", "", ""), Check::failed("redis", "", "")]).unwrap_err();
        assert!(failed.message.starts_with("failed: nats, redis; "), "{failed}");
    }
}
