//! Recovery from the records alone: whatever is left of them, reading on from there ends where an uncut life ends.

use domain::node::GapRange;
use domain::observation::{EngineEvent, SpoolPlace};

use super::*;

const SEEDS: u64 = 40;
const NODES: [&str; 2] = ["n1", "n2"];

/// Numbers that look random, the same for each seed (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % end
    }
}

/// What one node says in a few lives; messages come late, twice, or not at all.
fn speech(dice: &mut Dice, name: &str) -> (Vec<Batch>, Heartbeat) {
    let (mut said, mut last) = (Vec::new(), 0);
    let lives = 1 + dice.below(3);
    let mut position = 0;
    for epoch in 1..=lives {
        let known = dice.below(3) > 0;
        let previous = (epoch > 1 && known).then_some((epoch - 1, last));
        let mut observed = vec![hello(previous)];
        let mut tick = 0;
        for _ in 0..3 + dice.below(5) {
            // Looks at different containers overtake each other.
            tick += 2;
            let number = u8::try_from(dice.below(4)).expect("few containers");
            let as_of = tick - dice.below(2) * dice.below(tick);
            match dice.below(8) {
                0..=2 => observed.push(running(number, as_of)),
                3 => observed.push(exited(number, as_of)),
                4 => observed.push(removed(number, as_of)),
                5 => observed.push(Observed::Event(id(number))),
                _ => {
                    observed.push(stating());
                    let ids: Vec<u8> = (0..4).filter(|_| dice.below(2) > 0).collect();
                    observed.extend(ids.iter().map(|number| running(*number, tick + 1)));
                    let parts = 1 + u32::try_from(dice.below(2)).expect("few parts");
                    let (first, rest) = ids.split_at(ids.len() / 2);
                    match (parts, dice.below(4)) {
                        (_, 0) => observed.push(partial(tick, &ids)),
                        (1, _) => observed.push(listed(tick, &ids)),
                        _ => observed.extend([part(tick, first, 0, 2), part(tick, rest, 1, 2)]),
                    }
                    tick += 2;
                }
            }
        }
        last = u64::try_from(observed.len()).expect("a length fits");
        let mut life = messages(dice, name, epoch, observed, &mut position);
        disturb(dice, &mut life);
        said.extend(life);
    }
    (said, beat(name, lives, last))
}

fn messages(dice: &mut Dice, name: &str, epoch: u64, observed: Vec<Observed>, position: &mut u64) -> Vec<Batch> {
    let mut whole = batch(epoch, 1, observed);
    whole.node = node(name);
    for observation in &mut whole.observations {
        match &mut observation.observed {
            Observed::Container(state) | Observed::Removed(state) => state.node = node(name),
            Observed::Event(_) => {
                let action = "die".to_owned();
                let (time, signal, exit_code, exec_duration_seconds) = (None, None, None, None);
                observation.event =
                    Some(EngineEvent { action, time, signal, exit_code, exec_duration_seconds, replayed: false });
                // Some stood in the spool of the life before.
                *position += dice.below(2);
                observation.spool_place = Some(SpoolPlace { spool_id: 1, position: (*position).max(1) });
            }
            Observed::Hello(_)
            | Observed::Stating(_)
            | Observed::Listed(_)
            | Observed::Blind(_)
            | Observed::Gap(_)
            | Observed::Correction(_)
            | Observed::Nothing => {}
        }
    }
    let mut life = Vec::new();
    while !whole.observations.is_empty() {
        let size = (1 + dice.below(3)).min(whole.observations.len() as u64);
        let rest = whole.observations.split_off(usize::try_from(size).expect("a length fits"));
        // All looks of what is sent later began later.
        let later = rest.iter().filter_map(|observation| {
            let (Observed::Container(state) | Observed::Removed(state)) = &observation.observed else { return None };
            Some(state.as_of)
        });
        let as_of_floor = later.min().unwrap_or(0);
        let observations = std::mem::replace(&mut whole.observations, rest);
        life.push(Batch { as_of_floor, observations, ..whole.clone() });
        whole.first_seq += size;
    }
    life
}

fn disturb(dice: &mut Dice, life: &mut Vec<Batch>) {
    for index in 1..life.len() {
        // A producer says nothing more before its hello is stored, so that stays first.
        let other = index.saturating_sub(usize::try_from(dice.below(3)).expect("few")).max(1);
        life.swap(index, other);
    }
    if life.len() > 2 && dice.below(2) > 0 {
        let twice = life[1].clone();
        life.push(twice);
    }
    if life.len() > 2 && dice.below(2) > 0 {
        let lost = dice.below(life.len() as u64 - 1) + u64::from(dice.below(6) > 0);
        life.remove(usize::try_from(lost).expect("an index fits").min(life.len() - 1));
    }
}

/// What both nodes say, as it lies in the stream.
fn stream(dice: &mut Dice) -> (Vec<Batch>, Vec<Heartbeat>) {
    let (said, beats): (Vec<_>, Vec<_>) = NODES.iter().map(|name| speech(dice, name)).unzip();
    let mut said: Vec<_> = said.into_iter().map(Vec::into_iter).collect();
    let mut raw = Vec::new();
    while said.iter().any(|rest| rest.len() > 0) {
        let index = usize::try_from(dice.below(2)).expect("few");
        raw.extend(said[index].next());
    }
    (raw, beats)
}

/// All is read; what is missing is not kept; then silence.
fn finish(desk: &mut Desk, beats: &[Heartbeat]) {
    for beat in beats {
        desk.step(Input::Beat(beat.clone()));
    }
    for _ in 0..60 {
        desk.wait(1);
        for effect in desk.partition.take_effects() {
            if let Effect::Replay { node, epoch, from, .. } = effect {
                desk.step(Input::Answered { node, epoch, from, answer: Answer::NotKept });
            }
        }
    }
    desk.wait(2000);
}

/// The records of one node cover 1, 2, 3… of each epoch, in order, each once.
fn check_order(records: &[Record], name: &str, at: &str) {
    let (mut epoch, mut next) = (0, Some(1));
    for record in records.iter().filter(|record| record.node == node(name)) {
        let (of, from, to) = match (&record.stamp, &record.subject) {
            (Some(stamp), _) => (stamp.epoch, stamp.seq, Some(stamp.seq)),
            (None, Subject::Gap(gap)) => match gap.range {
                GapRange::Stamps { epoch, from, to } => (epoch, from, to),
                GapRange::Engine { .. } => continue,
            },
            (None, _) => continue,
        };
        let follows = if of == epoch { Some(from) == next } else { of > epoch && from == 1 };
        assert!(follows, "{at}: {name} {}", tell(record));
        (epoch, next) = (of, to.map(|to| to + 1));
    }
}

/// What the last records say, and that no container stepped back on the way.
fn states(records: &[Record], at: &str) -> BTreeMap<(NodeName, ContainerId), Container> {
    let mut states = BTreeMap::<_, Container>::new();
    for record in records {
        if let Subject::Container(state) = &record.subject {
            let before = states.insert((record.node.clone(), state.id), (**state).clone());
            assert!(before.is_none_or(|before| before.freshness() <= state.freshness()), "{at}: {}", tell(record));
        }
    }
    states
}

/// What is told of a node. Of a container that is gone a new life may know more than the old one still did: both say
/// that nothing changes.
fn words(records: &[Record], name: &str) -> Vec<String> {
    let word = |record: &Record| match &record.subject {
        Subject::Event(_) | Subject::Node(NodeChange::Repeat) => format!("{:?} nothing", record.stamp),
        Subject::Container(_) if record.removed => format!("{:?} nothing", record.stamp),
        Subject::Container(_) | Subject::Node(_) | Subject::Gap(_) | Subject::Correction(_) => tell(record),
    };
    records.iter().filter(|record| record.node == node(name)).map(word).collect()
}

/// A cut between two parts of a list that lie in the stream in another order: the last is read before the others come by
/// once more, so the list is not taken for whole, and another statement is asked for.
fn is_doubted(records: &[Record], uncut: &[Record], at: &str) -> bool {
    let is_whole = |record: &Record| tell(record).ends_with("listed whole");
    let mut ends = uncut.iter().filter(|record| is_whole(record)).filter_map(|end| {
        records.iter().find(|record| (&record.node, record.stamp) == (&end.node, end.stamp) && !is_whole(record))
    });
    ends.clone().for_each(|end| assert!(end.node_state.needs_statement, "{at}: {}", tell(end)));
    ends.next().is_some()
}

#[test]
fn a_life_that_begins_anywhere_ends_where_an_uncut_one_ends() {
    let (mut cuts, mut doubts, mut gaps, mut removals) = (0, 0, 0, 0);
    for seed in 1..=SEEDS {
        let mut dice = Dice(seed * 0x9E37_79B9);
        let (raw, beats) = stream(&mut dice);
        let mut uncut = Desk::recover(raw.clone(), Vec::new(), false);
        let read = uncut.records.len();
        finish(&mut uncut, &beats);
        let expected = states(&uncut.records, "uncut");
        gaps += uncut.records.iter().filter(|record| matches!(record.subject, Subject::Gap(_))).count();
        removals += uncut.records.iter().filter(|record| tell(record).starts_with('c')).count();
        NODES.iter().for_each(|name| check_order(&uncut.records, name, "uncut"));
        for length in 0..=read {
            let at = format!("seed {seed}, cut after record {length}");
            let mut desk = Desk::recover(raw.clone(), uncut.records[..length].to_vec(), false);
            // It is cut once more, anywhere behind.
            let behind = desk.records.len() - length;
            desk.records.truncate(length + behind / 2);
            let mut desk = Desk::recover(raw.clone(), desk.records, false);
            finish(&mut desk, &beats);
            NODES.iter().for_each(|name| check_order(&desk.records, name, &at));
            cuts += 1;
            if is_doubted(&desk.records, &uncut.records, &at) {
                doubts += 1;
                continue;
            }
            for name in NODES {
                assert_eq!(words(&desk.records, name), words(&uncut.records, name), "{at}");
            }
            assert_eq!(states(&desk.records, &at), expected, "{at}");
        }
    }
    assert!(doubts * 5 < cuts, "{doubts} of {cuts} cuts cost a statement");
    assert!(cuts > 500 && gaps > 20 && removals > 20, "{cuts} cuts, {gaps} gaps, {removals} removals");
}
