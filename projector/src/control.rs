//! Requests to build one node's keys anew.

use async_nats::{Client, HeaderMap, Message, Subscriber};
use bytes::Bytes;
use domain::rpc::{RebuildRequest, RebuildResponse};
use domain::wire::Wire;
use domain::{NodeName, Partition};
use futures::StreamExt;

use crate::keys::Standing;
use crate::trouble::Trouble;
use crate::worker::{Shared, Worker};
use view::record::Error;

/// Where requests come in while this instance works on the partition.
pub(crate) struct Control {
    client: Client,
    subscription: Subscriber,
}

/// One request that can be read, and where its answer goes.
pub(crate) struct Request {
    client: Client,
    reply: Option<async_nats::Subject>,
    node: NodeName,
}

impl Control {
    pub(crate) async fn listen(shared: &Shared, partition: Partition) -> Result<Self, Error> {
        let subject = shared.config.prefix.control_rebuild(partition);
        let doing = "subscribing to requests";
        let subscription = shared.client.subscribe(subject).await;
        let subscription = subscription.map_err(|error| Error::Unreachable { doing, why: error.to_string() })?;
        Ok(Self { client: shared.client.clone(), subscription })
    }

    /// The next request that can be read; others are answered here.
    pub(crate) async fn next(&mut self) -> Request {
        loop {
            let Some(Message { payload, reply, .. }) = self.subscription.next().await else {
                // The connection is closed for good: who follows the record notices.
                return std::future::pending().await;
            };
            match RebuildRequest::decode(&payload) {
                Ok(RebuildRequest { node }) => return Request { client: self.client.clone(), reply, node },
                Err(invalid) => refuse(&self.client, reply, "400", &invalid.to_string()).await,
            }
        }
    }
}

async fn refuse(client: &Client, reply: Option<async_nats::Subject>, code: &'static str, why: &str) {
    let Some(reply) = reply else { return };
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Service-Error", why.replace(['\r', '\n'], " ").as_str());
    headers.insert("Nats-Service-Error-Code", code);
    // Who asked asks again.
    drop(client.publish_with_headers(reply, headers, Bytes::new()).await);
}

impl Worker {
    /// Begins the rebuild that was asked for, answers, and has all checkpoints verified: the record is read again
    /// from where the rebuild began.
    pub(crate) async fn rebuild_on_request(&mut self, request: Request) -> Result<(), Trouble> {
        let Request { client, reply, node } = request;
        let standings = self.shared.keys.standings(std::slice::from_ref(&node)).await?;
        let Some(standing) = standings.into_iter().next().filter(|_| self.owns(&node)) else {
            refuse(&client, reply, "404", "no node of this partition").await;
            return Ok(());
        };
        if !self.begin_asked(&node, &standing).await? {
            refuse(&client, reply, "404", "no such node").await;
            return Ok(());
        }
        if let Some(reply) = reply {
            drop(client.publish(reply, RebuildResponse {}.encode().into()).await);
        }
        Err(Trouble::Changed("a rebuild was asked for"))
    }

    async fn begin_asked(&mut self, node: &NodeName, standing: &Standing) -> Result<bool, Trouble> {
        self.shared.keys.not_current(self.partition).await?;
        let known = self.begin_rebuild(node, standing, self.place, "asked for").await?;
        Ok(known.is_some())
    }
}
