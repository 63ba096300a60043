//! What a sequencer decides for one node.

mod loss;
mod presence;
mod statement;

use std::collections::BTreeMap;

use domain::container::AsOf;
use domain::node::{Heartbeat, Hello, NodeChange};
use domain::observation::SpoolPlace;
use domain::record::{Recovery, SPOOL_PLACES_MAX};
use domain::{
    Batch, Container, ContainerId, NodeName, NodeState, Observation, Observed, Record, Stamp, Subject, Writer,
};
use ordering::{Answer, Beat, Input, Output as Ordered, Position, Previous, Reorder};

use self::statement::Listing;
use crate::partition::{Effect, Millis, Output, Recovered, Rules};

/// The last accepted state of a container.
#[derive(Debug)]
pub(crate) enum Known {
    /// It is there.
    Live(Box<Container>),
    /// It is gone; kept until no older look can still come in.
    Gone(Box<Container>),
}

impl Known {
    fn state(&self) -> &Container {
        match self {
            Self::Live(container) | Self::Gone(container) => container,
        }
    }
}

/// An observation on its way through the order.
#[derive(Debug)]
struct Item {
    raw_sequence: u64,
    observation: Observation,
    /// With the last observation of a message: below this tick no look is under way.
    as_of_floor: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Node {
    name: NodeName,
    rules: Rules,
    order: Reorder<Item>,
    state: NodeState,
    /// Writer of the open statement's `stating`, if known.
    stating_writer: Option<Writer>,
    /// It was retired, and is nothing until its next life.
    retired: bool,
    known: BTreeMap<ContainerId, Known>,
    listing: Option<Listing>,
    /// Not heard of since; or since this life of the sequencer counts.
    silent_since: Millis,
    asked_at: Option<Millis>,
    cursor_at: Millis,
    ordered: Vec<Ordered<Item>>,
}

impl Node {
    pub(crate) fn new(name: NodeName, rules: Rules, now: Millis, told: Recovered) -> Self {
        let state = told.state;
        let at = Position { epoch: state.epoch, instance: state.instance, next: state.next_seq, closed: state.closed };
        let listing = (state.stating_sequence != 0).then(|| Listing::after(state.next_seq));
        let known = told.containers.into_iter().map(|container| (container.id, container.into()));
        let mut node = Self {
            name,
            rules,
            order: Reorder::new(rules.order, at),
            state,
            stating_writer: told.stating_writer,
            retired: told.retired,
            known: known.collect(),
            listing,
            silent_since: now,
            asked_at: None,
            cursor_at: now + rules.cursor_every / 2,
            ordered: Vec::new(),
        };
        // The life before had dropped them, too; who read along has not kept them.
        node.drop_tombstones();
        node
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.state.lost
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired
    }

    pub(crate) fn is_blind(&self) -> bool {
        self.state.blind
    }

    pub(crate) fn count_anew(&mut self, now: Millis) {
        self.silent_since = now;
    }

    pub(crate) fn noted(&mut self) {
        if !self.state.closed {
            self.state.passed_epoch = 0;
        }
    }

    pub(crate) fn wants_read_to(&self, now: Millis) -> Option<Millis> {
        let deadline = self.silent_since + self.rules.lost_after;
        let lost = (!self.state.lost && self.state.epoch > 0 && now > deadline).then_some(deadline);
        lost.max(self.order.wants_read_to())
    }

    /// A message: each of its observations takes its place.
    pub(crate) fn message(&mut self, now: Millis, raw_sequence: u64, batch: Batch, out: &mut Output) {
        let (instance, as_of_floor) = (batch.instance.0, batch.as_of_floor);
        let last = batch.observations.len();
        for (index, (stamp, observation)) in batch.stamped().enumerate() {
            let is_last = index + 1 == last;
            let hello = match &observation.observed {
                Observed::Hello(hello) => Some(ordered_hello(hello)),
                Observed::Container(_)
                | Observed::Removed(_)
                | Observed::Event(_)
                | Observed::Stating(_)
                | Observed::Listed(_)
                | Observed::Blind(_)
                | Observed::Gap(_)
                | Observed::Correction(_)
                | Observed::Nothing => None,
            };
            out.floor.keep(raw_sequence);
            if is_last {
                out.floor.pass(raw_sequence);
            }
            let item = Item { raw_sequence, observation, as_of_floor: is_last.then_some(as_of_floor) };
            self.step(now, Input::Arrive { stamp, instance, hello, item }, out);
        }
    }

    pub(crate) fn beat(&mut self, now: Millis, beat: &Heartbeat, out: &mut Output) {
        self.silent_since = now;
        let mine = beat.epoch == self.state.epoch && beat.instance.0 == self.state.instance;
        if mine && self.state.lost && !self.retired {
            self.back(out);
        }
        let (epoch, instance, acknowledged) = (beat.epoch, beat.instance.0, beat.acknowledged_seq);
        self.step(now, Input::Beat(Beat { epoch, instance, acknowledged, heard: now }), out);
    }

    pub(crate) fn answered(&mut self, now: Millis, epoch: u64, from: u64, answer: Answer, out: &mut Output) {
        self.step(now, Input::Answer { epoch, from, answer }, out);
    }

    pub(crate) fn wake(&mut self, now: Millis, read_to: Option<Millis>, out: &mut Output) {
        self.step(now, Input::Wake { read_to }, out);
        self.lose_if_silent(now, read_to, out);
        if self.state.needs_statement && self.asked_at.is_none_or(|at| now >= at + self.rules.ask_every) {
            self.asked_at = Some(now);
            out.effects.push(Effect::Statement { node: self.name.clone(), passed_epoch: self.state.passed_epoch });
        }
        if now >= self.cursor_at && self.state.epoch > 0 && !self.retired {
            self.change(NodeChange::Cursor, out);
        }
        if now >= self.cursor_at {
            self.cursor_at = now + self.rules.cursor_every;
        }
    }

    pub(crate) fn forget(&mut self, now: Millis, out: &mut Output) {
        self.end_statement(out);
        let held: Vec<u64> = self.order.held().map(|item| item.raw_sequence).collect();
        held.into_iter().for_each(|raw_sequence| out.floor.release(raw_sequence));
        self.change(NodeChange::Forgotten, out);
        *self = Self::new(self.name.clone(), self.rules, now, Recovered::retired(&self.state));
    }

    fn step(&mut self, now: Millis, input: Input<Item>, out: &mut Output) {
        let mut ordered = std::mem::take(&mut self.ordered);
        self.order.step(now, input, &mut ordered);
        for output in ordered.drain(..) {
            match output {
                Ordered::Deliver(stamp, item, after) => {
                    let begins = matches!(item.observation.observed, Observed::Hello(_));
                    self.deliver(stamp, item, after, out);
                    if begins {
                        // Its own first statement is on its way: as if it had been asked for.
                        self.asked_at = Some(now);
                    }
                }
                Ordered::Lost(loss, after) => self.lost_stamps(loss, after, out),
                Ordered::Discard(stamp, item, reason) => self.discard(stamp, &item, reason, out),
                Ordered::Ask { epoch, from, to } => {
                    out.effects.push(Effect::Replay { node: self.name.clone(), epoch, from, to });
                }
                Ordered::Passed(epoch) => {
                    if std::mem::replace(&mut self.state.passed_epoch, epoch) != epoch {
                        self.asked_at = None;
                    }
                    self.state.needs_statement = true;
                }
            }
        }
        self.ordered = ordered;
    }

    /// The next observation takes its place in the record.
    fn deliver(&mut self, stamp: Stamp, item: Item, after: Position, out: &mut Output) {
        self.rise(out);
        let Item { raw_sequence, observation, as_of_floor } = item;
        let repeated = self.is_in_record(&observation);
        if let (Observed::Listed(listed), false) = (&observation.observed, repeated) {
            self.list(stamp, raw_sequence, listed, out);
        }
        out.floor.release(raw_sequence);
        self.enter(after);
        if let Some(place) = observation.spool_place {
            self.remember_place(place);
        }
        if repeated {
            // Its content stands in the record already, under a stamp that nobody can know.
            let bare = Observation { event: None, ..observation };
            self.emit(Some(stamp), Some(&bare), false, Subject::Node(NodeChange::Repeat), out);
        } else {
            self.observe(stamp, raw_sequence, observation, out);
        }
        // The floor speaks of what is sent after this message.
        if let Some(floor) = as_of_floor {
            self.state.as_of_floor = self.state.as_of_floor.max(floor);
            self.drop_tombstones();
        }
    }

    fn observe(&mut self, stamp: Stamp, raw_sequence: u64, mut observation: Observation, out: &mut Output) {
        let observed = std::mem::replace(&mut observation.observed, Observed::Nothing);
        let change = match observed {
            Observed::Container(container) | Observed::Removed(container) => {
                return self.look(stamp, &observation, container, out);
            }
            Observed::Event(id) => return self.repeat(stamp, &observation, id, out),
            Observed::Gap(gap) => {
                self.doubt(out);
                return self.emit(Some(stamp), Some(&observation), false, Subject::Gap(gap), out);
            }
            Observed::Correction(correction) => {
                return self.emit(Some(stamp), Some(&observation), false, Subject::Correction(correction), out);
            }
            Observed::Hello(hello) => {
                self.doubt(out);
                self.state.blind = false;
                self.state.passed_epoch = 0;
                self.state.as_of_floor = 0;
                self.state.engine = Some(hello.engine.clone());
                out.cut.remove(&self.name);
                NodeChange::Hello(hello)
            }
            Observed::Stating(request_ids) => {
                self.end_statement(out);
                self.state.stating_sequence = out.next_sequence();
                self.stating_writer = Some(out.writer);
                self.begin_listing(stamp.seq, raw_sequence, out);
                NodeChange::Stating(request_ids)
            }
            Observed::Listed(listed) => NodeChange::Listed(self.close_statement(listed, out)),
            Observed::Blind(reason) => {
                self.end_statement(out);
                self.state.blind = true;
                NodeChange::Blind(reason)
            }
            Observed::Nothing => NodeChange::Repeat,
        };
        self.emit(Some(stamp), Some(&observation), false, Subject::Node(change), out);
    }

    /// A state counts if it is fresher than the last one of its container.
    fn look(&mut self, stamp: Stamp, observation: &Observation, container: Box<Container>, out: &mut Output) {
        let id = container.id;
        let freshness = container.freshness();
        let fresh = match self.known.get(&id) {
            Some(known) => freshness > known.state().freshness(),
            // Its tombstone may be gone: only a look that can be no older than it counts.
            None => freshness.epoch == self.state.epoch && freshness.tick >= self.state.as_of_floor,
        };
        if !fresh {
            return self.repeat(stamp, observation, id, out);
        }
        let subject = Subject::Container(container.clone());
        self.known.insert(id, (*container).into());
        self.emit(Some(stamp), Some(observation), false, subject, out);
    }

    /// History: the container's last accepted state stands with it.
    fn repeat(&mut self, stamp: Stamp, observation: &Observation, id: ContainerId, out: &mut Output) {
        let subject = match self.known.get(&id) {
            Some(known) => Subject::Container(Box::new(known.state().clone())),
            None if observation.event.is_some() => Subject::Event(id),
            None => Subject::Node(NodeChange::Repeat),
        };
        let repeated = matches!(subject, Subject::Container(_));
        self.emit(Some(stamp), Some(observation), repeated, subject, out);
    }

    fn enter(&mut self, after: Position) {
        self.state.epoch = after.epoch;
        self.state.instance = after.instance;
        self.state.next_seq = after.next;
        self.state.closed = after.closed;
    }

    fn is_in_record(&self, observation: &Observation) -> bool {
        observation.spool_place.is_some_and(|place| {
            let known = self.state.spool_places.iter().find(|known| known.spool_id == place.spool_id);
            known.is_some_and(|known| known.position >= place.position)
        })
    }

    fn remember_place(&mut self, place: SpoolPlace) {
        let places = &mut self.state.spool_places;
        if let Some(index) = places.iter().position(|known| known.spool_id == place.spool_id) {
            let known = places.remove(index);
            places.push(SpoolPlace { position: known.position.max(place.position), ..known });
            return;
        }
        if places.len() >= SPOOL_PLACES_MAX {
            places.remove(0);
        }
        places.push(place);
    }

    /// A tombstone has had its time when no look that is older than it can still come in.
    fn drop_tombstones(&mut self) {
        let floor = AsOf { epoch: self.state.epoch, tick: self.state.as_of_floor };
        self.known.retain(|_, known| match known {
            Known::Live(_) => true,
            Known::Gone(container) => container.freshness() >= floor,
        });
    }

    fn change(&mut self, change: NodeChange, out: &mut Output) {
        self.emit(None, None, false, Subject::Node(change), out);
    }

    fn emit(
        &mut self,
        stamp: Option<Stamp>,
        observation: Option<&Observation>,
        repeated: bool,
        subject: Subject,
        out: &mut Output,
    ) {
        let gone = matches!(&subject, Subject::Container(container) if container.status == domain::Status::Removed);
        let mut node_state = self.state.clone();
        if !matches!(subject, Subject::Node(_)) {
            // It stands in the node's own records; in each container's it would be half the bytes.
            node_state.engine = None;
        }
        out.records.push(Record {
            node: self.name.clone(),
            stamp,
            writer: out.writer,
            recorded_at: out.recorded_at,
            observed_at: observation.map(|observation| observation.observed_at),
            cause: observation.map(|observation| observation.cause),
            event: observation.and_then(|observation| observation.event.clone()),
            subject,
            repeated: repeated && !gone,
            removed: repeated && gone,
            node_state,
            recovery: Recovery { raw_sequence: out.floor.lowest(), raw_created: out.raw_created() },
        });
    }
}

fn ordered_hello(hello: &Hello) -> ordering::Hello {
    let previous = hello.previous.map(|previous| Previous {
        epoch: previous.epoch,
        instance: previous.instance.map(|instance| instance.0),
        last: previous.last_seq,
    });
    ordering::Hello { previous, stand_in: hello.stand_in }
}
