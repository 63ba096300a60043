//! Stories of several instances over one bucket, in steps of half a second of one clock.

use super::*;

const LOOK: Duration = Duration::from_millis(500);

struct Key {
    revision: u64,
    value: Value,
    written: Instant,
}

struct Actor {
    me: Instance,
    roster: Roster,
    mine: Vec<Mine>,
    /// Until when each lease is believed in.
    until: Vec<Option<Instant>>,
    own: u64,
    is_there: bool,
    /// It is a member, and takes nothing for all that.
    is_lazy: bool,
}

struct World {
    now: Instant,
    revision: u64,
    leases: BTreeMap<usize, Key>,
    members: BTreeMap<Instance, Key>,
    actors: Vec<Actor>,
    partitions: usize,
    /// How often a lease went to another holder.
    moves: usize,
}

impl World {
    fn new(partitions: usize) -> Self {
        let (leases, members) = (BTreeMap::new(), BTreeMap::new());
        Self { now: Instant::now(), revision: 0, leases, members, actors: Vec::new(), partitions, moves: 0 }
    }

    fn join(&mut self, number: u64) {
        let (me, count) = (Instance(number), self.partitions);
        let mine = vec![Mine { healthy: true, working: false }; count];
        let roster = Roster::new(me, count);
        self.actors.push(Actor { me, roster, mine, until: vec![None; count], own: 0, is_there: true, is_lazy: false });
    }

    fn actor(&mut self, number: u64) -> &mut Actor {
        self.actors.iter_mut().find(|actor| actor.me == Instance(number)).expect("it joined")
    }

    fn kill(&mut self, number: u64) {
        self.actor(number).is_there = false;
    }

    /// A clean end.
    fn end(&mut self, number: u64) {
        let index = self.actors.iter().position(|actor| actor.me == Instance(number)).expect("it joined");
        let mut actor = self.actors.remove(index);
        self.members.remove(&actor.me);
        for mine in &mut actor.mine {
            mine.working = false;
        }
        let steps = actor.roster.last_steps(self.now, &actor.mine);
        self.act(&mut actor, &steps);
    }

    fn go_on(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += LOOK;
            let mut actors = std::mem::take(&mut self.actors);
            for actor in actors.iter_mut().filter(|actor| actor.is_there) {
                self.look(actor);
            }
            self.actors = actors;
            for partition in 0..self.partitions {
                let believe = self.actors.iter().filter(|actor| {
                    actor.is_there
                        && actor.mine[partition].working
                        && actor.until[partition].is_some_and(|until| self.now < until)
                });
                assert!(believe.count() <= 1, "two work on partition {partition}");
            }
        }
    }

    fn look(&mut self, actor: &mut Actor) {
        let joins = actor.mine.iter().all(|mine| mine.healthy);
        if joins && (self.members.get(&actor.me).is_none_or(|key| self.now - key.written >= RAISE_AFTER)) {
            self.revision += 1;
            let value = Value { holder: Some(actor.me), counter: 0 };
            self.members.insert(actor.me, Key { revision: self.revision, value, written: self.now });
            actor.own = self.revision;
        }
        let now = self.now;
        let found = |key: &Key| Found { revision: key.revision, value: Some(key.value), age: Some(now - key.written) };
        let leases = self.leases.iter().map(|(partition, key)| (*partition, found(key))).collect();
        let members = self.members.iter().map(|(member, key)| (*member, found(key))).collect();
        actor.roster.take_in(now, &leases, &members);
        let steps = actor.roster.steps(now, &actor.mine, joins);
        self.act(actor, &steps);
        for (member, _) in actor.roster.forgotten(now) {
            self.members.remove(&member);
        }
    }

    fn act(&mut self, actor: &mut Actor, steps: &[Step]) {
        for (partition, step) in steps.iter().enumerate() {
            let (revision, value) = match step {
                Step::Nothing => continue,
                Step::Drain => {
                    // The work ends until the next look.
                    (actor.until[partition], actor.mine[partition].working) = (None, false);
                    continue;
                }
                Step::Write if actor.is_lazy => continue,
                Step::Write => actor.roster.next(partition),
                Step::Release => {
                    actor.until[partition] = None;
                    actor.roster.last(partition)
                }
            };
            let before = self.leases.get(&partition);
            if before.map_or(0, |key| key.revision) != revision {
                actor.roster.lost(self.now, partition);
                (actor.until[partition], actor.mine[partition].working) = (None, false);
                continue;
            }
            if value.holder.is_some() && before.is_some_and(|key| key.value.holder != value.holder) {
                self.moves += 1;
            }
            self.revision += 1;
            self.leases.insert(partition, Key { revision: self.revision, value, written: self.now });
            actor.roster.wrote(partition, self.now, self.revision, value);
            if value.holder.is_some() && !actor.roster.is_drained(partition) {
                actor.until[partition] = Some(self.now + TAKE_AFTER);
                actor.mine[partition].working = true;
            }
        }
    }

    /// Who works on each partition; 0 for nobody.
    fn at_work(&self) -> Vec<u64> {
        let works = |actor: &&Actor, partition: usize| {
            actor.is_there
                && actor.mine[partition].working
                && actor.until[partition].is_some_and(|until| self.now < until)
        };
        let at_work = (0..self.partitions)
            .map(|partition| self.actors.iter().find(|actor| works(actor, partition)).map_or(0, |actor| actor.me.0));
        at_work.collect()
    }

    fn counts(&self, numbers: &[u64]) -> Vec<usize> {
        let at_work = self.at_work();
        numbers.iter().map(|number| at_work.iter().filter(|who| *who == number).count()).collect()
    }
}

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_first_takes_all_and_the_next_gets_its_share() {
    let mut world = World::new(4);
    world.join(1);
    world.go_on(LOOK);
    assert_eq!(world.at_work(), [1; 4]);
    world.join(2);
    world.go_on(s(3));
    assert_eq!((world.counts(&[1, 2]), world.moves), (vec![2, 2], 2));
    world.join(3);
    world.go_on(s(3));
    assert_eq!(world.counts(&[1, 2, 3]).iter().sum::<usize>(), 4);
    assert_eq!(world.counts(&[3]), [1], "one more moved, and no other");
    assert_eq!(world.moves, 3);
    world.go_on(s(60));
    assert_eq!(world.moves, 3, "nothing moves by itself");
}

#[test]
fn who_starts_at_once_shares_from_the_start() {
    let mut world = World::new(8);
    (1..=3).for_each(|number| world.join(number));
    world.go_on(s(4));
    let mut counts = world.counts(&[1, 2, 3]);
    counts.sort_unstable();
    assert_eq!(counts, [2, 3, 3]);
    assert!(world.moves <= 5, "{}", world.moves);
}

#[test]
fn what_a_dead_one_held_is_taken_within_five_seconds() {
    let mut world = World::new(4);
    (1..=3).for_each(|number| world.join(number));
    world.go_on(s(10));
    world.kill(2);
    world.go_on(s(5));
    assert!(!world.at_work().contains(&0), "{:?}", world.at_work());
    assert_eq!(world.counts(&[1, 3]), [2, 2]);
}

#[test]
fn what_is_given_back_is_taken_at_the_next_look() {
    let mut world = World::new(4);
    (1..=2).for_each(|number| world.join(number));
    world.go_on(s(10));
    world.end(1);
    world.go_on(LOOK);
    assert_eq!(world.at_work(), [2; 4]);
}

#[test]
fn who_died_long_ago_is_never_taken_for_alive() {
    let mut world = World::new(4);
    world.join(1);
    world.go_on(s(10));
    world.kill(1);
    world.go_on(s(5));
    world.join(2);
    // The lease is watched for its time, the instance is known to be gone: nothing waits for it.
    world.go_on(s(5));
    assert_eq!(world.at_work(), [2; 4]);
    world.go_on(s(61));
    assert_eq!(world.members.keys().collect::<Vec<_>>(), [&Instance(2)], "its key is removed");
}

#[test]
fn what_another_does_not_come_for_is_taken_and_kept() {
    let mut world = World::new(2);
    world.join(1);
    world.go_on(s(2));
    world.join(2);
    world.actor(2).is_lazy = true;
    world.go_on(s(5));
    assert_eq!(world.at_work(), [1; 2], "given up for the other, and taken again");
    let moves = world.moves;
    world.go_on(s(20));
    assert_eq!((world.at_work(), world.moves), (vec![1; 2], moves), "it does not flap");
    world.actor(2).is_lazy = false;
    world.go_on(s(15));
    assert_eq!(world.counts(&[1, 2]), [1, 1]);
}

#[test]
fn who_is_not_well_keeps_what_it_can_and_takes_nothing() {
    let mut world = World::new(4);
    (1..=2).for_each(|number| world.join(number));
    world.go_on(s(10));
    let sick = world.at_work().iter().position(|who| *who == 1).expect("it works");
    let actor = world.actor(1);
    actor.mine[sick] = Mine { healthy: false, working: false };
    world.go_on(s(6));
    assert_eq!(world.counts(&[1, 2]), [1, 3]);
    world.actor(1).mine[sick].healthy = true;
    world.go_on(s(6));
    assert_eq!(world.counts(&[1, 2]), [2, 2], "it is well again, and has its share");
}

#[test]
fn after_an_outage_everyone_goes_on_with_what_it_had() {
    let mut world = World::new(4);
    (1..=2).for_each(|number| world.join(number));
    world.go_on(s(10));
    let (before, moves) = (world.at_work(), world.moves);
    // Nobody could read or write for a while.
    world.now += s(20);
    world.go_on(s(5));
    assert_eq!((world.at_work(), world.moves), (before, moves));
}

#[test]
fn who_was_frozen_finds_what_it_held_with_another() {
    let mut world = World::new(2);
    (1..=2).for_each(|number| world.join(number));
    world.go_on(s(10));
    world.kill(1);
    world.go_on(s(30));
    assert_eq!(world.at_work(), [2; 2]);
    world.actor(1).is_there = true;
    world.go_on(LOOK);
    assert_eq!(world.counts(&[1]), [0], "what it believed in is past");
    world.go_on(s(5));
    assert_eq!(world.counts(&[1, 2]), [1, 1]);
}

#[test]
fn who_does_not_end_its_work_keeps_nobody_waiting_for_ever() {
    let mut world = World::new(2);
    world.join(1);
    world.go_on(s(2));
    let roster = &mut world.actors[0].roster;
    roster.leases[0].drained_since = Some(world.now);
    let mine = [Mine { healthy: true, working: true }; 2];
    let mut raised = 0;
    for _ in 0..40 {
        world.now += LOOK;
        let seen = roster.leases[0];
        if roster.leases[0].step(world.now, Instance(1), mine[0], seen.standing(world.now), None) == Step::Write {
            raised += 1;
            let (revision, value) = roster.next(0);
            roster.wrote(0, world.now, revision + 1, value);
        }
    }
    assert!((4..=6).contains(&raised), "raised {raised} times");
}
