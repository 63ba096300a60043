use crate::tally::Count;
use domain::node::{Gap, GapRange, GapReason};
use domain::observation::{EngineEvent, SpoolPlace};
use domain::rpc::ForgetRequest;

use super::*;

/// A node with containers 1 and 2, stated whole: stamps 1.1 to 1.5, ticks up to 3.
fn stated() -> Desk {
    let mut desk = Desk::new();
    desk.say(1, 1, [hello(None), stating(), running(1, 2), running(2, 3), listed(1, &[1, 2])]);
    assert_eq!(desk.told(0), "1.1 hello, 1.2 stating, 1.3 c1@2 running, 1.4 c2@3 running, 1.5 listed whole");
    desk
}

fn after(mut desk: Desk, story: impl FnOnce(&mut Desk), expected: &str) -> Desk {
    let from = desk.records.len();
    story(&mut desk);
    assert_eq!(desk.told(from), expected);
    desk
}

fn request(name: &str) -> ForgetRequest {
    ForgetRequest { node: node(name), unknown_too: false }
}

fn event() -> Option<EngineEvent> {
    let action = "die".to_owned();
    let (time, signal, exit_code, exec_duration_seconds) = (None, None, None, None);
    Some(EngineEvent { action, time, signal, exit_code, exec_duration_seconds, replayed: false })
}

fn lost_events() -> Observed {
    let range = GapRange::Engine { lost: None, since: None, until: None };
    Observed::Gap(Gap { reason: GapReason::EngineOverflow, range, action: String::new() })
}

#[test]
fn an_older_look_repeats_the_last_state() {
    let story = |desk: &mut Desk| desk.say(1, 6, [exited(1, 9), running(1, 8), running(1, 9)]);
    let desk = after(stated(), story, "1.6 c1@9 exited, 1.7 c1@9 exited repeated, 1.8 c1@9 exited repeated");
    // A newer life's look is newer, whatever its tick.
    let story = |desk: &mut Desk| desk.say(2, 1, [hello(Some((1, 8))), running(1, 1)]);
    after(desk, story, "2.1 hello, 2.2 c1@1 running");
}

#[test]
fn an_event_repeats_the_last_state() {
    let story = |desk: &mut Desk| {
        let mut events = batch(1, 6, [Observed::Event(id(1)), Observed::Event(id(9))]);
        events.observations.iter_mut().for_each(|observation| observation.event = event());
        desk.message(events);
    };
    after(stated(), story, "1.6 c1@2 running repeated event, 1.7 c9 unknown event");
}

#[test]
fn what_is_removed_does_not_come_back() {
    let story = |desk: &mut Desk| desk.say(1, 6, [removed(1, 9), running(1, 8), Observed::Event(id(1))]);
    after(stated(), story, "1.6 c1@9 removed, 1.7 c1@9 removed again, 1.8 c1@9 removed again");
}

#[test]
fn a_tombstone_is_kept_until_no_older_look_can_come() {
    let story = |desk: &mut Desk| {
        desk.message(Batch { as_of_floor: 9, ..batch(1, 6, [removed(1, 9)]) });
        desk.message(Batch { as_of_floor: 10, ..batch(1, 7, [running(1, 8)]) });
        desk.say(1, 8, [running(1, 9), running(3, 9), running(3, 10)]);
    };
    after(stated(), story, "1.6 c1@9 removed, 1.7 c1@9 removed again, 1.8 repeat, 1.9 repeat, 1.10 c3@10 running");
}

#[test]
fn what_a_whole_statement_lacks_is_removed_before_its_end() {
    let story = |desk: &mut Desk| desk.say(1, 6, [stating(), running(1, 5), listed(4, &[1])]);
    let desk = after(stated(), story, "1.6 stating, 1.7 c1@5 running, c2@4 removed, 1.8 listed whole");
    let Subject::Container(gone) = &desk.records[7].subject else { panic!("a container") };
    assert_eq!(gone.stop_cause, Some(domain::StopCause::Vanished));
    assert_eq!(desk.last().node_state.whole_sequence, 6);
}

#[test]
fn what_was_seen_after_the_list_is_not_removed() {
    let story = |desk: &mut Desk| desk.say(1, 6, [stating(), running(3, 5), listed(4, &[1, 2])]);
    after(stated(), story, "1.6 stating, 1.7 c3@5 running, 1.8 listed whole");
}

#[test]
fn a_partial_list_removes_nothing() {
    let story = |desk: &mut Desk| desk.say(1, 6, [stating(), partial(4, &[1])]);
    after(stated(), story, "1.6 stating, 1.7 listed");
}

#[test]
fn a_list_in_parts_removes_with_its_last() {
    let story = |desk: &mut Desk| desk.say(1, 6, [stating(), part(4, &[1], 0, 2), part(4, &[], 1, 2)]);
    after(stated(), story, "1.6 stating, 1.7 listed, c2@4 removed, 1.8 listed whole");
    let story = |desk: &mut Desk| desk.say(1, 6, [stating(), part(4, &[], 1, 2)]);
    after(stated(), story, "1.6 stating, 1.7 listed");
}

#[test]
fn a_statement_with_a_loss_inside_is_none() {
    let story = |desk: &mut Desk| {
        desk.say(1, 6, [stating()]);
        desk.say(1, 8, [listed(4, &[1])]);
        desk.wait(1);
        desk.step(Input::Answered { node: node("n1"), epoch: 1, from: 7, answer: Answer::NotKept });
        desk.wait(1);
        desk.wait(1);
    };
    let desk = after(stated(), story, "1.6 stating, 1.7-7 not_kept, 1.8 listed");
    assert!(desk.last().node_state.needs_statement);
    let story = |desk: &mut Desk| desk.say(1, 6, [stating(), lost_events(), listed(4, &[1])]);
    after(stated(), story, "1.6 stating, 1.7 engine_overflow, 1.8 listed");
    let story = |desk: &mut Desk| desk.say(1, 6, [stating(), Observed::Blind(String::new()), listed(4, &[1])]);
    after(stated(), story, "1.6 stating, 1.7 blind, 1.8 listed");
}

#[test]
fn the_mark_is_cleared_by_a_whole_statement_that_began_after_it() {
    let needs = |desk: &Desk| desk.last().node_state.needs_statement;
    let mut desk = Desk::new();
    desk.say(1, 1, [hello(None)]);
    assert!(needs(&desk), "a new life");
    desk.say(1, 2, [stating(), partial(1, &[])]);
    assert!(needs(&desk), "a partial list clears nothing");
    desk.say(1, 4, [stating(), listed(2, &[])]);
    assert!(!needs(&desk));
    desk.say(1, 6, [stating(), lost_events(), listed(3, &[])]);
    assert!(needs(&desk), "it began before the loss");
    desk.say(1, 9, [stating(), listed(4, &[])]);
    assert!(!needs(&desk));
}

#[test]
fn a_statement_is_asked_for_again_and_again() {
    let mut desk = Desk::new();
    desk.say(1, 1, [hello(None)]);
    let mut asked = Vec::new();
    for _ in 0..7 {
        desk.wait(100);
        asked.push(desk.partition.take_effects().len());
    }
    // Its own first statement is given the time to come.
    assert_eq!(asked, [0, 0, 1, 0, 0, 1, 0]);
    let mut desk = Desk::recover(desk.raw, desk.records, false);
    desk.wait(100);
    assert_eq!(desk.partition.take_effects(), [Effect::Statement { node: node("n1"), passed_epoch: 0 }]);
    desk.say(1, 2, [stating(), listed(1, &[])]);
    desk.wait(300);
    assert_eq!(desk.partition.take_effects(), []);
}

#[test]
fn a_silent_node_is_lost_after_all_that_it_said_is_read() {
    let mut desk = stated();
    desk.beat(1, 5);
    desk.now += 1001;
    let from = desk.records.len();
    desk.step(Input::Wake { read_to: None });
    desk.step(Input::Wake { read_to: Some(1000) });
    assert_eq!(desk.partition.wants_read_to(desk.now), Some(1000));
    desk.say(1, 6, [exited(1, 9)]);
    assert_eq!(desk.told(from), "1.6 c1@9 exited", "a thousand messages may lie there");
    desk.step(Input::Wake { read_to: Some(1001) });
    assert_eq!(desk.told(from), "1.6 c1@9 exited, lost");
    assert_eq!(desk.partition.count_nodes(), Count { lost: 1, ..Count::default() });
}

#[test]
fn a_node_is_not_lost_while_something_of_it_is_missing() {
    let story = |desk: &mut Desk| {
        desk.say(1, 7, [exited(1, 9)]);
        desk.wait(1001);
        desk.wait(1);
    };
    after(stated(), story, "");
    let story = |desk: &mut Desk| {
        story(desk);
        desk.wait(100);
        desk.wait(1);
    };
    after(stated(), story, "1.6-6 no_answer, 1.7 c1@9 exited, lost");
}

#[test]
fn what_was_not_heard_in_a_pause_says_nothing() {
    let story = |desk: &mut Desk| {
        desk.now += 5000;
        desk.step(Input::Paused);
        desk.wait(1000);
    };
    let desk = after(stated(), story, "");
    after(desk, |desk| desk.wait(1), "lost");
}

#[test]
fn a_lost_node_that_is_heard_of_is_back_and_states_anew() {
    let lost = || after(stated(), |desk| desk.wait(1001), "lost");
    let desk = after(lost(), |desk| desk.beat(1, 5), "back");
    assert!(desk.last().node_state.needs_statement);
    after(lost(), |desk| desk.say(1, 6, [exited(1, 9)]), "back, 1.6 c1@9 exited");
    after(lost(), |desk| desk.say(2, 1, [hello(Some((1, 5)))]), "back, 2.1 hello");
    after(lost(), |desk| desk.say(3, 2, [exited(1, 9)]), "back, 1.6- no_hello, 3.1- no_hello");
    after(lost(), |desk| desk.say(1, 5, [exited(1, 9)]), "");
    after(lost(), |desk| desk.beat(2, 0), "");
}

#[test]
fn a_statement_that_was_open_when_the_node_was_lost_is_none() {
    let story = |desk: &mut Desk| {
        desk.say(1, 6, [stating()]);
        desk.wait(1001);
        desk.say(1, 7, [listed(4, &[1])]);
    };
    after(stated(), story, "1.6 stating, lost, back, 1.7 listed");
}

#[test]
fn what_stands_in_the_record_by_its_place_in_the_spool_does_not_count_again() {
    let placed = |epoch, seq, position| {
        let mut placed = batch(epoch, seq, [Observed::Event(id(1))]);
        let observation = &mut placed.observations[0];
        observation.event = event();
        observation.spool_place = Some(SpoolPlace { spool_id: 5, position });
        placed
    };
    let story = |desk: &mut Desk| {
        desk.message(placed(1, 6, 1));
        desk.say(2, 1, [hello(Some((1, 6)))]);
        desk.message(placed(2, 2, 1));
        desk.message(placed(2, 3, 2));
    };
    let expected = "1.6 c1@2 running repeated event, 2.1 hello, 2.2 repeat, 2.3 c1@2 running repeated event";
    let desk = after(stated(), story, expected);
    let mut desk = Desk::recover(desk.raw, desk.records, false);
    desk.message(placed(2, 4, 2));
    assert_eq!(tell(desk.last()), "2.4 repeat");
}

#[test]
fn the_spool_that_was_used_last_is_remembered_longest() {
    let mut desk = stated();
    for (seq, spool_id) in (6..).zip([1, 2, 3, 4, 1, 5]) {
        let mut placed = batch(1, seq, [Observed::Nothing]);
        placed.observations[0].spool_place = Some(SpoolPlace { spool_id, position: seq });
        desk.message(placed);
    }
    let spools: Vec<u64> = desk.last().node_state.spool_places.iter().map(|place| place.spool_id).collect();
    assert_eq!(spools, [3, 4, 1, 5]);
}

#[test]
fn a_restart_reads_from_what_is_held_and_from_an_open_statement() {
    let floor = |desk: &Desk| desk.last().recovery.raw_sequence;
    let mut desk = stated();
    assert_eq!(floor(&desk), 2, "all of message 1 is written");
    assert_eq!(desk.records[3].recovery.raw_sequence, 1, "its last observation is not");
    desk.say(1, 8, [exited(1, 9)]);
    desk.say(1, 6, [exited(2, 9)]);
    assert_eq!(floor(&desk), 2, "message 2 is held");
    desk.say(1, 7, [exited(2, 10)]);
    assert_eq!(floor(&desk), 5);
    desk.say(1, 9, [running(1, 10), stating()]);
    desk.say(1, 11, [running(1, 12)]);
    assert_eq!(floor(&desk), 5, "a statement is open since message 5");
    desk.say(1, 12, [listed(11, &[1])]);
    assert_eq!(desk.records.iter().rev().map(|record| record.recovery.raw_sequence).take(3).max(), Some(8));
    assert_eq!(desk.told(desk.records.len() - 2), "c2@11 removed, 1.12 listed whole");
    assert_eq!(desk.records[desk.records.len() - 2].recovery.raw_sequence, 5);
}

#[test]
fn a_statement_that_goes_on_after_a_restart_is_known_by_its_first_writer() {
    let mut desk = stated();
    desk.say(1, 6, [stating(), running(1, 5)]);
    let writer = desk.last().writer;
    let mut desk = Desk::recover(desk.raw, desk.records, false);
    desk.say(1, 8, [listed(4, &[1])]);
    let state = &desk.last().node_state;
    assert_eq!((state.whole_sequence, Writer(state.whole_writer)), (6, writer));
    assert_ne!(desk.last().writer, writer);
}

#[test]
fn a_node_without_records_is_asked_for_a_new_life() {
    let mut desk = Desk::new();
    desk.beat(4, 7);
    desk.wait(1);
    assert_eq!(desk.partition.take_effects(), [Effect::Statement { node: node("n1"), passed_epoch: 4 }]);
    let story = |desk: &mut Desk| {
        desk.wait(5000);
        desk.say(5, 1, [hello(Some((4, 7)))]);
    };
    after(desk, story, "0.1- history, 5.1 hello");
}

#[test]
fn a_passed_epoch_is_named_until_it_is_noted() {
    let mut desk = stated();
    desk.say(2, 1, [hello(Some((1, 5))), stating(), listed(1, &[])]);
    desk.beat(1, 5);
    desk.wait(1);
    let named = |passed_epoch| [Effect::Statement { node: node("n1"), passed_epoch }];
    assert_eq!(desk.partition.take_effects(), named(1));
    desk.wait(300);
    assert_eq!(desk.partition.take_effects(), named(1));
    desk.step(Input::Noted(node("n1")));
    desk.wait(300);
    assert_eq!(desk.partition.take_effects(), named(0));
}

#[test]
fn a_node_that_is_lost_before_it_made_a_cut_good_has_an_open_gap() {
    let desk = stated();
    // A crash in between changes nothing: the records say that the cut is still to be made good.
    let mut desk = Desk::recover(Vec::new(), desk.records, true);
    desk.message(Batch { node: node("n2"), ..batch(1, 1, [hello(None)]) });
    assert_eq!(desk.last().recovery.raw_created, 0);
    let raw_cut = desk.last().recovery.raw_created != 7;
    let desk = Desk::recover(desk.raw, desk.records, raw_cut);
    let mut desk = after(desk, |desk| desk.wait(1001), "1.6- stream_cut, lost, 1.2- stream_cut, lost");
    desk.say(2, 1, [hello(Some((1, 9)))]);
    assert_eq!(desk.told(desk.records.len() - 2), "back, 2.1 hello");
    assert_eq!(desk.last().recovery.raw_created, 7);
}

#[test]
fn a_cut_is_made_good_by_a_whole_statement() {
    let desk = stated();
    let mut desk = Desk::recover(Vec::new(), desk.records, true);
    desk.wait(1);
    assert_eq!(desk.partition.take_effects().len(), 1);
    let story = |desk: &mut Desk| {
        desk.say(1, 6, [stating(), listed(4, &[1, 2])]);
        desk.wait(1001);
    };
    let desk = after(desk, story, "1.6 stating, 1.7 listed whole, lost");
    assert_eq!(desk.last().recovery.raw_created, 7);
}

#[test]
fn a_node_that_the_record_does_not_know_is_retired_on_request() {
    let mut desk = stated();
    let now = desk.now;
    let too = |name| ForgetRequest { unknown_too: true, ..request(name) };
    assert_eq!(desk.partition.forget(now, &too("n1"), Timestamp(0)), Err(NotForgotten::Alive));
    assert_eq!(desk.partition.forget(now, &too("n2"), Timestamp(0)), Ok(6));
    desk.records.extend(desk.partition.take_records().1);
    assert_eq!((tell(desk.last()).as_str(), &desk.last().node), ("forgotten", &node("n2")));
    assert_eq!(desk.partition.forget(now, &too("n2"), Timestamp(0)), Ok(0), "again, and nothing is written");
    // When it comes back all the same, what it said before the record was lost is a gap.
    let mut desk = Desk::new();
    assert_eq!(desk.partition.forget(desk.now, &too("n1"), Timestamp(0)), Ok(1));
    desk.records.extend(desk.partition.take_records().1);
    let story = |desk: &mut Desk| desk.say(3, 1, [hello(None), running(1, 1)]);
    after(desk, story, "0.1- history, 3.1 hello, 3.2 c1@1 running");
}

#[test]
fn a_retired_node_keeps_its_place_in_the_order_and_nothing_else() {
    let mut desk = stated();
    let now = desk.now;
    assert_eq!(desk.partition.forget(now, &request("n1"), Timestamp(0)), Err(NotForgotten::Alive));
    assert_eq!(desk.partition.forget(now, &request("n2"), Timestamp(0)), Err(NotForgotten::Unknown));
    desk.wait(1001);
    assert_eq!(desk.partition.forget(now, &request("n1"), Timestamp(0)), Ok(7));
    desk.records.extend(desk.partition.take_records().1);
    assert_eq!(tell(desk.last()), "forgotten");
    // All of the stream comes by once more, as after a restart for another node's sake.
    let again = Desk::recover(desk.raw.clone(), desk.records.clone(), true);
    for desk in [desk, again] {
        let story = |desk: &mut Desk| {
            desk.read(0);
            desk.say(1, 6, [exited(1, 9)]);
            desk.wait(200_000);
        };
        let mut desk = after(desk, story, "");
        assert_eq!(desk.partition.count_nodes(), Count::default());
        let now = desk.now;
        assert_eq!(desk.partition.forget(now, &request("n1"), Timestamp(0)), Ok(0), "again, and nothing is written");
        assert_eq!(desk.partition.forget(now, &request("n2"), Timestamp(0)), Err(NotForgotten::Unknown));
        desk.beat(1, 6);
        desk.wait(1);
        assert_eq!(desk.partition.take_effects(), [Effect::Statement { node: node("n1"), passed_epoch: 1 }]);
        let story = |desk: &mut Desk| desk.say(2, 1, [hello(None), running(1, 1)]);
        let desk = after(desk, story, "2.1 hello, 2.2 c1@1 running");
        assert_eq!(desk.partition.count_nodes(), Count { alive: 1, ..Count::default() });
    }
}

#[test]
fn a_quiet_node_is_written_anew() {
    let story = |desk: &mut Desk| {
        desk.now = 60_000;
        desk.step(Input::Paused);
        desk.wait(1);
        desk.now = 120_000;
        desk.step(Input::Paused);
        desk.wait(1);
    };
    after(stated(), story, "cursor");
}

#[test]
fn a_message_that_cannot_be_read_is_passed() {
    let mut desk = stated();
    desk.raw.push(desk.raw[0].clone());
    desk.step(Input::Unreadable { raw_sequence: 2 });
    desk.wait(1001);
    assert_eq!(desk.last().recovery.raw_sequence, 3);
}
