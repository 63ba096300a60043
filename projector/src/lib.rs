//! Reads the ordered record and writes Redis. Replay is harmless:
//!
//! 1. A node's states, indexes and checkpoint change together, in one function call that names the checkpoint it
//!    expects (`tests/servers/main.rs`: `a_call_that_expects_another_checkpoint_changes_nothing`).
//! 2. A checkpoint counts only while the record at its sequence has its writer; else the node is built anew, and reads
//!    `unknown` until a statement that was asked for meanwhile is whole (`fold`: `a_rebuild_is_unknown_until_its_statement`).
//! 3. What other slots must be told stands in `untold` until it is told
//!    (`tests/servers/main.rs`: `what_was_untold_at_a_crash_is_told`).
//! 4. `<prefix>:partition:<p>` is there only while the partition is current (`renewal`).
//! 5. What it puts right by itself because another hand changed it is named and counted, once (`drift`, `naming`).
//!
//! It writes nothing to the record and asks no engine: what it needs it asks of the producers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::{Instance, Partitions, Prefix};
use service::kv::Bucket;
use service::lease::{Keeper, beside};
use service::redis::Store;
use service::{Context, Failure};
use tokio::task::JoinSet;
use view::trouble::wait_for_streams;

mod ask;
mod batch;
mod beats;
mod control;
mod cursor;
mod drift;
mod fold;
mod follow;
mod keys;
mod library;
mod naming;
mod ops;
mod rebuild;
mod renewal;
mod tally;
mod telling;
mod worker;

pub use library::{LIBRARY_SOURCE, library};

/// How the projector works.
#[derive(Clone, Debug)]
pub struct Config {
    /// How to reach NATS.
    pub nats: service::nats::Settings,
    /// How to reach Redis.
    pub redis: service::redis::Settings,
    /// What all names begin with.
    pub prefix: Prefix,
    /// How many partitions are wanted; the streams decide, another number is refused.
    pub partitions: Partitions,
    /// How often it looks whether all is as it thinks.
    pub heartbeat: Duration,
    /// This start of the program.
    pub instance: Instance,
    /// Its bounds.
    pub limits: Limits,
}

/// What the projector holds at most.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Records in one function call, and read ahead of one.
    pub batch_records: usize,
    /// Bytes of records in one function call. As arguments they grow to at most four times that.
    pub batch_bytes: usize,
    /// Questions to a server under way at once.
    pub questions: usize,
    /// Nodes whose signs of life are remembered until they are written.
    pub beats: usize,
    /// Nodes whose drifts are remembered until they are said.
    pub drifts: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { batch_records: 500, batch_bytes: 256 * 1024, questions: 32, beats: 10_000, drifts: 10_000 }
    }
}

/// Works until told to stop.
///
/// # Errors
/// What waiting cannot heal: servers that are too old or refuse the credentials, another number of partitions,
/// keys of a newer layout.
pub async fn run(config: Config, context: Context) -> Result<(), Failure> {
    let name = format!("projector {}", config.instance);
    let Some(client) = service::nats::connect_until(&config.nats, &name, &context).await? else {
        return Ok(());
    };
    let beats = Arc::new(beats::Beats::new(config.limits.beats));
    let context = Context { stop: context.stop.child(), ..context };
    // From the start: a node's first sign of life comes as soon as there are streams, and the next a heartbeat later.
    let listening = beats::listen(client.clone(), config.prefix.clone(), &beats, context.stop.clone());
    let working = async {
        let result = project(config, context.clone(), client.clone(), Arc::clone(&beats)).await;
        context.stop.trigger();
        result
    };
    let (result, ()) = futures::join!(working, listening);
    result
}

async fn project(
    config: Config,
    context: Context,
    client: async_nats::Client,
    beats: Arc<beats::Beats>,
) -> Result<(), Failure> {
    let store = Store::new(config.redis.clone());
    let jetstream = async_nats::jetstream::new(client.clone());
    if !store.wait(&context).await? {
        return Ok(());
    }
    let Some(first) = wait_for_streams(&jetstream, &config.prefix, &context).await? else {
        return Ok(());
    };
    worker::refuse_partitions(&first, config.partitions)?;
    let shared = Arc::new(worker::Shared {
        partitions: config.partitions,
        keys: keys::Keys { store, prefix: config.prefix.clone() },
        beats,
        tally: tally::Tally::new(context.metrics.clone()),
        drifts: naming::Drifts::new(context.metrics.clone(), config.limits.drifts),
        began: Instant::now(),
        config,
        context,
        client,
        jetstream,
    });
    let working = async {
        let result = work(&shared).await;
        shared.context.stop.trigger();
        result
    };
    let (result, ()) = futures::join!(working, naming::say(&shared));
    result
}

async fn work(shared: &Arc<worker::Shared>) -> Result<(), Failure> {
    let mut workers = JoinSet::new();
    let bucket = Bucket::new(shared.client.clone(), shared.config.prefix.leases_bucket());
    let (keeper, leases) = Keeper::new(bucket, "projector", shared.config.instance, shared.partitions);
    for lease in leases {
        workers.spawn(worker::run(Arc::clone(shared), lease));
    }
    // When one fails the others give their leases back.
    beside(keeper, &shared.context, service::all_ended(workers, &shared.context.stop)).await
}
