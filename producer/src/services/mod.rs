//! The four requests that a producer answers, over NATS's service API. Only while it holds the epoch.

mod logs;
mod resync;
mod snapshot;

use std::sync::Arc;

use async_nats::Client;
use async_nats::service::error::Error as ServiceError;
use async_nats::service::{Service, ServiceExt};
use bytes::Bytes;
use domain::Prefix;
use domain::names::Request;
use domain::rpc::{ReplayRequest, ReplayResponse};
use domain::wire::Wire;
use futures::StreamExt;
use service::Stop;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::core::Core;
use crate::engine::connect::Connection;
use crate::look::Looker;
use crate::statement::Statements;
pub(crate) use snapshot::Snapshots;

/// Requests of one kind that are answered at once.
const REQUESTS_MAX: usize = 4;
/// Most bytes of an error's text.
const ERROR_MAX: usize = 512;

/// What it takes to answer.
pub(crate) struct Desk {
    pub(crate) core: Arc<Core>,
    pub(crate) looker: Arc<Looker>,
    pub(crate) statements: Arc<Statements>,
    pub(crate) connection: watch::Receiver<Option<Connection>>,
    pub(crate) client: Client,
    pub(crate) prefix: Prefix,
    pub(crate) snapshots: Arc<Snapshots>,
    /// Most bytes of a reply.
    pub(crate) bytes_max: usize,
    /// Told an epoch that the sequencer has passed.
    pub(crate) passed: watch::Sender<u64>,
}

/// Why a request is not answered as hoped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    code: usize,
    reason: String,
}

impl Refusal {
    fn invalid(reason: impl Into<String>) -> Self {
        Self { code: 400, reason: reason.into() }
    }

    fn not_found(reason: impl Into<String>) -> Self {
        Self { code: 404, reason: reason.into() }
    }

    fn not_ready(reason: impl Into<String>) -> Self {
        Self { code: 503, reason: reason.into() }
    }
}

impl Desk {
    /// Starts to answer, until `stop`; nobody listens any more when the returned tasks have ended.
    pub(crate) async fn open(self: &Arc<Self>, stop: &Stop) -> Result<(Service, JoinSet<()>), String> {
        let mut listening = JoinSet::new();
        let name = self.prefix.service(&self.core.identity.node);
        let service = self.client.service_builder().description("deckwatch producer");
        let service = service.start(name, env!("CARGO_PKG_VERSION")).await.map_err(|error| error.to_string())?;
        for request in Request::ALL {
            let subject = self.prefix.rpc(&self.core.identity.node, request);
            let builder = service.endpoint_builder().name(request.as_str());
            let mut endpoint = builder.add(subject).await.map_err(|error| error.to_string())?;
            let (desk, stop) = (Arc::clone(self), stop.clone());
            let places = Arc::new(Semaphore::new(REQUESTS_MAX));
            listening.spawn(async move {
                loop {
                    let asked = tokio::select! {
                        () = stop.stopped() => return,
                        asked = endpoint.next() => asked,
                    };
                    let Some(asked) = asked else { return };
                    // The semaphore is never closed.
                    let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                    let desk = Arc::clone(&desk);
                    tokio::spawn(async move {
                        let answer =
                            desk.answer(request, &asked.message.payload).await.map_err(|refusal| say(&refusal));
                        if let Err(error) = asked.respond(answer).await {
                            tracing::debug!(%error, request = request.as_str(), "cannot answer");
                        }
                        drop(place);
                    });
                }
            });
        }
        Ok((service, listening))
    }

    async fn answer(&self, request: Request, payload: &[u8]) -> Result<Bytes, Refusal> {
        match request {
            Request::Snapshot => self.snapshot(&decode(payload)?).await.map(|response| encode(&response)),
            Request::Resync => self.resync(decode(payload)?).map(|response| encode(&response)),
            Request::Replay => self.replay(decode(payload)?).await.map(|response| encode(&response)),
            Request::Logs => self.logs(&decode(payload)?).await.map(|response| encode(&response)),
        }
    }

    async fn replay(&self, request: ReplayRequest) -> Result<ReplayResponse, Refusal> {
        let ReplayRequest { epoch, from_seq, to_seq } = request;
        // Epoch 0 asks only who is there: no epoch is 0.
        let (status, messages) = self.core.replay(epoch, from_seq, to_seq);
        let subject = self.prefix.raw(&self.core.identity.node);
        for message in messages {
            // Without a wait for its acknowledgement: whoever misses it asks again.
            let published = self.client.publish(subject.clone(), message).await;
            published.map_err(|error| Refusal::not_ready(format!("cannot publish again: {error}")))?;
        }
        Ok(ReplayResponse { responder: self.core.responder(), status })
    }
}

fn decode<T: Wire>(payload: &[u8]) -> Result<T, Refusal> {
    T::decode(payload).map_err(|error| Refusal::invalid(error.to_string()))
}

fn encode<T: Wire>(response: &T) -> Bytes {
    Bytes::from(response.encode())
}

fn say(refusal: &Refusal) -> ServiceError {
    // It travels in a header: one line, and not long.
    let mut status = refusal.reason.split_whitespace().collect::<Vec<_>>().join(" ");
    status.truncate(status.floor_char_boundary(ERROR_MAX));
    ServiceError { status, code: refusal.code }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line() {
        let error = say(&Refusal::not_ready(format!("a\r\nb {}", "x".repeat(1000))));
        assert_eq!((error.code, error.status.len()), (503, ERROR_MAX));
        assert!(error.status.starts_with("a b x"));
    }
}
