//! What a producer is told, and its bounds.

use std::path::PathBuf;
use std::time::Duration;

use domain::{NodeName, Prefix};

use crate::engine::labels::LabelPolicy;

/// What a producer is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the node; none for the engine's own.
    pub node: Option<NodeName>,
    /// Address of the engine; none for `$DOCKER_HOST` with its TLS variables, else `unix:///var/run/docker.sock`.
    pub engine: Option<String>,
    /// Where NATS is.
    pub nats: service::nats::Settings,
    /// What stands first in every name.
    pub prefix: Prefix,
    /// Between two signs of life.
    pub heartbeat: Duration,
    /// Between two statements of everything.
    pub restate: Duration,
    /// Folder of all producers on this host; each node has its own below it.
    pub data_dir: PathBuf,
    /// Stands in for a producer that is gone, and ends when that one is back.
    pub stand_in: bool,
    /// Which labels may leave the host.
    pub labels: LabelPolicy,
    /// Bounds.
    pub limits: Limits,
}

/// The bounds of a producer.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Most observations that wait to be sent.
    pub queue_max: usize,
    /// Most bytes of observations that wait to be sent.
    pub queue_bytes_max: usize,
    /// Most bytes of the spool on the disk, and no more than that waits in memory either.
    pub spool_bytes_max: u64,
    /// Most observations in one message.
    pub batch_max: usize,
    /// Most bytes of observations in one message.
    pub batch_bytes_max: usize,
    /// Most messages under way.
    pub window_max: usize,
    /// Most stamps beyond the lowest unacknowledged one.
    pub span_max: u64,
    /// Most observations kept for `replay`.
    pub kept_max: u64,
    /// Most bytes kept for `replay`.
    pub kept_bytes_max: usize,
    /// Most events read from the engine and not yet looked at.
    pub events_max: usize,
    /// Most looks at once.
    pub looks_max: usize,
    /// Longest inspect.
    pub inspect_max: Duration,
    /// Longest list.
    pub list_max: Duration,
    /// Most containers that stayed `created` and are looked at again at a heartbeat.
    pub created_looks_max: usize,
    /// Most causes of ends that are remembered on disk.
    pub endings_max: usize,
    /// Longest wait for what is queued when told to stop.
    pub drain_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue_max: 100_000,
            queue_bytes_max: 64 << 20,
            spool_bytes_max: 256 << 20,
            batch_max: 200,
            batch_bytes_max: 256 << 10,
            window_max: 32,
            span_max: 2_000,
            kept_max: 10_000,
            kept_bytes_max: 64 << 20,
            events_max: 16_384,
            looks_max: 8,
            inspect_max: Duration::from_secs(10),
            list_max: Duration::from_secs(30),
            created_looks_max: 20,
            endings_max: 4_096,
            drain_max: Duration::from_secs(7),
        }
    }
}
