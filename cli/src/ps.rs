//! `ps`: containers.

use domain::{Container, Timestamp, json};
use service::Failure;
use service::args::{CommonArgs, RedisArgs};
use service::redis::Store;

use crate::ask::{self, Format};
use crate::filter::Filters;
use crate::out::{self, Ended};
use crate::picture::{self, Picture};
use crate::{live, table};

const EXAMPLES: &str = "\
Examples:
  deckwatch ps                                    every container of every node
  deckwatch ps --status running --status paused   what lives
  deckwatch ps --node n1 --name 'web-*'           on one node, by a pattern
  deckwatch ps --service shop/web -o wide         one service, with ports and errors
  deckwatch ps -o json | jq '.items[].name'       for scripts

`.revision` in JSON is where `watch --from` goes on. While the picture is not current,
stderr says so and the revision is null.";

/// Arguments of `ps`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Form of the output
    #[arg(short, long, env = "DECKWATCH_OUTPUT", value_name = "FORM", default_value = "table")]
    output: Format,
    /// Keep the table live, until Ctrl-C
    #[arg(short, long, env = "DECKWATCH_WATCH", value_parser = clap::builder::FalseyValueParser::new())]
    watch: bool,
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    filters: Filters,
    #[command(flatten)]
    redis: RedisArgs,
}

/// Prints the containers, once or again and again.
pub(crate) async fn run(args: &Args) -> Result<(), Ended> {
    let store = Store::new(ask::redis_settings(&args.redis, &args.common).await?);
    let picture = read(&store, args).await?;
    if !args.watch {
        picture.warn();
        return out::data(&render(&picture, args, service::clock::now()));
    }
    let render = |picture: &Picture| render(picture, args, service::clock::now());
    live::table(picture, async || read(&store, args).await, Picture::stale, render).await
}

async fn read(store: &Store, args: &Args) -> Result<Picture, Failure> {
    let what = format!("Redis at {}", store.address());
    ask::within(&what, picture::read(store, &args.common.prefix)).await
}

fn render(picture: &Picture, args: &Args, now: Timestamp) -> String {
    let shown: Vec<&Container> = picture.containers().filter(|container| args.filters.fits(container)).collect();
    match args.output {
        Format::Json => format!("{:#}\n", picture.json(shown.into_iter().map(json::container))),
        Format::Table => table::render(&HEADINGS, shown.into_iter().map(|container| row(container, now)).collect()),
        Format::Wide => {
            let headings = [&HEADINGS[..], &WIDE_HEADINGS].concat();
            table::render(&headings, shown.into_iter().map(|container| wide_row(container, now)).collect())
        }
    }
}

const HEADINGS: [&str; 8] = ["CONTAINER ID", "NODE", "NAME", "IMAGE", "STATUS", "HEALTH", "SINCE", "SERVICE"];
const WIDE_HEADINGS: [&str; 4] = ["STOP CAUSE", "RESTARTS", "PORTS", "ERROR"];

fn row(container: &Container, now: Timestamp) -> Vec<String> {
    vec![
        container.id.short(),
        container.node.to_string(),
        container.name.clone(),
        container.image.clone(),
        table::status(container),
        container.health.map(|health| health.to_string()).unwrap_or_default(),
        table::age(now, container.status_since),
        table::service(container),
    ]
}

fn wide_row(container: &Container, now: Timestamp) -> Vec<String> {
    let mut row = row(container, now);
    row.push(container.stop_cause.map(|cause| cause.to_string()).unwrap_or_default());
    row.push(container.restart_count.to_string());
    row.push(table::ports(&container.ports));
    row.push(container.error.clone().unwrap_or_default());
    row
}

#[cfg(test)]
mod tests {
    use domain::Status;

    use super::*;
    use crate::sample;

    #[test]
    fn a_row_reads_like_docker_ps() {
        let mut web = sample::container(0xab, "web");
        web.status = Status::StartFailed;
        web.exit_code = Some(127);
        web.error = Some("exec: \"foo\": not found".to_owned());
        let now = Timestamp(120_000_000_000);
        let expected = ["abababababab", "n1", "web", "nginx:1", "start_failed (127)", "", "2m", "shop/front"];
        assert_eq!(row(&web, now), expected);
        assert_eq!(wide_row(&web, now)[11], "exec: \"foo\": not found");
        assert_eq!(wide_row(&web, now).len(), HEADINGS.len() + WIDE_HEADINGS.len());
    }
}
