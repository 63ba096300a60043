use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

macro_rules! label {
    ($name:ident, $field:ident) => {
        #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        struct $name {
            $field: String,
        }
    };
}
label!(CauseLabel, cause);
label!(ReasonLabel, reason);
label!(KindLabel, kind);
label!(ActionLabel, action);
label!(StatusLabel, status);
label!(RoleLabel, role);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TypeLabel {
    r#type: String,
}

/// What a program counts, in Prometheus' form. No label names a container.
#[derive(Clone)]
pub struct Metrics(Arc<Families>);

struct Families {
    registry: Registry,
    observations: Family<CauseLabel, Counter>,
    records: Family<TypeLabel, Counter>,
    gaps: Family<ReasonLabel, Counter>,
    gap_stamps: Family<ReasonLabel, Counter>,
    drifts: Family<KindLabel, Counter>,
    dead_letters: Family<ReasonLabel, Counter>,
    engine_events_dropped: Family<ActionLabel, Counter>,
    spool_bytes: Gauge,
    projector_lag: Gauge,
    event_to_store: Histogram,
    nodes: Family<StatusLabel, Gauge>,
    partitions_held: Family<RoleLabel, Gauge>,
}

/// Upper bounds of the histogram from event to store, in seconds.
const EVENT_TO_STORE_SECONDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("deckwatch");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program", build);
        let observations = Family::default();
        registry.register("observations", "Observations made, by cause", observations.clone());
        let records = Family::default();
        registry.register("records", "Records of the ordered stream, by type", records.clone());
        let gaps = Family::default();
        registry.register("gaps", "Gaps, by reason", gaps.clone());
        let gap_stamps = Family::default();
        registry.register("gap_stamps", "Stamps known to be lost, by reason", gap_stamps.clone());
        let drifts = Family::default();
        registry.register("drifts", "Drifts found between store and engine, by kind", drifts.clone());
        let dead_letters = Family::default();
        registry.register("dead_letters", "Messages that could not be read, by reason", dead_letters.clone());
        let engine_events_dropped = Family::default();
        registry.register(
            "engine_events_dropped",
            "Engine events dropped at a bound, by action",
            engine_events_dropped.clone(),
        );
        let spool_bytes = Gauge::default();
        registry.register(
            "spool_bytes",
            "Bytes of what waits on the disk until the stream takes it",
            spool_bytes.clone(),
        );
        let projector_lag = Gauge::default();
        registry.register("projector_lag_records", "Records not yet in the store", projector_lag.clone());
        let event_to_store = Histogram::new(EVENT_TO_STORE_SECONDS);
        registry.register("event_to_store_seconds", "From the observation to the store", event_to_store.clone());
        let nodes = Family::default();
        registry.register("nodes", "Nodes, by status", nodes.clone());
        let partitions_held = Family::default();
        registry.register(
            "partitions_held",
            "Partitions that this instance works on, by role",
            partitions_held.clone(),
        );
        Self(Arc::new(Families {
            registry,
            observations,
            records,
            gaps,
            gap_stamps,
            drifts,
            dead_letters,
            engine_events_dropped,
            spool_bytes,
            projector_lag,
            event_to_store,
            nodes,
            partitions_held,
        }))
    }
}

impl Metrics {
    /// An observation was made.
    pub fn observation(&self, cause: &str) {
        self.0.observations.get_or_create(&CauseLabel { cause: cause.to_owned() }).inc();
    }

    /// Observations made so far of that cause.
    pub fn observations(&self, cause: &str) -> u64 {
        self.0.observations.get_or_create(&CauseLabel { cause: cause.to_owned() }).get()
    }

    /// A record was written or applied.
    pub fn record(&self, r#type: &str) {
        self.0.records.get_or_create(&TypeLabel { r#type: r#type.to_owned() }).inc();
    }

    /// A gap was written, of so many stamps as are known.
    pub fn gap(&self, reason: &str, stamps: u64) {
        let label = ReasonLabel { reason: reason.to_owned() };
        self.0.gaps.get_or_create(&label).inc();
        self.0.gap_stamps.get_or_create(&label).inc_by(stamps);
    }

    /// So many drifts were found.
    pub fn drifts(&self, kind: &str, count: u64) {
        if count > 0 {
            self.0.drifts.get_or_create(&KindLabel { kind: kind.to_owned() }).inc_by(count);
        }
    }

    /// A message could not be read.
    pub fn dead_letter(&self, reason: &str) {
        self.0.dead_letters.get_or_create(&ReasonLabel { reason: reason.to_owned() }).inc();
    }

    /// An engine event was dropped at a bound.
    pub fn engine_event_dropped(&self, action: &str) {
        self.0.engine_events_dropped.get_or_create(&ActionLabel { action: action.to_owned() }).inc();
    }

    /// So many bytes of observations wait on the disk.
    pub fn spool_bytes(&self, bytes: i64) {
        self.0.spool_bytes.set(bytes);
    }

    /// So many records are not yet in the store.
    pub fn projector_lag(&self, records: i64) {
        self.0.projector_lag.set(records);
    }

    /// An observation reached the store after so many seconds.
    pub fn event_to_store(&self, seconds: f64) {
        self.0.event_to_store.observe(seconds);
    }

    /// So many nodes have the status.
    pub fn nodes(&self, status: &str, count: i64) {
        self.0.nodes.get_or_create(&StatusLabel { status: status.to_owned() }).set(count);
    }

    /// This instance works on so many partitions in a role.
    pub fn partitions_held(&self, role: &str, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.0.partitions_held.get_or_create(&RoleLabel { role: role.to_owned() }).set(count);
    }

    /// All of it, as text.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.0.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_contract() {
        let metrics = Metrics::default();
        metrics.observation("event");
        metrics.gap("not_kept", 3);
        metrics.nodes("alive", 2);
        metrics.drifts("ghost", 3);
        metrics.partitions_held("sequencer", 2);
        metrics.drifts("absent", 0);
        let text = metrics.encode();
        for line in [
            "deckwatch_observations_total{cause=\"event\"} 1",
            "deckwatch_gap_stamps_total{reason=\"not_kept\"} 3",
            "deckwatch_nodes{status=\"alive\"} 2",
            "deckwatch_drifts_total{kind=\"ghost\"} 3",
            "deckwatch_spool_bytes 0",
            "deckwatch_partitions_held{role=\"sequencer\"} 2",
            "deckwatch_build_info{version=",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("absent"), "what was not found is not there:\n{text}");
    }
}
