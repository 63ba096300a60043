//! Values that are valid, of every shape: single ones, containers, words about a node. The large ones are boxed: built by value they fill a test's stack.

use domain::container::{Health, Port, Protocol, Status, StopCause};
use domain::digest::Digest;
use domain::node::{
    Correction, DriftKind, Engine, Gap, GapRange, GapReason, Hello, LISTED_IDS_MAX, Listed, PreviousLife,
};
use domain::wire::COUNTER_MAX;
use domain::{Container, ContainerId, Instance, NodeName, Stamp, Timestamp};
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

pub(crate) fn counter() -> impl Strategy<Value = u64> {
    prop_oneof![0..20_u64, 0..=COUNTER_MAX]
}

pub(crate) fn positive() -> impl Strategy<Value = u64> {
    counter().prop_map(|number| number.max(1))
}

/// Any characters: quotes, line feeds, what looks like a field.
pub(crate) fn text() -> impl Strategy<Value = String> {
    prop_oneof!["(?s).{0,12}", "[a-z=:{}\",\n]{0,12}"]
}

fn filled() -> impl Strategy<Value = Option<String>> {
    of(text()).prop_map(|text| text.filter(|text| !text.is_empty()))
}

pub(crate) fn node() -> impl Strategy<Value = NodeName> {
    "[A-Za-z0-9_-]{1,63}".prop_map(|name| name.parse().expect("of the letters of a name"))
}

pub(crate) fn id() -> impl Strategy<Value = ContainerId> {
    any::<[u8; 32]>().prop_map(ContainerId::from)
}

pub(crate) fn time() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp)
}

pub(crate) fn word<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
    select(all)
}

pub(crate) fn instance() -> impl Strategy<Value = Instance> {
    any::<u64>().prop_map(Instance)
}

pub(crate) fn digest() -> impl Strategy<Value = Digest> {
    (any::<u32>(), any::<[u8; 32]>()).prop_map(|(version, sha256)| Digest { version, sha256 })
}

fn port() -> impl Strategy<Value = Port> {
    (any::<u16>(), word(Protocol::ALL), filled(), of(any::<u16>())).prop_map(
        |(container_port, protocol, host_ip, host_port)| Port { container_port, protocol, host_ip, host_port },
    )
}

pub(crate) fn container() -> BoxedStrategy<Container> {
    let what = (id(), text(), node(), text(), text(), word(Status::ALL), of(word(Status::ALL)));
    let how = (
        of(any::<i32>()),
        filled(),
        any::<bool>(),
        of(word(Health::ALL)),
        of(word(StopCause::ALL)),
        of(any::<u32>()),
        any::<u32>(),
    );
    let when = (of(time()), of(time()), of(time()), of(time()), of(time()));
    let whose = (filled(), filled(), btree_map(text(), text(), 0..4), vec(port(), 0..4));
    let seen = (counter(), counter(), counter(), any::<bool>());
    (what, how, when, whose, seen)
        .prop_map(|(what, how, when, whose, seen)| {
            let (id, name, node, image, image_id, status, last_status) = what;
            let (exit_code, error, oom_killed, health, stop_cause, pid, restart_count) = how;
            let (created_at, started_at, finished_at, observed_at, status_since) = when;
            let (project, service, labels, mut ports) = whose;
            let (epoch, seq, as_of, truncated) = seen;
            ports.sort();
            ports.dedup();
            Container {
                id,
                name,
                node,
                image,
                image_id,
                status,
                last_status,
                exit_code,
                error,
                oom_killed,
                health,
                stop_cause,
                pid,
                created_at,
                started_at,
                finished_at,
                restart_count,
                project,
                service,
                labels,
                ports,
                stamp: Stamp { epoch, seq },
                as_of,
                observed_at,
                status_since,
                truncated,
            }
        })
        .boxed()
}

pub(crate) fn engine() -> impl Strategy<Value = Engine> {
    (text(), text(), text(), text()).prop_map(|(id, version, os, arch)| Engine { id, version, os, arch })
}

pub(crate) fn hello() -> BoxedStrategy<Hello> {
    let previous = (positive(), of(instance()), of(counter())).prop_map(|(epoch, instance, last_seq)| PreviousLife {
        epoch,
        instance,
        last_seq,
    });
    (engine(), of(previous), any::<bool>())
        .prop_map(|(engine, previous, stand_in)| Hello { engine, previous, stand_in })
        .boxed()
}

pub(crate) fn request_ids() -> impl Strategy<Value = Vec<String>> {
    vec("[a-z0-9-]{0,64}", 0..4)
}

pub(crate) fn listed() -> BoxedStrategy<Listed> {
    let ids = prop_oneof![20 => vec(id(), 0..4), 1 => Just(vec![ContainerId::from([7; 32]); LISTED_IDS_MAX])];
    (counter(), ids, 0..5_u32, 1..5_u32, any::<bool>(), any::<bool>())
        .prop_map(|(as_of, ids, part, more, complete, whole)| Listed {
            as_of,
            ids,
            part,
            parts: part + more,
            complete,
            whole,
        })
        .boxed()
}

pub(crate) fn engine_gap() -> impl Strategy<Value = Gap> {
    (word(GapReason::ALL), of(any::<u64>()), of(time()), of(time()), text()).prop_map(
        |(reason, lost, since, until, action)| Gap { reason, range: GapRange::Engine { lost, since, until }, action },
    )
}

pub(crate) fn stamp_gap() -> impl Strategy<Value = Gap> {
    (word(GapReason::ALL), counter(), positive(), of(counter()), text()).prop_map(|(reason, epoch, a, b, action)| {
        let range = GapRange::Stamps { epoch, from: b.map_or(a, |b| a.min(b.max(1))), to: b.map(|b| a.max(b)) };
        Gap { reason, range, action }
    })
}

pub(crate) fn correction() -> impl Strategy<Value = Correction> {
    (word(DriftKind::ALL), of(id()), vec(text(), 0..4)).prop_map(|(drift, container_id, fields)| Correction {
        drift,
        container_id,
        fields,
    })
}
