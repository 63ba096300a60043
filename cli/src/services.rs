//! `services`: compose services with their totals over all nodes.

use domain::NodeName;
use service::Failure;
use service::args::{CommonArgs, RedisArgs};
use service::redis::Store;
use view::store::{self, ServiceView};

use crate::ask::{self, Plain};
use crate::filter::{self, Pattern};
use crate::out::{self, Ended};
use crate::picture::{self, Picture};
use crate::{live, table};

const EXAMPLES: &str = "\
Examples:
  deckwatch services                  every compose service with its totals over all nodes
  deckwatch services --project shop   those of one project
  deckwatch services -w               a table that is kept live

failed: its start failed, it is dead, or it ended without being asked to and not well.";

/// Arguments of `services`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Form of the output
    #[arg(short, long, env = "DECKWATCH_OUTPUT", value_name = "FORM", default_value = "table")]
    output: Plain,
    /// Keep the table live, until Ctrl-C
    #[arg(short, long, env = "DECKWATCH_WATCH", value_parser = clap::builder::FalseyValueParser::new())]
    watch: bool,
    /// Only those that have containers on this node; may be repeated
    #[arg(long, env = "DECKWATCH_NODE", value_name = "NAME", value_delimiter = ',')]
    node: Vec<NodeName>,
    /// Only of this compose project; may be repeated
    #[arg(long, env = "DECKWATCH_PROJECT", value_name = "PROJECT", value_delimiter = ',')]
    project: Vec<String>,
    /// Only this compose service, `web` or `shop/web`; may be repeated
    #[arg(long, env = "DECKWATCH_SERVICE", value_name = "SERVICE", value_delimiter = ',')]
    service: Vec<String>,
    /// Only with this in the service's name; with `*` and `?` it is a pattern for the whole name
    #[arg(long, env = "DECKWATCH_NAME", value_name = "TEXT", value_delimiter = ',')]
    name: Vec<Pattern>,
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    redis: RedisArgs,
}

/// What is shown, and the picture that says whether it is current.
struct Shown {
    picture: Picture,
    services: Vec<ServiceView>,
}

/// Prints the services, once or again and again.
pub(crate) async fn run(args: &Args) -> Result<(), Ended> {
    let store = Store::new(ask::redis_settings(&args.redis, &args.common).await?);
    let shown = read(&store, args).await?;
    let render = |shown: &Shown| render(shown, args);
    if !args.watch {
        shown.picture.warn();
        return out::data(&render(&shown));
    }
    live::table(shown, async || read(&store, args).await, |shown| shown.picture.stale(), render).await
}

async fn read(store: &Store, args: &Args) -> Result<Shown, Failure> {
    let what = format!("Redis at {}", store.address());
    let prefix = &args.common.prefix;
    let asked = async {
        let picture = picture::read(store, prefix).await?;
        let services = store::services(store, prefix).await.map_err(|error| picture::failure(&error))?;
        Ok(Shown { picture, services: services.into_iter().filter(|service| service.containers > 0).collect() })
    };
    ask::within(&what, asked).await
}

fn render(Shown { picture, services }: &Shown, args: &Args) -> String {
    let shown = services.iter().filter(|service| fits(service, args));
    match args.output {
        Plain::Json => format!("{:#}\n", picture.json(shown.map(json))),
        Plain::Table => {
            let headings = ["PROJECT", "SERVICE", "CONTAINERS", "RUNNING", "UNHEALTHY", "FAILED", "NODES"];
            table::render(&headings, shown.map(row).collect())
        }
    }
}

fn fits(view: &ServiceView, args: &Args) -> bool {
    let (project, service) = parts(view);
    let wanted = |wanted: &String| filter::fits_service(wanted, Some(project), Some(service));
    (args.node.is_empty() || args.node.iter().any(|node| view.nodes.contains(node)))
        && (args.project.is_empty() || args.project.iter().any(|wanted| wanted == project))
        && (args.service.is_empty() || args.service.iter().any(wanted))
        && (args.name.is_empty() || args.name.iter().any(|pattern| pattern.fits(service)))
}

/// Project and service of its name.
fn parts(view: &ServiceView) -> (&str, &str) {
    view.name.split_once('/').unwrap_or((&view.name, ""))
}

fn row(view: &ServiceView) -> Vec<String> {
    let (project, service) = parts(view);
    let nodes = view.nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let totals = [view.containers, view.running, view.unhealthy, view.failed];
    let words = [project, service].into_iter().map(str::to_owned);
    words.chain(totals.iter().map(ToString::to_string)).chain([nodes]).collect()
}

fn json(view: &ServiceView) -> serde_json::Value {
    let (project, service) = parts(view);
    serde_json::json!({
        "project": project,
        "service": service,
        "containers": view.containers,
        "running": view.running,
        "unhealthy": view.unhealthy,
        "failed": view.failed,
        "nodes": view.nodes.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_and_nodes() {
        let nodes = vec!["n1".parse().unwrap(), "n2".parse().unwrap()];
        let name = "shop/web".to_owned();
        let view = ServiceView { name, containers: 3, running: 2, unhealthy: 1, failed: 0, nodes };
        assert_eq!(row(&view), ["shop", "web", "3", "2", "1", "0", "n1,n2"]);
        let expected = serde_json::json!({"project": "shop", "service": "web", "containers": 3, "running": 2,
            "unhealthy": 1, "failed": 0, "nodes": 2});
        assert_eq!(json(&view), expected);
    }
}
