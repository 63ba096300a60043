use domain::node::{Correction, DriftKind};
use domain::wire::Wire;
use domain::{Batch, Status};

use super::*;
use crate::engine::labels::LabelPolicy;
use crate::engine::state::{self, Inspected};
use crate::view::Gone;

/// A core in its first epoch, whose `hello` is stored.
fn core() -> Core {
    let identity = Identity { node: "n".parse().unwrap(), instance: Instance(1), stand_in: false };
    let core =
        Core::new(identity, Engine::default(), Limits::default(), service::Metrics::default(), BTreeMap::default());
    begin(&core, 1);
    core
}

fn begin(core: &Core, epoch: u64) {
    core.begin(epoch, None);
    let (seq, _) = core.next_message(usize::MAX).expect("a hello");
    core.acknowledged(epoch, seq);
}

/// What an inspect shows that was begun after so many restarts.
fn inspected(restarts: u32) -> Inspected {
    let inspect = serde_json::from_str(include_str!("../engine/recorded/exited.json")).unwrap();
    let mut inspected = state::read(&inspect, &"n".parse().unwrap(), &LabelPolicy::default()).unwrap();
    inspected.container.status = Status::Running;
    inspected.container.restart_count = restarts;
    (inspected.container.exit_code, inspected.container.finished_at) = (None, None);
    inspected
}

/// Looks as a snapshot does; the drifts that it says.
fn snapshot_finds(core: &Core, restarts: u32) -> Vec<DriftKind> {
    core.found(core.tick(), inspected(restarts), Cause::Snapshot, None, false);
    said(core)
}

fn said(core: &Core) -> Vec<DriftKind> {
    let mut found = Vec::new();
    while let Some((seq, bytes)) = core.next_message(usize::MAX) {
        core.acknowledged(core.epoch(), seq);
        let observations = Batch::decode(&bytes).expect("a batch").observations;
        for observation in observations {
            if let Observed::Correction(Correction { drift, .. }) = observation.observed {
                found.push(drift);
            }
        }
    }
    assert_eq!(usize::try_from(core.take_missed()).unwrap(), found.len());
    found
}

fn state_all(core: &Core, restarts: u32) {
    let tick = core.tick();
    core.found(core.tick(), inspected(restarts), Cause::List, None, true);
    core.listed(&[inspected(restarts).container.id], tick, true);
}

#[test]
fn nothing_was_missed_before_all_was_stated() {
    let core = core();
    assert_eq!((snapshot_finds(&core, 0), core.stated_epoch()), (Vec::new(), None));
    state_all(&core, 0);
    assert_eq!((snapshot_finds(&core, 0), core.stated_epoch()), (Vec::new(), Some(1)));
    assert_eq!(snapshot_finds(&core, 1), [DriftKind::MissedEvent]);

    begin(&core, 2);
    assert_eq!((snapshot_finds(&core, 1), core.stated_epoch()), (Vec::new(), None), "a new epoch knows nothing yet");
    state_all(&core, 1);
    assert_eq!(snapshot_finds(&core, 2), [DriftKind::MissedEvent]);
}

#[test]
fn nothing_was_missed_while_the_engine_was_not_heard() {
    for away in [|core: &Core| core.unheard(), |core: &Core| core.blind("away", Cause::List, false)] {
        let core = core();
        state_all(&core, 0);
        away(&core);
        assert_eq!((snapshot_finds(&core, 1), core.stated_epoch()), (Vec::new(), None));
        state_all(&core, 1);
        assert_eq!((snapshot_finds(&core, 2), core.stated_epoch()), (vec![DriftKind::MissedEvent], Some(1)));
    }
}

#[test]
fn a_removal_while_the_engine_was_not_heard_was_not_missed() {
    let found_gone = |heard: bool| {
        let core = core();
        state_all(&core, 0);
        if !heard {
            core.unheard();
        }
        core.gone(core.tick(), inspected(0).container.id, &Gone::Missing, Cause::Snapshot, None, false);
        said(&core)
    };
    assert_eq!(found_gone(false), []);
    assert_eq!(found_gone(true), [DriftKind::MissedEvent]);
}

#[test]
fn a_removal_of_what_this_epoch_never_knew_was_not_missed() {
    let core = core();
    state_all(&core, 0);
    begin(&core, 2);
    let tick = core.tick();
    core.listed(&[], tick, true);
    core.gone(core.tick(), inspected(0).container.id, &Gone::Missing, Cause::Snapshot, None, false);
    assert_eq!((said(&core), core.stated_epoch()), (Vec::new(), Some(2)));
}
