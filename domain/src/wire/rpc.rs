//! Requests to a producer and their replies.

use bytes::Bytes;
use proto::v1;

use super::Invalid;
use super::value::{self, Numbered, cut};
use crate::container::TEXT_MAX;
use crate::node::{Correction, REQUEST_ID_MAX};
use crate::rpc::{
    LOG_LINES_MAX, LogLine, LogStream, LogsRequest, LogsResponse, ReplayRequest, ReplayResponse, ReplayStatus,
    Responder, ResyncRequest, ResyncResponse, SnapshotRequest, SnapshotResponse,
};
use crate::{Container, Instance};

fn responder(wire: Option<v1::Responder>) -> Result<Responder, Invalid> {
    let v1::Responder { node, epoch, instance, engine_id, stand_in } = wire.ok_or(Invalid::Missing("responder"))?;
    Ok(Responder {
        node: value::node(&node)?,
        epoch: value::counter("responder.epoch", epoch)?,
        instance: Instance(instance),
        engine_id: cut(engine_id, TEXT_MAX),
        stand_in,
    })
}

impl From<&Responder> for v1::Responder {
    fn from(responder: &Responder) -> Self {
        let Responder { node, epoch, instance: Instance(instance), engine_id, stand_in } = responder;
        Self {
            node: node.to_string(),
            epoch: *epoch,
            instance: *instance,
            engine_id: engine_id.clone(),
            stand_in: *stand_in,
        }
    }
}

impl TryFrom<v1::SnapshotRequest> for SnapshotRequest {
    type Error = Invalid;

    fn try_from(wire: v1::SnapshotRequest) -> Result<Self, Invalid> {
        let v1::SnapshotRequest { digest, digest_version, inspect_all, page_size, page_token } = wire;
        let digest = (!digest.is_empty()).then(|| value::digest(digest_version, &digest)).transpose()?;
        Ok(Self { digest, inspect_all, page_size, page_token })
    }
}

impl From<&SnapshotRequest> for v1::SnapshotRequest {
    fn from(request: &SnapshotRequest) -> Self {
        let SnapshotRequest { digest, inspect_all, page_size, page_token } = request;
        Self {
            digest: digest.map_or_else(Default::default, |digest| Bytes::copy_from_slice(&digest.sha256)),
            digest_version: digest.map_or(0, |digest| digest.version),
            inspect_all: *inspect_all,
            page_size: *page_size,
            page_token: page_token.clone(),
        }
    }
}

impl TryFrom<v1::SnapshotResponse> for SnapshotResponse {
    type Error = Invalid;

    fn try_from(wire: v1::SnapshotResponse) -> Result<Self, Invalid> {
        let v1::SnapshotResponse {
            responder: who,
            seq,
            same,
            digest,
            digest_version,
            containers,
            next_page_token,
            missed_events,
        } = wire;
        let responder = responder(who)?;
        let containers = containers.into_iter().map(Container::try_from).collect::<Result<Vec<_>, _>>()?;
        if containers.iter().any(|container| container.node != responder.node) {
            return Err(Invalid::Contradiction("container.node", "responder.node"));
        }
        Ok(Self {
            responder,
            seq: value::counter("seq", seq)?,
            same,
            digest: value::digest(digest_version, &digest)?,
            containers,
            next_page_token,
            missed_events,
        })
    }
}

impl From<&SnapshotResponse> for v1::SnapshotResponse {
    fn from(response: &SnapshotResponse) -> Self {
        let SnapshotResponse { responder, seq, same, digest, containers, next_page_token, missed_events } = response;
        Self {
            responder: Some(responder.into()),
            seq: *seq,
            same: *same,
            digest: Bytes::copy_from_slice(&digest.sha256),
            digest_version: digest.version,
            containers: containers.iter().map(v1::Container::from).collect(),
            next_page_token: next_page_token.clone(),
            missed_events: *missed_events,
        }
    }
}

impl TryFrom<v1::ResyncRequest> for ResyncRequest {
    type Error = Invalid;

    fn try_from(wire: v1::ResyncRequest) -> Result<Self, Invalid> {
        let v1::ResyncRequest { container_ids, request_id, passed_epoch, corrections } = wire;
        if request_id.len() > REQUEST_ID_MAX {
            return Err(Invalid::OutOfBounds("request_id"));
        }
        Ok(Self {
            container_ids: container_ids.iter().map(|id| value::id("container_ids", id)).collect::<Result<_, _>>()?,
            request_id,
            passed_epoch: value::counter("passed_epoch", passed_epoch)?,
            corrections: corrections.into_iter().map(Correction::try_from).collect::<Result<_, _>>()?,
        })
    }
}

impl From<&ResyncRequest> for v1::ResyncRequest {
    fn from(request: &ResyncRequest) -> Self {
        let ResyncRequest { container_ids, request_id, passed_epoch, corrections } = request;
        Self {
            container_ids: container_ids.iter().map(ToString::to_string).collect(),
            request_id: request_id.clone(),
            passed_epoch: *passed_epoch,
            corrections: corrections.iter().map(v1::Correction::from).collect(),
        }
    }
}

impl TryFrom<v1::ResyncResponse> for ResyncResponse {
    type Error = Invalid;

    fn try_from(wire: v1::ResyncResponse) -> Result<Self, Invalid> {
        let v1::ResyncResponse { responder: who } = wire;
        Ok(Self { responder: responder(who)? })
    }
}

impl From<&ResyncResponse> for v1::ResyncResponse {
    fn from(response: &ResyncResponse) -> Self {
        let ResyncResponse { responder } = response;
        Self { responder: Some(responder.into()) }
    }
}

impl TryFrom<v1::ReplayRequest> for ReplayRequest {
    type Error = Invalid;

    fn try_from(wire: v1::ReplayRequest) -> Result<Self, Invalid> {
        let v1::ReplayRequest { epoch, from_seq, to_seq } = wire;
        // Epoch 0 asks only who is there.
        if epoch != 0 && from_seq > to_seq {
            return Err(Invalid::Contradiction("to_seq", "from_seq"));
        }
        Ok(Self {
            epoch: value::counter("epoch", epoch)?,
            from_seq: value::counter("from_seq", from_seq)?,
            to_seq: value::counter("to_seq", to_seq)?,
        })
    }
}

impl From<&ReplayRequest> for v1::ReplayRequest {
    fn from(request: &ReplayRequest) -> Self {
        let ReplayRequest { epoch, from_seq, to_seq } = *request;
        Self { epoch, from_seq, to_seq }
    }
}

impl TryFrom<v1::ReplayResponse> for ReplayResponse {
    type Error = Invalid;

    fn try_from(wire: v1::ReplayResponse) -> Result<Self, Invalid> {
        let v1::ReplayResponse { responder: who, status } = wire;
        Ok(Self { responder: responder(who)?, status: ReplayStatus::required("status", status)? })
    }
}

impl From<&ReplayResponse> for v1::ReplayResponse {
    fn from(response: &ReplayResponse) -> Self {
        let ReplayResponse { responder, status } = response;
        Self { responder: Some(responder.into()), status: status.number() }
    }
}

impl TryFrom<v1::LogsRequest> for LogsRequest {
    type Error = Invalid;

    fn try_from(wire: v1::LogsRequest) -> Result<Self, Invalid> {
        let v1::LogsRequest { container_id, lines } = wire;
        Ok(Self { container_id: value::id("container_id", &container_id)?, lines: lines.min(LOG_LINES_MAX) })
    }
}

impl From<&LogsRequest> for v1::LogsRequest {
    fn from(request: &LogsRequest) -> Self {
        let LogsRequest { container_id, lines } = request;
        Self { container_id: container_id.to_string(), lines: *lines }
    }
}

impl TryFrom<v1::LogsResponse> for LogsResponse {
    type Error = Invalid;

    fn try_from(wire: v1::LogsResponse) -> Result<Self, Invalid> {
        let v1::LogsResponse { responder: who, lines, truncated } = wire;
        Ok(Self { responder: responder(who)?, lines: lines.into_iter().map(LogLine::from).collect(), truncated })
    }
}

impl From<&LogsResponse> for v1::LogsResponse {
    fn from(response: &LogsResponse) -> Self {
        let LogsResponse { responder, lines, truncated } = response;
        Self {
            responder: Some(responder.into()),
            lines: lines.iter().map(v1::LogLine::from).collect(),
            truncated: *truncated,
        }
    }
}

impl From<v1::LogLine> for LogLine {
    fn from(wire: v1::LogLine) -> Self {
        let v1::LogLine { stream, text } = wire;
        let stream = match v1::LogStream::try_from(stream) {
            Ok(v1::LogStream::Stdout) => LogStream::Stdout,
            Ok(v1::LogStream::Stderr) => LogStream::Stderr,
            Ok(v1::LogStream::Unspecified) | Err(_) => LogStream::Terminal,
        };
        Self { stream, text: text.into() }
    }
}

impl From<&LogLine> for v1::LogLine {
    fn from(line: &LogLine) -> Self {
        let LogLine { stream, text } = line;
        let stream = match stream {
            LogStream::Terminal => v1::LogStream::Unspecified,
            LogStream::Stdout => v1::LogStream::Stdout,
            LogStream::Stderr => v1::LogStream::Stderr,
        };
        Self { stream: stream.into(), text: Bytes::copy_from_slice(text) }
    }
}
