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
    /// A request to publish again was answered.
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
    /// Last stamp that was asked for, once it was.
    asked_to: Option<u64>,
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
    /// All of this epoch up to here was stored, by a sign of life that was followed by reading all that was stored
    /// before it.
    proven: u64,
    missing: Option<Missing>,
}

impl<T> Reorder<T> {
    /// A node that stands there; [`Position::default`] for one that is new.
    pub fn new(limits: Limits, at: Position) -> Self {
        Self { limits, at, held: BTreeMap::new(), beat: None, proven: 0, missing: None }
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
        let wait_end = missing.since.saturating_add(self.limits.gap_wait);
        Some(match (missing.given_up, missing.answer) {
            (Some((at, _)), _) => at,
            (None, Some(Answer::NotKept)) => missing.since,
            (None, Some(Answer::Coming) | None) => {
                if missing.asked_to.is_some() {
                    wait_end
                } else {
                    missing.since
                }
            }
        })
    }

    /// A gap, or what a sign of life says, waits for this: that all is read which was stored before this moment.
    pub fn wants_read_to(&self) -> Option<Millis> {
        self.missing.and_then(|missing| missing.given_up).map(|(at, _)| at).or_else(|| {
            let beat = self.beat?;
            let tells = beat.acknowledged >= self.at.next && beat.acknowledged > self.proven;
            let counts = !self.is_mine(&beat) || self.at.closed || tells;
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
                self.believe(read_to, out);
                self.look_for_missing(now);
                self.pursue(now, read_to, out);
            }
        }
        self.look_for_missing(now);
    }

    fn arrive(&mut self, stamp: Stamp, instance: u64, hello: Option<Hello>, item: T, out: &mut Vec<Output<T>>) {
        // No stamp has the number 0: nothing could come before it.
        if stamp.epoch > self.at.epoch && stamp.seq > 0 {
            return match hello {
                Some(hello) => self.begin(stamp, instance, hello, item, out),
                None => self.close_unseen(stamp, instance, item, out),
            };
        }
        let discarded = if stamp.epoch < self.at.epoch || stamp.epoch == 0 {
            Some(Discarded::OldEpoch)
        } else if stamp.seq == 0 {
            Some(Discarded::Repeated)
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
        let end = self.known_end(stamp.epoch, hello);
        let why = if end.is_some() { Why::EndKnown } else { Why::EndUnknown };
        self.empty_held(why, out);
        if self.at.epoch > 0 {
            match end {
                Some(last) => self.lose(last, why, out),
                None => self.lose_rest(why, out),
            }
        } else if !self.at.closed && (stamp.epoch > 1 || hello.stand_in) {
            // What an unknown node said before is not known, but for a first life, which has no before.
            self.at.closed = true;
            out.push(Output::Lost(Loss { epoch: 0, from: 1, to: None, why: Why::History }, self.at));
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
        // A gap for all that came before the first hello may stand there already.
        let known = self.at.epoch > 0 || self.at.closed;
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
        self.proven = 0;
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

    /// A sign of life counts once all is read that was stored before it. It proves stamps of this epoch; from an epoch
    /// that is over or closed, or that was never seen to begin, it tells that its producer does not know.
    fn believe(&mut self, read_to: Option<Millis>, out: &mut Vec<Output<T>>) {
        let Some(beat) = self.beat.filter(|beat| read_to.is_some_and(|read_to| read_to > beat.heard)) else { return };
        let passed = if self.is_mine(&beat) {
            self.proven = self.proven.max(beat.acknowledged);
            self.at.closed.then_some(self.at.epoch)
        } else if beat.epoch <= self.at.epoch {
            // No more than that is told: whoever is right to go on from there may be the one who hears it.
            Some(beat.epoch)
        } else {
            (beat.acknowledged > 0).then_some(beat.epoch)
        };
        if let Some(epoch) = passed {
            out.push(Output::Passed(epoch));
            self.beat = None;
        }
    }

    /// The last stamp before the first that is held, or the last that is proven where none is held: what is missing
    /// ends there.
    fn missing_end(&self) -> u64 {
        self.held.keys().next().map_or(self.proven, |first| first - 1)
    }

    fn look_for_missing(&mut self, now: Millis) {
        let from = self.at.next;
        if self.at.epoch == 0 || self.at.closed || self.missing_end() < from {
            self.missing = None;
        } else if self.missing.is_none_or(|missing| missing.from != from) {
            let missing = Missing { from, since: now, asked_to: None, answer: None, coming: 0, given_up: None };
            self.missing = Some(missing);
        }
    }

    /// What is missing is asked for, then waited for. What is given up is lost once all that was stored by then is read.
    fn pursue(&mut self, now: Millis, read_to: Option<Millis>, out: &mut Vec<Output<T>>) {
        let (epoch, to, limits) = (self.at.epoch, self.missing_end(), self.limits);
        let Some(missing) = self.missing.as_mut() else { return };
        if let Some((at, why)) = missing.given_up {
            if read_to.is_some_and(|read_to| read_to > at) {
                // What was proven since was not asked for: it is missing for itself.
                let to = missing.asked_to.map_or(to, |asked_to| asked_to.min(to));
                self.lose(to, why, out);
                self.drain(out);
            }
            return;
        }
        let waited = now.saturating_sub(missing.since) >= limits.gap_wait;
        match missing.answer {
            Some(Answer::NotKept) => missing.given_up = Some((now, Why::NotKept)),
            Some(Answer::Coming) if waited && missing.coming >= limits.coming_max => {
                missing.given_up = Some((now, Why::Unreadable));
            }
            Some(Answer::Coming) if waited => {
                *missing =
                    Missing { since: now, asked_to: Some(to), answer: None, coming: missing.coming + 1, ..*missing };
                out.push(Output::Ask { epoch, from: missing.from, to });
            }
            // What comes late by a few messages needs no asking: it is here before the next wake.
            None if missing.asked_to.is_none() => {
                missing.asked_to = Some(to);
                out.push(Output::Ask { epoch, from: missing.from, to });
            }
            None if waited => missing.given_up = Some((now, Why::NoAnswer)),
            Some(Answer::Coming) | None => {}
        }
    }
}

#[cfg(test)]
mod tests;
