use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::Stamp;

/// A point of the caller's monotonic clock, in milliseconds.
type Millis = u64;

/// Bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Most items held because something before them is missing. At least 1.
    pub held_max: usize,
    /// How long what is missing is waited for before it is given up, in milliseconds.
    pub gap_wait: u64,
    /// How often a sender may say that it is coming without anything coming.
    pub coming_max: u8,
}

/// Where the order of a node stands: all that a restart needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Position {
    /// Current epoch; 0 before the first.
    pub epoch: u64,
    /// Instance that the epoch belongs to.
    pub instance: u64,
    /// Next sequence number.
    pub next: u64,
    /// Nothing more of this epoch counts: an open gap stands for it.
    pub closed: bool,
}

/// The life before, as a hello tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Previous {
    /// Its epoch.
    pub epoch: u64,
    /// Its instance, if known.
    pub instance: Option<u64>,
    /// Its last sequence number, if known.
    pub last: Option<u64>,
}

/// The first observation of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hello {
    /// The life before.
    pub previous: Option<Previous>,
    /// It is not the node's own producer.
    pub stand_in: bool,
}

/// A sign of life of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Beat {
    /// Its epoch.
    pub epoch: u64,
    /// Its instance.
    pub instance: u64,
    /// Up to this sequence number everything is stored.
    pub acknowledged: u64,
    /// When it was heard.
    pub heard: Millis,
}

/// What a producer answered to a request to publish again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// It is, or will be, under way.
    Coming,
    /// It is no longer kept, or the epoch is not known.
    NotKept,
}

/// What goes in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input<T> {
    /// An observation was read.
    Arrive {
        /// Its stamp.
        stamp: Stamp,
        /// Instance that it bears.
        instance: u64,
        /// Present on the first observation of an epoch, and only there.
        hello: Option<Hello>,
        /// What is carried along.
        item: T,
    },
    /// A sign of life was heard.
    Beat(Beat),
    /// A request to publish again, put out at `asked`, was answered.
    Answer {
        /// Epoch asked for.
        epoch: u64,
        /// First sequence number asked for.
        from: u64,
        /// The answer.
        answer: Answer,
    },
    /// What this epoch still had to say may have been stored and lost, and nobody is left to ask: it is closed.
    Close,
    /// Time passed. Due at [`Reorder::deadline`], harmless at any time.
    Wake {
        /// Everything that was stored before this moment has been put in.
        read_to: Option<Millis>,
    },
}

/// Why stamps are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// The producer no longer has them.
    NotKept,
    /// Nobody answered in time.
    NoAnswer,
    /// They were said to come, again and again, and never came.
    Unreadable,
    /// Too much came too early.
    HeldFull,
    /// The epoch ended where the next life says, before all of it came.
    EndKnown,
    /// The epoch ended, and nobody knows where.
    EndUnknown,
    /// An epoch was seen without its hello.
    NoHello,
    /// What came before the first hello that was seen.
    History,
    /// What was stored was lost again.
    StreamCut,
}

/// Stamps that are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Loss {
    /// Epoch; 0 where it begins before the first that was seen.
    pub epoch: u64,
    /// First.
    pub from: u64,
    /// Last; none: all up to the next hello, epochs between included.
    pub to: Option<u64>,
    /// Why.
    pub why: Why,
}

/// Why an item is not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Discarded {
    /// It was delivered, or declared lost, or is held already.
    Repeated,
    /// Of an epoch that is over.
    OldEpoch,
    /// Of an instance that did not say this epoch's hello.
    OtherInstance,
    /// Of an epoch whose hello was not seen.
    NoHello,
}

/// What comes out, in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Output<T> {
    /// The next observation, and where the order stands after it.
    Deliver(Stamp, T, Position),
    /// Stamps that are lost, in their place, and where the order stands after it.
    Lost(Loss, Position),
    /// An item that does not count.
    Discard(Stamp, T, Discarded),
    /// Ask the producer to publish these again.
    Ask {
        /// Epoch.
        epoch: u64,
        /// First sequence number.
        from: u64,
        /// Last sequence number.
        to: u64,
    },
    /// A producer works in an epoch that is over or closed: tell it to claim one above this.
    Passed(u64),
}

/// What is missing, and what was done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Missing {
    from: u64,
    since: Millis,
    answer: Option<Answer>,
    coming: u8,
    /// When it was given up; the gap waits until all that was stored by then is read.
    given_up: Option<(Millis, Why)>,
}

/// Puts one node's observations in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reorder<T> {
    limits: Limits,
    at: Position,
    held: BTreeMap<u64, T>,
    beat: Option<Beat>,
    missing: Option<Missing>,
}

impl<T> Reorder<T> {
    /// A node that stands there; [`Position::default`] for one that is new.
    pub fn new(limits: Limits, at: Position) -> Self {
        Self { limits, at, held: BTreeMap::new(), beat: None, missing: None }
    }

    /// Where it stands.
    pub fn position(&self) -> Position {
        self.at
    }

    /// What is held because something before it is missing, in order.
    pub fn held(&self) -> impl Iterator<Item = &T> {
        self.held.values()
    }

    /// When [`Input::Wake`] is due; none while nothing is missing.
    pub fn deadline(&self) -> Option<Millis> {
        let missing = self.missing.as_ref()?;
        Some(missing.given_up.map_or(missing.since.saturating_add(self.limits.gap_wait), |(at, _)| at))
    }

    /// A gap, or what a sign of life says, waits for this: that all is read which was stored before this moment.
    pub fn wants_read_to(&self) -> Option<Millis> {
        self.missing.and_then(|missing| missing.given_up).map(|(at, _)| at).or_else(|| {
            let beat = self.beat?;
            let counts = !self.is_mine(&beat) || self.at.closed || beat.acknowledged >= self.at.next;
            counts.then_some(beat.heard)
        })
    }

    /// Takes an input and appends what follows from it.
    pub fn step(&mut self, now: Millis, input: Input<T>, out: &mut Vec<Output<T>>) {
        match input {
            Input::Arrive { stamp, instance, hello, item } => self.arrive(stamp, instance, hello, item, out),
            Input::Beat(beat) => self.beat = Some(beat),
            Input::Answer { epoch, from, answer } => {
                if let Some(missing) = self.missing.as_mut().filter(|missing| missing.from == from)
                    && epoch == self.at.epoch
                {
                    missing.answer = Some(answer);
                }
            }
            Input::Close => {
                self.empty_held(Why::StreamCut, out);
                if self.at.epoch != 0 {
                    self.lose_rest(Why::StreamCut, out);
                }
            }
            Input::Wake { read_to } => {
                self.passed(read_to, out);
                self.give_up(now, read_to, out);
            }
        }
        self.look_for_missing(now, None, out);
    }

    fn arrive(&mut self, stamp: Stamp, instance: u64, hello: Option<Hello>, item: T, out: &mut Vec<Output<T>>) {
        if stamp.epoch > self.at.epoch {
            return match hello {
                Some(hello) => self.begin(stamp, instance, hello, item, out),
                None => self.close_unseen(stamp, instance, item, out),
            };
        }
        let discarded = if stamp.epoch < self.at.epoch {
            Some(Discarded::OldEpoch)
        } else if instance != self.at.instance {
            Some(Discarded::OtherInstance)
        } else if self.at.closed {
            Some(Discarded::NoHello)
        } else if stamp.seq < self.at.next || self.held.contains_key(&stamp.seq) {
            Some(Discarded::Repeated)
        } else {
            None
        };
        if let Some(reason) = discarded {
            out.push(Output::Discard(stamp, item, reason));
            return;
        }
        self.held.insert(stamp.seq, item);
        self.drain(out);
        if self.held.len() > self.limits.held_max
            && let Some(first) = self.held.keys().next().copied()
        {
            self.lose(first - 1, Why::HeldFull, out);
            self.drain(out);
        }
    }

    /// A new epoch: what is left of the one before is delivered or lost first.
    fn begin(&mut self, stamp: Stamp, instance: u64, hello: Hello, item: T, out: &mut Vec<Output<T>>) {
        self.empty_held(Why::EndUnknown, out);
        if self.at.epoch == 0 {
            // What an unknown node said before is not known, but for a first life, which has no before.
            if !self.at.closed && (stamp.epoch > 1 || hello.stand_in) {
                self.at.closed = true;
                out.push(Output::Lost(Loss { epoch: 0, from: 1, to: None, why: Why::History }, self.at));
            }
        } else {
            match self.known_end(stamp.epoch, hello) {
                Some(last) => self.lose(last, Why::EndKnown, out),
                None => self.lose_rest(Why::EndUnknown, out),
            }
        }
        self.enter(Position { epoch: stamp.epoch, instance, next: 1, closed: false });
        self.held.insert(stamp.seq, item);
        self.drain(out);
    }

    /// The end of the current epoch, where the hello tells of just this one and is just one above.
    fn known_end(&self, epoch: u64, hello: Hello) -> Option<u64> {
        let previous = hello.previous?;
        let same = previous.epoch == self.at.epoch && previous.instance == Some(self.at.instance);
        if same && previous.epoch.checked_add(1) == Some(epoch) { previous.last } else { None }
    }

    /// A message of an epoch whose hello did not come before it: that epoch is closed.
    fn close_unseen(&mut self, stamp: Stamp, instance: u64, item: T, out: &mut Vec<Output<T>>) {
        self.empty_held(Why::NoHello, out);
        let known = self.at.epoch != 0;
        if known {
            self.lose_rest(Why::NoHello, out);
        }
        let (epoch, why) = if known { (stamp.epoch, Why::NoHello) } else { (0, Why::History) };
        self.enter(Position { epoch: stamp.epoch, instance, next: 1, closed: true });
        out.push(Output::Lost(Loss { epoch, from: 1, to: None, why }, self.at));
        out.push(Output::Discard(stamp, item, Discarded::NoHello));
        out.push(Output::Passed(stamp.epoch));
    }

    fn enter(&mut self, at: Position) {
        self.at = at;
        self.missing = None;
    }

    /// Delivers all that is held, with a gap before each that does not follow.
    fn empty_held(&mut self, why: Why, out: &mut Vec<Output<T>>) {
        while let Some(first) = self.held.keys().next().copied() {
            self.lose(first - 1, why, out);
            self.drain(out);
        }
    }

    fn drain(&mut self, out: &mut Vec<Output<T>>) {
        while let Some(item) = self.held.remove(&self.at.next) {
            let stamp = Stamp { epoch: self.at.epoch, seq: self.at.next };
            self.at.next += 1;
            out.push(Output::Deliver(stamp, item, self.at));
        }
    }

    fn lose(&mut self, to: u64, why: Why, out: &mut Vec<Output<T>>) {
        if !self.at.closed && to >= self.at.next {
            let loss = Loss { epoch: self.at.epoch, from: self.at.next, to: Some(to), why };
            self.at.next = to + 1;
            out.push(Output::Lost(loss, self.at));
        }
    }

    fn lose_rest(&mut self, why: Why, out: &mut Vec<Output<T>>) {
        if !self.at.closed {
            self.at.closed = true;
            out.push(Output::Lost(Loss { epoch: self.at.epoch, from: self.at.next, to: None, why }, self.at));
        }
    }

    fn is_mine(&self, beat: &Beat) -> bool {
        beat.epoch == self.at.epoch && beat.instance == self.at.instance
    }

    /// A sign of life from an epoch that is over or closed, or that was never seen to begin, once all that was stored
    /// before it is read: its producer does not know.
    fn passed(&mut self, read_to: Option<Millis>, out: &mut Vec<Output<T>>) {
        let Some(beat) = self.beat.filter(|beat| read_to.is_some_and(|read_to| read_to > beat.heard)) else { return };
        if self.is_mine(&beat) {
            if self.at.closed {
                out.push(Output::Passed(self.at.epoch));
                self.beat = None;
            }
        } else if beat.epoch <= self.at.epoch {
            out.push(Output::Passed(self.at.epoch));
            self.beat = None;
        } else if beat.acknowledged > 0 {
            out.push(Output::Passed(beat.epoch));
            self.beat = None;
        }
    }

    /// The last stamp that must be there: below one that is held, or acknowledged as a sign of life says that was
    /// heard before `read_to`.
    fn known_to_exist(&self, read_to: Option<Millis>) -> u64 {
        let held = self.held.keys().next_back().map_or(0, |last| last - 1);
        let beat = self.beat.filter(|beat| self.is_mine(beat) && read_to.is_some_and(|read_to| read_to > beat.heard));
        held.max(beat.map_or(0, |beat| beat.acknowledged))
    }

    fn look_for_missing(&mut self, now: Millis, read_to: Option<Millis>, out: &mut Vec<Output<T>>) {
        let to = self.known_to_exist(read_to);
        if self.at.epoch == 0 || self.at.closed || (to < self.at.next && self.held.is_empty()) {
            // What a sign of life proved missing stays so until it comes.
            if self.missing.is_none_or(|missing| missing.from != self.at.next) {
                self.missing = None;
            }
            return;
        }
        if self.missing.is_none_or(|missing| missing.from != self.at.next) {
            let from = self.at.next;
            self.missing = Some(Missing { from, since: now, answer: None, coming: 0, given_up: None });
            out.push(Output::Ask { epoch: self.at.epoch, from, to });
        }
    }

    /// What is missing for too long is lost, once all that was stored by then is read.
    fn give_up(&mut self, now: Millis, read_to: Option<Millis>, out: &mut Vec<Output<T>>) {
        self.look_for_missing(now, read_to, out);
        let to = self.known_to_exist(read_to);
        let Some(missing) = self.missing.as_mut() else { return };
        if let Some((at, why)) = missing.given_up {
            if read_to.is_some_and(|read_to| read_to > at) {
                let to = self.held.keys().next().map_or(to, |first| first - 1);
                self.missing = None;
                self.lose(to, why, out);
                self.drain(out);
            }
            return;
        }
        let waited = now.saturating_sub(missing.since) >= self.limits.gap_wait;
        match missing.answer {
            Some(Answer::NotKept) => missing.given_up = Some((now, Why::NotKept)),
            Some(Answer::Coming) if waited && missing.coming >= self.limits.coming_max => {
                missing.given_up = Some((now, Why::Unreadable));
            }
            Some(Answer::Coming) if waited => {
                missing.coming += 1;
                missing.since = now;
                missing.answer = None;
                let (epoch, from) = (self.at.epoch, missing.from);
                out.push(Output::Ask { epoch, from, to: to.max(from) });
            }
            None if waited => missing.given_up = Some((now, Why::NoAnswer)),
            Some(Answer::Coming) | None => {}
        }
    }
}
