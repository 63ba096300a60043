//! What the projector is told and asked beside the record: signs of life, and requests to build keys anew.

use domain::rpc::RebuildRequest;
use domain::wire::Wire;
use domain::{IndexMember, Partition, Status};
use view::keys::{self, Print, Since};

use crate::world::{Node, World, id, until};

#[tokio::test(flavor = "multi_thread")]
async fn beats_are_noted_of_nodes_that_are_there() {
    let world = World::new().await;
    let projector = world.start_projector();
    let node = Node::new(&world, "n1");
    let _served = node.serve().await;
    node.hello().await;
    node.put(1, Status::Running).await;
    world.until_shown("n1", &["1 running"]).await;
    for name in ["n1", "ghost"] {
        let beat = domain::node::Heartbeat {
            node: name.parse().unwrap(),
            epoch: 1,
            instance: domain::Instance(7),
            last_seq: 3,
            acknowledged_seq: 3,
            digest: domain::digest::Digest { version: 1, sha256: [0; 32] },
            queued: 0,
            spool_bytes: 0,
            stand_in: false,
            engine_id: String::new(),
        };
        world.client.publish(format!("deckwatch.beat.{name}"), beat.encode().into()).await.unwrap();
    }
    until("noted", async || world.hash("deckwatch:{n1}:node").await.contains_key("last_beat_at")).await;
    assert_eq!(world.ask::<i64>(&["EXISTS", "deckwatch:{ghost}:node"]).await, 0);
    projector.stop().await.expect("it ends well");
}

/// Asks for a rebuild; the error's code, if it is refused.
async fn rebuild(world: &World, node: &str, members: Vec<IndexMember>) -> Option<String> {
    let request = RebuildRequest { node: node.parse().expect("a name"), members };
    let subject = world.config.prefix.control_rebuild(Partition(0));
    let answer = world.client.request(subject, request.encode().into()).await.expect("an answer");
    Some(answer.headers?.get("Nats-Service-Error-Code")?.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_built_anew_on_request() {
    let world = World::new().await;
    let projector = world.start_projector();
    let node = Node::new(&world, "n1");
    let _served = node.serve().await;
    node.hello().await;
    node.put(1, Status::Running).await;
    world.until_shown("n1", &["1 running"]).await;
    world.ask::<i64>(&["HSET", &format!("deckwatch:{{n1}}:container:{}", id(1)), "status", "paused"]).await;
    assert_eq!(rebuild(&world, "n1", Vec::new()).await, None);
    world.until_shown("n1", &["1 running"]).await;
    assert_eq!(rebuild(&world, "nobody", Vec::new()).await.as_deref(), Some("404"));
    projector.stop().await.expect("it ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_are_built_anew_on_request() {
    let world = World::new().await;
    let projector = world.start_projector();
    let node = Node::new(&world, "n1");
    let _served = node.serve().await;
    node.hello().await;
    node.set(1, Status::Running).await;
    node.change(1, |container| {
        container.project = Some("shop".to_owned());
        container.service = Some("web".to_owned());
    })
    .await;
    let totals = "deckwatch:service:shop/web";
    until("summed", async || world.hash(totals).await.get("running").is_some_and(|running| running == "1")).await;

    let (own, ghost) = (id(1).to_string(), id(9).to_string());
    world.ask::<i64>(&["SADD", "deckwatch:{n1}:service:shop/web", &ghost]).await;
    world.ask::<i64>(&["SREM", "deckwatch:{n1}:service:shop/web", &own]).await;
    world.ask::<i64>(&["HSET", totals, "running", "7"]).await;
    world.ask::<i64>(&["DEL", &format!("deckwatch:id:{own}"), "deckwatch:services"]).await;
    world.ask::<i64>(&["SADD", &format!("deckwatch:id:{ghost}"), "n1", "elsewhere"]).await;
    world.ask::<i64>(&["HSET", &format!("deckwatch:{{n1}}:container:{ghost}"), "id", &ghost]).await;
    world.ask::<i64>(&["SADD", "deckwatch:{n1}:containers", &ghost, "nonsense"]).await;
    world.ask::<i64>(&["SMOVE", "deckwatch:{n1}:status:running", "deckwatch:{n1}:status:exited", &own]).await;
    world.ask::<i64>(&["HSET", "deckwatch:{n1}:node", "running", "5"]).await;
    let members = vec![
        IndexMember::Service("shop/web".to_owned()),
        IndexMember::Container(id(1)),
        IndexMember::Container(id(9)),
        IndexMember::Node,
    ];
    assert_eq!(rebuild(&world, "n1", members).await, None);
    assert_eq!(world.members("deckwatch:{n1}:service:shop/web").await, std::slice::from_ref(&own));
    assert_eq!(world.hash(totals).await["running"], "1");
    assert_eq!(world.members(&format!("deckwatch:id:{own}")).await, ["n1"]);
    assert_eq!(world.members("deckwatch:services").await, ["shop/web"]);
    assert_eq!(world.members("deckwatch:{n1}:containers").await, std::slice::from_ref(&own));
    assert_eq!(world.members("deckwatch:{n1}:status:running").await, [own]);
    assert_eq!(world.members("deckwatch:{n1}:status:exited").await, [""; 0]);
    assert_eq!(world.hash("deckwatch:{n1}:node").await["running"], "1");
    // Of a node that is not there nothing is left.
    assert_eq!(rebuild(&world, "elsewhere", vec![IndexMember::Container(id(9))]).await, None);
    for key in
        [&format!("deckwatch:id:{ghost}"), &format!("deckwatch:{{n1}}:container:{ghost}"), "deckwatch:{n1}:untold"]
    {
        assert_eq!(world.ask::<i64>(&["EXISTS", key]).await, 0, "{key}");
    }
    projector.stop().await.expect("it ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_examined_at_one_moment() {
    let world = World::new().await;
    let projector = world.start_projector();
    let node = Node::new(&world, "n1");
    let _served = node.serve().await;
    node.hello().await;
    node.put(1, Status::Running).await;
    world.until_shown("n1", &["1 running"]).await;
    world.ask::<i64>(&["SADD", "deckwatch:{n1}:untold", "node"]).await;
    let store = service::redis::Store::new(world.config.redis.clone());
    let keys = keys::examine(&store, &world.config.prefix, &"n1".parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(keys.view, world.view("n1").await);
    assert_eq!(keys.members.len(), 11, "{:?}", keys.members);
    for set in ["containers", "status:running"] {
        assert_eq!(keys.members[set].iter().collect::<Vec<_>>(), [&id(1).to_string()], "{set}");
    }
    assert!(keys.members["status:exited"].is_empty() && keys.untold.contains("node"));
    projector.stop().await.expect("it ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_print_changes_with_whatever_can_be_wrong() {
    let world = World::new().await;
    let projector = world.start_projector();
    let node = Node::new(&world, "n1");
    let _served = node.serve().await;
    node.hello().await;
    node.put(1, Status::Running).await;
    world.until_shown("n1", &["1 running"]).await;
    projector.stop().await.expect("it ends well");

    let store = service::redis::Store::new(world.config.redis.clone());
    let name = "n1".parse().unwrap();
    let since = async |known: Option<&Print>| {
        keys::examine_since(&store, &world.config.prefix, &name, known, &[id(1)]).await.unwrap().unwrap()
    };
    let Since::Changed(mut print, keys) = since(None).await else { panic!("nothing was known") };
    assert_eq!(keys.view.containers.len(), 1);

    world.ask::<i64>(&["HSET", "deckwatch:{n1}:node", "last_beat_at", "later", "seq", "99"]).await;
    world.ask::<i64>(&["SADD", "deckwatch:{n1}:untold", "node"]).await;
    let Since::Same(head, containers) = since(Some(&print)).await else {
        panic!("no container and no index is another")
    };
    assert_eq!(head.node["last_beat_at"], "later");
    assert_eq!(containers, keys.view.containers);
    assert!(head.untold.contains("node") && head.checkpoint == keys.view.checkpoint);

    let container = format!("deckwatch:{{n1}}:container:{}", id(1));
    for edit in [
        ["HSET", &container, "image", "other"],
        ["HSET", &container, "project", "shop"],
        ["HDEL", &container, "image", "name"],
        ["SADD", "deckwatch:{n1}:containers", &id(2).to_string(), "x"],
        ["SADD", "deckwatch:{n1}:status:exited", &id(1).to_string(), "x"],
        ["HSET", "deckwatch:{n1}:node", "running", "7"],
        ["HSET", "deckwatch:{n1}:node", "status", "lost"],
    ] {
        world.ask::<i64>(&edit).await;
        let Since::Changed(other, _) = since(Some(&print)).await else { panic!("not seen: {edit:?}") };
        print = other;
    }
    assert!(matches!(since(Some(&print)).await, Since::Same(..)));
}
