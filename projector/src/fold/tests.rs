use domain::container::AsOf;
use domain::{ContainerId, Stamp, Writer};

use super::*;

const TOKEN: &str = "token";
const BEGAN: Timestamp = Timestamp(1_000_000_000);

fn id(number: u8) -> ContainerId {
    ContainerId::from([number; 32])
}

fn record(subject: Subject, seq: u64) -> Record {
    let node_state = NodeState { epoch: 1, next_seq: seq + 1, ..NodeState::default() };
    Record {
        node: "n".parse().unwrap(),
        stamp: Some(Stamp { epoch: 1, seq }),
        writer: Writer(9),
        recorded_at: Timestamp(5),
        observed_at: Some(Timestamp(4)),
        cause: None,
        event: None,
        subject,
        repeated: false,
        removed: false,
        node_state,
        recovery: domain::record::Recovery::default(),
    }
}

fn running(number: u8, seq: u64) -> Record {
    let mut container = Container::unheard_of(id(number), "n".parse().unwrap(), AsOf { epoch: 1, tick: seq });
    container.status = Status::Running;
    record(Subject::Container(Box::new(container)), seq)
}

fn word(change: NodeChange, seq: u64) -> Record {
    record(Subject::Node(change), seq)
}

fn listed(ids: &[u8], part: u32, parts: u32, complete: bool) -> NodeChange {
    let ids = ids.iter().map(|number| id(*number)).collect();
    NodeChange::Listed(Listed { as_of: 1, ids, part, parts, complete, whole: complete && part + 1 == parts })
}

/// A node that stands at record 3, rebuilding or not.
fn node(rebuilding: bool) -> Change {
    let place = Place { sequence: 3, writer: Writer(9) };
    let rebuild = rebuilding.then(|| Rebuild { token: TOKEN.to_owned(), since: BEGAN, stated: false });
    Change::after("n".parse().unwrap(), Checkpoint { partition: Partition(0), place, rebuild })
}

/// The operations as words, without those about the node itself.
fn told(change: &Change) -> Vec<String> {
    let told = change.ops.iter().filter_map(|op| match op {
        Op::Put { container, shown, mode } => {
            let unknown = if *shown == Shown::Known { "known" } else { "unknown" };
            Some(format!("put {} {unknown} {mode:?}", container.id.as_bytes()[0]))
        }
        Op::Remove { id, mode, .. } => Some(format!("remove {} {mode:?}", id.as_bytes()[0])),
        Op::Keep(ids) => Some(format!("keep {:?}", ids.iter().map(|id| id.as_bytes()[0]).collect::<Vec<_>>())),
        Op::Status { status, said, .. } => Some(format!("{status}{}", if *said { "!" } else { "" })),
        Op::Begin { .. } => Some("begin".to_owned()),
        Op::Stating => Some("stating".to_owned()),
        Op::Finish => Some("finish".to_owned()),
        Op::Forget => Some("forget".to_owned()),
        Op::Node(_) => None,
    });
    told.collect()
}

fn after(mut change: Change, records: &[Record]) -> Change {
    for (sequence, record) in (4..).zip(records) {
        change.take(sequence, record);
    }
    change
}

fn rebuilding(change: &Change) -> Option<bool> {
    change.checkpoint()?.rebuild.as_ref().map(|rebuild| rebuild.stated)
}

#[test]
fn a_state_is_put_and_a_removal_removes() {
    let mut removed = running(1, 5);
    if let Subject::Container(container) = &mut removed.subject {
        container.status = Status::Removed;
    }
    let mut late = running(1, 6);
    late.removed = true;
    let mut repeated = running(2, 7);
    repeated.repeated = true;
    let change = after(node(false), &[running(1, 4), removed, late, repeated]);
    assert_eq!(
        told(&change),
        ["alive", "put 1 known Always", "remove 1 Always", "remove 1 Always", "put 2 known Newer"]
    );
    assert_eq!(change.checkpoint().unwrap().place, Place { sequence: 7, writer: Writer(9) });
}

#[test]
fn a_rebuild_is_unknown_until_its_statement() {
    let stating = |tokens: &[&str]| NodeChange::Stating(tokens.iter().map(|token| (*token).to_owned()).collect());
    let change = after(node(true), &[running(1, 4), word(stating(&[]), 5), running(2, 6)]);
    assert_eq!(told(&change), ["alive", "put 1 unknown NotOlder", "put 2 unknown NotOlder"]);
    let change = after(change, &[word(listed(&[1, 2], 0, 1, true), 7)]);
    assert_eq!(rebuilding(&change), Some(false), "not the statement that was asked for");

    let change =
        after(node(true), &[word(stating(&["other", TOKEN]), 4), running(1, 5), word(listed(&[1], 0, 2, true), 6)]);
    assert_eq!(told(&change), ["alive", "stating", "put 1 unknown Always", "keep [1]", "keep [1]"]);
    assert_eq!(rebuilding(&change), Some(true), "a part is missing");
    let change = after(change, &[word(listed(&[2], 1, 2, true), 7)]);
    assert_eq!(told(&change)[5..], ["keep [2]", "finish"]);
    assert_eq!(rebuilding(&change), None);
}

#[test]
fn a_statement_that_is_not_whole_ends_no_rebuild() {
    let stating = || word(NodeChange::Stating(vec![TOKEN.to_owned()]), 4);
    let partial = after(node(true), &[stating(), word(listed(&[1], 0, 1, false), 5)]);
    assert_eq!((told(&partial), rebuilding(&partial)), (vec!["alive".to_owned(), "stating".to_owned()], Some(false)));
    let other = after(node(true), &[stating(), word(NodeChange::Stating(Vec::new()), 5)]);
    let other = after(other, &[word(listed(&[1], 0, 1, true), 6)]);
    assert_eq!(rebuilding(&other), Some(false), "the statement that was asked for was never closed");
}

#[test]
fn lost_and_blind_are_said_and_the_next_record_tells_the_end() {
    let mut lost = word(NodeChange::Lost("silent".to_owned()), 4);
    lost.node_state.lost = true;
    let back = word(NodeChange::Back, 4);
    assert_eq!(told(&after(node(false), &[lost.clone(), back])), ["lost!", "alive"]);
    let mut cursor = word(NodeChange::Cursor, 4);
    cursor.node_state.lost = true;
    assert_eq!(told(&after(node(false), &[lost, cursor])), ["lost!"]);
}

#[test]
fn what_was_looked_at_before_a_node_went_blind_is_unknown() {
    let mut blind = word(NodeChange::Blind("no engine".to_owned()), 4);
    blind.node_state.blind = true;
    let mut late = running(1, 5);
    late.node_state.blind = true;
    let mut stated = running(2, 6);
    stated.node_state = NodeState { blind: true, stating_sequence: 6, ..stated.node_state };
    let change = after(node(false), &[blind, late, stated]);
    assert_eq!(told(&change), ["blind!", "put 1 unknown Always", "put 2 known Always"]);
}

#[test]
fn a_forgotten_node_leaves_nothing() {
    let change = after(node(false), &[running(1, 4), word(NodeChange::Forgotten, 5)]);
    assert_eq!((told(&change), change.checkpoint()), (vec!["forget".to_owned()], None));
    let args = change.into_args();
    assert_eq!((args.len(), args[6..12].concat(), args[12].as_str()), (13, String::new(), "forget"));
}

#[test]
fn the_stamp_of_a_closed_epoch_stays() {
    let mut closing = running(1, 5);
    closing.node_state.closed = true;
    closing.node_state.next_seq = u64::MAX;
    let change = after(node(false), &[running(1, 4), closing]);
    assert_eq!(change.fields["seq"], "4");
}
