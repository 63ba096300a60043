//! What a producer sends.

use proto::v1;
use proto::v1::observation::Subject;

use super::node::request_ids;
use super::value::{self, Numbered, cut, wire_time};
use super::{Invalid, value::COUNTER_MAX};
use crate::node::{Gap, GapRange, REASON_MAX};
use crate::observation::{ACTION_MAX, SpoolPlace};
use crate::{
    Batch, Cause, Container, ContainerId, EngineEvent, Instance, NodeName, Observation, Observed, Stamp, Status,
};

impl TryFrom<v1::ObservationBatch> for Batch {
    type Error = Invalid;

    fn try_from(wire: v1::ObservationBatch) -> Result<Self, Invalid> {
        let v1::ObservationBatch { node, epoch, instance, first_seq, as_of_floor, observations } = wire;
        let node = value::node(&node)?;
        let epoch = value::positive("epoch", epoch)?;
        let first_seq = value::positive("first_seq", first_seq)?;
        if observations.is_empty() {
            return Err(Invalid::Missing("observations"));
        }
        // Some room above first_seq is certain: both are at most half of what the number holds.
        let count = u64::try_from(observations.len()).unwrap_or(COUNTER_MAX);
        value::counter("first_seq", first_seq.saturating_add(count))?;
        let observations = (first_seq..)
            .zip(observations)
            .map(|(seq, wire)| observation(&node, Stamp { epoch, seq }, wire))
            .collect::<Result<_, _>>()?;
        let as_of_floor = value::counter("as_of_floor", as_of_floor)?;
        Ok(Self { node, epoch, instance: Instance(instance), first_seq, as_of_floor, observations })
    }
}

fn observation(node: &NodeName, stamp: Stamp, wire: v1::Observation) -> Result<Observation, Invalid> {
    let v1::Observation { observed_at, cause, event, spool_place, container_id, subject } = wire;
    let observed = observed(node, stamp, container_id.as_deref(), subject)?;
    if matches!(observed, Observed::Hello(_)) != (stamp.seq == 1) {
        return Err(Invalid::Hello);
    }
    Ok(Observation {
        observed_at: value::required_time("observed_at", observed_at)?,
        cause: Cause::required("cause", cause)?,
        event: event.map(EngineEvent::from),
        spool_place: spool_place.map(SpoolPlace::try_from).transpose()?,
        observed,
    })
}

fn observed(
    node: &NodeName,
    stamp: Stamp,
    event_of: Option<&str>,
    subject: Option<Subject>,
) -> Result<Observed, Invalid> {
    Ok(match subject {
        Some(Subject::Container(wire)) => {
            let container = state(node, stamp, wire)?;
            // A removal has its own arm, and a producer that cannot tell says `blind`.
            if matches!(container.status, Status::Removed | Status::Unknown) {
                return Err(Invalid::Contradiction("status", "container"));
            }
            Observed::Container(Box::new(container))
        }
        Some(Subject::Removed(wire)) => {
            let container = state(node, stamp, wire)?;
            if container.status != Status::Removed {
                return Err(Invalid::Contradiction("status", "removed"));
            }
            Observed::Removed(Box::new(container))
        }
        Some(Subject::Hello(hello)) => Observed::Hello(hello.try_into()?),
        Some(Subject::Stating(stating)) => Observed::Stating(request_ids(stating)),
        Some(Subject::Listed(listed)) => Observed::Listed(listed.try_into()?),
        Some(Subject::Blind(v1::Blind { reason })) => Observed::Blind(cut(reason, REASON_MAX)),
        Some(Subject::Gap(gap)) => Observed::Gap(own_gap(gap.try_into()?)?),
        Some(Subject::Correction(correction)) => Observed::Correction(correction.try_into()?),
        None => match event_of {
            Some(id) => Observed::Event(value::id("container_id", id)?),
            None => Observed::Nothing,
        },
    })
}

/// The state, of this node and this life, with the stamp of the observation it came in.
fn state(node: &NodeName, stamp: Stamp, wire: v1::Container) -> Result<Container, Invalid> {
    let mut container = Container::try_from(wire)?;
    if container.node != *node {
        return Err(Invalid::Contradiction("container.node", "node"));
    }
    if container.stamp.epoch != stamp.epoch {
        return Err(Invalid::Contradiction("container.epoch", "epoch"));
    }
    container.stamp = stamp;
    Ok(container)
}

/// A gap that a producer may speak of: that stamps are lost is the sequencer's to say.
fn own_gap(gap: Gap) -> Result<Gap, Invalid> {
    match gap.range {
        GapRange::Engine { .. } => Ok(gap),
        GapRange::Stamps { .. } => Err(Invalid::Contradiction("gap.epoch", "observation")),
    }
}

impl From<&Batch> for v1::ObservationBatch {
    fn from(batch: &Batch) -> Self {
        let Batch { node, epoch, instance: Instance(instance), first_seq, as_of_floor, observations } = batch;
        Self {
            node: node.to_string(),
            epoch: *epoch,
            instance: *instance,
            first_seq: *first_seq,
            as_of_floor: *as_of_floor,
            observations: observations.iter().map(v1::Observation::from).collect(),
        }
    }
}

impl From<&Observation> for v1::Observation {
    fn from(observation: &Observation) -> Self {
        let Observation { observed_at, cause, event, spool_place, observed } = observation;
        Self {
            observed_at: Some(wire_time(*observed_at)),
            cause: cause.number(),
            event: event.as_ref().map(v1::EngineEvent::from),
            spool_place: spool_place.map(v1::SpoolPlace::from),
            container_id: match observed {
                Observed::Event(id) => Some(ContainerId::to_string(id)),
                Observed::Container(_)
                | Observed::Removed(_)
                | Observed::Hello(_)
                | Observed::Stating(_)
                | Observed::Listed(_)
                | Observed::Blind(_)
                | Observed::Gap(_)
                | Observed::Correction(_)
                | Observed::Nothing => None,
            },
            subject: match observed {
                Observed::Container(container) => Some(Subject::Container(container.as_ref().into())),
                Observed::Removed(container) => Some(Subject::Removed(container.as_ref().into())),
                Observed::Hello(hello) => Some(Subject::Hello(hello.into())),
                Observed::Stating(ids) => Some(Subject::Stating(v1::Stating { request_ids: ids.clone() })),
                Observed::Listed(listed) => Some(Subject::Listed(listed.into())),
                Observed::Blind(reason) => Some(Subject::Blind(v1::Blind { reason: reason.clone() })),
                Observed::Gap(gap) => Some(Subject::Gap(gap.into())),
                Observed::Correction(correction) => Some(Subject::Correction(correction.into())),
                Observed::Event(_) | Observed::Nothing => None,
            },
        }
    }
}

impl From<v1::EngineEvent> for EngineEvent {
    fn from(wire: v1::EngineEvent) -> Self {
        let v1::EngineEvent { action, time, signal, exit_code, exec_duration_seconds, replayed } = wire;
        let (action, time) = (cut(action, ACTION_MAX), value::time(time));
        Self { action, time, signal, exit_code, exec_duration_seconds, replayed }
    }
}

impl From<&EngineEvent> for v1::EngineEvent {
    fn from(event: &EngineEvent) -> Self {
        let EngineEvent { action, time, signal, exit_code, exec_duration_seconds, replayed } = event.clone();
        Self { action, time: time.map(wire_time), signal, exit_code, exec_duration_seconds, replayed }
    }
}

impl TryFrom<v1::SpoolPlace> for SpoolPlace {
    type Error = Invalid;

    fn try_from(wire: v1::SpoolPlace) -> Result<Self, Invalid> {
        let v1::SpoolPlace { spool_id, position } = wire;
        Ok(Self { spool_id, position: value::positive("position", position)? })
    }
}

impl From<SpoolPlace> for v1::SpoolPlace {
    fn from(place: SpoolPlace) -> Self {
        let SpoolPlace { spool_id, position } = place;
        Self { spool_id, position }
    }
}
