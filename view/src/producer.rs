//! Questions to the producers: all states of a node, and who is there.

use std::time::Duration;

use async_nats::{Client, RequestErrorKind};
use domain::digest::Digest;
use domain::names::Request;
use domain::rpc::{ResyncRequest, ResyncResponse, SnapshotRequest, SnapshotResponse};
use domain::wire::Wire;
use domain::{Container, NodeName, Prefix};

/// Why a producer's answer is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// Nobody serves the node: its producer is gone.
    #[error("nobody answers for the node")]
    Nobody,
    /// No answer in time; the producer may be there.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// The producer answered that it cannot, with its code and reason.
    #[error("{reason}")]
    Refused {
        /// As of HTTP: 400 invalid, 404 not found, 503 not ready, or blind.
        code: u16,
        /// For people.
        reason: String,
    },
    /// The answer cannot be read, or its pages do not fit together.
    #[error("an answer that cannot be read: {0}")]
    Unreadable(String),
    /// The connection to NATS does not work.
    #[error("cannot ask: {0}")]
    Away(String),
}

/// All states of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The first page without its containers: who answers, the stamp, the digest, and whether it is the asker's.
    pub head: SnapshotResponse,
    /// All of them, sorted by id; none where the digest was the asker's.
    pub containers: Vec<Container>,
}

/// Asks for all states of a node, page by page, each answered within `patience`.
///
/// # Errors
/// Why there is no whole answer.
pub async fn snapshot(
    client: &Client,
    prefix: &Prefix,
    node: &NodeName,
    digest: Option<Digest>,
    look: Look,
    patience: Duration,
) -> Result<Snapshot, Unanswered> {
    let inspect_all = look == Look::AtAll;
    let first = SnapshotRequest { digest, inspect_all, ..SnapshotRequest::default() };
    let mut head: SnapshotResponse = ask(client, prefix.rpc(node, Request::Snapshot), &first, patience).await?;
    let mut containers = std::mem::take(&mut head.containers);
    let mut page_token = std::mem::take(&mut head.next_page_token);
    while !page_token.is_empty() {
        let next = SnapshotRequest { page_token, ..SnapshotRequest::default() };
        let page: SnapshotResponse = ask(client, prefix.rpc(node, Request::Snapshot), &next, patience).await?;
        // Another producer's page, or one that leads nowhere, would make a picture that never was.
        if page.responder != head.responder || page.containers.is_empty() {
            return Err(Unanswered::Unreadable("its pages do not fit together".to_owned()));
        }
        containers.extend(page.containers);
        page_token = page.next_page_token;
    }
    if containers.windows(2).any(|pair| pair[0].id >= pair[1].id) {
        return Err(Unanswered::Unreadable("its containers are not in order".to_owned()));
    }
    Ok(Snapshot { head, containers })
}

/// How closely a producer looks before it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// It lists, and inspects what does not fit.
    WhereNeeded,
    /// It inspects every container.
    AtAll,
}

/// Asks to look again and publish what is found.
///
/// # Errors
/// Why it is not known to be done.
pub async fn resync(
    client: &Client,
    prefix: &Prefix,
    node: &NodeName,
    request: &ResyncRequest,
    patience: Duration,
) -> Result<ResyncResponse, Unanswered> {
    ask(client, prefix.rpc(node, Request::Resync), request, patience).await
}

/// Asks one question on a subject; a service's error is one here too.
///
/// # Errors
/// Why there is no answer.
pub async fn ask<Q: Wire, A: Wire>(
    client: &Client,
    subject: String,
    question: &Q,
    patience: Duration,
) -> Result<A, Unanswered> {
    // An inbox of its own: the client remembers every question of its shared inbox that got no answer.
    let request = async_nats::Request::new().inbox(client.new_inbox()).timeout(Some(patience));
    let answer = client.send_request(subject, request.payload(question.encode().into())).await;
    let answer = answer.map_err(|error| match error.kind() {
        RequestErrorKind::NoResponders => Unanswered::Nobody,
        RequestErrorKind::TimedOut => Unanswered::Late(patience),
        RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded | RequestErrorKind::Other => {
            Unanswered::Away(error.to_string())
        }
    })?;
    let header = |name| answer.headers.as_ref()?.get(name).map(ToString::to_string);
    if let Some(code) = header("Nats-Service-Error-Code") {
        let reason = header("Nats-Service-Error").unwrap_or_default();
        return Err(Unanswered::Refused { code: code.parse().unwrap_or(0), reason });
    }
    A::decode(&answer.payload).map_err(|error| Unanswered::Unreadable(error.to_string()))
}
