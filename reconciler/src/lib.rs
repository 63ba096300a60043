//! Doubts everything, writes nothing: compares the store with what engines answer, with the ordered record, and with
//! itself, and asks for what puts it right.
//!
//! Every interval it looks at each node once:
//!
//! 1. The engine: its producer lists it and answers `same`, or all states; what differs once the store covers the
//!    answer's stamp is a doubt ([`compare`], [`doubts`]).
//! 2. The record: what is doubted, and what changed in the store since it was last seen to fit, is compared with the
//!    container's last record, every field of it ([`judge`]). For a node that cannot answer that is all there is.
//!    The node's own fields are compared with the records that they were written by.
//! 3. Indexes: the node's own ([`misfits`]), and in turn those in other slots.
//!
//! Where a node's producer is gone and the engine's address is known, it runs a stand-in for that producer
//! ([`Config::stand_ins`]).
//!
//! A drift is counted and named once ([`Ledger`]). Producers look again at containers, with the drift as a correction in
//! the record; the projector builds indexes anew, and all of a node's keys where nothing else helps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domain::{Instance, NodeName, Partition, Prefix};
use service::kv::Bucket;
use service::lease::{Keeper, beside};
use service::redis::Store;
use service::{Context, Failure};
use tokio::task::JoinSet;
use view::record::State;
use view::trouble::wait_for_streams;

mod compare;
mod elsewhere;
mod engine;
mod finding;
mod indexes;
mod look;
mod node;
mod picture;
mod record;
mod repair;
mod stand_in;
mod sweep;
mod told;
mod worker;

pub use compare::{Difference, compare};
pub use engine::{Doubt, doubts};
pub use finding::{Finding, Ledger, Verdict};
pub use indexes::misfits;
pub use record::{Base, judge};

/// How the reconciler works.
#[derive(Clone, Debug)]
pub struct Config {
    /// How to reach NATS.
    pub nats: service::nats::Settings,
    /// How to reach Redis.
    pub redis: service::redis::Settings,
    /// What all names begin with.
    pub prefix: Prefix,
    /// How often each node is looked at.
    pub interval: Duration,
    /// This start of the program.
    pub instance: Instance,
    /// How engines are watched while their producers are gone: those of which the address is known.
    pub stand_ins: BTreeMap<NodeName, producer::Config>,
    /// Its bounds.
    pub limits: Limits,
}

/// What the reconciler asks at most.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Nodes that are looked at, at once.
    pub nodes: usize,
    /// Questions about records under way at once, for each of them.
    pub questions: usize,
    /// Last records that are read in an interval and a partition, but for those of containers in doubt.
    pub records: usize,
    /// Members of indexes in other slots that are compared in an interval and a partition.
    pub members: usize,
    /// Keys of the store that a sweep comes by in an interval.
    pub swept: usize,
    /// How long an answer may take.
    pub answer: Duration,
    /// How long it is waited for the store to cover an answer.
    pub covered: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            nodes: 16,
            questions: 16,
            records: 2_000,
            members: 4_000,
            swept: 2_000,
            answer: Duration::from_secs(10),
            covered: Duration::from_secs(5),
        }
    }
}

/// Works until told to stop.
///
/// # Errors
/// What waiting cannot heal: servers that are too old or refuse the credentials.
pub async fn run(config: Config, context: Context) -> Result<(), Failure> {
    let name = format!("reconciler {}", config.instance);
    let Some(client) = service::nats::connect_until(&config.nats, &name, &context).await? else {
        return Ok(());
    };
    let store = Arc::new(Store::new(config.redis.clone()));
    let jetstream = async_nats::jetstream::new(client.clone());
    if !store.wait(&context).await? {
        return Ok(());
    }
    let Some(first) = wait_for_streams(&jetstream, &config.prefix, &context).await? else {
        return Ok(());
    };
    let partitions = first.partitions.ok_or_else(|| {
        let stream = config.prefix.state_stream(Partition(0));
        Failure::failed(format!(
            "the stream {stream} does not say how many partitions there are: it was made by another hand; \
             use another --prefix"
        ))
    })?;
    let context = Context { stop: context.stop.child(), ..context };
    let mut workers = JoinSet::new();
    let bucket = Bucket::new(client.clone(), config.prefix.leases_bucket());
    let (keeper, leases) = Keeper::new(bucket, "reconciler", config.instance, partitions);
    let config = Arc::new(config);
    for lease in leases {
        let partition = lease.partition();
        let state = State::open(&jetstream, &config.prefix, partition).await;
        let desk = worker::Desk {
            client: client.clone(),
            jetstream: jetstream.clone(),
            store: Arc::clone(&store),
            prefix: config.prefix.clone(),
            partition,
            partitions,
            state: state.map_err(|error| Failure::failed(error.to_string()))?,
            metrics: context.metrics.clone(),
            limits: config.limits.clone(),
        };
        workers.spawn(worker::run(Arc::clone(&config), lease, desk, context.clone()));
    }
    // When one fails the others give their leases back.
    beside(keeper, &context, service::all_ended(workers, &context.stop)).await
}
