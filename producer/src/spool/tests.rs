use domain::container::AsOf;
use domain::node::{Gap, GapRange, GapReason};
use domain::observation::SpoolPlace;
use domain::{Cause, Container, EngineEvent, NodeName, Observation, Observed, Timestamp};

use super::log::{Bounds, Left, Log};
use crate::queue::{Item, Queue, Span, Spooled, gap, lost_before};

pub(super) fn node() -> NodeName {
    "n".parse().unwrap()
}

pub(super) fn event(number: u64) -> Observation {
    let event = EngineEvent {
        action: "die".into(),
        time: Some(Timestamp(i64::try_from(number).unwrap())),
        signal: None,
        exit_code: Some(1),
        exec_duration_seconds: None,
        replayed: false,
    };
    Observation {
        observed_at: Timestamp(0),
        cause: Cause::Event,
        event: Some(event),
        spool_place: Some(SpoolPlace { spool_id: 7, position: number }),
        observed: Observed::Event([number.to_le_bytes()[0]; 32].into()),
    }
}

fn open_bounded(folder: &std::path::Path, bytes_max: u64) -> (Log, Left) {
    Log::open(folder, node(), Bounds::of(bytes_max), false).unwrap()
}

fn open(folder: &std::path::Path) -> (Log, Left) {
    open_bounded(folder, 1 << 20)
}

fn all(log: &Log) -> Vec<u64> {
    let span = Span { from: 1, through: u64::MAX, count: 0 };
    log.read(span, u64::MAX).observations.iter().map(|it| it.spool_place.unwrap().position).collect()
}

fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    files.sort();
    files
}

#[test]
fn what_is_appended_is_there_for_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, left) = open(folder.path());
    assert_eq!((left.span, left.last), (None, 0));
    log.append((1..=5).map(event).collect()).unwrap();
    drop(log);
    let (mut log, left) = open(folder.path());
    assert_eq!((left.span, left.last, left.damaged), (Some(Span { from: 1, through: 5, count: 5 }), 5, false));
    assert_eq!(left.events.len(), 5);
    log.append(vec![event(6)]).unwrap();
    assert_eq!(all(&log), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn one_process_uses_it() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(folder.path());
    let second = Log::open(folder.path(), node(), Bounds::of(1 << 20), false).unwrap_err();
    assert!(second.to_string().contains("another producer"), "{second}");
    drop(log);
    open(folder.path());
}

#[test]
fn a_file_that_is_cut_at_any_byte_can_be_opened_and_written_again() {
    let made = tempfile::tempdir().unwrap();
    let (mut log, _) = open(made.path());
    log.append((1..=3).map(event).collect()).unwrap();
    let path = files(made.path()).remove(0);
    let bytes = std::fs::read(&path).unwrap();
    for cut in 0..=bytes.len() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(path.file_name().unwrap()), &bytes[..cut]).unwrap();
        let (mut log, left) = open(folder.path());
        let whole = super::entry::Entries::of(&bytes[..cut]).last().map_or(8, |(_, end)| end);
        assert_eq!(left.damaged, ![0, whole].contains(&cut), "cut at {cut}");
        log.append(vec![event(9)]).unwrap();
        let expected: Vec<u64> = (1..=left.last).chain([9]).collect();
        assert_eq!(all(&log), expected, "cut at {cut}");
        drop(log);
        let (again, left) = open(folder.path());
        assert_eq!((all(&again), left.damaged), (expected, false), "cut at {cut}, opened again");
    }
}

#[test]
fn what_a_file_claims_overflows_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path());
    log.append((1..=3).map(|number| gap(&event(number), u64::MAX)).collect()).unwrap();
    drop(log);
    std::fs::rename(&files(folder.path())[0], folder.path().join(format!("{}.log", u64::MAX))).unwrap();
    let (log, left) = open(folder.path());
    assert_eq!((all(&log), left.last), (vec![1, 2, 3], 3));
    assert!(left.count() > 3);
}

#[test]
fn segments_go_when_all_in_them_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open_bounded(folder.path(), 64 << 10);
    log.append((1..=200).map(event).collect()).unwrap();
    let count = files(folder.path()).len();
    assert!(count > 2, "{count}");
    log.forget(150);
    assert!(files(folder.path()).len() < count && all(&log).contains(&150));
    log.append(vec![event(201)]).unwrap();
    assert_eq!(all(&log).last(), Some(&201));
    log.forget(202);
    assert_eq!((log.bytes(), files(folder.path()).len()), (0, 0));
    log.append(vec![event(202)]).unwrap();
    assert_eq!(all(&log), [202]);
}

#[test]
fn the_oldest_go_at_the_bound_and_a_gap_stands_for_them() {
    const MAX: u64 = 64 << 10;
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open_bounded(folder.path(), MAX);
    for begin in 0..100 {
        log.append((begin * 100 + 1..=begin * 100 + 100).map(event).collect()).unwrap();
        let on_disk: u64 = files(folder.path()).iter().map(|path| path.metadata().unwrap().len()).sum();
        assert_eq!(on_disk, log.bytes());
        assert!(on_disk <= MAX, "{on_disk}");
    }
    let kept = all(&log);
    assert_eq!(kept.last(), Some(&10_000));
    assert_eq!(kept[0], log.dropped_through() + 1);
    drop(log);
    let (_, left) = open_bounded(folder.path(), MAX);
    let lost = lost_before(left.gap.as_ref().unwrap());
    assert_eq!((lost, left.span.unwrap().count), (Some(kept[0] - 1), kept.len() as u64));
    let Observed::Gap(Gap { reason, range: GapRange::Engine { .. }, .. }) = left.gap.unwrap().observed else {
        panic!("no gap of events")
    };
    assert_eq!(reason, GapReason::QueueFull);
}

#[test]
fn a_smaller_bound_holds_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open_bounded(folder.path(), 256 << 10);
    log.append((1..=2000).map(event).collect()).unwrap();
    drop(log);
    let (log, left) = open_bounded(folder.path(), 64 << 10);
    assert!(log.bytes() <= 64 << 10 && left.gap.is_some());
}

#[test]
fn what_is_too_large_is_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path());
    let mut large = event(2);
    let gap = Gap {
        reason: GapReason::EngineUnsure,
        range: GapRange::Engine { lost: None, since: None, until: None },
        action: "x".repeat(9 << 10),
    };
    large.observed = Observed::Gap(gap);
    log.append(vec![event(1), large, event(3)]).unwrap();
    let read = log.read(Span { from: 1, through: 3, count: 3 }, u64::MAX).observations;
    assert_eq!(read.iter().map(lost_before).collect::<Vec<_>>(), [None, Some(1), None]);
}

#[test]
fn a_span_is_read_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open_bounded(folder.path(), 64 << 10);
    log.append((1..=300).map(event).collect()).unwrap();
    let (mut from, mut numbers) = (101, Vec::new());
    while from <= 250 {
        let read = log.read(Span { from, through: 250, count: 0 }, 1_000);
        assert!(read.observations.len() < 20);
        numbers.extend(read.observations.iter().map(|it| it.spool_place.unwrap().position));
        from = read.through + 1;
    }
    assert_eq!(numbers, (101..=250).collect::<Vec<_>>());
}

#[test]
fn what_another_one_tells_is_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path());
    log.append(vec![event(1)]).unwrap();
    drop(log);
    let (mut log, _) = open(folder.path());
    log.append(vec![event(2)]).unwrap();
    log.discard_own();
    assert_eq!(all(&log), [1]);
}

/// One round of the spool beside a queue: what waits is written, what it alone holds comes back.
fn round(queue: &mut Queue, log: &mut Log, sent_below: u64) {
    let through = queue.last_number();
    let (history, upto) = queue.history(queue.spooled().through, through, 50);
    log.forget(queue.first_number().unwrap_or(through + 1).min(sent_below));
    log.append(history).unwrap();
    let wanted = queue.wanted(4);
    let read = wanted.map(|span| (span.from, log.read(span, 2_000)));
    queue.set_spooled(Spooled { above: log.dropped_through(), through: upto });
    if let Some((from, read)) = read {
        queue.put_back(from, read.through, read.observations);
    }
}

#[test]
fn at_every_bound_each_observation_is_sent_or_counted_as_lost() {
    for seed in 1..=25u64 {
        let folder = tempfile::tempdir().unwrap();
        let (mut log, _) = open_bounded(folder.path(), 16 << 10);
        let mut queue = Queue::new(7, 40, 16 << 10);
        let (mut dice, mut pushed, mut sent) = (seed, 0, Vec::new());
        let mut throw = |sides: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (dice >> 33) % sides
        };
        for _ in 0..400 {
            match throw(4) {
                0 | 1 => {
                    for _ in 0..throw(12) {
                        let mut seen = event(throw(3));
                        if throw(2) == 0 {
                            let Observed::Event(id) = seen.observed else { unreachable!() };
                            let state = Container::unheard_of(id, node(), AsOf { epoch: 1, tick: 1 });
                            seen.observed = Observed::Container(Box::new(state));
                        }
                        queue.push(seen, None);
                        pushed += 1;
                    }
                }
                2 => round(&mut queue, &mut log, u64::MAX),
                _ => sent.extend(queue.pop(usize::try_from(throw(3)).unwrap(), usize::MAX)),
            }
        }
        while !queue.is_empty() {
            round(&mut queue, &mut log, u64::MAX);
            sent.extend(queue.pop(10, usize::MAX));
        }
        let lost: u64 = sent.iter().filter_map(|item| lost_before(&item.observation)).sum();
        let told = sent.iter().filter(|item| lost_before(&item.observation).is_none()).count() as u64;
        assert!(lost > 0, "seed {seed}: no bound was hit");
        assert_eq!(told + lost, pushed, "seed {seed}: {told} sent, {lost} lost");
        let numbers: Vec<u64> = sent.iter().map(Item::number).filter(|number| *number != 0).collect();
        assert!(numbers.is_sorted_by(|one, next| one < next), "seed {seed}: in order, each place once: {numbers:?}");
        let newest = sent.iter().rev().find(|item| matches!(item.observation.observed, Observed::Container(_)));
        assert!(newest.is_some(), "seed {seed}");
    }
}
