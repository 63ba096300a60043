//! What was measured.

use serde::Serialize;

/// All of it. Times are in seconds, sizes in bytes; what could not be measured is absent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Simulated nodes.
    pub nodes: usize,
    /// Containers of each.
    pub containers_per_node: usize,
    /// From the start of the producers until Redis held every container of every node.
    pub first_picture_seconds: f64,
    /// As many events as pass.
    pub load: Load,
    /// From the observation until it was seen in Redis, at a steady rate.
    pub latency: Latency,
    /// Each part, by name.
    pub parts: Vec<Part>,
    /// How long [`Part::cores_at_rest`] was measured.
    pub rest_seconds: f64,
    /// What the servers do alone.
    pub ceiling: Ceiling,
    /// Events a second against that.
    pub ratio: Ratio,
}

/// As many events as pass.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Load {
    /// Events of the engines.
    pub events_sent: u64,
    /// Of these, in Redis at the end.
    pub events_stored: u64,
    /// From the first event until the last was in Redis.
    pub seconds: f64,
    /// Through to Redis.
    pub events_per_second: f64,
}

/// From the observation until it was seen in Redis: the queue of the producer counts, and the reading that saw it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// At this rate.
    pub events_per_second: f64,
    /// So many were seen.
    pub samples: usize,
    /// Half of them took no longer.
    pub p50_seconds: f64,
    /// 99 % of them took no longer.
    pub p99_seconds: f64,
    /// 99.9 % of them took no longer.
    pub p999_seconds: f64,
    /// The longest.
    pub max_seconds: f64,
    /// The reading that saw it took so long, at the median: each latency is at most this much too long.
    pub resolution_seconds: f64,
}

/// A process, or all producers with what measures them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// Its name.
    pub name: &'static str,
    /// Processor seconds under load, for a million events.
    pub cpu_seconds_per_million_events: Option<f64>,
    /// Processors it keeps busy while nothing happens.
    pub cores_at_rest: Option<f64>,
    /// Memory at the end.
    pub memory_bytes: Option<u64>,
}

/// What the servers do alone, on the same data.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ceiling {
    /// Mean size of a record.
    pub record_bytes: usize,
    /// Records a second to one stream with the same settings, each acknowledged, many under way.
    pub publish_singles_per_second: f64,
    /// The same in atomic batches.
    pub publish_batches_per_second: f64,
    /// Hashes of containers a second, in pipelines.
    pub hset_per_second: f64,
}

/// Events a second through all of deckwatch, as a part of the ceiling.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// Of single messages.
    pub publish_singles: f64,
    /// Of messages in batches.
    pub publish_batches: f64,
    /// Of hashes.
    pub hset: f64,
}

impl Ratio {
    pub(crate) fn of(events_per_second: f64, ceiling: &Ceiling) -> Self {
        Self {
            publish_singles: events_per_second / ceiling.publish_singles_per_second,
            publish_batches: events_per_second / ceiling.publish_batches_per_second,
            hset: events_per_second / ceiling.hset_per_second,
        }
    }
}
