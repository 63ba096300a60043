use domain::{Cause, Container, ContainerId, EngineEvent, Timestamp};

use super::*;

fn id(number: u8) -> ContainerId {
    [number; 32].into()
}

fn observation(observed: Observed) -> Observation {
    Observation { observed_at: Timestamp(0), cause: Cause::Event, event: None, spool_place: None, observed }
}

fn state(number: u8) -> Observation {
    let node = "n".parse().unwrap();
    observation(Observed::Container(Box::new(Container::unheard_of(id(number), node, Default::default()))))
}

fn event(number: u8) -> Observation {
    let event = EngineEvent {
        action: "die".into(),
        time: None,
        signal: None,
        exit_code: None,
        exec_duration_seconds: None,
        replayed: false,
    };
    Observation { event: Some(event), ..observation(Observed::Event(id(number))) }
}

fn shown(items: &[Item]) -> String {
    let word = |item: &Item| match &item.observation.observed {
        Observed::Container(c) => format!("s{}", c.id.as_bytes()[0]),
        Observed::Event(id) => format!("e{}", id.as_bytes()[0]),
        Observed::Gap(_) => format!("gap{}", item.dropped_before().unwrap()),
        Observed::Removed(_)
        | Observed::Hello(_)
        | Observed::Stating(_)
        | Observed::Listed(_)
        | Observed::Blind(_)
        | Observed::Correction(_)
        | Observed::Nothing => format!("{:?}", item.observation.observed),
    };
    items.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn queue(count_max: usize) -> Queue {
    Queue::new(7, count_max, usize::MAX)
}

#[test]
fn first_in_first_out_within_the_bounds_of_a_message() {
    let mut queue = queue(100);
    for number in 1..=5 {
        queue.push(event(number), None);
    }
    let size = Item::new(event(1), None).size();
    assert_eq!(shown(&queue.pop(3, usize::MAX)), "e1 e2 e3");
    assert_eq!(shown(&queue.pop(9, size)), "e4");
    assert_eq!(shown(&queue.pop(9, 0)), "e5");
    assert_eq!((queue.len(), queue.bytes), (0, 0));
}

#[test]
fn the_newest_state_of_each_container_survives_and_losses_are_counted() {
    let mut queue = queue(16);
    let mut lost = 0;
    for round in 0..100 {
        lost += queue.push(if round % 3 == 0 { event(1) } else { state(round % 2) }, Some(u64::from(round))).count;
    }
    assert!(queue.len() <= 16);
    let items = queue.pop(99, usize::MAX);
    let gaps: u64 = items.iter().filter_map(Item::dropped_before).sum();
    assert_eq!(gaps, lost);
    let kept = items.iter().filter(|item| item.dropped_before().is_none()).count() as u64;
    assert_eq!(kept + lost, 100);
    for newest in [98, 97] {
        assert!(items.iter().any(|item| item.tick == Some(newest)), "{newest}: {}", shown(&items));
    }
    let places: Vec<_> = items.iter().map(|item| item.observation.spool_place.unwrap().position).collect();
    assert!(places.is_sorted(), "{places:?}");
}

#[test]
fn neighbours_that_are_dropped_are_one_gap() {
    let mut queue = queue(8);
    for _ in 0..8 {
        queue.push(state(1), Some(1));
    }
    let dropped = queue.push(state(2), None);
    assert_eq!(dropped.count, 3);
    assert_eq!(dropped.ticks, [1, 1, 1]);
    assert_eq!(shown(&queue.pop(99, usize::MAX)), "gap3 s1 s1 s1 s1 s1 s2");
}

#[test]
fn a_new_life_keeps_history_and_places_but_no_state() {
    let mut queue = queue(100);
    queue.push(state(1), Some(1));
    queue.push(event(2), None);
    queue.push(event(3), None);
    let sent = queue.pop(2, usize::MAX);
    queue.begin(observation(Observed::Nothing), sent);
    let items = queue.pop(99, usize::MAX);
    let places: Vec<_> = items.iter().map(|item| item.observation.spool_place.map(|place| place.position)).collect();
    assert_eq!(places, [None, Some(2), Some(3)]);
    assert_eq!(shown(&items[1..]), "e2 e3");
}

/// A spool that holds all that waits, and gives what it is asked for.
fn spool(queue: &mut Queue, held: &mut Vec<Observation>) {
    let through = queue.last_number();
    let (history, upto) = queue.history(queue.spooled().through, through, usize::MAX);
    assert_eq!(upto, through);
    held.extend(history);
    queue.set_spooled(Spooled { above: 0, through });
}

fn position(observation: &Observation) -> u64 {
    observation.spool_place.unwrap().position
}

fn send_all(queue: &mut Queue, held: &[Observation]) -> Vec<Item> {
    let mut sent = Vec::new();
    while !queue.is_empty() {
        sent.extend(queue.pop(10, usize::MAX));
        let Some(span) = queue.wanted(4) else { continue };
        let of_span = held.iter().filter(|it| (span.from..=span.through).contains(&position(it)));
        let part: Vec<_> = of_span.take(3).cloned().collect();
        let through = if part.len() < 3 { span.through } else { position(&part[2]) };
        queue.put_back(span.from, through, part);
    }
    assert_eq!((queue.len(), queue.bytes), (0, 0));
    sent
}

#[test]
fn what_the_spool_holds_leaves_the_memory_and_comes_back_in_order() {
    let mut queue = queue(16);
    let (mut held, mut lost) = (Vec::new(), 0);
    for round in 0..200u64 {
        let mut seen = event(u8::try_from(round % 3).unwrap());
        if round % 5 == 0 {
            seen.observed = state(u8::try_from(round % 2).unwrap()).observed;
        }
        lost += queue.push(seen, Some(round)).count;
        spool(&mut queue, &mut held);
        assert!(queue.waiting.len() <= 16);
    }
    assert_eq!((lost, queue.len()), (0, 200));
    let sent = send_all(&mut queue, &held);
    assert_eq!(sent.iter().map(Item::number).collect::<Vec<_>>(), (1..=200).collect::<Vec<_>>());
    let states: Vec<_> = sent.iter().filter(|item| item.state_of().is_some()).map(Item::number).collect();
    assert!(states.ends_with(&[191, 196]), "the newest states are states: {states:?}");
}

#[test]
fn what_the_spool_no_longer_holds_is_a_gap_in_its_place() {
    let mut queue = queue(16);
    let mut held = Vec::new();
    for _ in 0..100 {
        assert_eq!(queue.push(event(1), None).count, 0);
        spool(&mut queue, &mut held);
    }
    held.retain(|it| position(it) > 30);
    let sent = send_all(&mut queue, &held);
    let lost: u64 = sent.iter().filter_map(Item::dropped_before).sum();
    assert_eq!((lost, sent.len()), (30, 71));
    assert_eq!(
        sent.iter().filter(|item| item.dropped_before().is_none()).map(Item::number).collect::<Vec<_>>(),
        (31..=100).collect::<Vec<_>>()
    );
}

#[test]
fn what_the_spool_dropped_already_is_lost_at_the_bound() {
    let mut queue = queue(8);
    for _ in 0..8 {
        queue.push(event(1), None);
    }
    queue.set_spooled(Spooled { above: 2, through: 8 });
    assert_eq!(queue.push(event(1), None).count, 2);
    // The two that are gone count with what stands for the next one.
    assert_eq!(queue.wanted(4), Some(Span { from: 3, through: 3, count: 3 }));
    let held = Observation { spool_place: Some(SpoolPlace { spool_id: 7, position: 3 }), ..event(1) };
    queue.put_back(3, 3, vec![held]);
    assert_eq!(shown(&queue.pop(99, usize::MAX)), "e1 gap2 e1 e1 e1 e1 e1 e1");
}

#[test]
fn what_grew_while_it_was_read_is_read_again() {
    let mut queue = queue(8);
    let mut held = Vec::new();
    for _ in 0..9 {
        queue.push(event(1), None);
        spool(&mut queue, &mut held);
    }
    let span = queue.wanted(4).unwrap();
    for _ in 0..4 {
        queue.push(event(1), None);
        spool(&mut queue, &mut held);
    }
    let through = span.through;
    let of_span = held.iter().filter(|it| position(it) <= through).cloned().collect();
    queue.put_back(span.from, through, of_span);
    let sent = send_all(&mut queue, &held);
    assert_eq!(sent.iter().map(Item::number).collect::<Vec<_>>(), (1..=13).collect::<Vec<_>>());
}

#[test]
fn an_older_process_goes_first_and_keeps_its_places() {
    let mut queue = queue(100);
    let span = Span { from: 3, through: 5, count: 3 };
    queue.inherit(None, Some(span), 5);
    queue.push(event(1), None);
    queue.begin(observation(Observed::Nothing), Vec::new());
    let mut held: Vec<_> = (3..=5).map(|_| event(2)).collect();
    for (position, it) in (3..).zip(&mut held) {
        it.spool_place = Some(SpoolPlace { spool_id: 1, position });
    }
    assert_eq!(queue.pop(1, usize::MAX).len(), 1, "the hello");
    let places: Vec<_> = send_all(&mut queue, &held).iter().map(|it| it.observation.spool_place.unwrap()).collect();
    let ids: Vec<_> = places.iter().map(|place| (place.spool_id, place.position)).collect();
    assert_eq!(ids, [(1, 3), (1, 4), (1, 5), (7, 6)]);
}

#[test]
fn what_another_one_tells_is_not_told_here() {
    let mut queue = queue(100);
    let mut older = event(1);
    older.spool_place = Some(SpoolPlace { spool_id: 1, position: 2 });
    queue.inherit(Some(gap(&older, 4)), Some(Span { from: 3, through: 5, count: 3 }), 5);
    queue.push(event(2), None);
    queue.discard_own();
    assert_eq!((queue.len(), queue.first_number()), (4, Some(2)));
}
