//! Changes by another hand that the projector sees first: named once, and counted.

use std::time::Duration;

use domain::Status;

use crate::world::{HEARTBEAT, Node, Projector, World, until};

/// Long enough for a drift to be found and said once more, if it were.
const AGAIN: Duration = HEARTBEAT.saturating_mul(4);

/// A node with two containers that is shown.
async fn shown(world: &World, name: &str) -> Node {
    let node = Node::new(world, name);
    node.serve().await;
    node.hello().await;
    node.put(1, Status::Running).await;
    node.put(2, Status::Exited).await;
    world.until_shown(name, &["1 running", "2 exited"]).await;
    node
}

/// The drifts that each node is told of are these and no more, and as many are counted.
async fn told_once(world: &World, projector: &Projector, nodes: &[(&Node, &[&str])]) {
    for (node, keys) in nodes {
        until(&format!("{keys:?} are named"), async || node.told().await.len() >= keys.len()).await;
    }
    tokio::time::sleep(AGAIN).await;
    let mut count = 0;
    for (node, keys) in nodes {
        assert_eq!(node.told().await, *keys);
        count += keys.len();
    }
    assert_eq!(projector.drifts(), count);
    for (node, _) in nodes {
        world.until_shown(node.name.as_str(), &["1 running", "2 exited"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_is_named_once_and_put_right() {
    let world = World::new().await;
    let projector = world.start_projector();
    let node = shown(&world, "n1").await;
    let (hash, checkpoint) = ("deckwatch:{n1}:node", "deckwatch:{n1}:checkpoint");
    let ghost = "deckwatch:{ghost}:node";
    let damages: &[(&[&[&str]], &str)] = &[
        (&[&["DEL", hash]], "node"),
        (&[&["HDEL", hash, "name"]], "node"),
        (&[&["DEL", hash], &["SET", hash, "junk"]], "node"),
        (&[&["DEL", checkpoint]], "checkpoint"),
        (&[&["HSET", checkpoint, "sequence", "2"]], "checkpoint"),
        (&[&["HSET", checkpoint, "sequence", "9999"]], "checkpoint"),
        (&[&["HSET", checkpoint, "writer", "junk"]], "checkpoint"),
        (&[&["DEL", hash, checkpoint]], "node checkpoint"),
        (&[&["DEL", "deckwatch:nodes"]], "nodes"),
        (&[&["SADD", "deckwatch:nodes", "ghost"]], "nodes:ghost"),
        (&[&["HSET", ghost, "name", "ghost"], &["SADD", "deckwatch:nodes", "ghost"]], "node:ghost"),
    ];
    let mut keys = Vec::new();
    for (commands, key) in damages {
        for command in *commands {
            world.ask::<redis::Value>(command).await;
        }
        keys.push(*key);
        until(&format!("{key} is named"), async || node.told().await.len() == keys.len()).await;
        assert_eq!(node.told().await, keys);
        world.until_shown("n1", &["1 running", "2 exited"]).await;
        let is_right = async || {
            let fields = world.hash(hash).await;
            let named = fields.get("name").is_some_and(|name| name == "n1");
            named && world.members("deckwatch:nodes").await == ["n1"] && world.ask::<i64>(&["EXISTS", ghost]).await == 0
        };
        until(&format!("{key} is right again"), is_right).await;
    }
    told_once(&world, &projector, &[(&node, &keys)]).await;
    projector.stop().await.expect("it ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_at_another_nodes_record_is_none() {
    let world = World::new().await;
    let projector = world.start_projector();
    let (one, two) = (shown(&world, "n1").await, shown(&world, "n2").await);
    let later = world.hash("deckwatch:{n2}:checkpoint").await;
    let (sequence, writer) = (&later["sequence"], &later["writer"]);
    world.ask::<i64>(&["HSET", "deckwatch:{n1}:checkpoint", "sequence", sequence, "writer", writer]).await;
    told_once(&world, &projector, &[(&one, &["checkpoint"]), (&two, &[])]).await;
    projector.stop().await.expect("it ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_does_not_cover_up_that_the_hash_was_deleted() {
    let world = World::new().await;
    let projector = world.start_projector();
    let node = shown(&world, "n1").await;
    world.ask::<i64>(&["DEL", "deckwatch:{n1}:node"]).await;
    node.put(1, Status::Running).await;
    told_once(&world, &projector, &[(&node, &["node"])]).await;
    assert_eq!(world.hash("deckwatch:{n1}:node").await["engine_id"], "engine");
    projector.stop().await.expect("it ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_lost_its_data_is_named_once_for_each_node() {
    let mut world = World::new().await;
    let empty = world.dump().await;
    let projector = world.start_projector();
    let (one, two) = (shown(&world, "n1").await, shown(&world, "n2").await);
    world.ask::<String>(&["FLUSHALL"]).await;
    world.ask::<String>(&["FUNCTION", "FLUSH"]).await;
    let mut keys = vec!["node checkpoint"];
    told_once(&world, &projector, &[(&one, &keys), (&two, &keys)]).await;

    let dump = world.dump().await;
    one.put(1, Status::Running).await;
    two.put(1, Status::Running).await;
    let seqs = async || {
        [world.hash("deckwatch:{n1}:node").await, world.hash("deckwatch:{n2}:node").await]
            .map(|fields| fields["seq"].clone())
    };
    let expected = [one.seq().await.to_string(), two.seq().await.to_string()];
    until("both are applied", async || seqs().await == expected).await;
    world.restore(&dump).await;
    keys.push("checkpoint");
    told_once(&world, &projector, &[(&one, &keys), (&two, &keys)]).await;

    world.restore(&empty).await;
    keys.push("node checkpoint");
    told_once(&world, &projector, &[(&one, &keys), (&two, &keys)]).await;
    projector.stop().await.expect("it ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_be_told_is_told_when_somebody_answers() {
    let world = World::new().await;
    let projector = world.start_projector();
    let node = Node::new(&world, "n1");
    let served = node.serve().await;
    node.hello().await;
    node.put(1, Status::Running).await;
    node.put(2, Status::Exited).await;
    world.until_shown("n1", &["1 running", "2 exited"]).await;
    served.abort();
    until("nobody serves", async || served.is_finished()).await;
    world.ask::<i64>(&["DEL", "deckwatch:nodes"]).await;
    until("it is counted", async || projector.drifts() == 1).await;
    world.ask::<i64>(&["DEL", "deckwatch:{n1}:checkpoint"]).await;
    until("it is counted", async || projector.drifts() == 2).await;
    tokio::time::sleep(AGAIN).await;
    assert_eq!(node.told().await, [""; 0]);
    node.serve().await;
    told_once(&world, &projector, &[(&node, &["nodes", "checkpoint"])]).await;
    projector.stop().await.expect("it ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_every_installation_goes_through_is_no_drift() {
    let mut world = World::new().await;
    // The record begins before the projector does.
    let (one, two) = (Node::new(&world, "n1"), Node::new(&world, "n2"));
    one.serve().await;
    two.serve().await;
    for node in [&one, &two] {
        node.hello().await;
        node.put(1, Status::Running).await;
        node.put(2, Status::Exited).await;
    }
    let first = world.start_projector();
    world.until_shown("n1", &["1 running", "2 exited"]).await;
    world.until_shown("n2", &["1 running", "2 exited"]).await;
    // A node that is new, is forgotten, and comes again.
    let three = shown(&world, "n3").await;
    three.forgotten().await;
    until("it is gone", async || world.members("deckwatch:nodes").await == ["n1", "n2"]).await;
    three.hello().await;
    world.until_shown("n3", &["1 running", "2 exited"]).await;
    three.forgotten().await;
    until("it is gone", async || world.members("deckwatch:nodes").await == ["n1", "n2"]).await;
    tokio::time::sleep(AGAIN).await;
    // Another instance takes over, one that was killed is back, and the node went on meanwhile.
    world.config.instance = domain::Instance(2);
    let second = world.start_projector();
    tokio::time::sleep(HEARTBEAT).await;
    let counted = first.drifts();
    first.kill();
    one.put(1, Status::Paused).await;
    one.put(1, Status::Running).await;
    two.forgotten().await;
    until("the other goes on", async || world.members("deckwatch:nodes").await == ["n1"]).await;
    world.until_shown("n1", &["1 running", "2 exited"]).await;
    // Redis and NATS are restarted, and the record is made anew.
    let dump = world.dump().await;
    world.restore(&dump).await;
    world.restart_nats().await;
    one.put(1, Status::Running).await;
    world.make_state_anew().await;
    one.begin_anew().await;
    one.hello().await;
    one.put(1, Status::Running).await;
    told_once(&world, &second, &[(&one, &[])]).await;
    assert_eq!((counted, two.told().await, three.told().await), (0, Vec::new(), Vec::new()));
    second.stop().await.expect("it ends well");
}
