//! The measurement, step by step.

use std::time::Duration;

use async_nats::Client;
use domain::NodeName;
use service::Failure;
use service::redis::Store;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::child::{Child, Program};
use crate::fleet::Fleet;
use crate::latency::{Sampler, Samples};
use crate::load::{Stored, make};
use crate::meter::{Meter, Reading, between};
use crate::report::{Latency, Load, Part, Ratio, Report};
use crate::{Config, ceiling, cleanup, start};

/// Containers whose latency is sampled.
const SAMPLED_MAX: usize = 10_000;
/// What part of the rate that passes is made while latency is measured: at the full one only queues are measured.
const STEADY_PART: f64 = 0.5;
/// Signs of life, and looks of the reconciler, that are seen at least while nothing else happens.
const RESTING_BEATS: u32 = 2;
/// How often it is told how far a wait is.
const TOLD_TIME: Duration = Duration::from_millis(100);

/// A measurement and what it started.
pub(crate) struct Bench<'a> {
    config: &'a Config,
    store: Store,
    client: Option<Client>,
    servers: Vec<Child>,
    roles: Vec<Child>,
    ended: mpsc::Sender<String>,
}

/// What was measured while the producers ran.
struct Run {
    first_picture: Duration,
    load: Load,
    latency: Latency,
    parts: Vec<Part>,
    rest: Duration,
}

impl<'a> Bench<'a> {
    /// Nothing is started yet. `ended` is told which of what it starts ended by itself.
    pub(crate) fn new(config: &'a Config, ended: mpsc::Sender<String>) -> Self {
        let store = Store::new(config.redis.clone());
        Self { config, store, client: None, servers: Vec::new(), roles: Vec::new(), ended }
    }

    /// Measures everything.
    pub(crate) async fn measure(&mut self) -> Result<Report, Failure> {
        let config = self.config;
        start::raise_file_limit(config.nodes)?;
        config.step("starting servers and roles");
        let begin = |program: &Program| Child::start(program, &config.folder, self.ended.clone());
        for program in &config.servers {
            self.servers.push(begin(program)?);
        }
        let client = start::servers(config, &self.store).await?;
        self.client = Some(client.clone());
        for program in &config.roles {
            self.roles.push(begin(program)?);
        }
        let children = self.roles.iter().chain(&self.servers);
        let processes = children.filter(|child| child.name != crate::REDIS).map(|child| (child.name, child.pid));
        let meter = Meter { store: &self.store, processes: processes.collect() };
        let (fleet, mut producers) = Fleet::start(config)?;
        let run = tokio::select! {
            run = self.run(&fleet, &meter) => run?,
            failure = producers.failed() => return Err(failure),
        };
        producers.end().await;
        config.step("measuring the servers alone");
        let nodes: Vec<&NodeName> = fleet.nodes.iter().map(|node| &node.name).collect();
        let ceiling = ceiling::measure(config, &client, &self.store, &nodes, config.time).await?;
        Ok(Report {
            nodes: config.nodes,
            containers_per_node: config.containers,
            first_picture_seconds: run.first_picture.as_secs_f64(),
            ratio: Ratio::of(run.load.events_per_second, &ceiling),
            load: run.load,
            latency: run.latency,
            parts: run.parts,
            rest_seconds: run.rest.as_secs_f64(),
            ceiling,
        })
    }

    /// Ends all that was started, and takes away what was left in servers that are not its own.
    pub(crate) async fn end(self) {
        for role in self.roles.into_iter().rev() {
            role.end().await;
        }
        let names: Vec<&str> = self.config.servers.iter().map(|server| server.name).collect();
        let client = self.client.filter(|_| !names.contains(&crate::NATS));
        if let Some(client) = client {
            cleanup::nats(&client, &self.config.prefix, ceiling::stream(self.config)).await;
        }
        if !names.contains(&crate::REDIS) {
            cleanup::redis(&self.store, &self.config.prefix).await;
        }
        futures::future::join_all(self.servers.into_iter().map(Child::end)).await;
    }

    async fn run(&self, fleet: &Fleet, meter: &Meter<'_>) -> Result<Run, Failure> {
        let begin = Instant::now();
        start::picture(self.config, &self.store, fleet).await?;
        let first_picture = begin.elapsed();
        let stored = Stored::default();
        tokio::select! {
            run = self.phases(fleet, &stored, meter, first_picture) => run,
            failed = stored.follow(&self.config.redis, &self.config.prefix, fleet) => Err(failed.err().unwrap_or_else(
                || Failure::failed("nobody follows how far Redis is; please report it"),
            )),
        }
    }

    async fn phases(
        &self,
        fleet: &Fleet,
        stored: &Stored,
        meter: &Meter<'_>,
        first_picture: Duration,
    ) -> Result<Run, Failure> {
        let config = self.config;
        stored.drained(fleet).await?;
        let before = meter.read().await?;
        let begin = Instant::now();
        make(fleet, stored, None, config.time, &config.step("as many events as pass")).await;
        stored.drained(fleet).await?;
        let (seconds, sent) = (begin.elapsed().as_secs_f64(), fleet.emitted());
        let loaded = meter.read().await?;
        let events_per_second = sent as f64 / seconds;
        let load = Load { events_sent: sent, events_stored: stored.events(fleet), seconds, events_per_second };

        let rate = config.rate.unwrap_or(events_per_second * STEADY_PART);
        let next = fleet.next(SAMPLED_MAX);
        let keys: Vec<String> = next.map(|(node, id)| config.prefix.container_key(node, &id)).collect();
        let (mut samples, step) = (Samples::default(), config.step("latency at a steady rate"));
        let mut sampler = Sampler::open(&config.redis, &keys).await?;
        // What was made counts however late it comes: the slowest are not to be left out.
        let steady = async {
            make(fleet, stored, Some(rate), config.time, &step).await;
            stored.drained(fleet).await
        };
        tokio::select! {
            failed = sampler.sample(&mut samples) => failed?,
            drained = steady => drained?,
        }
        let latency = samples.report(rate);
        start::check_picture(config, &self.store, fleet).await?;

        let rest = config.time.max(config.heartbeat.max(config.interval).saturating_mul(RESTING_BEATS));
        let resting = meter.read().await?;
        self.rest(rest).await;
        let rested = meter.read().await?;
        let parts = parts(&before, &loaded, load.events_sent, &resting, &rested, rest);
        Ok(Run { first_picture, load, latency, parts, rest })
    }

    async fn rest(&self, time: Duration) {
        let (step, begin) = (self.config.step("what it costs while nothing happens"), Instant::now());
        while begin.elapsed() < time {
            tokio::time::sleep(TOLD_TIME.min(time)).await;
            step.tell(begin.elapsed().as_secs_f64() / time.as_secs_f64());
        }
    }
}

fn parts(
    before: &Reading,
    loaded: &Reading,
    events: u64,
    resting: &Reading,
    rested: &Reading,
    rest: Duration,
) -> Vec<Part> {
    let part = |(name, usage): &(&'static str, Option<crate::child::Usage>)| Part {
        name,
        cpu_seconds_per_million_events: between(before, loaded, name).map(|cpu| cpu * 1e6 / events as f64),
        cores_at_rest: between(resting, rested, name).map(|cpu| cpu / rest.as_secs_f64()),
        memory_bytes: usage.map(|usage| usage.memory),
    };
    rested.iter().map(part).collect()
}
