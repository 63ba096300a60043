//! Words about a node.

use bytes::Bytes;
use proto::v1;
use proto::v1::node_change::Change;

use super::Invalid;
use super::value::{self, Numbered, cut, wire_time};
use crate::container::TEXT_MAX;
use crate::node::{
    CORRECTION_FIELDS_MAX, Correction, DriftKind, Engine, Gap, GapRange, GapReason, Hello, LISTED_IDS_MAX, Listed,
    NodeChange, PreviousLife, REASON_MAX, REQUEST_ID_MAX, REQUEST_IDS_MAX,
};
use crate::{ContainerId, Instance};

impl TryFrom<v1::NodeChange> for NodeChange {
    type Error = Invalid;

    fn try_from(wire: v1::NodeChange) -> Result<Self, Invalid> {
        let v1::NodeChange { change } = wire;
        Ok(match change {
            Some(Change::Hello(hello)) => Self::Hello(hello.try_into()?),
            Some(Change::Stating(stating)) => Self::Stating(request_ids(stating)),
            Some(Change::Listed(listed)) => Self::Listed(listed.try_into()?),
            Some(Change::Blind(v1::Blind { reason })) => Self::Blind(cut(reason, REASON_MAX)),
            Some(Change::Lost(v1::Lost { reason })) => Self::Lost(cut(reason, REASON_MAX)),
            Some(Change::Back(v1::Back {})) => Self::Back,
            Some(Change::Cursor(v1::Cursor {})) => Self::Cursor,
            Some(Change::Forgotten(v1::Forgotten {})) => Self::Forgotten,
            // None: a word that is not known yet has no content for this reader.
            Some(Change::Repeat(v1::Repeat {})) | None => Self::Repeat,
        })
    }
}

impl From<&NodeChange> for v1::NodeChange {
    fn from(change: &NodeChange) -> Self {
        let change = match change {
            NodeChange::Hello(hello) => Change::Hello(hello.into()),
            NodeChange::Stating(request_ids) => Change::Stating(v1::Stating { request_ids: request_ids.clone() }),
            NodeChange::Listed(listed) => Change::Listed(listed.into()),
            NodeChange::Blind(reason) => Change::Blind(v1::Blind { reason: reason.clone() }),
            NodeChange::Lost(reason) => Change::Lost(v1::Lost { reason: reason.clone() }),
            NodeChange::Back => Change::Back(v1::Back {}),
            NodeChange::Cursor => Change::Cursor(v1::Cursor {}),
            NodeChange::Forgotten => Change::Forgotten(v1::Forgotten {}),
            NodeChange::Repeat => Change::Repeat(v1::Repeat {}),
        };
        Self { change: Some(change) }
    }
}

/// The ids of requests. One that is too long is no id that anybody asked with, so it is left out rather than cut.
pub(super) fn request_ids(wire: v1::Stating) -> Vec<String> {
    let v1::Stating { request_ids } = wire;
    request_ids.into_iter().filter(|id| id.len() <= REQUEST_ID_MAX).take(REQUEST_IDS_MAX).collect()
}

impl TryFrom<v1::Hello> for Hello {
    type Error = Invalid;

    fn try_from(wire: v1::Hello) -> Result<Self, Invalid> {
        let v1::Hello { engine, previous, stand_in } = wire;
        Ok(Self {
            engine: engine.ok_or(Invalid::Missing("engine"))?.into(),
            previous: previous.map(PreviousLife::try_from).transpose()?,
            stand_in,
        })
    }
}

impl From<&Hello> for v1::Hello {
    fn from(hello: &Hello) -> Self {
        let Hello { engine, previous, stand_in } = hello;
        Self { engine: Some(engine.into()), previous: previous.map(v1::PreviousLife::from), stand_in: *stand_in }
    }
}

impl From<v1::Engine> for Engine {
    fn from(wire: v1::Engine) -> Self {
        let v1::Engine { id, version, os, arch } = wire;
        Self {
            id: cut(id, TEXT_MAX),
            version: cut(version, TEXT_MAX),
            os: cut(os, TEXT_MAX),
            arch: cut(arch, TEXT_MAX),
        }
    }
}

impl From<&Engine> for v1::Engine {
    fn from(engine: &Engine) -> Self {
        let Engine { id, version, os, arch } = engine.clone();
        Self { id, version, os, arch }
    }
}

impl TryFrom<v1::PreviousLife> for PreviousLife {
    type Error = Invalid;

    fn try_from(wire: v1::PreviousLife) -> Result<Self, Invalid> {
        let v1::PreviousLife { epoch, instance, last_seq } = wire;
        Ok(Self {
            epoch: value::positive("previous.epoch", epoch)?,
            instance: instance.map(Instance),
            last_seq: last_seq.map(|seq| value::counter("previous.last_seq", seq)).transpose()?,
        })
    }
}

impl From<PreviousLife> for v1::PreviousLife {
    fn from(previous: PreviousLife) -> Self {
        let PreviousLife { epoch, instance, last_seq } = previous;
        Self { epoch, instance: instance.map(|Instance(number)| number), last_seq }
    }
}

impl TryFrom<v1::Listed> for Listed {
    type Error = Invalid;

    fn try_from(wire: v1::Listed) -> Result<Self, Invalid> {
        let v1::Listed { as_of, container_ids, part, parts, complete, whole } = wire;
        // A list that is cut would say that containers are gone.
        if container_ids.len() > LISTED_IDS_MAX {
            return Err(Invalid::OutOfBounds("container_ids"));
        }
        if part >= parts {
            return Err(Invalid::Contradiction("part", "parts"));
        }
        let id = |bytes: Bytes| <[u8; 32]>::try_from(bytes.as_ref()).map(ContainerId::from);
        let ids = container_ids.into_iter().map(id).collect::<Result<_, _>>();
        Ok(Self {
            as_of: value::counter("as_of", as_of)?,
            ids: ids.map_err(|_| Invalid::OutOfBounds("container_ids"))?,
            part,
            parts,
            complete,
            whole,
        })
    }
}

impl From<&Listed> for v1::Listed {
    fn from(listed: &Listed) -> Self {
        let Listed { as_of, ids, part, parts, complete, whole } = listed;
        let bytes = |id: &ContainerId| Bytes::copy_from_slice(id.as_bytes());
        Self {
            as_of: *as_of,
            container_ids: ids.iter().map(bytes).collect(),
            part: *part,
            parts: *parts,
            complete: *complete,
            whole: *whole,
        }
    }
}

impl TryFrom<v1::Gap> for Gap {
    type Error = Invalid;

    fn try_from(wire: v1::Gap) -> Result<Self, Invalid> {
        let v1::Gap { reason, epoch, from_seq, to_seq, action, lost, since, until } = wire;
        let range = match epoch {
            Some(epoch) => {
                let from = value::positive("from_seq", from_seq.unwrap_or_default())?;
                let to = to_seq.map(|to| value::counter("to_seq", to)).transpose()?;
                if to.is_some_and(|to| to < from) {
                    return Err(Invalid::Contradiction("to_seq", "from_seq"));
                }
                GapRange::Stamps { epoch: value::counter("epoch", epoch)?, from, to }
            }
            None => GapRange::Engine { lost, since: value::time(since), until: value::time(until) },
        };
        Ok(Self { reason: GapReason::required("reason", reason)?, range, action: cut(action, REASON_MAX) })
    }
}

impl From<&Gap> for v1::Gap {
    fn from(gap: &Gap) -> Self {
        let Gap { reason, range, action } = gap;
        let mut wire = Self { reason: reason.number(), action: action.clone(), ..Self::default() };
        match range {
            GapRange::Stamps { epoch, from, to } => {
                wire.epoch = Some(*epoch);
                wire.from_seq = Some(*from);
                wire.to_seq = *to;
            }
            GapRange::Engine { lost, since, until } => {
                wire.lost = *lost;
                wire.since = since.map(wire_time);
                wire.until = until.map(wire_time);
            }
        }
        wire
    }
}

impl TryFrom<v1::Correction> for Correction {
    type Error = Invalid;

    fn try_from(wire: v1::Correction) -> Result<Self, Invalid> {
        let v1::Correction { drift, container_id, fields } = wire;
        Ok(Self {
            drift: DriftKind::required("drift", drift)?,
            container_id: value::optional_id("container_id", &container_id)?,
            fields: fields.into_iter().take(CORRECTION_FIELDS_MAX).map(|field| cut(field, TEXT_MAX)).collect(),
        })
    }
}

impl From<&Correction> for v1::Correction {
    fn from(correction: &Correction) -> Self {
        let Correction { drift, container_id, fields } = correction;
        let container_id = container_id.map(|id| id.to_string()).unwrap_or_default();
        Self { drift: drift.number(), container_id, fields: fields.clone() }
    }
}
