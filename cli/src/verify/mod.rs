//! `verify`: asks the engines, through their producers, and compares with Redis field by field.

mod judge;
mod look;

use domain::NodeName;
use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};
use service::redis::Store;
use service::{Exit, Failure, nats};

use crate::ask::{self, Plain, ServerArgs};
use crate::out::{self, Ended};
use crate::streams::Streams;
use crate::table;
use judge::Difference;
use look::{Eyes, Verdict};

/// How many producers are called at once: who is silent then is silent at the same time.
const CALLS_AT_ONCE: usize = 1024;
/// How many nodes are looked at at once: their answers together stay below what NATS holds for a slow reader.
const NODES_AT_ONCE: usize = 64;
/// Most nodes that a line names.
const NAMED_MAX: usize = 5;

const EXAMPLES: &str = "\
Examples:
  deckwatch verify                   every node
  deckwatch verify --node n1         one; may be repeated
  deckwatch verify -o json | jq '.items[] | .node, .field'

Each producer inspects every container of its engine; each has 3 s to say that it is there, then 6 s
to answer, and Redis 5 s to get as far.
What differs is looked at twice, so a change that is under way is no difference. A field that is
an index (`status:running`) says whether the container is a member of that set.

Exit code 0: Redis is right. 1: it is not; what differs is printed. 3: a node could not be asked,
and nothing that was found differs.";

/// Arguments of `verify`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only this node; may be repeated
    #[arg(long, env = "DECKWATCH_NODE", value_name = "NAME", value_delimiter = ',')]
    node: Vec<NodeName>,
    /// Form of the output
    #[arg(short, long, env = "DECKWATCH_OUTPUT", value_name = "FORM", default_value = "table")]
    output: Plain,
    #[command(flatten)]
    servers: ServerArgs,
}

/// Looks at the nodes, prints what differs.
pub(crate) async fn run(args: &Args) -> Result<(), Ended> {
    let (settings, store) = args.servers.reach().await?;
    let what = format!("NATS at {} or Redis at {}", settings.servers, store.address());
    let (eyes, nodes, mut verdicts) = ask::within(&what, Box::pin(open(args, &settings, store))).await?;
    let called = futures::stream::iter(nodes).map(|node| eyes.call(node)).buffer_unordered(CALLS_AT_ONCE);
    let looked = called.map(|(node, there)| eyes.judge(node, there)).buffer_unordered(NODES_AT_ONCE);
    let looked: Vec<Verdict> = Box::pin(looked.try_collect()).await?;
    verdicts.extend(looked);
    verdicts.sort_by(|a, b| a.node.cmp(&b.node));
    print(args.output, &verdicts)?;
    conclude(&verdicts).map_err(Ended::from)
}

/// What to look with, at which nodes, and a verdict on those that nothing in Redis is current of.
async fn open(
    args: &Args,
    settings: &nats::Settings,
    store: Store,
) -> Result<(Eyes, Vec<NodeName>, Vec<Verdict>), Failure> {
    store.check().await?;
    let streams = Streams::open(settings, &args.servers.common.prefix).await?;
    let (client, partitions) = (streams.client(), streams.partitions);
    let eyes = Eyes { client, store, prefix: args.servers.common.prefix.clone(), partitions };
    let known = eyes.nodes().await?;
    if let Some(node) = args.node.iter().find(|node| !known.contains(*node)) {
        return Err(Failure::unanswered(format!("there is no node `{node}`; `deckwatch nodes` lists them")));
    }
    let stale = eyes.stale().await?;
    if stale.len() == partitions.all().count() {
        return Err(Failure::unanswered(
            "nothing in Redis is current; start projector and sequencer, or see their /readyz",
        ));
    }
    let chosen = known.into_iter().filter(|node| args.node.is_empty() || args.node.contains(node));
    let (old, nodes): (Vec<_>, Vec<_>) = chosen.partition(|node| stale.contains(&partitions.of(node)));
    let why = |node: &NodeName| format!("nothing in Redis of partition {} is current", partitions.of(node));
    let verdict = |node: NodeName| Verdict { unasked: Some(why(&node)), node, containers: 0, differences: Vec::new() };
    Ok((eyes, nodes, old.into_iter().map(verdict).collect()))
}

fn print(output: Plain, verdicts: &[Verdict]) -> Result<(), Ended> {
    let containers: usize = verdicts.iter().map(|verdict| verdict.containers).sum();
    let all = || verdicts.iter().flat_map(|verdict| verdict.differences.iter().map(|found| (&verdict.node, found)));
    match output {
        Plain::Json => {
            let items: Vec<_> = all().map(|(node, found)| json_of(node, found)).collect();
            let unasked =
                verdicts.iter().filter_map(|v| Some(json!({"node": v.node.as_str(), "reason": v.unasked.as_ref()?})));
            let unasked: Vec<_> = unasked.collect();
            let nodes = verdicts.len() - unasked.len();
            out::json(&json!({"nodes": nodes, "containers": containers, "items": items, "unasked": unasked}))
        }
        Plain::Table if all().next().is_some() => {
            let headings = ["NODE", "CONTAINER ID", "NAME", "FIELD", "REDIS", "ENGINE"];
            out::data(&table::render(&headings, all().map(|(node, found)| row(node, found)).collect()))
        }
        Plain::Table if verdicts.iter().all(|verdict| verdict.unasked.is_none()) => {
            out::line(&format!("right: {containers} containers on {} nodes", verdicts.len()))
        }
        Plain::Table => Ok(()),
    }
}

fn json_of(node: &NodeName, found: &Difference) -> Value {
    let Difference { container, name, field, redis, engine } = found;
    let name = Some(name.clone()).filter(|name| !name.is_empty());
    let fields = [
        ("node", Some(node.to_string())),
        ("container_id", container.map(|id| id.to_string())),
        ("name", name),
        ("field", Some(field.clone())),
        ("redis", redis.clone()),
        ("engine", engine.clone()),
    ];
    fields
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), Value::from(value?))))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn row(node: &NodeName, found: &Difference) -> Vec<String> {
    let Difference { container, name, field, redis, engine } = found;
    vec![
        node.to_string(),
        container.map(|id| id.short()).unwrap_or_default(),
        name.clone(),
        field.clone(),
        redis.clone().unwrap_or_default(),
        engine.clone().unwrap_or_default(),
    ]
}

/// All is right; else the failure that says what is not, and what to do.
fn conclude(verdicts: &[Verdict]) -> Result<(), Failure> {
    let count: usize = verdicts.iter().map(|verdict| verdict.differences.len()).sum();
    let unasked: Vec<String> =
        verdicts.iter().filter_map(|v| Some(format!("{}: {}", v.node, v.unasked.as_ref()?))).collect();
    let more = if unasked.len() > NAMED_MAX { " …" } else { "" };
    let named = unasked.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join("; ");
    let not_asked = format!("cannot verify {} of {} nodes: {named}{more}", unasked.len(), verdicts.len());
    let repair = "a reconciler puts it right; see if one runs";
    match (count, unasked.is_empty()) {
        (0, true) => Ok(()),
        (0, false) => {
            let message =
                format!("{not_asked}; see their producers, leave them out with --node, or `deckwatch forget` them");
            Err(Failure { exit: Exit::Unanswered, message })
        }
        (_, true) => Err(Failure::failed(format!("Redis differs from the engines in {count} places; {repair}"))),
        (_, false) => {
            Err(Failure::failed(format!("Redis differs from the engines in {count} places; {repair}; {not_asked}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(differences: usize, unasked: Option<&str>) -> Verdict {
        let found = Difference {
            container: Some([0xab; 32].into()),
            name: "web".to_owned(),
            field: "pid".to_owned(),
            redis: None,
            engine: Some("42".to_owned()),
        };
        Verdict {
            node: "n1".parse().unwrap(),
            containers: 1,
            differences: vec![found; differences],
            unasked: unasked.map(str::to_owned),
        }
    }

    #[test]
    fn a_difference_counts_more_than_a_node_that_was_not_asked() {
        let exit = |verdicts: &[Verdict]| conclude(verdicts).map_err(|failure| failure.exit);
        assert_eq!(exit(&[]), Ok(()));
        assert_eq!(exit(&[verdict(0, None), verdict(0, None)]), Ok(()));
        assert_eq!(exit(&[verdict(0, None), verdict(0, Some("late"))]), Err(Exit::Unanswered));
        assert_eq!(exit(&[verdict(1, None), verdict(0, Some("late"))]), Err(Exit::Failed));
        let said = conclude(&[verdict(0, None), verdict(0, Some("late"))]).unwrap_err().message;
        assert!(said.starts_with("cannot verify 1 of 2 nodes: n1: late; "), "{said}");
    }

    #[test]
    fn an_absent_value_is_absent() {
        let verdict = verdict(1, None);
        let json = json_of(&verdict.node, &verdict.differences[0]);
        let id = "ab".repeat(32);
        assert_eq!(json, json!({"node": "n1", "container_id": id, "name": "web", "field": "pid", "engine": "42"}));
        assert_eq!(row(&verdict.node, &verdict.differences[0])[4], "");
    }
}
