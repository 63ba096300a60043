//! A producer beside a real engine and a real NATS server; no other role.

mod life;
mod world;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use domain::names::Request;
use domain::node::NodeClaim;
use domain::rpc::{
    LogsRequest, LogsResponse, ReplayRequest, ReplayResponse, ReplayStatus, ResyncRequest, ResyncResponse,
    SnapshotRequest, SnapshotResponse,
};
use domain::wire::Wire;
use domain::{Cause, Container, ContainerId, Observation, Observed, Stamp, Status, StopCause};
use producer::Config;

use crate::world::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_failed_is_told_within_a_second() {
    let world = World::new().await;
    world.nats.make_streams().await;
    let running = world.started().await;
    let created = docker_line(&["create", IMAGE, "foo"]);
    let made = Made(created.clone());
    let began = Instant::now();
    assert!(!docker(&["start", &created]).status.success());
    let failed = Instant::now();
    let (_, state) = world.state(&created, "start_failed", |c| c.status == Status::StartFailed).await;
    tracing::info!("told {:?} after the engine's answer, {:?} after the command", failed.elapsed(), began.elapsed());
    assert!(failed.elapsed() < Duration::from_secs(4));
    assert_eq!((state.exit_code, state.stop_cause), (Some(127), Some(StopCause::StartFailed)));
    assert!(state.error.is_some_and(|error| error.contains("executable file not found")));
    drop(made);
    let (_, removed) = world.state(&created, "its removal", |c| c.status == Status::Removed).await;
    assert_eq!(removed.stop_cause, Some(StopCause::StartFailed));
    world.check_stamps();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_are_told_apart() {
    let world = World::new().await;
    world.nats.make_streams().await;
    let running = world.started().await;
    let ended = |c: &Container| c.status == Status::Exited;
    let sh = |script| Made::run(&[IMAGE, "/bin/busybox", "sh", "-c", script]);

    let three = sh("exit 3");
    let (_, state) = world.state(&three.0, "exit 3", ended).await;
    assert_eq!((state.exit_code, state.stop_cause), (Some(3), Some(StopCause::Crashed)));
    let zero = sh("exit 0");
    assert_eq!(world.state(&zero.0, "exit 0", ended).await.1.stop_cause, Some(StopCause::Completed));

    let deaf = sh("trap '' TERM; while :; do sleep 0.1; done");
    docker_line(&["stop", "-t", "1", &deaf.0]);
    let (_, state) = world.state(&deaf.0, "a forced stop", ended).await;
    assert_eq!((state.exit_code, state.stop_cause), (Some(137), Some(StopCause::Killed)));

    let kind = sh("trap 'exit 0' TERM; while :; do sleep 0.1; done");
    tokio::time::sleep(Duration::from_millis(300)).await;
    docker_line(&["stop", &kind.0]);
    world.state(&kind.0, "a stop", |c| c.stop_cause == Some(StopCause::Stopped)).await;

    let killed = sh("sleep 100");
    docker_line(&["kill", &killed.0]);
    assert_eq!(world.state(&killed.0, "a kill", ended).await.1.stop_cause, Some(StopCause::Killed));

    let forced = sh("sleep 100");
    docker_line(&["rm", "-f", &forced.0]);
    let removed = world.state(&forced.0, "a forced removal", |c| c.status == Status::Removed).await.1;
    assert_eq!(removed.stop_cause, Some(StopCause::Removed));

    let gone = Made::run(&["--rm", IMAGE, "/bin/busybox", "sh", "-c", "exit 3"]);
    let removed = world.state(&gone.0, "its own removal", |c| c.status == Status::Removed).await.1;
    assert_eq!(removed.stop_cause, Some(StopCause::Crashed));

    let paused = sh("sleep 100");
    docker_line(&["pause", &paused.0]);
    world.state(&paused.0, "a pause", |c| c.status == Status::Paused).await;
    docker_line(&["unpause", &paused.0]);
    docker_line(&["rename", &paused.0, &format!("{}-renamed", world.node)]);
    world.state(&paused.0, "a new name", |c| c.name.ends_with("-renamed") && c.status == Status::Running).await;

    // Spoofed by a label of the attribute's name.
    let label = Made::run(&["--label", "exitCode=77", IMAGE, "/bin/busybox", "sh", "-c", "exit 3"]);
    let id: ContainerId = label.0.parse().expect("an id");
    let died = world
        .until("a death", |all| {
            let events = all.iter().filter(|(_, o)| about(o) == Some(id)).filter_map(|(_, o)| o.event.clone());
            events.into_iter().find(|event| event.action == "die")
        })
        .await;
    assert_eq!(died.exit_code, Some(3));
    world.check_stamps();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_four_requests_are_answered() {
    let world = World::new().await;
    world.nats.make_streams().await;
    let made = Made::run(&[IMAGE, "/bin/busybox", "sh", "-c", "echo one; echo two >&2; sleep 100"]);
    let running = world.started().await;
    let id: ContainerId = made.0.parse().expect("an id");

    let snapshot: SnapshotResponse =
        world.ask(Request::Snapshot, &SnapshotRequest { page_size: 1, ..SnapshotRequest::default() }).await;
    assert_eq!((snapshot.same, snapshot.containers.len(), snapshot.responder.epoch), (false, 1, 1));
    let mut all = snapshot.containers.clone();
    let mut token = snapshot.next_page_token.clone();
    while !token.is_empty() {
        let next = SnapshotRequest { page_token: token, ..SnapshotRequest::default() };
        let page: SnapshotResponse = world.ask(Request::Snapshot, &next).await;
        all.extend(page.containers);
        token = page.next_page_token;
    }
    assert!(all.iter().any(|c| c.id == id && c.status == Status::Running && c.stamp.seq > 0));
    assert_eq!(domain::digest::of(&all), snapshot.digest);

    let resync = ResyncRequest { container_ids: vec![id], ..ResyncRequest::default() };
    let done: ResyncResponse = world.ask(Request::Resync, &resync).await;
    assert_eq!((done.responder.epoch, done.responder.stand_in), (1, false));
    world
        .until("a look that was asked for", |all| {
            all.iter()
                .find(|(_, o)| o.cause == Cause::Resync && matches!(&o.observed, Observed::Container(c) if c.id == id))
                .map(drop)
        })
        .await;
    let statement = ResyncRequest { request_id: "me".into(), ..ResyncRequest::default() };
    let done: ResyncResponse = world.ask(Request::Resync, &statement).await;
    assert_eq!(done.responder.epoch, 1);
    world
        .until("a statement that was asked for", |all| {
            all.iter().find(|(_, o)| matches!(&o.observed, Observed::Stating(ids) if ids == &["me"])).map(drop)
        })
        .await;

    let replay = |epoch, from_seq, to_seq| ReplayRequest { epoch, from_seq, to_seq };
    for (question, status) in [
        (replay(0, 0, 0), ReplayStatus::Unknown),
        (replay(1, 1, 2), ReplayStatus::Coming),
        (replay(1, 100_000, 100_001), ReplayStatus::NotKept),
    ] {
        let answer: ReplayResponse = world.ask(Request::Replay, &question).await;
        assert_eq!(answer.status, status, "{question:?}");
    }

    let logs: LogsResponse = world.ask(Request::Logs, &LogsRequest { container_id: id, lines: 10 }).await;
    let mut lines: Vec<_> = logs.lines.iter().map(|line| String::from_utf8_lossy(&line.text).into_owned()).collect();
    lines.sort();
    assert_eq!(lines, ["one", "two"]);

    let passed = ResyncRequest { passed_epoch: 5, ..ResyncRequest::default() };
    let done: ResyncResponse = world.ask(Request::Resync, &passed).await;
    assert_eq!(done.responder.epoch, 1);
    world.listed(6).await;
    world.check_stamps();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lives_follow_each_other() {
    let world = World::new().await;
    let first = world.start(world.config());
    let began = Instant::now();
    while !first.context.health.reasons().iter().any(|(_, reason)| reason.contains("waiting for a sequencer")) {
        assert!(began.elapsed() < WAIT_MAX, "{:?}", first.context.health.reasons());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    world.nats.make_streams().await;
    world.listed(1).await;

    // A second one of the same node stays passive, and takes over when the first is gone.
    let second_data = tempfile::tempdir().expect("a folder");
    let second = world.start(Config { data_dir: second_data.path().to_owned(), ..world.config() });
    while !second.context.health.reasons().iter().any(|(_, reason)| reason.contains("passive")) {
        assert!(began.elapsed() < WAIT_MAX, "{:?}", second.context.health.reasons());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    first.stop().await;
    world.listed(2).await;
    assert_eq!(second.context.health.reasons(), []);
    second.stop().await;

    // A clean end is named by the next life.
    let third = world.start(Config { data_dir: second_data.path().to_owned(), ..world.config() });
    world.listed(3).await;
    let ends = |epoch| world.observations().iter().filter(|(stamp, _)| stamp.epoch == epoch).count() as u64;
    let hello = |epoch| {
        let all = world.observations();
        let (_, observation) = all.iter().find(|(stamp, _)| *stamp == Stamp { epoch, seq: 1 }).expect("a hello");
        let Observed::Hello(hello) = &observation.observed else { panic!("{observation:?}") };
        hello.previous
    };
    assert_eq!(hello(3).map(|life| (life.epoch, life.last_seq)), Some((2, Some(ends(2)))));

    // Its key gone, it claims anew.
    world.client.request("$JS.API.STREAM.PURGE.KV_DECKWATCH_NODES", "".into()).await.expect("JetStream");
    world.listed(4).await;
    assert_eq!(hello(4).map(|life| (life.epoch, life.last_seq)), Some((3, Some(ends(3)))));
    let beats = world.beats.lock().expect("no panic").clone();
    assert!(beats.iter().any(|beat| beat.epoch == 3 && beat.acknowledged_seq == beat.last_seq));
    world.check_stamps();
    third.stop().await;

    // Another engine holds the name.
    let key = format!("$KV.DECKWATCH_NODES.{}", world.node);
    let claim = NodeClaim { epoch: 9, engine_id: "another".into(), instance: domain::Instance(1), stand_in: false };
    world.client.request(key, claim.encode().into()).await.expect("JetStream");
    let failure = producer::run(world.config(), service::Context::default()).await.unwrap_err().to_string();
    assert!(failure.contains("another") && failure.contains("deckwatch forget"), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stand_in_gives_way() {
    let world = World::new().await;
    world.nats.make_streams().await;
    let data = tempfile::tempdir().expect("a folder");
    let stand_in = world.start(Config { stand_in: true, data_dir: data.path().to_owned(), ..world.config() });
    world.listed(1).await;
    let began = Instant::now();
    let real = world.start(world.config());
    world.listed(2).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    stand_in.task.await.expect("no panic").expect("a stand-in that is not needed ends well");

    // Superseded while it was cut off, the real one claims the next epoch.
    let key = format!("$KV.DECKWATCH_NODES.{}", world.node);
    let held = world.client.request(format!("$JS.API.DIRECT.GET.KV_DECKWATCH_NODES.{key}"), "".into()).await;
    let held = NodeClaim::decode(&held.expect("JetStream").payload).expect("a claim");
    let other = NodeClaim { epoch: 3, instance: domain::Instance(1), stand_in: true, ..held };
    world.client.request(key, other.encode().into()).await.expect("JetStream");
    world.listed(4).await;
    world.check_stamps();
    real.stop().await;
}

/// Passes bytes on to the engine's socket, until cut.
struct Proxy {
    path: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    fn open(path: &Path) -> Self {
        let listener = tokio::net::UnixListener::bind(path).expect("a socket");
        let task = tokio::spawn(async move {
            let mut pairs = tokio::task::JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                pairs.spawn(async move {
                    let mut far = tokio::net::UnixStream::connect("/var/run/docker.sock").await.expect("the engine");
                    tokio::io::copy_bidirectional(&mut near, &mut far).await.ok();
                });
            }
        });
        Self { path: path.to_owned(), task }
    }

    async fn cut(self) {
        std::fs::remove_file(&self.path).expect("its socket");
        self.task.abort();
        self.task.await.ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_cannot_be_asked_is_blind_and_nothing_is_missed() {
    let world = World::new().await;
    world.nats.make_streams().await;
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("engine.sock");
    let proxy = Proxy::open(&socket);
    let made = Made::run(&[IMAGE, "/bin/busybox", "sh", "-c", "sleep 100"]);
    let engine = Some(format!("unix://{}", socket.display()));
    let running = world.start(Config { engine, ..world.config() });
    world.listed(1).await;
    proxy.cut().await;
    let blind =
        |all: &[(Stamp, Observation)]| all.iter().filter(|(_, o)| matches!(&o.observed, Observed::Blind(_))).count();
    world.until("blindness", |all| (blind(all) > 0).then_some(())).await;
    assert!(running.context.health.reasons().iter().any(|(condition, _)| condition == "engine"));
    docker_line(&["stop", "-t", "0", &made.0]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(blind(&world.observations()), 1, "said once");
    let proxy = Proxy::open(&socket);
    let (_, state) = world.state(&made.0, "the end", |c| c.status == Status::Exited).await;
    assert_eq!(state.stop_cause, Some(StopCause::Killed));
    let id: ContainerId = made.0.parse().expect("an id");
    let story = world.story(&id);
    assert!(story.contains(" die ") && story.contains(" stop "), "{story}");
    let gaps = world.observations().iter().filter(|(_, o)| matches!(&o.observed, Observed::Gap(_))).count();
    assert_eq!(gaps, 0, "the engine's memory held it all");
    world.until("health", |_| running.context.health.reasons().is_empty().then_some(())).await;
    world.check_stamps();
    running.stop().await;
    proxy.cut().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_while_nats_is_away() {
    let mut world = World::new().await;
    world.nats.make_streams().await;
    let running = world.started().await;
    let made = Made::run(&[IMAGE, "/bin/busybox", "sh", "-c", "sleep 100"]);
    world.state(&made.0, "a start", |c| c.status == Status::Running).await;
    let id = made.0.clone();
    let pause = tokio::task::spawn_blocking(move || {
        std::thread::sleep(Duration::from_millis(500));
        docker_line(&["pause", &id]);
        docker_line(&["unpause", &id]);
        docker_line(&["kill", &id]);
    });
    world.nats.restart_after(Duration::from_secs(3)).await;
    pause.await.expect("no panic");
    let (_, state) = world.state(&made.0, "the end", |c| c.status == Status::Exited).await;
    assert_eq!(state.stop_cause, Some(StopCause::Killed));
    let id: ContainerId = made.0.parse().expect("an id");
    let actions: Vec<String> = world
        .observations()
        .iter()
        .filter(|(_, o)| about(o) == Some(id))
        .filter_map(|(_, o)| Some(o.event.as_ref()?.action.clone()))
        .collect();
    assert_eq!(actions, ["create", "start", "pause", "unpause", "kill", "die"]);
    world.check_stamps();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_sent_together() {
    let world = World::new().await;
    world.nats.make_streams().await;
    let running = world.started().await;
    let runs: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(|| {
                for _ in 0..8 {
                    docker_line(&[
                        "run",
                        "--rm",
                        "--network",
                        "none",
                        "--label",
                        "deckwatch.churn=1",
                        IMAGE,
                        "/bin/busybox",
                        "true",
                    ]);
                }
            })
        })
        .collect();
    for run in runs {
        tokio::task::spawn_blocking(move || run.join().expect("no panic")).await.expect("no panic");
    }
    let removed = world
        .until("32 removals", |all| {
            let removed = all.iter().filter_map(|(_, o)| container(o)).filter(|c| c.status == Status::Removed);
            let removed: Vec<_> = removed.filter(|c| c.labels.contains_key("deckwatch.churn")).cloned().collect();
            (removed.len() >= 32).then_some(removed)
        })
        .await;
    for container in removed {
        assert_eq!(container.stop_cause, Some(StopCause::Completed), "{}", world.story(&container.id));
    }
    world.check_stamps();
    running.stop().await;
}
