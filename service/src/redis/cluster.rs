//! A cluster: each slot's keys are on its master, and slots and masters may change at any moment.
//!
//! Nothing is sent a second time unless the first server refused it, so a write that may have been done is told as
//! failed. A server that cannot be reached, or a slot without a master, is no answer: never an empty one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, ConnectionInfo, ErrorKind, Pipeline, RedisError, Value};

use super::address::Endpoint;
use super::connection::{Failed, Held, Life, config, connect, is_stale};
use super::scan::Scan;
use super::slots::{Refusal, Slots, refusal, slot};
use super::{Error, Settings};

/// Most refusals of one command; a slot that is being moved for longer is told as not answered.
const REFUSALS_MAX: usize = 10;
/// How long to wait where a slot is being moved.
const MOVING_WAIT: Duration = Duration::from_millis(50);
/// Who has which slot is asked for at most so often.
const LOOK_APART: Duration = Duration::from_millis(250);

/// Connections to the servers of a cluster.
pub(super) struct Cluster {
    /// Servers that were named.
    seeds: Vec<ConnectionInfo>,
    known: Mutex<Known>,
    /// Held by the one who asks who has which slot.
    looking: tokio::sync::Mutex<Option<Failed>>,
}

#[derive(Default)]
struct Known {
    slots: Option<Arc<Slots>>,
    /// When that was asked for.
    looked: Option<Instant>,
    /// It has been found to be wrong.
    doubted: bool,
    servers: BTreeMap<Endpoint, Arc<Held>>,
}

impl Known {
    fn slots(&self, now: Instant) -> Option<Arc<Slots>> {
        let is_young = self.looked.is_some_and(|looked| now.saturating_duration_since(looked) < LOOK_APART);
        self.slots.clone().filter(|_| !self.doubted || is_young)
    }
}

/// One server, connected to.
struct Server {
    held: Arc<Held>,
    life: Life,
    connection: MultiplexedConnection,
}

impl Cluster {
    pub(super) fn new(seeds: Vec<ConnectionInfo>) -> Self {
        Self { seeds, known: Mutex::default(), looking: tokio::sync::Mutex::default() }
    }

    /// One command, answered by the master of its key.
    pub(super) async fn query(&self, settings: &Settings, command: &Cmd) -> Result<Value, Error> {
        let slot = slot(command);
        let call = |source| Error::Call { address: settings.address.to_string(), source };
        let mut there = None;
        let mut refused = None;
        for _ in 0..REFUSALS_MAX {
            let at = match there.take() {
                Some(at) => at,
                None => self.owner(settings, slot).await?,
            };
            let mut server = self.server(settings, &at).await?;
            let source = match command.query_async(&mut server.connection).await {
                Ok(value) => return Ok(value),
                Err(source) => source,
            };
            match refusal(&source, &at) {
                Refusal::Moved(to) => {
                    self.moved(slot, to.clone());
                    there = Some(to);
                }
                Refusal::Ask(to) => match self.ask(settings, &to, command).await? {
                    Ok(value) => return Ok(value),
                    // Of several keys some may be here and some there: nobody can answer before all are moved.
                    Err(source) if refusal(&source, &to) == Refusal::Again => tokio::time::sleep(MOVING_WAIT).await,
                    Err(source) => return Err(call(source)),
                },
                Refusal::Again => tokio::time::sleep(MOVING_WAIT).await,
                Refusal::Else => return Err(call(self.failed(server, source).await)),
            }
            refused = Some(source);
        }
        self.doubt();
        Err(call(refused.unwrap_or_else(|| (ErrorKind::Client, "refused").into())))
    }

    /// Asks a server that a slot is being moved to.
    async fn ask(&self, settings: &Settings, at: &Endpoint, command: &Cmd) -> Result<Result<Value, RedisError>, Error> {
        let mut server = self.server(settings, at).await?;
        let mut pipeline = redis::pipe();
        pipeline.cmd("ASKING").add_command(command.clone()).ignore_errors();
        match pipeline.query_async::<[Value; 2]>(&mut server.connection).await {
            Ok([_, Value::ServerError(error)]) => Ok(Err(error.into())),
            Ok([_, value]) => Ok(Ok(value)),
            Err(source) => {
                let source = self.failed(server, source).await;
                Err(Error::Call { address: settings.address.to_string(), source })
            }
        }
    }

    /// Commands whose keys share a slot, in one go.
    pub(super) async fn pipeline(&self, settings: &Settings, pipeline: &Pipeline) -> Result<Value, Error> {
        let slot = pipeline.cmd_iter().next().map_or(0, slot);
        let call = |source| Error::Call { address: settings.address.to_string(), source };
        let mut refused = None;
        for _ in 0..REFUSALS_MAX {
            let at = self.owner(settings, slot).await?;
            let mut server = self.server(settings, &at).await?;
            let source = match pipeline.query_async(&mut server.connection).await {
                Ok(value) => return Ok(value),
                Err(source) => source,
            };
            match refusal(&source, &at) {
                Refusal::Moved(to) => self.moved(slot, to),
                Refusal::Ask(_) | Refusal::Again => {
                    self.doubt();
                    tokio::time::sleep(MOVING_WAIT).await;
                }
                Refusal::Else => return Err(call(self.failed(server, source).await)),
            }
            refused = Some(source);
        }
        Err(call(refused.unwrap_or_else(|| (ErrorKind::Client, "refused").into())))
    }

    /// Commands about any keys, each answered for itself, in their order. A command's own error is among the answers.
    pub(super) async fn batch(&self, settings: &Settings, commands: &[Cmd]) -> Result<Vec<Value>, Error> {
        let mut parts: BTreeMap<Endpoint, Vec<usize>> = BTreeMap::new();
        for (number, command) in commands.iter().enumerate() {
            parts.entry(self.owner(settings, slot(command)).await?).or_default().push(number);
        }
        let asked = parts.iter().map(async |(at, numbers)| {
            let mut pipeline = redis::pipe();
            pipeline.ignore_errors();
            numbers.iter().filter_map(|&number| commands.get(number)).for_each(|command| {
                pipeline.add_command(command.clone());
            });
            let mut server = self.server(settings, at).await?;
            match pipeline.query_async::<Vec<Value>>(&mut server.connection).await {
                Ok(values) => Ok(values),
                Err(source) => {
                    let source = self.failed(server, source).await;
                    Err(Error::Call { address: settings.address.to_string(), source })
                }
            }
        });
        let answers = join_all(asked).await;
        let mut values = vec![Value::Nil; commands.len()];
        for ((at, numbers), answer) in parts.iter().zip(answers) {
            let answer = answer?;
            for (&number, value) in numbers.iter().zip(answer) {
                let value = match (value, commands.get(number)) {
                    (Value::ServerError(error), Some(command))
                        if refusal(&error.clone().into(), at) != Refusal::Else =>
                    {
                        self.query(settings, command).await?
                    }
                    (value, _) => value,
                };
                if let Some(place) = values.get_mut(number) {
                    *place = value;
                }
            }
        }
        Ok(values)
    }

    /// A command that every master answers.
    pub(super) async fn each(&self, settings: &Settings, command: &Cmd) -> Result<Vec<Value>, Error> {
        let slots = self.slots(settings).await?;
        let masters = self.masters(settings, &slots)?;
        let answers = masters.into_iter().map(|at| self.query_at(settings, at, command));
        join_all(answers).await.into_iter().collect()
    }

    /// Some keys, on some master; after the last one from the first on.
    pub(super) async fn scan(
        &self,
        settings: &Settings,
        scan: &mut Scan,
        command: impl Fn(u64) -> Cmd,
    ) -> Result<Vec<Vec<u8>>, Error> {
        let slots = self.slots(settings).await?;
        let masters = self.masters(settings, &slots)?;
        let mut next = scan.clone();
        let Some(at) = next.go_on(&masters) else {
            *scan = next;
            return Ok(Vec::new());
        };
        let value = self.query_at(settings, at, &command(next.cursor)).await?;
        let (cursor, keys) = super::parsed(settings, value)?;
        next.told(cursor, &masters);
        *scan = next;
        Ok(keys)
    }

    async fn query_at(&self, settings: &Settings, at: &Endpoint, command: &Cmd) -> Result<Value, Error> {
        let mut server = self.server(settings, at).await?;
        match command.query_async(&mut server.connection).await {
            Ok(value) => Ok(value),
            Err(source) => {
                let source = self.failed(server, source).await;
                Err(Error::Call { address: settings.address.to_string(), source })
            }
        }
    }

    async fn owner(&self, settings: &Settings, slot: u16) -> Result<Endpoint, Error> {
        let slots = self.slots(settings).await?;
        slots.owner(slot).cloned().ok_or_else(|| self.uncovered(settings))
    }

    fn masters<'a>(&self, settings: &Settings, slots: &'a Slots) -> Result<Vec<&'a Endpoint>, Error> {
        slots.masters().ok_or_else(|| self.uncovered(settings))
    }

    /// Who has which slot, as far as is known; asked for if nobody knows, or it was found to be wrong.
    async fn slots(&self, settings: &Settings) -> Result<Arc<Slots>, Error> {
        let began = Instant::now();
        if let Some(slots) = self.known().slots(began) {
            return Ok(slots);
        }
        let mut looking = self.looking.lock().await;
        // Another one may have asked meanwhile.
        if let Some(slots) = self.known().slots(Instant::now()) {
            return Ok(slots);
        }
        if let Some(error) = looking.as_ref().and_then(|failed| failed.since(began)) {
            return Err(error);
        }
        let slots = match self.look(settings).await {
            Ok(slots) => Arc::new(slots),
            Err(error) => {
                *looking = Failed::now(&error);
                return Err(error);
            }
        };
        let mut known = self.known();
        known.servers.retain(|at, _| slots.servers().any(|server| server == at));
        known.slots = Some(Arc::clone(&slots));
        known.looked = Some(Instant::now());
        known.doubted = false;
        Ok(slots)
    }

    /// Asks all servers that are known, and takes the first answer of one that sees most of the cluster.
    async fn look(&self, settings: &Settings) -> Result<Slots, Error> {
        let known: Vec<Endpoint> = {
            let known = self.known();
            let servers = known.slots.iter().flat_map(|slots| slots.servers());
            let mut servers: Vec<_> = self.seeds.iter().filter_map(Endpoint::of).chain(servers.cloned()).collect();
            servers.sort();
            servers.dedup();
            servers
        };
        let mut asked: FuturesUnordered<_> = known.iter().map(|at| self.look_at(settings, at)).collect();
        let mut failed = None;
        while let Some(answer) = asked.next().await {
            match answer {
                Ok(slots) => return Ok(slots),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| self.uncovered(settings)))
    }

    async fn look_at(&self, settings: &Settings, at: &Endpoint) -> Result<Slots, Error> {
        let away = |source| Error::Away { address: settings.address.to_string(), source };
        let info = self.query_at(settings, at, redis::cmd("CLUSTER").arg("INFO")).await?;
        let info: String = super::parsed(settings, info)?;
        // One that is cut off from most of them does not know who took over.
        if !info.lines().any(|line| line.trim_end() == "cluster_state:ok") {
            return Err(away((ErrorKind::Client, "the cluster is down", format!("says {at}")).into()));
        }
        let answer = self.query_at(settings, at, redis::cmd("CLUSTER").arg("SLOTS")).await?;
        Slots::parse(&answer, at).ok_or_else(|| away((ErrorKind::Client, "not a cluster", at.to_string()).into()))
    }

    async fn server(&self, settings: &Settings, at: &Endpoint) -> Result<Server, Error> {
        let held = Arc::clone(self.known().servers.entry(at.clone()).or_default());
        let connected = held.get(async {
            let Some(like) = self.seeds.first() else { return Err(self.uncovered(settings)) };
            connect(settings, at.reached_like(like), &config()).await
        });
        match connected.await {
            Ok((life, connection)) => Ok(Server { life, connection, held }),
            Err(error) => {
                self.doubt();
                Err(error)
            }
        }
    }

    /// What an error means for the next command.
    async fn failed(&self, server: Server, source: RedisError) -> RedisError {
        if is_stale(&source) {
            server.held.let_go(server.life).await;
        }
        if is_stale(&source) || source.is_cluster_error() {
            self.doubt();
        }
        source
    }

    fn moved(&self, slot: u16, to: Endpoint) {
        let mut known = self.known();
        if let Some(slots) = &mut known.slots {
            Arc::make_mut(slots).moved(slot, to);
        }
        known.doubted = true;
    }

    /// Nobody has the keys that are asked for.
    fn uncovered(&self, settings: &Settings) -> Error {
        self.doubt();
        let source = (ErrorKind::Client, "the cluster is down", "a slot has no master".to_owned()).into();
        Error::Away { address: settings.address.to_string(), source }
    }

    fn doubt(&self) {
        self.known().doubted = true;
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
