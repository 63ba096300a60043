//! `doctor`: checks what deckwatch stands on, and says what to do about each fault.

mod check;
mod clock;
mod engine;
mod nats;
mod redis;

use serde_json::json;
use service::Failure;

use crate::address::{self, EngineAddress};
use crate::ask::{ANSWER_TIME, Plain, ServerArgs};
use crate::out::{self, Ended};
use crate::table;
use check::{Check, Outcome};

const EXAMPLES: &str = "\
Examples:
  deckwatch doctor                                  NATS, Redis and this host's engine
  deckwatch doctor --engine tcp://10.0.0.2:2375     another host's engine
  deckwatch doctor -o json | jq '.items[] | select(.result != \"ok\")'

One line for each check: ok, warning or failed, and what to do about it. It changes nothing.

Exit code 0: nothing failed; 1: something did.";

/// Arguments of `doctor`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Address of the engine [default: $DOCKER_HOST with its TLS variables, else unix:///var/run/docker.sock]
    #[arg(long, env = "DECKWATCH_ENGINE", value_name = "URL")]
    engine: Option<EngineAddress>,
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
    let prefix = &args.servers.common.prefix;
    let late = |what: &str| {
        let detail = format!("no answer within {} s", ANSWER_TIME.as_secs());
        vec![Check::failed(what, detail, "see if it is overloaded or stopped")]
    };
    let (of_nats, of_redis, of_engine) = tokio::join!(
        tokio::time::timeout(ANSWER_TIME, Box::pin(nats::checks(&settings, prefix))),
        tokio::time::timeout(ANSWER_TIME, Box::pin(redis::checks(&store, prefix))),
        Box::pin(engine::checks(&engine)),
    );
    let (mut found, partitions) = of_nats.unwrap_or_else(|_| (late("nats"), None));
    found.extend(of_redis.unwrap_or_else(|_| late("redis")));
    if let Some(partitions) = partitions {
        let asked = tokio::time::timeout(ANSWER_TIME / 9, redis::same_partitions(&store, prefix, partitions));
        found.extend(asked.await.ok().flatten());
    }
    found.extend(of_engine);
    print(args.output, &found)?;
    conclude(&found).map_err(Ended::from)
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
