//! Reads the ordered record and writes Redis. Replay is harmless:
//!
//! 1. A node's states, indexes and checkpoint change together, in one function call that names the checkpoint it
//!    expects (`tests/servers.rs`: `a_call_that_expects_another_checkpoint_changes_nothing`).
//! 2. A checkpoint counts only while the record at its sequence has its writer; else the node is built anew, and reads
//!    `unknown` until a statement that was asked for meanwhile is whole (`fold`: `a_rebuild_is_unknown_until_its_statement`).
//! 3. What other slots must be told stands in `untold` until it is told
//!    (`tests/servers.rs`: `what_was_untold_at_a_crash_is_told`).
//! 4. `<prefix>:partition:<p>` is there only while the partition is current (`renewal`).
//!
//! It writes nothing to the record and asks no engine: what it needs it asks of the producers.

use std::time::Duration;

use domain::{Instance, Partitions, Prefix};

pub mod checkpoint;
mod cursor;
mod fold;
mod library;
mod ops;
pub mod read;
mod renewal;

pub use library::{LIBRARY_SOURCE, SCHEMA, library};

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
}

impl Default for Limits {
    fn default() -> Self {
        Self { batch_records: 500, batch_bytes: 256 * 1024, questions: 32, beats: 10_000 }
    }
}
