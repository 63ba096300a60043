//! Waits until what was started works, and looks whether its picture is right.

use std::time::Duration;

use async_nats::Client;
use domain::Status;
use rustix::process::{Resource, getrlimit, setrlimit};
use service::redis::Store;
use service::{Failure, nats};
use tokio::time::Instant;

use crate::Config;
use crate::fleet::{Fleet, Node};

/// How long servers may take until they answer.
const SERVERS_TIME: Duration = Duration::from_secs(20);
/// How long the first picture may stay as it is while nodes are missing in it.
const PICTURE_TIME: Duration = Duration::from_secs(120);
/// How often it is looked.
const LOOK_TIME: Duration = Duration::from_millis(100);
/// Nodes that are asked for at once.
const ASKED_MAX: usize = 200;
/// Files that are open besides the connection of each node.
const OTHER_FILES: u64 = 256;

/// Makes room for a connection of each node.
///
/// # Errors
/// The limit cannot be raised so far.
pub(crate) fn raise_file_limit(nodes: usize) -> Result<(), Failure> {
    let needed = u64::try_from(nodes).unwrap_or(u64::MAX).saturating_add(OTHER_FILES);
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    limit.current = Some(needed);
    setrlimit(Resource::Nofile, limit).map_err(|error| {
        Failure::failed(format!(
            "{nodes} nodes need {needed} open files: {error}; raise `ulimit -Hn`, or lower --nodes"
        ))
    })
}

/// Waits until NATS and Redis answer.
///
/// # Errors
/// They do not, or are too old.
pub(crate) async fn servers(config: &Config, store: &Store) -> Result<Client, Failure> {
    let begin = Instant::now();
    loop {
        let asked = async {
            let client = nats::connect(&config.nats, "deckwatch bench").await?;
            store.check().await?;
            Ok(client)
        };
        match asked.await {
            Err(Failure { exit: service::Exit::Unanswered, .. })
                if !config.servers.is_empty() && begin.elapsed() < SERVERS_TIME => {}
            answered => return answered,
        }
        tokio::time::sleep(LOOK_TIME).await;
    }
}

/// Waits until Redis holds every container of every node.
///
/// # Errors
/// No node comes for too long, or Redis does not answer.
pub(crate) async fn picture(config: &Config, store: &Store, fleet: &Fleet) -> Result<(), Failure> {
    let (step, mut moved) = (config.step("the first picture"), Instant::now());
    let mut waiting: Vec<&Node> = fleet.nodes.iter().collect();
    loop {
        let mut left = Vec::new();
        for nodes in waiting.chunks(ASKED_MAX) {
            let mut pipeline = redis::pipe();
            for node in nodes {
                pipeline.hmget(config.prefix.node_key(&node.name), &["status", "containers"]);
                pipeline.hexists(config.prefix.checkpoint_key(&node.name), "rebuilding");
            }
            let told: Vec<redis::Value> = store.pipeline(&pipeline).await.map_err(unanswered)?;
            let whole = told.chunks(2).map(|told| is_whole(told, config.containers));
            left.extend(nodes.iter().zip(whole).filter(|(_, whole)| !whole).map(|(node, _)| *node));
        }
        if left.is_empty() {
            return Ok(());
        }
        if left.len() < waiting.len() {
            moved = Instant::now();
        }
        if moved.elapsed() > PICTURE_TIME {
            let (left, of) = (left.len(), config.nodes);
            return Err(Failure::failed(format!(
                "{left} of {of} nodes are not in Redis, and none came in two minutes; lower --nodes"
            )));
        }
        step.tell(1.0 - left.len() as f64 / config.nodes.max(1) as f64);
        waiting = left;
        tokio::time::sleep(LOOK_TIME).await;
    }
}

/// The node is alive, has all its containers, and is not being rebuilt.
fn is_whole(told: &[redis::Value], containers: usize) -> bool {
    let [node, rebuilding] = told else { return false };
    let node: Option<(String, usize)> = redis::from_redis_value_ref(node).ok();
    let rebuilding: Option<bool> = redis::from_redis_value_ref(rebuilding).ok();
    rebuilding == Some(false) && node.is_some_and(|(status, count)| status == "alive" && count == containers)
}

/// As many containers run in Redis as in the engines: figures of a wrong picture would be worth nothing.
///
/// # Errors
/// They do not, or Redis does not answer.
pub(crate) async fn check_picture(config: &Config, store: &Store, fleet: &Fleet) -> Result<(), Failure> {
    let mut pipeline = redis::pipe();
    for node in &fleet.nodes {
        pipeline.scard(config.prefix.status_key(&node.name, Status::Running));
    }
    let stored: Vec<usize> = store.pipeline(&pipeline).await.map_err(unanswered)?;
    let (stored, running) = (stored.iter().sum::<usize>(), fleet.running());
    if stored == running {
        return Ok(());
    }
    Err(Failure::failed(format!(
        "{running} containers run, and in Redis {stored}: the picture is wrong; please report it"
    )))
}

fn unanswered(error: impl std::fmt::Display) -> Failure {
    Failure::unanswered(error.to_string())
}
