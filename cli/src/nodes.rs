//! `nodes`: engines and how they are.

use std::collections::BTreeMap;

use domain::node::NodeStatus;
use domain::{NodeName, Timestamp};
use serde_json::{Map, Value};
use service::Failure;
use service::args::{CommonArgs, RedisArgs};
use service::redis::Store;
use view::store::NodeView;

use crate::ask::{self, Plain};
use crate::filter::Pattern;
use crate::out::{self, Ended};
use crate::picture::{self, Picture};
use crate::{live, table};

const EXAMPLES: &str = "\
Examples:
  deckwatch nodes                    every node and how it is
  deckwatch nodes --status lost      those whose producer is silent
  deckwatch nodes --name 'r1-*' -w   by a pattern, in a table that is kept live

alive: its producer speaks and its engine answers; blind: its engine cannot be asked;
lost: its producer is silent. The containers of a blind or lost node read `unknown`.";

/// Fields that are numbers in JSON.
const NUMBERS: [&str; 5] = ["epoch", "seq", "containers", "running", "partition"];

/// Arguments of `nodes`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Form of the output
    #[arg(short, long, env = "DECKWATCH_OUTPUT", value_name = "FORM", default_value = "table")]
    output: Plain,
    /// Only this node; may be repeated
    #[arg(long, env = "DECKWATCH_NODE", value_name = "NAME", value_delimiter = ',')]
    node: Vec<NodeName>,
    /// Only with this status: alive blind lost; may be repeated
    #[arg(long, env = "DECKWATCH_STATUS", value_name = "STATUS", value_delimiter = ',')]
    status: Vec<NodeStatus>,
    /// Keep the table live, until Ctrl-C
    #[arg(short, long, env = "DECKWATCH_WATCH", value_parser = clap::builder::FalseyValueParser::new())]
    watch: bool,
    /// Only with this in the node's name; with `*` and `?` it is a pattern for the whole name; may be repeated
    #[arg(long, env = "DECKWATCH_NAME", value_name = "TEXT", value_delimiter = ',')]
    name: Vec<Pattern>,
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    redis: RedisArgs,
}

/// Prints the nodes, once or again and again.
pub(crate) async fn run(args: &Args) -> Result<(), Ended> {
    let store = Store::new(ask::redis_settings(&args.redis, &args.common).await?);
    let picture = read(&store, args).await?;
    let render = |picture: &Picture| render(picture, args, service::clock::now());
    if !args.watch {
        picture.warn();
        return out::data(&render(&picture));
    }
    live::table(picture, async || read(&store, args).await, Picture::stale, render).await
}

async fn read(store: &Store, args: &Args) -> Result<Picture, Failure> {
    let what = format!("Redis at {}", store.address());
    ask::within(&what, picture::read(store, &args.common.prefix)).await
}

fn render(picture: &Picture, args: &Args, now: Timestamp) -> String {
    let shown = picture.listing().nodes.iter().filter(|(name, node)| fits(name, node, args));
    match args.output {
        Plain::Json => format!("{:#}\n", picture.json(shown.map(|(_, node)| json(&node.node)))),
        Plain::Table => {
            let headings = ["NAME", "STATUS", "SINCE", "ENGINE", "CONTAINERS", "RUNNING", "LAST BEAT", "REASON"];
            table::render(&headings, shown.map(|(name, node)| row(name, node, now)).collect())
        }
    }
}

fn fits(name: &NodeName, node: &NodeView, args: &Args) -> bool {
    let status = node.node.get("status").and_then(|status| status.parse().ok());
    (args.node.is_empty() || args.node.contains(name))
        && (args.name.is_empty() || args.name.iter().any(|pattern| pattern.fits(name.as_str())))
        && (args.status.is_empty() || status.is_some_and(|status| args.status.contains(&status)))
}

fn row(name: &NodeName, node: &NodeView, now: Timestamp) -> Vec<String> {
    let text = |name: &str| node.node.get(name).cloned().unwrap_or_default();
    let age = |name: &str| table::age(now, node.node.get(name).and_then(|time| time.parse().ok()));
    vec![
        name.to_string(),
        text("status"),
        age("status_since"),
        text("engine_version"),
        text("containers"),
        text("running"),
        age("last_beat_at"),
        reason(&node.node),
    ]
}

/// Why it is as it is: a stand-in's word where there is nothing else to say.
fn reason(fields: &BTreeMap<String, String>) -> String {
    match fields.get("reason") {
        Some(reason) => reason.clone(),
        None if fields.contains_key("stand_in") => "its producer is gone; a stand-in watches it".to_owned(),
        None => String::new(),
    }
}

/// The HASH's fields; numbers as numbers where they are.
fn json(fields: &BTreeMap<String, String>) -> Value {
    let value = |name: &str, text: &str| match text.parse::<u64>() {
        Ok(number) if NUMBERS.contains(&name) => number.into(),
        Ok(_) | Err(_) if name == "stand_in" => (text == "true").into(),
        Ok(_) | Err(_) => text.into(),
    };
    Value::Object(fields.iter().map(|(name, text)| (name.clone(), value(name, text))).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stand_in_is_told_of_a_node_that_is_well() {
        let fields = |fields: &[(&str, &str)]| {
            fields.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect::<BTreeMap<_, _>>()
        };
        assert_eq!(reason(&fields(&[])), "");
        assert_eq!(reason(&fields(&[("stand_in", "true")])), "its producer is gone; a stand-in watches it");
        assert_eq!(reason(&fields(&[("stand_in", "true"), ("reason", "silent")])), "silent");
        assert_eq!(json(&fields(&[("stand_in", "true")])), serde_json::json!({"stand_in": true}));
    }

    #[test]
    fn numbers_are_numbers_and_names_are_not() {
        let fields = [("name", "7"), ("epoch", "3"), ("containers", "junk")];
        let fields = fields.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        assert_eq!(json(&fields), serde_json::json!({"name": "7", "epoch": 3, "containers": "junk"}));
    }
}
