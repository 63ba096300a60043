//! Short stories: words go in, words come out.
//!
//! In: `1.2` a message, `1.2@8` of instance 8 (else the instance is the epoch), `2.1h` a hello that knows no life
//! before, `2.1h1` one that knows epoch 1 but not its end, `2.1h1:5` one that knows its end, `2.1s` one of a stand-in.
//! `beat1:5` a sign of life of epoch 1, 5 acknowledged. `coming2` and `notkept2` answer what was asked from 2 on.
//! `wait` lets the gap wait pass, `wake` tells the time, `read` tells too that all is read that was stored till now.
//! `close` closes the epoch, `restart` begins anew where the last output stood.
//!
//! Out: `1.2` delivered, `OldEpoch(1.2)` and so on discarded, `ask(1.2-3)`, `lost(1.2-3 NoAnswer)`, `passed(1)`.

use alloc::format;
use alloc::string::String;
use alloc::vec;

use super::*;

const LIMITS: Limits = Limits { held_max: 3, gap_wait: 100, coming_max: 3 };

fn run(script: &str) -> String {
    let mut reorder = Reorder::new(LIMITS, Position::default());
    let mut saved = Position::default();
    let (mut now, mut said) = (1000, vec![]);
    for word in script.split_whitespace() {
        // Each word is a moment of its own.
        now += 1;
        let mut out = vec![];
        if word == "restart" {
            reorder = Reorder::new(LIMITS, saved);
        } else if word == "wait" {
            now += LIMITS.gap_wait;
        } else {
            reorder.step(now, parse(word, now, reorder.position().epoch), &mut out);
        }
        for output in out {
            if let Output::Deliver(_, (), at) | Output::Lost(_, at) = output {
                saved = at;
            }
            said.push(tell(&output));
        }
        assert!(reorder.held().count() <= LIMITS.held_max, "{word}");
    }
    said.join(" ")
}

fn parse(word: &str, now: Millis, epoch: u64) -> Input<()> {
    let number = |text: &str| text.parse::<u64>().expect("a number");
    if let Some(rest) = word.strip_prefix("beat") {
        let (epoch, acknowledged) = rest.split_once(':').expect("beat<epoch>:<acknowledged>");
        let epoch = number(epoch);
        return Input::Beat(Beat { epoch, instance: epoch, acknowledged: number(acknowledged), heard: now });
    }
    if let Some(from) = word.strip_prefix("coming") {
        return Input::Answer { epoch, from: number(from), answer: Answer::Coming };
    }
    if let Some(from) = word.strip_prefix("notkept") {
        return Input::Answer { epoch, from: number(from), answer: Answer::NotKept };
    }
    match word {
        "close" => return Input::Close,
        "wake" => return Input::Wake { read_to: None },
        "read" => return Input::Wake { read_to: Some(now) },
        _ => {}
    }
    let (word, instance) = word.split_once('@').map_or((word, None), |(word, instance)| (word, Some(number(instance))));
    let (epoch, seq) = word.split_once('.').expect("a stamp");
    let epoch = number(epoch);
    let (seq, hello) = match seq.find(['h', 's']) {
        None => (seq, None),
        Some(at) => {
            let (seq, hello) = seq.split_at(at);
            let (kind, previous) = hello.split_at(1);
            let previous = (!previous.is_empty()).then(|| {
                let (epoch, last) = previous.split_once(':').map_or((previous, None), |(e, l)| (e, Some(number(l))));
                Previous { epoch: number(epoch), instance: Some(number(epoch)), last }
            });
            (seq, Some(Hello { previous, stand_in: kind == "s" }))
        }
    };
    let stamp = Stamp { epoch, seq: number(seq) };
    Input::Arrive { stamp, instance: instance.unwrap_or(epoch), hello, item: () }
}

fn tell(output: &Output<()>) -> String {
    match output {
        Output::Deliver(stamp, (), _) => format!("{stamp}"),
        Output::Lost(Loss { epoch, from, to, why }, _) => {
            let to = to.map_or(String::new(), |to| format!("{to}"));
            format!("lost({epoch}.{from}-{to} {why:?})")
        }
        Output::Discard(stamp, (), why) => format!("{why:?}({stamp})"),
        Output::Ask { epoch, from, to } => format!("ask({epoch}.{from}-{to})"),
        Output::Passed(epoch) => format!("passed({epoch})"),
    }
}

fn check(script: &str, expected: &str) {
    assert_eq!(run(script), expected, "{script}");
}

#[test]
fn what_comes_in_order_goes_on() {
    check("1.1h 1.2 1.3", "1.1 1.2 1.3");
}

#[test]
fn only_what_was_asked_for_is_given_up() {
    check(
        "1.1h beat1:3 read notkept2 beat1:5 wake read read notkept4 wake read",
        "1.1 ask(1.2-3) lost(1.2-3 NotKept) ask(1.4-5) lost(1.4-5 NotKept)",
    );
}

#[test]
fn what_is_early_waits() {
    check("1.1h 1.4 1.3 1.2", "1.1 1.2 1.3 1.4");
}

#[test]
fn what_comes_twice_counts_once() {
    check("1.1h 1.1h 1.2 1.2 1.1h", "1.1 Repeated(1.1) 1.2 Repeated(1.2) Repeated(1.1)");
    check("1.1h 1.3 1.3 1.2", "1.1 Repeated(1.3) 1.2 1.3");
}

#[test]
fn what_is_lost_does_not_come_back() {
    check("1.1h 1.3 wake notkept2 wake read 1.2", "1.1 ask(1.2-2) lost(1.2-2 NotKept) 1.3 Repeated(1.2)");
}

#[test]
fn a_backlog_on_its_way_is_not_missing() {
    check("1.1h beat1:1 read wait read", "1.1");
}

#[test]
fn a_short_disorder_is_not_asked_for() {
    check("1.1h 1.3 1.2 wake wait read", "1.1 1.2 1.3");
}

#[test]
fn only_the_first_hole_is_asked_for() {
    check("1.1h 1.3 1.6 wake wake 1.2 wake", "1.1 ask(1.2-2) 1.2 1.3 ask(1.4-5)");
}

#[test]
fn a_hole_that_nobody_keeps_is_a_gap_once_all_is_read() {
    // Not at once, and not for what was read before it was given up: the stamp may be further on.
    check("1.1h 1.3 wake notkept2 wake wake", "1.1 ask(1.2-2)");
    check("1.1h 1.3 wake notkept2 wake 1.2 read", "1.1 ask(1.2-2) 1.2 1.3");
    check("1.1h 1.3 wake notkept2 wake read", "1.1 ask(1.2-2) lost(1.2-2 NotKept) 1.3");
}

#[test]
fn a_hole_that_nobody_speaks_of_is_a_gap_after_the_wait() {
    check("1.1h 1.3 wake read read", "1.1 ask(1.2-2)");
    check("1.1h 1.3 wake wait wake wake", "1.1 ask(1.2-2)");
    check("1.1h 1.3 wake wait wake read", "1.1 ask(1.2-2) lost(1.2-2 NoAnswer) 1.3");
}

#[test]
fn what_is_read_by_the_moment_of_giving_up_is_not_read_after_it() {
    let mut reorder = Reorder::new(LIMITS, Position { epoch: 1, instance: 1, next: 2, closed: false });
    let mut out = vec![];
    reorder.step(0, parse("1.3", 0, 1), &mut out);
    reorder.step(1, Input::Wake { read_to: Some(1) }, &mut out);
    reorder.step(100, Input::Wake { read_to: Some(100) }, &mut out);
    reorder.step(200, Input::Wake { read_to: Some(100) }, &mut out);
    assert_eq!(reorder.wants_read_to(), Some(100));
    assert_eq!(out.len(), 1, "{out:?}");
    reorder.step(200, Input::Wake { read_to: Some(101) }, &mut out);
    assert_eq!(out.len(), 3, "{out:?}");
}

#[test]
fn an_answer_about_something_else_is_no_answer() {
    check("1.1h 1.3 wake notkept3 wake read", "1.1 ask(1.2-2)");
}

#[test]
fn what_is_said_to_come_is_waited_for_three_times_more() {
    let coming = "coming2 wait wake";
    check(
        &format!("1.1h 1.3 wake {coming} {coming} {coming} {coming} wake read"),
        "1.1 ask(1.2-2) ask(1.2-2) ask(1.2-2) ask(1.2-2) lost(1.2-2 Unreadable) 1.3",
    );
    check(
        &format!("1.1h 1.3 wake {coming} {coming} {coming} coming2 wake read"),
        "1.1 ask(1.2-2) ask(1.2-2) ask(1.2-2) ask(1.2-2)",
    );
    check(&format!("1.1h 1.3 wake {coming} wait wake read"), "1.1 ask(1.2-2) ask(1.2-2) lost(1.2-2 NoAnswer) 1.3");
}

#[test]
fn what_comes_in_between_begins_the_wait_anew() {
    let coming = "coming2 wait wake";
    check(
        &format!("1.1h 1.4 wake {coming} {coming} {coming} 1.2 wake coming3 wait wake read 1.3"),
        "1.1 ask(1.2-3) ask(1.2-3) ask(1.2-3) ask(1.2-3) 1.2 ask(1.3-3) ask(1.3-3) 1.3 1.4",
    );
}

#[test]
fn a_sign_of_life_counts_once_all_is_read_that_was_stored_before_it() {
    check("1.1h beat1:3 wake wait wake", "1.1");
    check("1.1h beat1:3 1.2 1.3 read wait read", "1.1 1.2 1.3");
    check("1.1h beat1:3 read notkept2 wake read", "1.1 ask(1.2-3) lost(1.2-3 NotKept)");
    check("1.1h@7 beat1:3 read", "1.1 passed(1)");
}

#[test]
fn a_newer_sign_of_life_does_not_take_back_what_an_older_one_proved() {
    check("1.1h beat1:3 read notkept2 wake beat1:3 read", "1.1 ask(1.2-3) lost(1.2-3 NotKept)");
    let beats = "wake beat1:3 wake beat1:3 wake";
    check(&format!("1.1h beat1:3 read wait {beats} read"), "1.1 ask(1.2-3) lost(1.2-3 NoAnswer)");
}

#[test]
fn what_is_proven_of_an_epoch_says_nothing_of_the_next() {
    check("1.1h beat1:3 read 2.1h1:1 wake", "1.1 ask(1.2-3) 2.1");
}

#[test]
fn too_much_too_early_is_a_gap() {
    check("1.1h 1.3 1.5 1.7 1.9", "1.1 lost(1.2-2 HeldFull) 1.3");
}

#[test]
fn a_known_end_that_was_reached_leaves_no_gap() {
    check("1.1h 1.2 2.1h1:2 2.2", "1.1 1.2 2.1 2.2");
    check("1.1h 1.2 2.1h1:1", "1.1 1.2 2.1");
}

#[test]
fn a_known_end_that_was_not_reached_is_a_gap_up_to_it() {
    check("1.1h 1.2 2.1h1:4", "1.1 1.2 lost(1.3-4 EndKnown) 2.1");
    check("1.1h 1.3 2.1h1:4", "1.1 lost(1.2-2 EndKnown) 1.3 lost(1.4-4 EndKnown) 2.1");
}

#[test]
fn an_unknown_end_is_an_open_gap() {
    check("1.1h 2.1h", "1.1 lost(1.2- EndUnknown) 2.1");
    check("1.1h 2.1h1", "1.1 lost(1.2- EndUnknown) 2.1");
    check("1.1h 1.3 2.1h", "1.1 lost(1.2-2 EndUnknown) 1.3 lost(1.4- EndUnknown) 2.1");
}

#[test]
fn the_end_of_another_instance_is_unknown() {
    check("1.1h@7 2.1h1:1", "1.1 lost(1.2- EndUnknown) 2.1");
}

#[test]
fn an_epoch_between_makes_the_gap_open() {
    check("1.1h 3.1h2:4", "1.1 lost(1.2- EndUnknown) 3.1");
    check("1.1h 3.1h1:1", "1.1 lost(1.2- EndUnknown) 3.1");
}

#[test]
fn a_node_that_is_new_has_no_history_in_its_first_life_alone() {
    check("1.1h", "1.1");
    check("5.1h", "lost(0.1- History) 5.1");
    check("5.1h4:9", "lost(0.1- History) 5.1");
    check("1.1s", "lost(0.1- History) 1.1");
}

#[test]
fn history_is_lost_once() {
    let mut reorder = Reorder::new(LIMITS, Position { closed: true, ..Position::default() });
    let mut out = vec![];
    reorder.step(0, parse("5.1h", 0, 0), &mut out);
    assert_eq!(out.iter().map(tell).collect::<Vec<_>>().join(" "), "5.1");
    let mut reorder = Reorder::new(LIMITS, Position { closed: true, ..Position::default() });
    reorder.step(0, parse("5.2", 0, 0), &mut out);
    assert_eq!(out.iter().map(tell).collect::<Vec<_>>().join(" "), "5.1 lost(5.1- NoHello) NoHello(5.2) passed(5)");
}

#[test]
fn what_is_late_of_an_older_epoch_does_not_count() {
    check("1.1h 2.1h1:2 1.2 2.2", "1.1 lost(1.2-2 EndKnown) 2.1 OldEpoch(1.2) 2.2");
}

#[test]
fn an_epoch_without_hello_is_closed() {
    check(
        "1.1h 2.2 2.1h1:1 2.3 3.1h2:3",
        "1.1 lost(1.2- NoHello) lost(2.1- NoHello) NoHello(2.2) passed(2) NoHello(2.1) NoHello(2.3) 3.1",
    );
    check("1.1h 1.3 2.2", "1.1 lost(1.2-2 NoHello) 1.3 lost(1.4- NoHello) lost(2.1- NoHello) NoHello(2.2) passed(2)");
    check("4.2 4.3 5.1h4:3 5.2", "lost(0.1- History) NoHello(4.2) passed(4) NoHello(4.3) 5.1 5.2");
}

#[test]
fn a_closed_epoch_stays_closed_after_a_restart() {
    check(
        "1.1h 2.2 restart 2.3 beat2:3 read 3.1h",
        "1.1 lost(1.2- NoHello) lost(2.1- NoHello) NoHello(2.2) passed(2) NoHello(2.3) passed(2) 3.1",
    );
}

#[test]
fn after_a_restart_what_was_held_is_read_again() {
    check("1.1h 1.3 restart 1.1h 1.3 1.2", "1.1 Repeated(1.1) 1.2 1.3");
}

#[test]
fn another_instance_of_the_same_epoch_does_not_count() {
    check("1.1h 1.2@9 1.1h@9 1.2", "1.1 OtherInstance(1.2) OtherInstance(1.1) 1.2");
}

#[test]
fn a_closed_epoch_has_an_open_gap() {
    check("1.1h 1.2 close 1.3 2.1h1:3", "1.1 1.2 lost(1.3- StreamCut) NoHello(1.3) 2.1");
    check("1.1h 1.3 close close", "1.1 lost(1.2-2 StreamCut) 1.3 lost(1.4- StreamCut)");
    check("close", "");
}

#[test]
fn a_producer_that_was_passed_is_told_once_for_each_sign_of_life() {
    check("1.1h 2.1h1:1 beat1:1 wake", "1.1 2.1");
    check("1.1h 2.1h1:1 beat1:1 read read", "1.1 2.1 passed(1)");
    check("1.1h@7 beat1:1 read beat1:1 read", "1.1 passed(1) passed(1)");
    check("1.1h close beat1:1 read", "1.1 lost(1.2- StreamCut) passed(1)");
}

#[test]
fn an_epoch_that_was_never_seen_to_begin_is_passed_once_something_of_it_was_stored() {
    check("1.1h beat2:0 read", "1.1");
    check("1.1h beat2:1 wake 2.1h1:1 read", "1.1 2.1");
    check("1.1h beat2:1 read", "1.1 passed(2)");
    check("beat2:1 read", "passed(2)");
}

#[test]
fn numbers_from_nowhere_do_no_harm() {
    check("0.1h 0.0h 1.0h 1.1h 1.0", "OldEpoch(0.1) OldEpoch(0.0) Repeated(1.0) 1.1 Repeated(1.0)");
    check("1.1h 1.9 beat1:3 wake wake", "1.1 ask(1.2-8)");
}

#[test]
fn a_wake_is_due_while_something_is_missing() {
    let mut reorder = Reorder::new(LIMITS, Position { epoch: 1, instance: 1, next: 2, closed: false });
    let mut out = vec![];
    assert_eq!(reorder.deadline(), None);
    reorder.step(10, parse("1.3", 10, 1), &mut out);
    assert_eq!(reorder.deadline(), Some(10), "it is to be asked for");
    reorder.step(10, Input::Wake { read_to: None }, &mut out);
    assert_eq!(reorder.deadline(), Some(110));
    reorder.step(20, parse("notkept2", 20, 1), &mut out);
    assert!(reorder.deadline().is_some_and(|due| due <= 20));
    reorder.step(30, parse("1.2", 30, 1), &mut out);
    assert_eq!(reorder.deadline(), None);
}

#[test]
fn a_lower_sign_of_life_takes_nothing_back() {
    check("1.1h beat1:5 read beat1:3 read notkept2 wake read", "1.1 ask(1.2-5) lost(1.2-5 NotKept)");
}

#[test]
fn what_is_read_by_the_moment_of_a_sign_of_life_is_not_read_after_it() {
    let mut reorder = Reorder::new(LIMITS, Position::default());
    let mut out = vec![];
    reorder.step(1, parse("1.1h", 1, 0), &mut out);
    reorder.step(2, parse("beat1:3", 2, 1), &mut out);
    reorder.step(3, Input::Wake { read_to: Some(2) }, &mut out);
    assert_eq!(out.len(), 1, "{out:?}");
    reorder.step(4, Input::Wake { read_to: Some(3) }, &mut out);
    assert_eq!(out[1..], [Output::Ask { epoch: 1, from: 2, to: 3 }]);
}

#[test]
fn an_answer_about_another_epoch_is_no_answer() {
    let mut reorder = Reorder::new(LIMITS, Position::default());
    let mut out = vec![];
    for (now, word) in [(1, "1.1h"), (2, "1.3"), (3, "wake")] {
        reorder.step(now, parse(word, now, 1), &mut out);
    }
    let waits = reorder.deadline();
    reorder.step(4, Input::Answer { epoch: 2, from: 2, answer: Answer::NotKept }, &mut out);
    assert_eq!(reorder.deadline(), waits);
}
