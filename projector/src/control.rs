//! Requests to build one node's keys anew.

use async_nats::{Client, HeaderMap, Message, Subscriber};
use bytes::Bytes;
use domain::rpc::{RebuildRequest, RebuildResponse};
use domain::wire::Wire;
use domain::{ContainerId, IndexMember, NodeName, Partition, Record};
use futures::StreamExt;

use crate::follow::stands;
use crate::telling::tell;
use crate::worker::{Shared, Worker};
use view::record::{Absence, Error};
use view::trouble::Trouble;

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
    /// Only these indexes.
    members: Vec<IndexMember>,
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
                Ok(RebuildRequest { node, members }) => {
                    return Request { client: self.client.clone(), reply, node, members };
                }
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

/// What became of a request.
enum Answer {
    NoSuchNode,
    /// Indexes are right again.
    Mended,
    /// A rebuild began: the record is read again from there.
    Begun,
    /// The node's keys are not as they were written.
    Doubted,
}

impl Worker<'_> {
    /// Does what was asked for, and answers. A rebuild has all checkpoints verified.
    pub(crate) async fn rebuild_on_request(&mut self, request: Request) -> Result<(), Trouble> {
        let Request { client, reply, node, members } = request;
        if !self.owns(&node) {
            refuse(&client, reply, "404", "no node of this partition").await;
            return Ok(());
        }
        let answer =
            if members.is_empty() { self.begin_asked(&node).await? } else { self.mend(&node, &members).await? };
        match answer {
            Answer::NoSuchNode => refuse(&client, reply, "404", "no such node").await,
            Answer::Doubted => refuse(&client, reply, "503", "its keys are verified first").await,
            Answer::Mended | Answer::Begun => {
                if let Some(reply) = reply {
                    drop(client.publish(reply, RebuildResponse {}.encode().into()).await);
                }
            }
        }
        match answer {
            Answer::Begun => Err(Trouble::Changed("a rebuild was asked for")),
            Answer::Doubted => Err(Trouble::Changed("the store is not what was written")),
            Answer::Mended | Answer::NoSuchNode => Ok(()),
        }
    }

    async fn begin_asked(&mut self, node: &NodeName) -> Result<Answer, Trouble> {
        let standings = self.shared.keys.standings(std::slice::from_ref(node)).await?;
        let Some(standing) = standings.into_iter().next() else { return Ok(Answer::NoSuchNode) };
        if !stands(self.nodes.get(node), &standing) {
            // What is wrong with it is to be named before it is put right.
            return Ok(Answer::Doubted);
        }
        self.shared.keys.not_current(self.partition).await?;
        let known = self.begin_rebuild(node, &standing, self.place, "asked for").await?;
        Ok(if known.is_some() { Answer::Begun } else { Answer::NoSuchNode })
    }

    /// Builds indexes of a node anew, of one that is not there too: then nothing of it is left.
    async fn mend(&self, node: &NodeName, members: &[IndexMember]) -> Result<Answer, Trouble> {
        let gone = self.gone(node, members).await?;
        self.shared.keys.mend(node, members, &gone).await?;
        tell(&self.shared.keys, node, self.shared.config.limits.questions).await?;
        Ok(Answer::Mended)
    }

    /// Those of the containers that the record of a node that it knows has removed, or surely never had.
    async fn gone(&self, node: &NodeName, members: &[IndexMember]) -> Result<Vec<ContainerId>, Trouble> {
        let Some((_, of_node)) = self.state.last_of(node).await? else { return Ok(Vec::new()) };
        let mut lasts = Vec::new();
        for member in members {
            if let IndexMember::Container(id) = member {
                lasts.push((*id, self.state.last_of_container(node, id).await?));
            }
        }
        let absence = self.state.absence(&of_node.node_state).await?;
        let gone = lasts.into_iter().filter(|(_, last)| is_gone(last.as_ref().map(|(_, record)| record), absence));
        Ok(gone.map(|(id, _)| id).collect())
    }
}

/// Whether a container is on its node no more, by its last record.
fn is_gone(last: Option<&Record>, absence: Absence) -> bool {
    last.map_or(absence == Absence::Proof, |record| record.living().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_record_a_container_is_gone_only_where_that_proves_it() {
        assert!(is_gone(None, Absence::Proof));
        assert!(!is_gone(None, Absence::NoProof));
    }
}
