//! The projector against real servers.
#![expect(clippy::print_stdout, reason = "tells the times that were measured")]

mod drifts;
mod requests;
mod world;

use std::time::{Duration, Instant};

use domain::{Health, Status, StopCause};
use world::{HEARTBEAT, Node, World, id, until};

const CURRENT: &str = "deckwatch:partition:0";

#[tokio::test(flavor = "multi_thread")]
async fn a_new_node_is_shown_and_followed_within_a_moment() {
    let mut world = World::new().await;
    world.start_sequencer();
    let projector = world.start_projector();
    let node = Node::new(&world, "n1");
    let _served = node.serve().await;
    node.hello().await;
    node.put(1, Status::Running).await;
    world.until_shown("n1", &["1 running"]).await;
    let began = Instant::now();
    node.put(2, Status::Exited).await;
    world.until_shown("n1", &["1 running", "2 exited"]).await;
    println!("published to Redis within {:?}", began.elapsed());
    node.remove(1).await;
    world.until_shown("n1", &["2 exited"]).await;
    let fields = world.hash("deckwatch:{n1}:node").await;
    for (name, value) in [("name", "n1"), ("status", "alive"), ("containers", "1"), ("running", "0"), ("epoch", "1")] {
        assert_eq!(fields.get(name).map(String::as_str), Some(value), "{name} in {fields:?}");
    }
    assert_eq!(fields["seq"], node.seq().await.to_string());
    assert_eq!(fields["engine_id"], "engine");
    assert_eq!(world.members("deckwatch:{n1}:status:exited").await, [id(2).to_string()]);
    assert_eq!(world.members("deckwatch:{n1}:status:running").await, [""; 0]);
    // Other slots are told after the node's own.
    until("all is told", async || world.members("deckwatch:{n1}:untold").await.is_empty()).await;
    assert_eq!(world.members("deckwatch:nodes").await, ["n1"]);
    assert_eq!(world.members(&format!("deckwatch:id:{}", id(2))).await, ["n1"]);
    assert_eq!(world.ask::<i64>(&["EXISTS", &format!("deckwatch:id:{}", id(1))]).await, 0);
    assert_eq!(world.hash("deckwatch:meta").await["partitions"], "1");
    projector.stop().await.expect("it ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_partition_is_current_soon_and_no_longer_than_it_is_true() {
    let mut world = World::new().await;
    world.start_sequencer();
    let began = Instant::now();
    let projector = world.start_projector();
    until("an empty partition is current", async || world.ask::<i64>(&["EXISTS", CURRENT]).await == 1).await;
    println!("current after {:?}", began.elapsed());
    let fields = world.hash(CURRENT).await;
    assert_eq!((fields["sequence"].as_str(), fields["writer"].as_str()), ("0", "0"));
    assert!(fields.contains_key("applied_at"));
    assert!(world.ask::<i64>(&["PTTL", CURRENT]).await <= i64::try_from((3 * HEARTBEAT).as_millis()).unwrap());
    let node = Node::new(&world, "n1");
    let _served = node.serve().await;
    node.hello().await;
    until("its place moves", async || world.hash(CURRENT).await.get("writer").is_some_and(|text| text.len() == 16))
        .await;
    world.stop_sequencer();
    until("the sequencer stands still", async || world.ask::<i64>(&["EXISTS", CURRENT]).await == 0).await;
    world.start_sequencer();
    until("it works again", async || world.ask::<i64>(&["EXISTS", CURRENT]).await == 1).await;
    projector.stop().await.expect("it ends well");
    until("the projector ended", async || world.ask::<i64>(&["EXISTS", CURRENT]).await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_and_blind_nodes_are_unknown_until_a_statement() {
    let world = World::new().await;
    let projector = world.start_projector();
    let node = Node::new(&world, "n1");
    let _served = node.serve().await;
    node.hello().await;
    node.put(1, Status::Running).await;
    node.put(2, Status::Exited).await;
    world.until_shown("n1", &["1 running", "2 exited"]).await;
    node.lost().await;
    world.until_shown("n1", &["1 unknown was running", "2 unknown was exited"]).await;
    let fields = world.hash("deckwatch:{n1}:node").await;
    assert_eq!((fields["status"].as_str(), fields["running"].as_str()), ("lost", "0"));
    assert_eq!(fields["reason"], "no sign of life");
    assert_eq!(world.members("deckwatch:{n1}:status:unknown").await.len(), 2);
    let since = world.view("n1").await.containers[0].status_since.unwrap();
    assert_eq!(fields["status_since"], since.to_string());
    node.back().await;
    until("it is back", async || world.hash("deckwatch:{n1}:node").await["status"] == "alive").await;
    assert_eq!(world.shown("n1").await, ["1 unknown was running", "2 unknown was exited"]);
    assert!(!world.hash("deckwatch:{n1}:node").await.contains_key("reason"));
    node.statement(&[]).await;
    world.until_shown("n1", &["1 running", "2 exited"]).await;
    node.blind().await;
    world.until_shown("n1", &["1 unknown was running", "2 unknown was exited"]).await;
    assert_eq!(world.hash("deckwatch:{n1}:node").await["reason"], "cannot connect");
    assert_eq!(world.hash("deckwatch:{n1}:node").await["status"], "blind");
    node.statement(&[]).await;
    world.until_shown("n1", &["1 running", "2 exited"]).await;
    until("it is alive", async || world.hash("deckwatch:{n1}:node").await["status"] == "alive").await;
    projector.stop().await.expect("it ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_heals_while_it_runs() {
    let mut world = World::new().await;
    world.start_sequencer();
    let projector = world.start_projector();
    let node = Node::new(&world, "n1");
    let _served = node.serve().await;
    node.hello().await;
    node.put(1, Status::Running).await;
    world.until_shown("n1", &["1 running"]).await;
    until("current", async || world.ask::<i64>(&["EXISTS", CURRENT]).await == 1).await;
    let began = Instant::now();
    world.ask::<String>(&["FLUSHALL"]).await;
    world.ask::<String>(&["FUNCTION", "FLUSH"]).await;
    world.until_shown("n1", &["1 running"]).await;
    println!("healed after {:?}, heartbeat {HEARTBEAT:?}", began.elapsed());
    until("told again", async || world.members(&format!("deckwatch:id:{}", id(1))).await == ["n1"]).await;
    until("current again", async || world.ask::<i64>(&["EXISTS", CURRENT]).await == 1).await;
    assert_eq!(world.hash("deckwatch:meta").await["schema"], "1");
    projector.stop().await.expect("it ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_dump_is_caught_up() {
    let mut world = World::new().await;
    let projector = world.start_projector();
    let node = Node::new(&world, "n1");
    let _served = node.serve().await;
    node.hello().await;
    node.put(1, Status::Running).await;
    node.put(2, Status::Running).await;
    world.until_shown("n1", &["1 running", "2 running"]).await;
    let dump = world.dump().await;
    node.put(1, Status::Paused).await;
    node.remove(2).await;
    node.put(3, Status::Exited).await;
    world.until_shown("n1", &["1 paused", "3 exited"]).await;
    world.restore(&dump).await;
    world.until_shown("n1", &["1 paused", "3 exited"]).await;
    until("told", async || world.ask::<i64>(&["EXISTS", &format!("deckwatch:id:{}", id(2))]).await == 0).await;
    assert!(world.view("n1").await.checkpoint.unwrap().rebuild.is_none(), "its checkpoint was true: no rebuild");
    projector.stop().await.expect("it ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_made_anew_ends_in_the_truth() {
    let world = World::new().await;
    let projector = world.start_projector();
    let node = Node::new(&world, "n1");
    node.hello().await;
    let served = node.serve().await;
    node.put(1, Status::Running).await;
    node.put(2, Status::Running).await;
    world.until_shown("n1", &["1 running", "2 running"]).await;
    served.abort();
    world.make_state_anew().await;
    node.begin_anew().await;
    // While nobody answers nothing is known.
    world.until_shown("n1", &["1 unknown was running", "2 unknown was running"]).await;
    node.lose(1).await;
    node.set(2, Status::Exited).await;
    // The new record grows beyond where the old one ended.
    node.hello().await;
    for _ in 0..20 {
        node.put(3, Status::Running).await;
    }
    node.serve().await;
    world.until_shown("n1", &["2 exited", "3 running"]).await;
    assert!(world.view("n1").await.checkpoint.unwrap().rebuild.is_none());
    projector.stop().await.expect("it ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_goes_on_over_a_restart_and_removes_what_is_gone() {
    let world = World::new().await;
    let projector = world.start_projector();
    let node = Node::new(&world, "n1");
    let served = node.serve().await;
    node.hello().await;
    for number in 1..=3 {
        node.put(number, Status::Running).await;
    }
    world.until_shown("n1", &["1 running", "2 running", "3 running"]).await;
    served.abort();
    until("nobody serves", async || served.is_finished()).await;
    world.ask::<i64>(&["DEL", "deckwatch:{n1}:checkpoint"]).await;
    world.until_shown("n1", &["1 unknown was running", "2 unknown was running", "3 unknown was running"]).await;
    let token = world.view("n1").await.checkpoint.unwrap().rebuild.unwrap().token;
    node.lose(2).await;
    node.statement(&["another"]).await;
    projector.kill();
    let projector = world.start_projector();
    tokio::time::sleep(HEARTBEAT).await;
    assert!(world.shown("n1").await.iter().all(|shown| shown.contains("unknown")), "not the statement asked for");
    assert_eq!(world.view("n1").await.checkpoint.unwrap().rebuild.unwrap().token, token);
    let unknown = world.hash(&format!("deckwatch:{{n1}}:container:{}", id(1))).await;
    assert!(unknown.contains_key("status_since") && !unknown.contains_key("last_status_since"), "{unknown:?}");
    node.serve().await;
    world.until_shown("n1", &["1 running", "3 running"]).await;
    let known = world.hash(&format!("deckwatch:{{n1}}:container:{}", id(1))).await;
    assert!(known["status_since"] < unknown["status_since"], "since when it runs: {known:?}");
    let checkpoint = world.hash("deckwatch:{n1}:checkpoint").await;
    assert_eq!(checkpoint.into_keys().collect::<Vec<_>>(), ["partition", "sequence", "writer"]);
    assert_eq!(world.ask::<i64>(&["EXISTS", "deckwatch:{n1}:stated", "deckwatch:{n1}:since"]).await, 0);
    until("told", async || world.ask::<i64>(&["EXISTS", &format!("deckwatch:id:{}", id(2))]).await == 0).await;
    projector.stop().await.expect("it ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_summed_over_nodes() {
    let world = World::new().await;
    let projector = world.start_projector();
    let (one, two) = (Node::new(&world, "n1"), Node::new(&world, "n2"));
    let _served = (one.serve().await, two.serve().await);
    one.hello().await;
    two.hello().await;
    let web = |container: &mut domain::Container| {
        container.project = Some("shop".to_owned());
        container.service = Some("web".to_owned());
    };
    for (node, number) in [(&one, 1), (&one, 2), (&two, 3)] {
        node.set(number, Status::Running).await;
        node.change(number, web).await;
    }
    one.change(1, |container| container.health = Some(Health::Unhealthy)).await;
    one.change(2, |container| {
        container.status = Status::Exited;
        container.stop_cause = Some(StopCause::Crashed);
    })
    .await;
    let totals = async || {
        let fields = world.hash("deckwatch:service:shop/web").await;
        ["containers", "running", "unhealthy", "failed", "nodes"]
            .map(|name| fields.get(name).cloned().unwrap_or_default())
    };
    until("summed", async || totals().await == ["3", "2", "1", "1", "2"].map(str::to_owned)).await;
    two.change(3, |container| container.status = Status::Paused).await;
    until("one is paused", async || totals().await == ["3", "1", "1", "1", "2"].map(str::to_owned)).await;
    two.change(3, |container| container.status = Status::Running).await;
    until("all as before", async || totals().await == ["3", "2", "1", "1", "2"].map(str::to_owned)).await;
    assert_eq!(world.members("deckwatch:services").await, ["shop/web"]);
    assert_eq!(world.members("deckwatch:{n1}:service:shop/web").await.len(), 2);
    one.lost().await;
    until("one node is lost", async || totals().await == ["3", "1", "0", "0", "2"].map(str::to_owned)).await;
    one.back().await;
    one.remove(1).await;
    one.remove(2).await;
    until("one node has none", async || totals().await == ["1", "1", "0", "0", "1"].map(str::to_owned)).await;
    two.forgotten().await;
    until("none is left", async || world.members("deckwatch:services").await.is_empty()).await;
    assert_eq!(world.ask::<i64>(&["EXISTS", "deckwatch:service:shop/web"]).await, 0);
    projector.stop().await.expect("it ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_node_is_gone_everywhere_and_may_come_again() {
    let world = World::new().await;
    let projector = world.start_projector();
    let node = Node::new(&world, "n1");
    let _served = node.serve().await;
    node.hello().await;
    node.put(1, Status::Running).await;
    world.until_shown("n1", &["1 running"]).await;
    node.forgotten().await;
    let keys = async || {
        let mut keys: Vec<String> = world.ask(&["KEYS", "*"]).await;
        keys.retain(|key| key != "deckwatch:meta" && key != CURRENT);
        keys
    };
    until("its keys are gone", async || keys().await.is_empty()).await;
    projector.stop().await.expect("it ends well");
    let projector = world.start_projector();
    tokio::time::sleep(2 * HEARTBEAT).await;
    assert_eq!(keys().await, [""; 0], "a restart brings no ghost");
    node.hello().await;
    node.put(1, Status::Exited).await;
    world.until_shown("n1", &["1 exited"]).await;
    projector.stop().await.expect("it ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_untold_at_a_crash_is_told() {
    let world = World::new().await;
    let projector = world.start_projector();
    let node = Node::new(&world, "n1");
    let _served = node.serve().await;
    node.hello().await;
    node.put(1, Status::Running).await;
    world.until_shown("n1", &["1 running"]).await;
    projector.stop().await.expect("it ends well");
    // As a crash between the change and its telling leaves it.
    let (there, gone) = (format!("deckwatch:id:{}", id(1)), format!("deckwatch:id:{}", id(9)));
    world.ask::<i64>(&["DEL", &there, "deckwatch:nodes"]).await;
    world.ask::<i64>(&["SADD", &gone, "n1"]).await;
    let untold = ["SADD", "deckwatch:{n1}:untold", &format!("id:{}", id(1)), &format!("id:{}", id(9)), "node"];
    world.ask::<i64>(&untold).await;
    let projector = world.start_projector();
    until("told", async || world.members(&there).await == ["n1"] && world.members("deckwatch:nodes").await == ["n1"])
        .await;
    until("told", async || world.ask::<i64>(&["EXISTS", &gone, "deckwatch:{n1}:untold"]).await == 0).await;
    projector.stop().await.expect("it ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_expects_another_checkpoint_changes_nothing() {
    let world = World::new().await;
    let library = projector::library(&world.config.prefix);
    world.ask::<String>(&["FUNCTION", "LOAD", "REPLACE", &library]).await;
    let apply = async |expected: [&str; 6], after: [&str; 6], ops: &[&str]| {
        let mut words = vec!["FCALL", "deckwatch_v1_apply", "1", "deckwatch:{n1}:node"];
        words.extend(expected.into_iter().chain(after).chain(ops.iter().copied()));
        let answer: Vec<redis::Value> = world.ask(&words).await;
        redis::from_redis_value_ref::<String>(&answer[0]).unwrap()
    };
    let at = |sequence: &'static str| ["0", sequence, "00000000000000ff", "", "", ""];
    let read = async || world.ask::<String>(&["FCALL_RO", "deckwatch_v1_read", "1", "deckwatch:{n1}:node"]).await;
    assert_eq!(read().await, r#"{"checkpoint":null,"node":{},"containers":[]}"#);
    assert_eq!(apply([""; 6], at("18446744073709551614"), &["node", "2", "name", "n1"]).await, "applied");
    let before = read().await;
    let json: serde_json::Value = serde_json::from_str(&before).unwrap();
    assert_eq!(json["checkpoint"]["sequence"], "18446744073709551614");
    assert_eq!(json["containers"], serde_json::json!([]));
    let put = ["put", "x", "always", "0", "running", "", "", "2", "id", "x"];
    for expected in [[""; 6], at("18446744073709551615"), ["1", "18446744073709551614", "00000000000000ff", "", "", ""]]
    {
        assert_eq!(apply(expected, at("7"), &put).await, "refused");
        assert_eq!(read().await, before);
    }
    assert_eq!(apply(at("18446744073709551614"), at("7"), &put).await, "applied");
    assert_eq!(apply(at("18446744073709551614"), at("7"), &put).await, "refused", "the same call again");
    let json: serde_json::Value = serde_json::from_str(&read().await).unwrap();
    assert_eq!(json["containers"], serde_json::json!([{ "id": "x" }]));
    assert_eq!(json["node"]["running"], "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_the_wrong_type_are_put_right() {
    let world = World::new().await;
    let projector = world.start_projector();
    let node = Node::new(&world, "n1");
    let _served = node.serve().await;
    node.hello().await;
    node.put(1, Status::Running).await;
    world.until_shown("n1", &["1 running"]).await;
    for key in ["node", "containers", "checkpoint", "untold", "status:running"] {
        world.ask::<String>(&["SET", &format!("deckwatch:{{n1}}:{key}"), "junk"]).await;
    }
    world.ask::<String>(&["SET", "deckwatch:nodes", "junk"]).await;
    world.ask::<String>(&["SET", "deckwatch:meta", "junk"]).await;
    node.put(2, Status::Exited).await;
    world.until_shown("n1", &["1 running", "2 exited"]).await;
    assert_eq!(world.members("deckwatch:{n1}:status:running").await, [id(1).to_string()]);
    until("told", async || world.ask::<String>(&["TYPE", "deckwatch:nodes"]).await == "set").await;
    until("told", async || world.ask::<String>(&["TYPE", "deckwatch:meta"]).await == "hash").await;
    projector.stop().await.expect("it ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_passed_and_counted() {
    let world = World::new().await;
    let projector = world.start_projector();
    let node = Node::new(&world, "n1");
    let _served = node.serve().await;
    node.hello().await;
    node.put(1, Status::Running).await;
    world.until_shown("n1", &["1 running"]).await;
    // No protobuf, a record without an arm, and a gap for a reason that nobody knows yet.
    for payload in [b"\xffjunk".to_vec(), Vec::new(), node.gap_of_unknown_reason().await] {
        world.jetstream.publish("deckwatch.state.0.n1.gap", payload.into()).await.unwrap().await.unwrap();
    }
    node.put(2, Status::Exited).await;
    world.until_shown("n1", &["1 running", "2 exited"]).await;
    let metrics = projector.context.metrics.encode();
    let counted = metrics.lines().filter(|line| line.starts_with("deckwatch_dead_letters_total{"));
    let counted: u64 = counted.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum();
    assert_eq!(counted, 3, "{metrics}");
    assert!(!metrics.contains("deckwatch_records_total{"), "records are counted by the sequencer: {metrics}");
    projector.stop().await.expect("it ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_away_is_said_and_nothing_is_lost() {
    let mut world = World::new().await;
    let projector = world.start_projector();
    let node = Node::new(&world, "n1");
    let _served = node.serve().await;
    node.hello().await;
    node.put(1, Status::Running).await;
    world.until_shown("n1", &["1 running"]).await;
    let health = projector.context.health.clone();
    until("ready", async || health.reasons().is_empty()).await;
    let dump = world.dump().await;
    world.kill_redis();
    node.put(1, Status::Exited).await;
    until("said", async || health.reasons().iter().any(|(condition, _)| condition == "partition 0 redis")).await;
    world.restore(&dump).await;
    world.until_shown("n1", &["1 exited"]).await;
    until("ready", async || health.reasons().is_empty()).await;
    projector.stop().await.expect("it ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_nats_is_a_pause() {
    let mut world = World::new().await;
    let projector = world.start_projector();
    let node = Node::new(&world, "n1");
    let _served = node.serve().await;
    node.hello().await;
    node.put(1, Status::Running).await;
    world.until_shown("n1", &["1 running"]).await;
    world.restart_nats().await;
    node.put(1, Status::Exited).await;
    let began = Instant::now();
    world.until_shown("n1", &["1 exited"]).await;
    println!("after a restart of NATS: {:?}", began.elapsed());
    until("ready", async || projector.context.health.reasons().is_empty()).await;
    projector.stop().await.expect("it ends well");
}

/// A node's life under faults, each step chosen by a fixed sequence of numbers; then Redis is the truth.
#[tokio::test(flavor = "multi_thread")]
async fn a_life_under_faults_ends_in_the_truth() {
    let mut world = World::new().await;
    world.start_sequencer();
    let mut projector = world.start_projector();
    let nodes = [Node::new(&world, "n1"), Node::new(&world, "n2")];
    let _served = (nodes[0].serve().await, nodes[1].serve().await);
    nodes[0].hello().await;
    nodes[1].hello().await;
    let mut dump = world.dump().await;
    let mut number = 1_u64;
    let mut next = |below: u64| {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (number >> 33) % below
    };
    for step in 0..400 {
        let node = &nodes[usize::try_from(next(2)).unwrap()];
        let container = u8::try_from(next(12)).unwrap() + 1;
        let status = [Status::Running, Status::Exited, Status::Paused][usize::try_from(next(3)).unwrap()];
        let lives = node.truth().await.iter().any(|shown| shown.starts_with(&format!("{container} ")));
        match next(40) {
            0 => {
                node.lost().await;
                node.back().await;
                node.statement(&[]).await;
            }
            1 => {
                node.blind().await;
                node.statement(&[]).await;
            }
            2 => dump = world.dump().await,
            3 if step % 2 == 0 => world.restore(&dump).await,
            4 => world.ask::<()>(&["FLUSHALL"]).await,
            5 => {
                projector.kill();
                projector = world.start_projector();
            }
            6 if step % 4 == 0 => world.restart_nats().await,
            7..20 if lives => node.remove(container).await,
            _ => node.put(container, status).await,
        }
    }
    for (node, name) in nodes.iter().zip(["n1", "n2"]) {
        let truth = node.truth().await;
        let what = format!("{name} shows {truth:?}");
        let key = format!("deckwatch:{{{name}}}:node");
        // A node that is still asked for a statement goes on counting.
        let shows_all = async || {
            let shown = world.shown(name).await;
            let told = world.hash(&key).await.get("seq").cloned();
            shown == truth && told == Some(node.seq().await.to_string())
        };
        until(&what, shows_all).await;
        let fields = world.hash(&key).await;
        assert_eq!(fields["containers"], truth.len().to_string());
        let mut by_status = 0;
        for status in Status::ALL {
            by_status += world.members(&format!("deckwatch:{{{name}}}:status:{status}")).await.len();
        }
        assert_eq!(by_status, truth.len());
    }
    for container in 1..=12 {
        let holders = async |name: &str, node: &Node| {
            let truth = node.truth().await;
            truth.iter().any(|shown| shown.starts_with(&format!("{container} "))).then(|| name.to_owned())
        };
        let expected: Vec<_> =
            [holders("n1", &nodes[0]).await, holders("n2", &nodes[1]).await].into_iter().flatten().collect();
        let key = format!("deckwatch:id:{}", id(container));
        until(&format!("{key} holds {expected:?}"), async || world.members(&key).await == expected).await;
    }
    until("current", async || world.ask::<i64>(&["EXISTS", CURRENT]).await == 1).await;
    projector.stop().await.expect("it ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_take_turns() {
    let mut world = World::new().await;
    let first = world.start_projector();
    let node = Node::new(&world, "n1");
    let _served = node.serve().await;
    node.hello().await;
    node.put(1, Status::Running).await;
    world.until_shown("n1", &["1 running"]).await;
    world.config.instance = domain::Instance(2);
    let second = world.start_projector();
    tokio::time::sleep(Duration::from_millis(300)).await;
    first.stop().await.expect("it ends well");
    node.put(1, Status::Exited).await;
    world.until_shown("n1", &["1 exited"]).await;
    second.stop().await.expect("it ends well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_layout_and_other_partitions_are_refused() {
    let mut world = World::new().await;
    world.ask::<i64>(&["HSET", "deckwatch:meta", "schema", "2", "partitions", "1"]).await;
    let failure = projector::run(world.config.clone(), service::Context::default()).await.unwrap_err();
    assert_eq!(failure.exit, service::Exit::Failed);
    assert!(failure.message.contains("schema 2"), "{failure}");
    world.ask::<i64>(&["DEL", "deckwatch:meta"]).await;
    world.config.partitions = domain::Partitions::try_from(8).unwrap();
    let failure = projector::run(world.config.clone(), service::Context::default()).await.unwrap_err();
    assert!(failure.message.contains("--partitions 1"), "{failure}");
}
