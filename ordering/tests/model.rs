//! Every story of a small producer, a stream that reorders, repeats, loses and is asked again, and a [`Reorder`] that
//! is restarted where its last output stood. The properties are told from the producer's and the stream's side.

use std::collections::BTreeSet;

use ordering::{Answer, Beat, Hello, Input, Limits, Loss, Output, Position, Previous, Reorder, Stamp, Why};
use stateright::{Checker, Model, Property};

/// Room for epochs, 0 and one more than any story has included.
const EPOCHS: usize = 5;
const LIMITS: Limits = Limits { held_max: 1, gap_wait: 1, coming_max: 1 };

/// How long stories are.
struct Story {
    /// Most stamps, by epoch.
    stamps: [u64; EPOCHS],
    now_max: u64,
    beats: u8,
    repeats: u8,
    ruins: u8,
    restarts: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Stored {
    stamp: Stamp,
    at: u64,
    /// It can be read.
    whole: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Asked {
    epoch: u64,
    from: u64,
    to: u64,
    at: u64,
}

/// What stands in the record so far: all of each epoch before, and this epoch up to `next`, or to its end if open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Covered {
    epoch: u64,
    next: u64,
    open: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    now: u64,
    epoch: u64,
    /// Which lives know the end of the one before.
    end_known: [bool; EPOCHS],
    /// Stamps given, by epoch.
    given: [u64; EPOCHS],
    acknowledged: BTreeSet<Stamp>,
    flying: BTreeSet<Stamp>,
    stream: Vec<Stored>,
    beats: u8,
    repeats: u8,
    ruins: u8,
    restarts: u8,
    reorder: Reorder<usize>,
    saved: Position,
    /// How much of the stream is read.
    read: usize,
    /// When the stream's end was looked at, and where it was.
    looked: Option<(u64, usize)>,
    asked: Option<Asked>,
    unanswered: bool,
    /// From when on the producer had none of what was asked for.
    not_kept: Option<Asked>,
    passed: u64,
    covered: Covered,
    broken: BTreeSet<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Action {
    Send,
    Store { stamp: Stamp, acknowledged: bool },
    Ruin(usize),
    NextLife { end_known: bool },
    Read,
    Beat,
    Look,
    Wake,
    Answer(Answer),
    Restart,
}

fn index(epoch: u64) -> usize {
    usize::try_from(epoch).expect("few epochs")
}

impl World {
    fn new(story: &Story) -> Self {
        Self {
            now: 0,
            epoch: 1,
            end_known: [false; EPOCHS],
            given: [0; EPOCHS],
            acknowledged: BTreeSet::new(),
            flying: BTreeSet::new(),
            stream: Vec::new(),
            beats: story.beats,
            repeats: story.repeats,
            ruins: story.ruins,
            restarts: story.restarts,
            reorder: Reorder::new(LIMITS, Position::default()),
            saved: Position::default(),
            read: 0,
            looked: None,
            asked: None,
            unanswered: false,
            not_kept: None,
            passed: 0,
            covered: Covered { epoch: 0, next: 1, open: false },
            broken: BTreeSet::new(),
        }
    }

    fn given(&self, epoch: u64) -> u64 {
        self.given[index(epoch)]
    }

    fn acknowledged(&self) -> u64 {
        let epoch = self.epoch;
        (1..).take_while(|seq| self.acknowledged.contains(&Stamp { epoch, seq: *seq })).last().unwrap_or(0)
    }

    fn send(&mut self) {
        let given = &mut self.given[index(self.epoch)];
        *given += 1;
        self.flying.insert(Stamp { epoch: self.epoch, seq: *given });
    }

    fn store(&mut self, stamp: Stamp, acknowledged: bool) {
        self.stream.push(Stored { stamp, at: self.now, whole: true });
        if acknowledged {
            self.flying.remove(&stamp);
            self.acknowledged.insert(stamp);
        }
    }

    fn hello(&self, stamp: Stamp) -> Option<Hello> {
        let epoch = stamp.epoch - 1;
        let last = self.end_known[index(stamp.epoch)].then(|| self.given(epoch));
        let previous = (epoch > 0).then_some(Previous { epoch, instance: Some(epoch), last });
        (stamp.seq == 1).then_some(Hello { previous, stand_in: false })
    }

    fn step(&mut self, input: Input<usize>) {
        let mut inside: BTreeSet<usize> = self.reorder.held().copied().collect();
        if let Input::Arrive { item, .. } = &input {
            inside.insert(*item);
        }
        let mut out = Vec::new();
        self.reorder.step(self.now, input, &mut out);
        let held = self.reorder.held().copied();
        let said = out.iter().filter_map(|output| match output {
            Output::Deliver(_, item, _) | Output::Discard(_, item, _) => Some(*item),
            Output::Lost(..) | Output::Ask { .. } | Output::Passed(_) => None,
        });
        let outside: Vec<usize> = held.chain(said).collect();
        let once = outside.len() == inside.len() && outside.into_iter().collect::<BTreeSet<_>>() == inside;
        self.hold(once, "nothing_disappears");
        self.hold(self.reorder.held().count() <= LIMITS.held_max, "bounded");
        for output in out {
            self.take(&output);
        }
    }

    fn take(&mut self, output: &Output<usize>) {
        match *output {
            Output::Deliver(stamp, item, at) => {
                self.saved = at;
                self.hold(self.stream[item].stamp == stamp, "nothing_disappears");
                self.cover(stamp.epoch, stamp.seq, Some(stamp.seq));
            }
            Output::Lost(loss, at) => {
                self.saved = at;
                self.hold(!self.is_needless(loss), "no_needless_gap");
                self.cover(loss.epoch, loss.from, loss.to);
            }
            Output::Ask { epoch, from, to } => {
                self.asked = Some(Asked { epoch, from, to, at: self.now });
                self.unanswered = true;
            }
            Output::Passed(epoch) => self.passed = epoch,
            Output::Discard(..) => {}
        }
    }

    fn hold(&mut self, holds: bool, property: &'static str) {
        if !holds {
            self.broken.insert(property);
        }
    }

    /// What comes next in the record must be just what follows.
    fn cover(&mut self, epoch: u64, from: u64, to: Option<u64>) {
        let Covered { epoch: at, next, open } = self.covered;
        // An epoch is over when all of it stands there, and none was between; or an open gap says that it is.
        let over = open || (epoch == at + 1 && next > self.given(at));
        let follows = if epoch == at { from == next && !open } else { epoch > at && from == 1 && over };
        self.hold(follows, "covers_in_order");
        self.covered = Covered { epoch, next: to.map_or(from, |to| to + 1), open: to.is_none() };
    }

    /// A stamp that was never given; or one that could be read when the producer said that it has it no more, or when
    /// the wait for its word began.
    fn is_needless(&self, loss: Loss) -> bool {
        let Some(to) = loss.to else { return false };
        let since = match loss.why {
            Why::NotKept => self.not_kept,
            Why::NoAnswer | Why::Unreadable => self.asked,
            Why::HeldFull | Why::EndKnown | Why::EndUnknown | Why::NoHello | Why::History | Why::StreamCut => None,
        };
        let lost = |stamp: Stamp| stamp.epoch == loss.epoch && (loss.from..=to).contains(&stamp.seq);
        let lies_there =
            |asked: Asked| self.stream.iter().any(|stored| stored.whole && lost(stored.stamp) && stored.at <= asked.at);
        to > self.given(loss.epoch) || since.is_some_and(lies_there)
    }

    fn read(&mut self) {
        let stored = self.stream[self.read];
        self.read += 1;
        if stored.whole {
            let (stamp, item) = (stored.stamp, self.read - 1);
            self.step(Input::Arrive { stamp, instance: stamp.epoch, hello: self.hello(stamp), item });
        }
    }

    fn beat(&mut self) {
        let (epoch, acknowledged, heard) = (self.epoch, self.acknowledged(), self.now);
        self.step(Input::Beat(Beat { epoch, instance: epoch, acknowledged, heard }));
    }

    fn look(&mut self) {
        self.now += 1;
        self.looked = Some((self.now, self.stream.len()));
    }

    fn wake(&mut self) {
        self.now += 1;
        let read_to = self.looked.filter(|(_, end)| self.read >= *end).map(|(at, _)| at);
        self.step(Input::Wake { read_to });
    }

    fn answer(&mut self, answer: Answer) {
        let Some(asked) = self.asked else { return };
        let Asked { epoch, from, to, .. } = asked;
        match answer {
            Answer::Coming => {
                let kept = (from..=to.min(self.given(epoch))).map(|seq| Stamp { epoch, seq });
                self.flying.extend(kept);
            }
            Answer::NotKept => self.not_kept = Some(Asked { at: self.now, ..asked }),
        }
        self.step(Input::Answer { epoch, from, answer });
    }

    fn next_life(&mut self, end_known: bool) {
        self.epoch += 1;
        self.end_known[index(self.epoch)] = end_known;
    }

    fn restart(&mut self) {
        // What was held is read again, and all that came after it.
        self.read = self.reorder.held().min().copied().unwrap_or(self.read);
        self.reorder = Reorder::new(LIMITS, self.saved);
        (self.looked, self.asked) = (None, None);
    }

    /// Nothing more goes wrong: everything arrives, is asked for and answered. Is all that was acknowledged covered?
    fn can_finish(&self) -> bool {
        let mut world = self.clone();
        for _ in 0..12 {
            if world.given(world.epoch) == 0 {
                world.send();
            }
            while let Some(stamp) = world.flying.first().copied() {
                world.store(stamp, true);
            }
            while world.read < world.stream.len() {
                world.read();
            }
            let Covered { epoch, next, open } = world.covered;
            let stands = |stamp: &Stamp| stamp.epoch < epoch || (stamp.epoch == epoch && (open || stamp.seq < next));
            if world.acknowledged.iter().all(stands) {
                return true;
            }
            world.beat();
            world.look();
            world.wake();
            world.answer(Answer::NotKept);
            if world.passed >= world.epoch && world.epoch < 4 {
                world.next_life(true);
            }
        }
        false
    }
}

impl Model for Story {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let most = self.stamps[index(world.epoch)];
        let given = world.given(world.epoch);
        // A producer says nothing more before its hello is acknowledged.
        if given < most && (given == 0 || world.acknowledged.contains(&Stamp { epoch: world.epoch, seq: 1 })) {
            actions.push(Action::Send);
        }
        for stamp in world.flying.iter().copied() {
            actions.push(Action::Store { stamp, acknowledged: true });
            if world.repeats > 0 {
                actions.push(Action::Store { stamp, acknowledged: false });
            }
        }
        if world.ruins > 0 {
            actions.extend((world.read..world.stream.len()).map(Action::Ruin));
        }
        if given > 0 && self.stamps[index(world.epoch + 1)] > 0 {
            actions.extend([true, false].map(|end_known| Action::NextLife { end_known }));
        }
        if world.read < world.stream.len() {
            actions.push(Action::Read);
        }
        // Time that nobody waits for changes nothing.
        let (due, wanted) = (world.reorder.deadline().is_some(), world.reorder.wants_read_to().is_some());
        if world.now < self.now_max && (due || wanted) {
            actions.push(Action::Wake);
        }
        if world.now < self.now_max && wanted {
            actions.push(Action::Look);
        }
        if world.beats > 0 && given > 0 {
            actions.push(Action::Beat);
        }
        if let Some(asked) = world.asked.filter(|_| world.unanswered) {
            actions.push(Action::Answer(Answer::NotKept));
            if asked.epoch == world.epoch {
                actions.push(Action::Answer(Answer::Coming));
            }
        }
        if world.restarts > 0 {
            actions.push(Action::Restart);
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        match action {
            Action::Send => world.send(),
            Action::Store { stamp, acknowledged } => {
                world.repeats -= u8::from(!acknowledged);
                world.store(stamp, acknowledged);
            }
            Action::Ruin(index) => {
                world.ruins -= 1;
                world.stream[index].whole = false;
            }
            Action::NextLife { end_known } => world.next_life(end_known),
            Action::Read => world.read(),
            Action::Beat => {
                world.beats -= 1;
                world.beat();
            }
            Action::Look => world.look(),
            Action::Wake => world.wake(),
            Action::Answer(answer) => {
                world.answer(answer);
                world.unanswered = false;
            }
            Action::Restart => {
                world.restarts -= 1;
                world.restart();
            }
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("covers_in_order", |_, world: &World| !world.broken.contains("covers_in_order")),
            Property::always("nothing_disappears", |_, world: &World| !world.broken.contains("nothing_disappears")),
            Property::always("bounded", |_, world: &World| !world.broken.contains("bounded")),
            Property::always("no_needless_gap", |_, world: &World| !world.broken.contains("no_needless_gap")),
            Property::always("can_finish", |_, world: &World| world.can_finish()),
            Property::sometimes("all goes well", |_, world: &World| {
                let stamps = world.given(world.epoch);
                stamps > 1 && world.covered == Covered { epoch: world.epoch, next: stamps + 1, open: false }
            }),
        ]
    }
}

fn check(story: Story) {
    story.checker().spawn_bfs().join().assert_properties();
}

#[test]
fn a_life_with_losses() {
    check(Story { stamps: [0, 3, 0, 0, 0], now_max: 4, beats: 1, repeats: 0, ruins: 1, restarts: 0 });
}

#[test]
fn a_short_life_with_long_waits() {
    check(Story { stamps: [0, 2, 0, 0, 0], now_max: 7, beats: 1, repeats: 0, ruins: 1, restarts: 0 });
}

#[test]
fn two_lives_with_repeats_and_a_restart() {
    check(Story { stamps: [0, 4, 1, 0, 0], now_max: 0, beats: 0, repeats: 1, ruins: 0, restarts: 1 });
}

#[test]
fn two_lives_with_losses_and_a_restart() {
    check(Story { stamps: [0, 2, 1, 0, 0], now_max: 4, beats: 1, repeats: 0, ruins: 1, restarts: 1 });
}

#[test]
fn three_lives() {
    check(Story { stamps: [0, 2, 1, 1, 0], now_max: 0, beats: 0, repeats: 0, ruins: 1, restarts: 1 });
}
