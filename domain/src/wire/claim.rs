//! Who is there: claims, leases, signs of life.

use bytes::Bytes;
use proto::v1;

use super::Invalid;
use super::value::{self, cut};
use crate::Instance;
use crate::container::TEXT_MAX;
use crate::node::{Heartbeat, Lease, NodeClaim};

impl TryFrom<v1::NodeClaim> for NodeClaim {
    type Error = Invalid;

    fn try_from(wire: v1::NodeClaim) -> Result<Self, Invalid> {
        let v1::NodeClaim { epoch, engine_id, instance, stand_in } = wire;
        // The value of a key that was deleted is empty, and nobody's claim.
        if engine_id.is_empty() {
            return Err(Invalid::Missing("engine_id"));
        }
        Ok(Self {
            epoch: value::counter("epoch", epoch)?,
            engine_id: cut(engine_id, TEXT_MAX),
            instance: Instance(instance),
            stand_in,
        })
    }
}

impl From<&NodeClaim> for v1::NodeClaim {
    fn from(claim: &NodeClaim) -> Self {
        let NodeClaim { epoch, engine_id, instance: Instance(instance), stand_in } = claim;
        Self { epoch: *epoch, engine_id: engine_id.clone(), instance: *instance, stand_in: *stand_in }
    }
}

impl TryFrom<v1::Lease> for Lease {
    type Error = Invalid;

    fn try_from(wire: v1::Lease) -> Result<Self, Invalid> {
        let v1::Lease { instance, counter } = wire;
        let holder = (instance != 0).then_some(Instance(instance));
        Ok(Self { holder, counter: value::counter("counter", counter)? })
    }
}

impl From<&Lease> for v1::Lease {
    fn from(lease: &Lease) -> Self {
        let Lease { holder, counter } = lease;
        Self { instance: holder.map_or(0, |Instance(number)| number), counter: *counter }
    }
}

impl TryFrom<v1::Heartbeat> for Heartbeat {
    type Error = Invalid;

    fn try_from(wire: v1::Heartbeat) -> Result<Self, Invalid> {
        let v1::Heartbeat {
            node,
            epoch,
            instance,
            last_seq,
            acknowledged_seq,
            digest,
            digest_version,
            queued,
            spool_bytes,
            stand_in,
            engine_id,
        } = wire;
        if acknowledged_seq > last_seq {
            return Err(Invalid::Contradiction("acknowledged_seq", "last_seq"));
        }
        Ok(Self {
            node: value::node(&node)?,
            epoch: value::counter("epoch", epoch)?,
            instance: Instance(instance),
            last_seq: value::counter("last_seq", last_seq)?,
            acknowledged_seq,
            digest: value::digest(digest_version, &digest)?,
            queued,
            spool_bytes,
            stand_in,
            engine_id: cut(engine_id, TEXT_MAX),
        })
    }
}

impl From<&Heartbeat> for v1::Heartbeat {
    fn from(heartbeat: &Heartbeat) -> Self {
        let Heartbeat {
            node,
            epoch,
            instance: Instance(instance),
            last_seq,
            acknowledged_seq,
            digest,
            queued,
            spool_bytes,
            stand_in,
            engine_id,
        } = heartbeat;
        Self {
            node: node.to_string(),
            epoch: *epoch,
            instance: *instance,
            last_seq: *last_seq,
            acknowledged_seq: *acknowledged_seq,
            digest: Bytes::copy_from_slice(&digest.sha256),
            digest_version: digest.version,
            queued: *queued,
            spool_bytes: *spool_bytes,
            stand_in: *stand_in,
            engine_id: engine_id.clone(),
        }
    }
}
