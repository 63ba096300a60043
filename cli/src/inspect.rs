//! `inspect`: one container, all fields.

use domain::{Container, NodeName, fields, json};
use service::Failure;
use service::args::{CommonArgs, RedisArgs};
use service::redis::Store;

use crate::ask::{self, Plain};
use crate::filter::{Meant, meant};
use crate::out::{self, Ended};
use crate::{picture, table};

const EXAMPLES: &str = "\
Examples:
  deckwatch inspect web             by name
  deckwatch inspect 3f2a            by the beginning of its id
  deckwatch inspect web --node n1   where several nodes have one of that name
  deckwatch inspect web -o json | jq -r .error";

/// Arguments of `inspect`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Its id, the beginning of it, or its name
    container: String,
    /// Only on this node; may be repeated
    #[arg(long, env = "DECKWATCH_NODE", value_name = "NAME", value_delimiter = ',')]
    node: Vec<NodeName>,
    /// Form of the output
    #[arg(short, long, env = "DECKWATCH_OUTPUT", value_name = "FORM", default_value = "table")]
    output: Plain,
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    redis: RedisArgs,
}

/// Prints the container.
pub(crate) async fn run(args: &Args) -> Result<(), Ended> {
    let store = Store::new(ask::redis_settings(&args.redis, &args.common).await?);
    let what = format!("Redis at {}", store.address());
    let picture = ask::within(&what, picture::read(&store, &args.common.prefix)).await?;
    picture.warn();
    let all = picture.containers().filter(|container| args.node.is_empty() || args.node.contains(&container.node));
    let word = &args.container;
    match meant(all.collect(), word, |container| container.id, |container| &container.name) {
        Meant::One(container) => match args.output {
            Plain::Json => out::json(&json::container(container)),
            Plain::Table => out::data(&rows(container)),
        },
        Meant::Nothing => Err(Failure::failed(format!(
            "no container `{word}`; `deckwatch ps` lists them, `deckwatch history {word}` tells of one that is gone"
        ))
        .into()),
        Meant::Several(found) => Err(ambiguous(word, &found).into()),
    }
}

fn rows(container: &Container) -> String {
    let rows = fields::container(container).into_iter().map(|(name, value)| vec![name.to_owned(), value]);
    table::render(&["FIELD", "VALUE"], rows.collect())
}

/// A word that several containers go by.
pub(crate) fn ambiguous(word: &str, found: &[&Container]) -> Failure {
    const NAMED_MAX: usize = 10;
    let named = found.iter().take(NAMED_MAX);
    let named: Vec<String> = named.map(|c| format!("{} {} on {}", c.id.short(), c.name, c.node)).collect();
    let more = if found.len() > NAMED_MAX { ", …" } else { "" };
    Failure::failed(format!(
        "`{word}` is {} containers: {}{more}; give more of the id, or --node",
        found.len(),
        named.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn an_ambiguous_word_lists_what_it_could_be() {
        let (web, other) = (sample::container(0xaa, "web"), sample::container(0xab, "other"));
        let failure = ambiguous("a", &[&web, &other]);
        assert_eq!(
            failure.message,
            "`a` is 2 containers: aaaaaaaaaaaa web on n1, abababababab other on n1; give more of the id, or --node"
        );
    }

    #[test]
    fn every_field_has_a_row() {
        let rows = rows(&sample::container(0xab, "web"));
        assert!(rows.contains("\nname ") && rows.contains("\nstatus ") && !rows.contains("\nerror "), "{rows}");
    }
}
