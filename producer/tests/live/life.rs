//! The beginning and the end of a life, beside an engine and a disk that take their time.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, ContainerSummary, EventMessage,
};
use domain::ContainerId;
use domain::names::Request;
use domain::node::Engine;
use domain::rpc::{ResyncRequest, ResyncResponse};
use futures::StreamExt;
use futures::stream::BoxStream;
use producer::engine::simulated::Simulated;
use tokio::net::unix::pipe;

use crate::world::*;

/// An engine with one container, whose inspects wait while it is held.
#[derive(Default)]
struct Held {
    held: AtomicBool,
    asked: AtomicUsize,
    answered: AtomicUsize,
}

impl Held {
    const ID: [u8; 32] = [7; 32];
}

impl Simulated for Held {
    fn engine(&self) -> Engine {
        Engine { id: "held".to_owned(), ..Engine::default() }
    }

    fn list(&self) -> Vec<ContainerSummary> {
        vec![ContainerSummary { id: Some(ContainerId::from(Self::ID).to_string()), ..ContainerSummary::default() }]
    }

    fn inspect(&self, id: &ContainerId) -> Option<ContainerInspectResponse> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        while self.held.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.answered.fetch_add(1, Ordering::SeqCst);
        let state = ContainerState { status: Some(ContainerStateStatusEnum::RUNNING), ..ContainerState::default() };
        Some(ContainerInspectResponse {
            id: Some(id.to_string()),
            state: Some(state),
            ..ContainerInspectResponse::default()
        })
    }

    fn events(&self) -> BoxStream<'static, EventMessage> {
        futures::stream::pending().boxed()
    }
}

/// A file that takes nothing while it is full: whoever writes it waits.
struct Full {
    from: pipe::Receiver,
    _to: pipe::Sender,
}

impl Full {
    async fn make(path: &Path) -> Self {
        assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo").success());
        let options = || pipe::OpenOptions::new().read_write(true).clone();
        let from = options().open_receiver(path).expect("a pipe");
        let to = options().open_sender(path).expect("a pipe");
        to.writable().await.expect("room");
        while to.try_write(&[b' '; 4096]).is_ok() {}
        from.readable().await.expect("what fills it");
        Self { from, _to: to }
    }

    /// What is in it: room for those who wait.
    fn read(&self, text: &mut Vec<u8>) {
        let mut part = [0; 4096];
        while let Ok(count @ 1..) = self.from.try_read(&mut part) {
            text.extend(part.iter().take(count));
        }
    }
}

/// How often this process has a file open.
fn opened(path: &Path) -> usize {
    let links = std::fs::read_dir("/proc/self/fd").expect("open files").filter_map(Result::ok);
    links.filter(|link| std::fs::read_link(link.path()).is_ok_and(|file| file == path)).count()
}

async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < WAIT_MAX, "{what}: not so");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_is_not_ready_before_it_has_listed() {
    let world = World::new().await;
    let engine = Arc::new(Held::default());
    let context = service::Context::default();
    let task = tokio::spawn(producer::run_simulated(world.config(), Arc::clone(&engine) as _, context.clone()));
    let says = |condition: &str| context.health.reasons().iter().any(|(name, _)| name == condition);
    until("it says that it has no epoch", || says("claim")).await;
    assert!(says("engine"), "with a claim it would be ready");
    world.nats.make_streams().await;
    until("it is ready", || context.health.is_ready()).await;
    world.listed(1).await;
    context.stop.trigger();
    task.await.expect("no panic").expect("a clean end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_stamp_is_given_once_the_end_is_written_down() {
    let world = World::new().await;
    world.nats.make_streams().await;
    let engine = Arc::new(Held::default());
    let context = service::Context::default();
    let task = tokio::spawn(producer::run_simulated(world.config(), Arc::clone(&engine) as _, context.clone()));
    world.listed(1).await;

    engine.held.store(true, Ordering::SeqCst);
    let asked = engine.asked.load(Ordering::SeqCst);
    let look = ResyncRequest { container_ids: vec![Held::ID.into()], ..ResyncRequest::default() };
    let told: ResyncResponse = world.ask(Request::Resync, &look).await;
    assert_eq!(told.responder.epoch, 1);
    until("a look is under way", || engine.asked.load(Ordering::SeqCst) > asked).await;
    let life = world.config().data_dir.join("producer").join(&world.node).join("life.json.new");
    let full = Full::make(&life).await;
    let open = opened(&life);
    context.stop.trigger();
    until("the end is being written down", || opened(&life) > open).await;

    let answered = engine.answered.load(Ordering::SeqCst);
    engine.held.store(false, Ordering::SeqCst);
    until("the look is over", || engine.answered.load(Ordering::SeqCst) > answered).await;
    // What it found would be sent meanwhile.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut text = Vec::new();
    until("it ends", || {
        full.read(&mut text);
        task.is_finished()
    })
    .await;
    full.read(&mut text);
    task.await.expect("no panic").expect("a clean end");
    let written: serde_json::Value = serde_json::from_slice(&text).expect("a life, behind what filled the pipe");
    world.client.flush().await.expect("a connection");
    let last = world.observations().last().map(|(stamp, _)| stamp.seq);
    assert_eq!((written["epoch"].as_u64(), written["last_seq"].as_u64()), (Some(1), last));
}
