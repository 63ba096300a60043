//! Real servers, and in place of the other roles what they would write.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use domain::container::AsOf;
use domain::names::Request;
use domain::node::{Correction, Engine, Gap, GapRange, GapReason, Hello, Lease, Listed, NodeChange};
use domain::record::Recovery;
use domain::rpc::{Responder, ResyncRequest, ResyncResponse};
use domain::wire::Wire;
use domain::{
    Container, ContainerId, Instance, NodeName, NodeState, Partition, Partitions, Prefix, Record, Stamp, Status,
    Subject, Writer,
};
use futures::StreamExt;
use projector::{Config, Limits};
use service::kv::Bucket;
use service::redis::Store;
use service::{Context, Failure};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use view::store::{NodeView, read_node};

/// Long enough for a slow machine; nothing is expected to take it.
const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(500);

/// A server that ends with its test.
pub(crate) struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn tool(name: &str) -> PathBuf {
    let tools = std::env::var_os("DECKWATCH_TOOLS_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.tools/bin")), PathBuf::from);
    tools.join(name)
}

/// A port below those that the system gives to outgoing connections: it stays free while its server is down.
fn free_port() -> u16 {
    let candidates = (0..1000).map(|_| 10_000 + u16::try_from(service::random() % 20_000).unwrap_or(0));
    let mut free = candidates.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().expect("a port is free")
}

fn start(command: &mut Command) -> Server {
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    Server(child.expect("the servers are in DECKWATCH_TOOLS_DIR or .tools/bin: run scripts/tools"))
}

fn start_nats(folder: &Path, port: u16) -> Server {
    let port = port.to_string();
    start(
        Command::new(tool("nats-server")).args(["-js", "-a", "127.0.0.1", "-p", &port, "-sd"]).arg(folder.join("nats")),
    )
}

/// The servers, their data, and the connections of a test.
pub(crate) struct World {
    redis: Option<Server>,
    nats: Option<Server>,
    nats_port: u16,
    folder: tempfile::TempDir,
    redis_port: u16,
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) client: async_nats::Client,
    pub(crate) jetstream: jetstream::Context,
    sequencer: Option<JoinHandle<()>>,
}

/// A projector that runs.
pub(crate) struct Projector {
    pub(crate) context: Context,
    task: JoinHandle<Result<(), Failure>>,
}

impl Projector {
    pub(crate) async fn stop(self) -> Result<(), Failure> {
        self.context.stop.trigger();
        self.task.await.expect("it does not panic")
    }

    /// Drifts that it counted.
    pub(crate) fn drifts(&self) -> usize {
        let metrics = self.context.metrics.encode();
        let counted =
            metrics.lines().find_map(|line| line.strip_prefix("deckwatch_drifts_total{kind=\"edited_store\"} "));
        counted.map_or(0, |count| count.parse().expect("a number"))
    }

    /// As kill -9: nothing is drained.
    pub(crate) fn kill(self) {
        self.task.abort();
        // Its workers end with it.
        self.context.stop.trigger();
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let (redis_port, nats_port) = (free_port(), free_port());
        let nats = start_nats(folder.path(), nats_port);
        let nats_settings =
            service::nats::Settings::at(format!("nats://127.0.0.1:{nats_port}").parse().expect("valid"));
        let redis_settings =
            service::redis::Settings::at(format!("redis://127.0.0.1:{redis_port}").parse().expect("valid"));
        let config = Config {
            nats: nats_settings.clone(),
            redis: redis_settings.clone(),
            prefix: Prefix::default(),
            partitions: Partitions::ONE,
            heartbeat: HEARTBEAT,
            instance: Instance(service::random()),
            limits: Limits::default(),
        };
        let client = service::nats::connect_until(&nats_settings, "test", &Context::default()).await;
        let client = client.expect("NATS starts").expect("it was not stopped");
        let mut world = Self {
            redis: None,
            nats: Some(nats),
            nats_port,
            folder,
            redis_port,
            config,
            store: Store::new(redis_settings),
            jetstream: jetstream::new(client.clone()),
            client,
            sequencer: None,
        };
        world.start_redis().await;
        world.make_streams().await;
        world
    }

    pub(crate) async fn start_redis(&mut self) {
        self.redis = Some(start(
            Command::new(tool("redis-server"))
                .args(["--bind", "127.0.0.1", "--port", &self.redis_port.to_string(), "--save", "", "--dir"])
                .arg(self.folder.path()),
        ));
        until("redis answers", async || self.store.query::<String>(&redis::cmd("PING")).await.is_ok()).await;
    }

    /// As kill -9.
    pub(crate) fn kill_redis(&mut self) {
        self.redis = None;
    }

    /// Kills NATS and starts it again, with its data.
    pub(crate) async fn restart_nats(&mut self) {
        self.nats = None;
        self.nats = Some(start_nats(self.folder.path(), self.nats_port));
        let name = "DECKWATCH_STATE_0";
        until("NATS answers", async || self.jetstream.get_stream(name).await.is_ok()).await;
    }

    /// A copy of Redis' data as it is.
    pub(crate) async fn dump(&self) -> Vec<u8> {
        self.ask::<String>(&["SAVE"]).await;
        std::fs::read(self.folder.path().join("dump.rdb")).expect("SAVE wrote it")
    }

    /// Redis comes back with older data.
    pub(crate) async fn restore(&mut self, dump: &[u8]) {
        self.kill_redis();
        std::fs::write(self.folder.path().join("dump.rdb"), dump).expect("the folder is ours");
        self.start_redis().await;
    }

    pub(crate) async fn make_streams(&self) {
        let metadata = std::collections::HashMap::from([("deckwatch.partitions".to_owned(), "1".to_owned())]);
        let config = |name: &str, subject: &str| jetstream::stream::Config {
            name: name.to_owned(),
            subjects: vec![subject.to_owned()],
            allow_direct: true,
            metadata: metadata.clone(),
            ..jetstream::stream::Config::default()
        };
        let mut state = config("DECKWATCH_STATE_0", "deckwatch.state.0.>");
        state.max_messages_per_subject = -1;
        self.jetstream.create_stream(state).await.expect("STATE is made");
        let mut leases = config("KV_DECKWATCH_LEASES", "$KV.DECKWATCH_LEASES.>");
        leases.max_messages_per_subject = 1;
        self.jetstream.create_stream(leases).await.expect("LEASES is made");
    }

    /// A sequencer that raises its counter, and does nothing else.
    pub(crate) fn start_sequencer(&mut self) {
        let bucket = Bucket::new(self.client.clone(), "DECKWATCH_LEASES".to_owned());
        self.sequencer = Some(tokio::spawn(async move {
            for counter in 1.. {
                let revision = bucket.get("sequencer.0").await.ok().flatten().map_or(0, |entry| entry.revision);
                let value = Lease { holder: Some(Instance(1)), counter }.encode();
                // Where the bucket is being made anew the next one arrives.
                drop(bucket.update("sequencer.0", value.into(), revision).await);
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }));
    }

    pub(crate) fn stop_sequencer(&mut self) {
        if let Some(sequencer) = self.sequencer.take() {
            sequencer.abort();
        }
    }

    pub(crate) fn start_projector(&self) -> Projector {
        let context = Context::default();
        let task = tokio::spawn(projector::run(self.config.clone(), context.clone()));
        Projector { context, task }
    }

    /// Cuts the record: its last `count` messages are gone, and their sequences are given again.
    pub(crate) async fn make_state_anew(&self) {
        self.jetstream.delete_stream("DECKWATCH_STATE_0").await.expect("STATE is deleted");
        self.jetstream.delete_stream("KV_DECKWATCH_LEASES").await.expect("LEASES is deleted");
        self.make_streams().await;
    }

    pub(crate) async fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        self.store.query(&command).await.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    pub(crate) async fn members(&self, key: &str) -> Vec<String> {
        let mut members: Vec<String> = self.ask(&["SMEMBERS", key]).await;
        members.sort();
        members
    }

    pub(crate) async fn hash(&self, key: &str) -> BTreeMap<String, String> {
        self.ask(&["HGETALL", key]).await
    }

    pub(crate) async fn view(&self, node: &str) -> NodeView {
        let node = node.parse().expect("a name");
        read_node(&self.store, &self.config.prefix, &node).await.expect("Redis answers")
    }

    /// `<first byte of the id> <status>` of each container, and `was <last status>` where it is unknown.
    pub(crate) async fn shown(&self, node: &str) -> Vec<String> {
        let shown = |container: &Container| {
            let was = container.last_status.map(|status| format!(" was {status}")).unwrap_or_default();
            format!("{} {}{was}", container.id.as_bytes()[0], container.status)
        };
        self.view(node).await.containers.iter().map(shown).collect()
    }

    pub(crate) async fn until_shown(&self, node: &str, expected: &[&str]) {
        let what = format!("{node} shows {expected:?}");
        until(&what, async || self.shown(node).await == expected).await;
    }
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn id(number: u8) -> ContainerId {
    ContainerId::from([number; 32])
}

/// A node's producer and sequencer: what they would write, and the answer to a question for a statement.
#[derive(Clone)]
pub(crate) struct Node {
    inner: Arc<Mutex<Inner>>,
    client: async_nats::Client,
    pub(crate) name: NodeName,
}

struct Inner {
    jetstream: jetstream::Context,
    name: NodeName,
    state: NodeState,
    writer: Writer,
    containers: BTreeMap<ContainerId, Container>,
    tick: u64,
    told: Vec<Correction>,
}

impl Node {
    pub(crate) fn new(world: &World, name: &str) -> Self {
        let name: NodeName = name.parse().expect("a name");
        let state = NodeState { epoch: 1, instance: 7, next_seq: 1, ..NodeState::default() };
        let inner = Inner {
            jetstream: world.jetstream.clone(),
            name: name.clone(),
            state,
            writer: Writer(service::random()),
            containers: BTreeMap::new(),
            tick: 0,
            told: Vec::new(),
        };
        Self { inner: Arc::new(Mutex::new(inner)), client: world.client.clone(), name }
    }

    /// Answers questions for statements until the handle is aborted.
    pub(crate) async fn serve(&self) -> JoinHandle<()> {
        let prefix = Prefix::default();
        let subject = prefix.rpc(&self.name, Request::Resync);
        let mut subscription = self.client.subscribe(subject).await.expect("NATS answers");
        self.client.flush().await.expect("NATS answers");
        let this = self.clone();
        tokio::spawn(async move {
            while let Some(message) = subscription.next().await {
                let request = ResyncRequest::decode(&message.payload).expect("it can be read");
                let responder = Responder {
                    node: this.name.clone(),
                    epoch: 1,
                    instance: Instance(7),
                    engine_id: String::new(),
                    stand_in: false,
                };
                let answer = ResyncResponse { responder }.encode();
                let reply = message.reply.expect("an answer is wanted");
                this.inner.lock().await.told.extend(request.corrections);
                this.client.publish(reply, answer.into()).await.expect("NATS answers");
                this.statement(&[&request.request_id]).await;
            }
        })
    }

    /// The keys of each drift that it was told of.
    pub(crate) async fn told(&self) -> Vec<String> {
        let inner = self.inner.lock().await;
        inner.told.iter().map(|correction| correction.fields.join(" ")).collect()
    }

    pub(crate) async fn hello(&self) {
        let mut inner = self.inner.lock().await;
        let engine = Engine { id: "engine".to_owned(), version: "1".to_owned(), ..Engine::default() };
        inner.state.engine = Some(engine.clone());
        inner.state.lost = false;
        let hello = Hello { engine, previous: None, stand_in: false };
        inner.write(Subject::Node(NodeChange::Hello(hello)), true).await;
    }

    /// The engine has the container in that status, and says so.
    pub(crate) async fn put(&self, number: u8, status: Status) {
        let mut inner = self.inner.lock().await;
        inner.set(number, status);
        inner.look(id(number)).await;
    }

    /// The engine has the container in that status, and nobody said so.
    pub(crate) async fn set(&self, number: u8, status: Status) {
        self.inner.lock().await.set(number, status);
    }

    pub(crate) async fn change(&self, number: u8, change: impl FnOnce(&mut Container)) {
        let mut inner = self.inner.lock().await;
        change(inner.containers.get_mut(&id(number)).expect("it was put"));
        inner.look(id(number)).await;
    }

    pub(crate) async fn remove(&self, number: u8) {
        let mut inner = self.inner.lock().await;
        let mut container = inner.containers.remove(&id(number)).expect("it was put").into_removed();
        inner.freshen(&mut container);
        inner.write(Subject::Container(Box::new(container)), true).await;
    }

    /// The engine has it no more, and nobody said so.
    pub(crate) async fn lose(&self, number: u8) {
        self.inner.lock().await.containers.remove(&id(number));
    }

    pub(crate) async fn statement(&self, tokens: &[&str]) {
        let mut inner = self.inner.lock().await;
        let tokens: Vec<String> =
            tokens.iter().filter(|token| !token.is_empty()).map(|token| (*token).to_owned()).collect();
        inner.state.stating_sequence = 1;
        let stating = inner.write(Subject::Node(NodeChange::Stating(tokens)), true).await;
        inner.state.stating_sequence = stating;
        let as_of = inner.tick;
        let ids: Vec<ContainerId> = inner.containers.keys().copied().collect();
        for id in &ids {
            inner.look(*id).await;
        }
        inner.state.whole_sequence = stating;
        inner.state.whole_writer = inner.writer.0;
        inner.state.stating_sequence = 0;
        inner.state.blind = false;
        let listed = Listed { as_of, ids, part: 0, parts: 1, complete: true, whole: true };
        inner.write(Subject::Node(NodeChange::Listed(listed)), true).await;
    }

    pub(crate) async fn lost(&self) {
        let mut inner = self.inner.lock().await;
        inner.state.lost = true;
        inner.write(Subject::Node(NodeChange::Lost("no sign of life".to_owned())), false).await;
    }

    pub(crate) async fn back(&self) {
        let mut inner = self.inner.lock().await;
        inner.state.lost = false;
        inner.write(Subject::Node(NodeChange::Back), false).await;
    }

    pub(crate) async fn blind(&self) {
        let mut inner = self.inner.lock().await;
        inner.state.blind = true;
        inner.write(Subject::Node(NodeChange::Blind("cannot connect".to_owned())), true).await;
    }

    pub(crate) async fn forgotten(&self) {
        self.inner.lock().await.write(Subject::Node(NodeChange::Forgotten), false).await;
    }

    /// A record of a gap, for a reason that this program does not know.
    pub(crate) async fn gap_of_unknown_reason(&self) -> Vec<u8> {
        let inner = self.inner.lock().await;
        let range = GapRange::Stamps { epoch: 1, from: 900, to: None };
        let gap = Gap { reason: GapReason::NotKept, range, action: "x".to_owned() };
        let mut bytes = inner.record(Subject::Gap(gap), None).encode();
        // The record's field 11, its length, then the gap's field 1.
        let is_gap = |of: &[u8]| of[0] == (11 << 3 | 2) && of[2] == 1 << 3 && of[4] == 2 << 3;
        let at = bytes.windows(5).position(is_gap);
        bytes[at.expect("a gap begins with its reason") + 3] = 0x7f;
        bytes
    }

    /// Of the record nothing is left: it begins anew, with another writer.
    pub(crate) async fn begin_anew(&self) {
        let mut inner = self.inner.lock().await;
        inner.writer = Writer(service::random());
        inner.state = NodeState { epoch: 2, next_seq: 1, engine: inner.state.engine.clone(), ..NodeState::default() };
    }

    /// What Redis is to show.
    pub(crate) async fn truth(&self) -> Vec<String> {
        let inner = self.inner.lock().await;
        inner.containers.values().map(|is| format!("{} {}", is.id.as_bytes()[0], is.status)).collect()
    }

    pub(crate) async fn seq(&self) -> u64 {
        self.inner.lock().await.state.next_seq - 1
    }
}

impl Inner {
    fn set(&mut self, number: u8, status: Status) {
        let (name, epoch) = (self.name.clone(), self.state.epoch);
        let container = self
            .containers
            .entry(id(number))
            .or_insert_with(|| Container::unheard_of(id(number), name, AsOf { epoch, tick: 0 }));
        container.name = format!("c{number}");
        container.status = status;
        container.status_since = Some(service::clock::now());
    }

    fn freshen(&mut self, container: &mut Container) {
        self.tick += 1;
        container.stamp = Stamp { epoch: self.state.epoch, seq: self.state.next_seq };
        container.as_of = self.tick;
        container.observed_at = Some(service::clock::now());
    }

    async fn look(&mut self, id: ContainerId) {
        let mut container = self.containers.get(&id).expect("it is there").clone();
        self.freshen(&mut container);
        self.write(Subject::Container(Box::new(container)), true).await;
    }

    fn record(&self, subject: Subject, stamp: Option<Stamp>) -> Record {
        let now = service::clock::now();
        Record {
            node: self.name.clone(),
            stamp,
            writer: self.writer,
            recorded_at: now,
            observed_at: stamp.map(|_| now),
            cause: stamp.map(|_| domain::Cause::Event),
            event: None,
            subject,
            repeated: false,
            removed: false,
            node_state: self.state.clone(),
            recovery: Recovery::default(),
        }
    }

    async fn write(&mut self, subject: Subject, stamped: bool) -> u64 {
        let stamp = stamped.then_some(Stamp { epoch: self.state.epoch, seq: self.state.next_seq });
        self.state.next_seq += u64::from(stamped);
        let record = self.record(subject, stamp);
        let subject = Prefix::default().state(Partition(0), &self.name, &record.state_subject());
        loop {
            // While NATS is away: again. A record that is stored twice is one that is applied twice.
            let sent = self.jetstream.publish(subject.clone(), record.encode().into()).await;
            if let Ok(sent) = sent
                && let Ok(acknowledged) = sent.await
            {
                return acknowledged.sequence;
            }
        }
    }
}
