//! An engine, a NATS server with the streams that a sequencer would make, and all that a producer publishes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::RequestErrorKind;
use domain::names::Request;
use domain::node::Heartbeat;
use domain::wire::Wire;
use domain::{Batch, Container, ContainerId, Observation, Observed, Prefix, Stamp};
use futures::StreamExt;
use producer::{Config, Limits};

pub(crate) const IMAGE: &str = "deckwatch-producer-test:1";
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(20);

pub(crate) fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools")
}

pub(crate) fn docker(arguments: &[&str]) -> Output {
    Command::new("docker").args(arguments).output().expect("the docker command")
}

pub(crate) fn docker_line(arguments: &[&str]) -> String {
    let output = docker(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

pub(crate) fn make_image() {
    if docker(&["image", "inspect", IMAGE]).status.success() {
        return;
    }
    let tar = tempfile::NamedTempFile::new().expect("a file");
    let root = tools().join("busybox");
    let made = Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(tar.path()).arg(".").status();
    assert!(made.expect("tar").success());
    docker_line(&["import", tar.path().to_str().expect("a path"), IMAGE]);
}

/// A NATS server with the streams that a sequencer would make.
pub(crate) struct Nats {
    pub(crate) child: Child,
    pub(crate) url: String,
    folder: tempfile::TempDir,
}

impl Nats {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let port = port.expect("a free port").port();
        let child = Self::spawn(folder.path(), port);
        let nats = Self { child, url: format!("nats://127.0.0.1:{port}"), folder };
        nats.client().await;
        nats
    }

    pub(crate) fn spawn(folder: &Path, port: u16) -> Child {
        let server = tools().join("bin/nats-server");
        let port = port.to_string();
        let log = std::fs::File::create(folder.join("log")).expect("a log");
        Command::new(server)
            .args(["-a", "127.0.0.1", "-p", &port, "-js", "-sd"])
            .arg(folder)
            .stderr(log)
            .spawn()
            .expect("nats-server in the tools folder")
    }

    pub(crate) async fn restart_after(&mut self, pause: Duration) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ran");
        tokio::time::sleep(pause).await;
        let port = self.url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        self.child = Self::spawn(self.folder.path(), port);
    }

    pub(crate) async fn client(&self) -> async_nats::Client {
        let began = Instant::now();
        loop {
            match async_nats::connect(&self.url).await {
                Ok(client) => return client,
                Err(error) => assert!(began.elapsed() < WAIT_MAX, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn make_streams(&self) {
        let client = self.client().await;
        let raw = r#"{"name":"DECKWATCH_RAW","subjects":["deckwatch.raw.*"],"discard":"new","max_bytes":1000000000,
            "subject_transform":{"src":"deckwatch.raw.*","dest":"deckwatch.raw.{{partition(1,1)}}.{{wildcard(1)}}"},
            "metadata":{"deckwatch.partitions":"1"}}"#;
        let nodes = r#"{"name":"KV_DECKWATCH_NODES","subjects":["$KV.DECKWATCH_NODES.>"],"max_msgs_per_subject":1,
            "allow_direct":true}"#;
        let state = r#"{"name":"DECKWATCH_STATE_0","subjects":["deckwatch.state.0.>"],"allow_direct":true}"#;
        for (name, config) in [("DECKWATCH_RAW", raw), ("KV_DECKWATCH_NODES", nodes), ("DECKWATCH_STATE_0", state)] {
            let answer =
                client.request(format!("$JS.API.STREAM.CREATE.{name}"), config.into()).await.expect("JetStream");
            let answer = String::from_utf8_lossy(&answer.payload).into_owned();
            assert!(!answer.contains("\"error\""), "{answer}");
        }
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub(crate) type Log = Arc<Mutex<BTreeMap<Stamp, Observation>>>;

/// A producer under test, and all that it publishes.
pub(crate) struct World {
    pub(crate) nats: Nats,
    pub(crate) client: async_nats::Client,
    data: tempfile::TempDir,
    pub(crate) node: String,
    pub(crate) log: Log,
    pub(crate) beats: Arc<Mutex<Vec<Heartbeat>>>,
}

pub(crate) struct Running {
    pub(crate) context: service::Context,
    pub(crate) task: tokio::task::JoinHandle<Result<(), service::Failure>>,
}

impl Running {
    pub(crate) async fn stop(self) {
        self.context.stop.trigger();
        self.task.await.expect("no panic").expect("a clean end");
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        static NODES: AtomicU32 = AtomicU32::new(0);
        make_image();
        tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_test_writer().try_init().ok();
        let nats = Nats::start().await;
        let client = nats.client().await;
        let node = format!("pt{}-{}", std::process::id(), NODES.fetch_add(1, Ordering::Relaxed));
        let log = Log::default();
        let beats: Arc<Mutex<Vec<Heartbeat>>> = Arc::default();
        let mut raw = client.subscribe("deckwatch.raw.*").await.expect("a subscription");
        let mut beat = client.subscribe("deckwatch.beat.*").await.expect("a subscription");
        let (seen, heard) = (Arc::clone(&log), Arc::clone(&beats));
        tokio::spawn(async move {
            while let Some(message) = raw.next().await {
                let batch = Batch::decode(&message.payload).expect("a batch");
                let mut seen = seen.lock().expect("no panic");
                for (stamp, observation) in batch.stamped() {
                    let before = seen.insert(stamp, observation.clone());
                    assert!(before.is_none_or(|before| before == observation), "{stamp} has two contents");
                }
            }
        });
        tokio::spawn(async move {
            while let Some(message) = beat.next().await {
                heard.lock().expect("no panic").push(Heartbeat::decode(&message.payload).expect("a heartbeat"));
            }
        });
        client.flush().await.expect("a connection");
        Self { nats, client, data: tempfile::tempdir().expect("a folder"), node, log, beats }
    }

    pub(crate) fn config(&self) -> Config {
        Config {
            node: Some(self.node.parse().expect("a name")),
            engine: None,
            nats: service::nats::Settings::at(self.nats.url.parse().expect("an address")),
            prefix: Prefix::default(),
            heartbeat: Duration::from_millis(500),
            restate: Duration::from_secs(3600),
            data_dir: self.data.path().to_owned(),
            stand_in: false,
            labels: Default::default(),
            limits: Limits::default(),
        }
    }

    pub(crate) fn start(&self, config: Config) -> Running {
        let context = service::Context::default();
        let task = tokio::spawn(producer::run(config, context.clone()));
        Running { context, task }
    }

    pub(crate) async fn started(&self) -> Running {
        let running = self.start(self.config());
        self.listed(1).await;
        running
    }

    /// All observations so far, after checking that the stamps of each epoch are 1, 2, 3…
    pub(crate) fn observations(&self) -> Vec<(Stamp, Observation)> {
        let log = self.log.lock().expect("no panic");
        log.iter().map(|(stamp, observation)| (*stamp, observation.clone())).collect()
    }

    pub(crate) async fn until<T>(&self, what: &str, mut found: impl FnMut(&[(Stamp, Observation)]) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = found(&self.observations()) {
                return found;
            }
            let all = || self.observations().iter().map(say).collect::<Vec<_>>().join("\n");
            assert!(began.elapsed() < WAIT_MAX, "{what} did not come; what came:\n{}", all());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn listed(&self, epoch: u64) {
        self.until("a statement", |all| {
            let ends = |(stamp, o): &(Stamp, Observation)| {
                stamp.epoch == epoch && matches!(&o.observed, Observed::Listed(listed) if listed.complete)
            };
            all.iter().any(ends).then_some(())
        })
        .await;
    }

    /// Waits for a state of the container that fits.
    pub(crate) async fn state(
        &self,
        id: &str,
        what: &str,
        fits: impl Fn(&Container) -> bool,
    ) -> (Observation, Container) {
        let id: ContainerId = id.parse().expect("an id");
        self.until(what, |all| {
            let mut states = all.iter().filter_map(|(_, o)| Some((o.clone(), container(o)?.clone())));
            states.find(|(_, c)| c.id == id && fits(c))
        })
        .await
    }

    pub(crate) async fn ask<Q: Wire, A: Wire>(&self, request: Request, question: &Q) -> A {
        let subject = Prefix::default().rpc(&self.node.parse().expect("a name"), request);
        let began = Instant::now();
        let answer = loop {
            match self.client.request(subject.clone(), question.encode().into()).await {
                // It listens as soon as it observes, and no sooner.
                Err(error) if error.kind() == RequestErrorKind::NoResponders && began.elapsed() < WAIT_MAX => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                answer => break answer.expect("an answer"),
            }
        };
        assert!(answer.headers.is_none(), "{:?}", answer.headers);
        A::decode(&answer.payload).expect("a readable answer")
    }

    /// What was published of one container.
    pub(crate) fn story(&self, id: &ContainerId) -> String {
        let all = self.observations();
        let of_it = all.iter().filter(|(_, o)| about(o) == Some(*id));
        of_it.map(say).collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn check_stamps(&self) {
        let mut next = BTreeMap::new();
        for (stamp, observation) in self.observations() {
            let next = next.entry(stamp.epoch).or_insert(1);
            assert_eq!(stamp.seq, *next, "a hole in epoch {}", stamp.epoch);
            assert_eq!(matches!(observation.observed, Observed::Hello(_)), stamp.seq == 1);
            *next += 1;
        }
    }
}

pub(crate) fn container(observation: &Observation) -> Option<&Container> {
    if let Observed::Container(c) | Observed::Removed(c) = &observation.observed { Some(c) } else { None }
}

/// The container that an observation is about.
pub(crate) fn about(observation: &Observation) -> Option<ContainerId> {
    if let Observed::Event(id) = &observation.observed { Some(*id) } else { Some(container(observation)?.id) }
}

pub(crate) fn say((stamp, observation): &(Stamp, Observation)) -> String {
    let event = observation.event.as_ref().map_or("", |event| &event.action);
    let what = match container(observation) {
        Some(c) => format!("{:?} {} {:?} {:?}", c.id, c.status, c.exit_code, c.stop_cause),
        None => format!("{:?}", observation.observed).chars().take(150).collect(),
    };
    format!("{stamp} {} {event} {what}", observation.cause)
}

/// A container of the test's own, removed at its end.
pub(crate) struct Made(pub(crate) String);

impl Made {
    pub(crate) fn run(arguments: &[&str]) -> Self {
        Self(docker_line(&[&["run", "-d"], arguments].concat()))
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        docker(&["rm", "-f", &self.0]);
    }
}
