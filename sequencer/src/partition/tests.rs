//! Short stories of one partition, told by its records.

mod recovery;
mod stories;

use std::collections::BTreeMap;

use domain::container::AsOf;
use domain::digest::Digest;
use domain::node::{Engine, Heartbeat, Hello, Listed, NodeChange, PreviousLife};
use domain::{
    Batch, Cause, Container, ContainerId, Instance, NodeName, Observation, Observed, Record, Stamp, Status, Subject,
    Timestamp, Writer,
};

use super::*;

const RULES: Rules = Rules {
    order: ordering::Limits { held_max: 100, gap_wait: 100, coming_max: 3 },
    lost_after: 1000,
    ask_every: 300,
    cursor_every: 100_000,
};

/// A partition, the stream that it reads and the records that it wrote.
struct Desk {
    partition: Partition,
    now: Millis,
    raw: Vec<Batch>,
    records: Vec<Record>,
}

impl Desk {
    fn new() -> Self {
        Self::recover(Vec::new(), Vec::new(), false)
    }

    /// A new writing life over what is left of the records.
    fn recover(raw: Vec<Batch>, records: Vec<Record>, raw_cut: bool) -> Self {
        let mut last = BTreeMap::new();
        for (index, record) in records.iter().enumerate() {
            last.insert(format!("{} {:?}", record.node, record.state_subject()), index);
        }
        let mut last: Vec<usize> = last.into_values().collect();
        last.sort_unstable();
        let mut recovered = BTreeMap::new();
        last.into_iter().for_each(|index| fold_recovered(&mut recovered, records[index].clone()));
        let count = u64::try_from(records.len()).expect("a length fits");
        let raw_next = if raw_cut { 1 } else { records.last().map_or(1, |last| last.recovery.raw_sequence) };
        let start =
            Start { writer: Writer(count + 1), last: count, raw_next, raw_created: 7, raw_cut, trimmed: false, now: 0 };
        let mut desk = Self { partition: Partition::new(RULES, start, recovered), now: 0, raw, records };
        for index in usize::try_from(raw_next - 1).expect("an index fits")..desk.raw.len() {
            desk.read(index);
        }
        desk
    }

    fn step(&mut self, input: Input) {
        self.partition.step(self.now, Timestamp(0), input);
        let (expected, records) = self.partition.take_records();
        assert_eq!(expected, u64::try_from(self.records.len()).expect("a length fits"));
        self.records.extend(records);
    }

    fn read(&mut self, index: usize) {
        let raw_sequence = u64::try_from(index + 1).expect("an index fits");
        self.step(Input::Message { raw_sequence, batch: self.raw[index].clone() });
    }

    fn message(&mut self, batch: Batch) {
        self.raw.push(batch);
        self.read(self.raw.len() - 1);
    }

    fn say<const N: usize>(&mut self, epoch: u64, first_seq: u64, observed: [Observed; N]) {
        self.message(batch(epoch, first_seq, observed));
    }

    fn beat(&mut self, epoch: u64, acknowledged_seq: u64) {
        self.step(Input::Beat(beat("n1", epoch, acknowledged_seq)));
    }

    /// Time passes, and all is read that was stored before now.
    fn wait(&mut self, time: Millis) {
        self.now += time;
        self.step(Input::Wake { read_to: Some(self.now) });
    }

    fn last(&self) -> &Record {
        self.records.last().expect("a record")
    }

    /// What was recorded since record `from`.
    fn told(&self, from: usize) -> String {
        self.records[from..].iter().map(tell).collect::<Vec<_>>().join(", ")
    }
}

fn tell(record: &Record) -> String {
    let stamp = record.stamp_header().map_or(String::new(), |stamp| format!("{stamp} "));
    let mark = if record.repeated { " repeated" } else { "" };
    let mark = if record.removed { " again" } else { mark };
    let event = if record.event.is_some() { " event" } else { "" };
    let what = match &record.subject {
        Subject::Container(state) => format!("c{}@{} {}", state.id.as_bytes()[0], state.as_of, state.status),
        Subject::Event(id) => format!("c{} unknown", id.as_bytes()[0]),
        Subject::Node(NodeChange::Listed(listed)) if listed.whole => "listed whole".to_owned(),
        Subject::Node(change) => change.as_str().to_owned(),
        Subject::Gap(gap) => gap.reason.to_string(),
        Subject::Correction(_) => "correction".to_owned(),
    };
    format!("{stamp}{what}{mark}{event}")
}

fn node(name: &str) -> NodeName {
    name.parse().expect("a name")
}

fn id(number: u8) -> ContainerId {
    let mut bytes = [0; 32];
    bytes[0] = number;
    bytes.into()
}

fn batch(epoch: u64, first_seq: u64, observed: impl IntoIterator<Item = Observed>) -> Batch {
    let observed = observed.into_iter().zip(first_seq..).map(|(mut observed, seq)| {
        if let Observed::Container(state) | Observed::Removed(state) = &mut observed {
            state.stamp = Stamp { epoch, seq };
        }
        let observed_at = Timestamp(0);
        Observation { observed_at, cause: Cause::Event, event: None, spool_place: None, observed }
    });
    let observations = observed.collect();
    Batch { node: node("n1"), epoch, instance: Instance(epoch), first_seq, as_of_floor: 0, observations }
}

fn hello(previous: Option<(u64, u64)>) -> Observed {
    let previous =
        previous.map(|(epoch, last)| PreviousLife { epoch, instance: Some(Instance(epoch)), last_seq: Some(last) });
    Observed::Hello(Hello { engine: Engine::default(), previous, stand_in: false })
}

fn stating() -> Observed {
    Observed::Stating(Vec::new())
}

fn container(number: u8, as_of: u64, status: Status) -> Box<Container> {
    let unheard_of = Container::unheard_of(id(number), node("n1"), AsOf { epoch: 0, tick: as_of });
    Box::new(Container { status, ..unheard_of })
}

fn running(number: u8, as_of: u64) -> Observed {
    Observed::Container(container(number, as_of, Status::Running))
}

fn exited(number: u8, as_of: u64) -> Observed {
    Observed::Container(container(number, as_of, Status::Exited))
}

fn removed(number: u8, as_of: u64) -> Observed {
    Observed::Removed(container(number, as_of, Status::Removed))
}

fn listed(as_of: u64, ids: &[u8]) -> Observed {
    part(as_of, ids, 0, 1)
}

fn part(as_of: u64, ids: &[u8], part: u32, parts: u32) -> Observed {
    let ids = ids.iter().copied().map(id).collect();
    Observed::Listed(Listed { as_of, ids, part, parts, complete: true, whole: false })
}

fn partial(as_of: u64, ids: &[u8]) -> Observed {
    let ids = ids.iter().copied().map(id).collect();
    Observed::Listed(Listed { as_of, ids, part: 0, parts: 1, complete: false, whole: false })
}

fn beat(name: &str, epoch: u64, acknowledged_seq: u64) -> Heartbeat {
    Heartbeat {
        node: node(name),
        epoch,
        instance: Instance(epoch),
        last_seq: acknowledged_seq,
        acknowledged_seq,
        digest: Digest { version: 1, sha256: [0; 32] },
        queued: 0,
        spool_bytes: 0,
        stand_in: false,
        engine_id: String::new(),
    }
}
