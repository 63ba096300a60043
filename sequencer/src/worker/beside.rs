//! What is done beside the loop: looks at the streams, requests to producers.

use std::time::Duration;

use domain::names::Request;
use domain::rpc::{ReplayRequest, ReplayResponse, ReplayStatus, ResyncRequest};
use domain::wire::Wire;
use ordering::Answer;

use super::life::{Life, Looked, Told};
use super::{Broken, Worker};
use crate::partition::{Effect, Millis};
use crate::recover;

/// How long a look at a stream may take.
const READ_TIME: Duration = Duration::from_secs(3);
/// How long a producer may take to note a request for a statement.
const STATEMENT_TIME: Duration = Duration::from_secs(5);

impl Worker {
    /// Looks where the stream of observations ends, and whether that of records is still there, beside the loop.
    pub(super) fn look(&self, life: &Life, began: Millis) {
        let (jetstream, told, config) = (life.jetstream.clone(), life.told.clone(), self.config.clone());
        let (number, position, written) = (self.number, life.position, life.decide.taken());
        tokio::spawn(async move {
            let read = async {
                let raw = recover::look_at_raw(&jetstream, &config).await?;
                let end = recover::raw_end(&jetstream, &config, number).await?;
                let state = recover::look_at_state(&jetstream, &config, number).await?;
                Ok(Told::Looked(Looked { began, position, raw, end, written, state }))
            };
            let looked = match tokio::time::timeout(READ_TIME, read).await {
                Ok(Ok(looked)) => looked,
                Ok(Err(broken)) => Told::Broken(broken),
                Err(_) => Told::Broken(Broken::because("NATS does not answer")),
            };
            // The life may be over: nobody is left to be told.
            drop(told.send(looked).await);
        });
    }

    pub(super) fn ask(&self, life: &Life, effect: Effect) {
        let (client, prefix, told) = (self.client.clone(), self.config.prefix.clone(), life.told.clone());
        let gap_wait = self.config.gap_wait;
        tokio::spawn(async move {
            let telling = match effect {
                Effect::Replay { node, epoch, from, to } => {
                    let request = ReplayRequest { epoch, from_seq: from, to_seq: to }.encode();
                    let request = client.request(prefix.rpc(&node, Request::Replay), request.into());
                    let reply = tokio::time::timeout(gap_wait, request).await.ok().and_then(Result::ok);
                    reply.and_then(|reply| ReplayResponse::decode(&reply.payload).ok()).map(|reply| {
                        let answer = match reply.status {
                            ReplayStatus::Coming => Answer::Coming,
                            ReplayStatus::NotKept | ReplayStatus::Unknown => Answer::NotKept,
                        };
                        Told::Answered { node, epoch, from, answer }
                    })
                }
                Effect::Statement { node, passed_epoch } => {
                    let request = ResyncRequest { passed_epoch, ..ResyncRequest::default() }.encode();
                    let request = client.request(prefix.rpc(&node, Request::Resync), request.into());
                    let reply = tokio::time::timeout(STATEMENT_TIME, request).await.ok().and_then(Result::ok);
                    let noted = reply.filter(|reply| {
                        reply.headers.as_ref().is_none_or(|headers| headers.get("Nats-Service-Error").is_none())
                    });
                    noted.map(|_| Told::Noted(node))
                }
            };
            if let Some(telling) = telling {
                // The life may be over: nobody is left to be told.
                drop(told.send(telling).await);
            }
        });
    }

    /// Observations below the floor stand in the record.
    pub(super) fn purge(&self, life: &Life) {
        let (jetstream, stream, floor) = (life.jetstream.clone(), self.config.prefix.raw_stream(), life.floor);
        let filter = self.config.prefix.raw_stored(self.number);
        tokio::spawn(async move {
            let purged = async {
                let stream = jetstream.get_stream_no_info(stream).await.map_err(|error| error.to_string())?;
                stream.purge().filter(filter).sequence(floor).await.map_err(|error| error.to_string())
            };
            if let Err(error) = purged.await {
                tracing::debug!(error, "observations that are in the record could not be removed");
            }
        });
    }
}
