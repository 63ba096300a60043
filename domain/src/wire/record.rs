//! What subscribers read.

use proto::v1;
use proto::v1::record::Subject as WireSubject;

use super::Invalid;
use super::value::{self, Numbered, wire_time};
use crate::node::{Engine, NodeChange};
use crate::observation::SpoolPlace;
use crate::record::{Recovery, SPOOL_PLACES_MAX};
use crate::{Cause, Container, ContainerId, EngineEvent, NodeName, NodeState, Record, Stamp, Subject, Writer};

impl TryFrom<v1::Record> for Record {
    type Error = Invalid;

    fn try_from(wire: v1::Record) -> Result<Self, Invalid> {
        let v1::Record {
            node,
            container_id,
            epoch,
            seq,
            writer,
            recorded_at,
            cause,
            event,
            observed_at,
            recovery,
            node_state,
            repeated,
            removed,
            subject,
        } = wire;
        let node = value::node(&node)?;
        let id = container_id.map(|id| value::id("container_id", &id)).transpose()?;
        Ok(Self {
            stamp: stamp(epoch, seq)?,
            writer: Writer(writer),
            recorded_at: value::required_time("recorded_at", recorded_at)?,
            observed_at: value::time(observed_at),
            cause: Cause::from_number(cause),
            event: event.map(EngineEvent::from),
            subject: parse_subject(&node, id, subject)?,
            repeated,
            removed,
            node_state: node_state.ok_or(Invalid::Missing("node_state"))?.try_into()?,
            recovery: recovery.ok_or(Invalid::Missing("recovery"))?.try_into()?,
            node,
        })
    }
}

fn stamp(epoch: u64, seq: u64) -> Result<Option<Stamp>, Invalid> {
    if (epoch, seq) == (0, 0) {
        return Ok(None);
    }
    Ok(Some(Stamp { epoch: value::positive("epoch", epoch)?, seq: value::positive("seq", seq)? }))
}

fn parse_subject(node: &NodeName, id: Option<ContainerId>, subject: Option<WireSubject>) -> Result<Subject, Invalid> {
    Ok(match subject {
        Some(WireSubject::Container(wire)) => {
            let container = Container::try_from(wire)?;
            if container.node != *node {
                return Err(Invalid::Contradiction("container.node", "node"));
            }
            if id.is_some_and(|id| id != container.id) {
                return Err(Invalid::Contradiction("container.id", "container_id"));
            }
            Subject::Container(Box::new(container))
        }
        Some(WireSubject::NodeChange(change)) => Subject::Node(change.try_into()?),
        Some(WireSubject::Gap(gap)) => Subject::Gap(gap.try_into()?),
        Some(WireSubject::Correction(correction)) => Subject::Correction(correction.try_into()?),
        // An arm that is not known yet has no content for this reader.
        None => id.map_or(Subject::Node(NodeChange::Repeat), Subject::Event),
    })
}

impl From<&Record> for v1::Record {
    fn from(record: &Record) -> Self {
        let Record {
            node,
            stamp,
            writer: Writer(writer),
            recorded_at,
            observed_at,
            cause,
            event,
            subject,
            repeated,
            removed,
            node_state,
            recovery,
        } = record;
        Self {
            node: node.to_string(),
            container_id: match subject {
                Subject::Container(container) => Some(container.id.to_string()),
                Subject::Event(id) => Some(id.to_string()),
                Subject::Node(_) | Subject::Gap(_) | Subject::Correction(_) => None,
            },
            epoch: stamp.map_or(0, |stamp| stamp.epoch),
            seq: stamp.map_or(0, |stamp| stamp.seq),
            writer: *writer,
            recorded_at: Some(wire_time(*recorded_at)),
            cause: cause.map_or(0, Cause::number),
            event: event.as_ref().map(v1::EngineEvent::from),
            observed_at: observed_at.map(wire_time),
            recovery: Some(recovery.into()),
            node_state: Some(node_state.into()),
            repeated: *repeated,
            removed: *removed,
            subject: match subject {
                Subject::Container(container) => Some(WireSubject::Container(container.as_ref().into())),
                Subject::Event(_) => None,
                Subject::Node(change) => Some(WireSubject::NodeChange(change.into())),
                Subject::Gap(gap) => Some(WireSubject::Gap(gap.into())),
                Subject::Correction(correction) => Some(WireSubject::Correction(correction.into())),
            },
        }
    }
}

impl TryFrom<v1::NodeState> for NodeState {
    type Error = Invalid;

    fn try_from(wire: v1::NodeState) -> Result<Self, Invalid> {
        let v1::NodeState {
            epoch,
            instance,
            next_seq,
            closed,
            needs_statement,
            stating_sequence,
            whole_sequence,
            whole_writer,
            lost,
            blind,
            passed_epoch,
            mut spool_places,
            as_of_floor,
            engine,
        } = wire;
        // The newest stand last.
        spool_places.drain(..spool_places.len().saturating_sub(SPOOL_PLACES_MAX));
        Ok(Self {
            epoch: value::counter("node_state.epoch", epoch)?,
            instance,
            next_seq: value::counter("node_state.next_seq", next_seq)?,
            closed,
            needs_statement,
            stating_sequence: value::counter("node_state.stating_sequence", stating_sequence)?,
            whole_sequence: value::counter("node_state.whole_sequence", whole_sequence)?,
            whole_writer,
            lost,
            blind,
            passed_epoch: value::counter("node_state.passed_epoch", passed_epoch)?,
            spool_places: spool_places.into_iter().map(SpoolPlace::try_from).collect::<Result<_, _>>()?,
            as_of_floor: value::counter("node_state.as_of_floor", as_of_floor)?,
            engine: engine.map(Engine::from),
        })
    }
}

impl From<&NodeState> for v1::NodeState {
    fn from(state: &NodeState) -> Self {
        let NodeState {
            epoch,
            instance,
            next_seq,
            closed,
            needs_statement,
            stating_sequence,
            whole_sequence,
            whole_writer,
            lost,
            blind,
            passed_epoch,
            spool_places,
            as_of_floor,
            engine,
        } = state;
        Self {
            epoch: *epoch,
            instance: *instance,
            next_seq: *next_seq,
            closed: *closed,
            needs_statement: *needs_statement,
            stating_sequence: *stating_sequence,
            whole_sequence: *whole_sequence,
            whole_writer: *whole_writer,
            lost: *lost,
            blind: *blind,
            passed_epoch: *passed_epoch,
            spool_places: spool_places.iter().copied().map(v1::SpoolPlace::from).collect(),
            as_of_floor: *as_of_floor,
            engine: engine.as_ref().map(v1::Engine::from),
        }
    }
}

impl TryFrom<v1::Recovery> for Recovery {
    type Error = Invalid;

    fn try_from(wire: v1::Recovery) -> Result<Self, Invalid> {
        let v1::Recovery { raw_sequence, raw_created } = wire;
        Ok(Self { raw_sequence: value::counter("recovery.raw_sequence", raw_sequence)?, raw_created })
    }
}

impl From<&Recovery> for v1::Recovery {
    fn from(recovery: &Recovery) -> Self {
        let Recovery { raw_sequence, raw_created } = *recovery;
        Self { raw_sequence, raw_created }
    }
}
