//! Puts the observations of a partition's nodes in order.
//!
//! [`partition`] decides, purely; the rest reads the stream of observations, publishes records in atomic batches that
//! are fenced by the stream's last sequence, and asks producers for what is missing. Invariants:
//!
//! 1. Nothing but [`publish`] writes the ordered record, and each write names the sequence that it expects.
//! 2. A restart reads the ordered record alone ([`recover`]): nothing is kept elsewhere.
//! 3. The sequencer never asks an engine and never reads Redis.

mod control;
mod node;
pub mod partition;
mod publish;
mod raw;
mod recover;
mod streams;
mod tally;
mod whole;
mod worker;

use std::time::Duration;

pub use streams::examine;
pub use tally::Count;

use domain::{Instance, Partitions, Prefix};
use service::{Context, Failure};

/// What a sequencer is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// How to reach NATS.
    pub nats: service::nats::Settings,
    /// What all names begin with.
    pub prefix: Prefix,
    /// How many partitions the streams have, or are made with.
    pub partitions: Partitions,
    /// How many servers hold each stream: 1 or 3.
    pub replicas: usize,
    /// How often producers give a sign of life.
    pub heartbeat: Duration,
    /// How long a producer may be silent before its node is lost.
    pub lost_after: Duration,
    /// How long what is missing is waited for.
    pub gap_wait: Duration,
    /// This start of the program.
    pub instance: Instance,
    /// Bounds.
    pub limits: Limits,
}

/// Bounds of a sequencer.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most observations of one node held because something before them is missing.
    pub held_max: usize,
    /// How often a producer may say that a stamp is coming without it coming.
    pub coming_max: u8,
    /// Most records in one atomic batch. At most 1,000 (nats-server).
    pub batch_records_max: usize,
    /// Most bytes of the stream of observations.
    pub raw_bytes_max: i64,
    /// Most bytes of the stream of one partition's records.
    pub state_bytes_max: i64,
    /// How long records are kept.
    pub state_age_max: Duration,
    /// How often a quiet node's record is written anew.
    pub cursor_every: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            held_max: 4096,
            coming_max: 3,
            batch_records_max: 500,
            raw_bytes_max: 1 << 30,
            state_bytes_max: 4 << 30,
            state_age_max: Duration::from_secs(7 * 24 * 3600),
            cursor_every: Duration::from_secs(3600),
        }
    }
}

/// Runs until the context is stopped.
///
/// # Errors
/// What waiting cannot heal: NATS too old or refusing, streams made for another number of partitions or by another hand.
pub async fn run(config: Config, context: Context) -> Result<(), Failure> {
    let Some(client) = service::nats::connect_until(&config.nats, "deckwatch sequencer", &context).await? else {
        return Ok(());
    };
    if !streams::make_until(&client, &config, &context).await? {
        return Ok(());
    }
    let mut workers = tokio::task::JoinSet::new();
    let keeping = tokio::spawn(streams::keep(client.clone(), config.clone(), context.clone()));
    let tally = tally::Tally::default();
    for partition in config.partitions.all() {
        workers.spawn(worker::run(partition, client.clone(), config.clone(), context.clone(), tally.clone()));
    }
    let result = service::all_ended(workers, &context.stop).await;
    keeping.abort();
    result
}
