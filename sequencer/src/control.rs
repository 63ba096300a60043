//! Requests of operators: to retire a node.

use async_nats::{Client, HeaderMap, Message};
use bytes::Bytes;
use domain::rpc::{ForgetRequest, ForgetResponse};
use domain::wire::Wire;
use domain::{NodeName, Prefix};

use crate::partition::NotForgotten;

/// Which node is to be retired.
pub(crate) fn parse(message: &Message) -> Result<ForgetRequest, String> {
    ForgetRequest::decode(&message.payload).map_err(|error| error.to_string())
}

/// Frees a retired node's name, so that another engine may take it.
pub(crate) async fn free_name(client: &Client, prefix: &Prefix, node: &NodeName) -> Result<(), String> {
    let mut headers = HeaderMap::new();
    headers.insert("KV-Operation", "DEL");
    let key = format!("$KV.{}.{node}", prefix.nodes_bucket());
    let jetstream = async_nats::jetstream::new(client.clone());
    let publish = jetstream.publish_with_headers(key, headers, Bytes::new());
    let acknowledged = publish.await.map_err(|error| error.to_string())?.await;
    acknowledged.map(drop).map_err(|error| error.to_string())
}

/// Says that it is done.
pub(crate) async fn done(client: &Client, message: &Message, sequence: u64) {
    if let Some(reply) = &message.reply {
        answer(client.publish(reply.clone(), ForgetResponse { sequence }.encode().into()).await);
    }
}

/// Says why it is not done.
pub(crate) async fn refuse(client: &Client, message: &Message, code: u16, reason: &str) {
    let Some(reply) = &message.reply else { return };
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Service-Error", reason);
    headers.insert("Nats-Service-Error-Code", code.to_string().as_str());
    answer(client.publish_with_headers(reply.clone(), headers, Bytes::new()).await);
}

/// Why a node is not retired, for people.
pub(crate) fn reason(node: &NodeName, why: NotForgotten) -> (u16, String) {
    match why {
        NotForgotten::Unknown => (404, format!("there is no node {node}")),
        NotForgotten::Alive => (409, format!("node {node} is not lost; stop its producer first")),
    }
}

fn answer(result: Result<(), async_nats::PublishError>) {
    if let Err(error) = result {
        tracing::debug!(%error, "an answer could not be sent");
    }
}
