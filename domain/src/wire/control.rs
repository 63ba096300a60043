//! Requests to the roles that work on a partition, with their replies.

use proto::v1;

use super::Invalid;
use super::value;
use crate::rpc::{ForgetRequest, ForgetResponse, MEMBERS_MAX, RebuildRequest, RebuildResponse};

impl TryFrom<v1::ForgetRequest> for ForgetRequest {
    type Error = Invalid;

    fn try_from(wire: v1::ForgetRequest) -> Result<Self, Invalid> {
        let v1::ForgetRequest { node, unknown_too } = wire;
        Ok(Self { node: value::node(&node)?, unknown_too })
    }
}

impl From<&ForgetRequest> for v1::ForgetRequest {
    fn from(request: &ForgetRequest) -> Self {
        let ForgetRequest { node, unknown_too } = request;
        Self { node: node.to_string(), unknown_too: *unknown_too }
    }
}

impl TryFrom<v1::ForgetResponse> for ForgetResponse {
    type Error = Invalid;

    fn try_from(wire: v1::ForgetResponse) -> Result<Self, Invalid> {
        let v1::ForgetResponse { sequence } = wire;
        Ok(Self { sequence: value::counter("sequence", sequence)? })
    }
}

impl From<&ForgetResponse> for v1::ForgetResponse {
    fn from(response: &ForgetResponse) -> Self {
        let ForgetResponse { sequence } = *response;
        Self { sequence }
    }
}

impl TryFrom<v1::RebuildRequest> for RebuildRequest {
    type Error = Invalid;

    fn try_from(wire: v1::RebuildRequest) -> Result<Self, Invalid> {
        let v1::RebuildRequest { node, members } = wire;
        if members.len() > MEMBERS_MAX {
            return Err(Invalid::OutOfBounds("members"));
        }
        let parse = |member: String| member.parse().map_err(|word| Invalid::UnknownWord("members", word));
        Ok(Self { node: value::node(&node)?, members: members.into_iter().map(parse).collect::<Result<_, _>>()? })
    }
}

impl From<&RebuildRequest> for v1::RebuildRequest {
    fn from(request: &RebuildRequest) -> Self {
        let RebuildRequest { node, members } = request;
        Self { node: node.to_string(), members: members.iter().map(ToString::to_string).collect() }
    }
}

impl TryFrom<v1::RebuildResponse> for RebuildResponse {
    type Error = Invalid;

    fn try_from(wire: v1::RebuildResponse) -> Result<Self, Invalid> {
        let v1::RebuildResponse {} = wire;
        Ok(Self)
    }
}

impl From<&RebuildResponse> for v1::RebuildResponse {
    fn from(response: &RebuildResponse) -> Self {
        let RebuildResponse = response;
        Self {}
    }
}
