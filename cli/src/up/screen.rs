//! What `up` shows when everything runs: what is where, and what to try next.

use domain::{NodeName, Prefix};

/// What is where.
#[derive(Clone, Debug)]
pub(crate) struct Screen {
    /// The program, as it was called.
    pub(crate) program: String,
    /// The node of this host's engine.
    pub(crate) node: NodeName,
    /// Version of that engine.
    pub(crate) engine: String,
    /// How many containers there are.
    pub(crate) containers: usize,
    /// How many of them run.
    pub(crate) running: usize,
    /// Address of NATS, and what it is.
    pub(crate) nats: (String, String),
    /// Address of Redis, and what it is.
    pub(crate) redis: (String, String),
    /// Address of `/readyz`.
    pub(crate) admin: String,
    /// The data folder.
    pub(crate) data_dir: String,
    /// The data folder is not the one that commands look into by themselves.
    pub(crate) names_data_dir: bool,
    /// What names begin with.
    pub(crate) prefix: Prefix,
    /// A redis-cli.
    pub(crate) redis_cli: String,
}

impl Screen {
    /// The text.
    pub(crate) fn text(&self) -> String {
        let Self {
            program, node, engine, containers, running, nats, redis, admin, data_dir, prefix, redis_cli, ..
        } = self;
        let mut flags = String::new();
        if self.names_data_dir {
            flags += &format!(" --data-dir {data_dir}");
        }
        if *prefix != Prefix::default() {
            flags += &format!(" --prefix {prefix}");
        }
        let plural = if *containers == 1 { "" } else { "s" };
        let width = nats.0.len().max(redis.0.len());
        let (ps, watch) = (format!("{program} ps{flags}"), format!("{program} watch{flags}"));
        let (nats_at, redis_at) = (&nats.0, &redis.0);
        let get = format!("{redis_cli} -u {redis_at} hgetall '{}'", prefix.node_key(node));
        let sub = format!("nats sub -s {nats_at} '{prefix}.state.>'");
        let column = [&ps, &watch, &get, &sub].iter().map(|command| command.len()).max().unwrap_or(0);
        format!(
            "\
deckwatch is up: {containers} container{plural} on node {node}, {running} of them running (engine {engine})

  NATS   {nats_at:width$}   {}
  Redis  {redis_at:width$}   {}
  ready  http://{admin}/readyz
  data   {data_dir}

Try in another terminal:
  {ps:column$}   what there is now
  {watch:column$}   what happens, in order
  {get:column$}   this node, as Redis has it
  {sub:column$}   the ordered records, with the nats tool if you have it

Ctrl-C ends it all.
",
            nats.1, redis.1
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_where_and_what_to_try() {
        let screen = Screen {
            program: "target/release/deckwatch".to_owned(),
            node: "n1".parse().unwrap(),
            engine: "20.10.24".to_owned(),
            containers: 3,
            running: 2,
            nats: ("nats://127.0.0.1:4222".to_owned(), "nats-server 2.15.1".to_owned()),
            redis: ("redis://127.0.0.1:6379".to_owned(), "redis-server 7.0.15".to_owned()),
            admin: "127.0.0.1:9650".to_owned(),
            data_dir: "/tmp/d".to_owned(),
            names_data_dir: true,
            prefix: Prefix::default(),
            redis_cli: "redis-cli".to_owned(),
        };
        let text = screen.text();
        assert!(text.starts_with("deckwatch is up: 3 containers on node n1, 2 of them running"), "{text}");
        assert!(text.contains("  target/release/deckwatch ps --data-dir /tmp/d "), "{text}");
        assert!(text.contains("redis-cli -u redis://127.0.0.1:6379 hgetall 'deckwatch:{n1}:node'"), "{text}");
        assert!(text.lines().count() <= 24, "one screen");
    }
}
