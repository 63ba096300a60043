//! Questions to the producers: all states of a node, and who is there.

use std::time::{Duration, Instant};

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

/// Most pages of a snapshot.
const PAGES_MAX: u32 = 1000;
/// Most containers that a node is believed to have.
const CONTAINERS_MAX: usize = 100_000;
/// All pages together may take so many times as long as one.
const PATIENCES_MAX: u32 = 3;

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
    let (began, all) = (Instant::now(), patience * PATIENCES_MAX);
    let inspect_all = look == Look::AtAll;
    let first = SnapshotRequest { digest, inspect_all, ..SnapshotRequest::default() };
    let mut head: SnapshotResponse = ask(client, prefix.rpc(node, Request::Snapshot), &first, patience).await?;
    let mut containers = Vec::new();
    take_in(&mut containers, std::mem::take(&mut head.containers))?;
    let mut page_token = std::mem::take(&mut head.next_page_token);
    let mut pages = 1;
    while !page_token.is_empty() {
        let next = SnapshotRequest { page_token, ..SnapshotRequest::default() };
        let left = all.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Err(Unanswered::Late(all));
        }
        if pages == PAGES_MAX {
            return Err(Unanswered::Unreadable(format!("it has more than {PAGES_MAX} pages")));
        }
        pages += 1;
        let page: SnapshotResponse =
            ask(client, prefix.rpc(node, Request::Snapshot), &next, patience.min(left)).await?;
        // Another producer's page, or one that leads nowhere, would make a picture that never was.
        if page.responder != head.responder || page.containers.is_empty() {
            return Err(Unanswered::Unreadable("its pages do not fit together".to_owned()));
        }
        take_in(&mut containers, page.containers)?;
        page_token = page.next_page_token;
    }
    Ok(Snapshot { head, containers })
}

/// Adds a page, if it goes on where those before it end.
fn take_in(containers: &mut Vec<Container>, page: Vec<Container>) -> Result<(), Unanswered> {
    let ids = containers.last().into_iter().chain(&page).map(|container| container.id);
    if !ids.is_sorted_by(|id, next| id < next) {
        return Err(Unanswered::Unreadable("its containers are not in order".to_owned()));
    }
    if containers.len() + page.len() > CONTAINERS_MAX {
        return Err(Unanswered::Unreadable(format!("they name more than {CONTAINERS_MAX} containers")));
    }
    containers.extend(page);
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use domain::container::AsOf;

    fn page(numbers: impl IntoIterator<Item = u32>) -> Vec<Container> {
        let container = |number: u32| {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&number.to_be_bytes());
            Container::unheard_of(id.into(), "n1".parse().unwrap(), AsOf::default())
        };
        numbers.into_iter().map(container).collect()
    }

    #[test]
    fn a_page_goes_on_where_the_last_one_ends() {
        let mut containers = Vec::new();
        for (numbers, fits) in [(&[1, 2][..], true), (&[2], false), (&[3, 3], false), (&[5, 4], false), (&[3, 9], true)]
        {
            assert_eq!(take_in(&mut containers, page(numbers.iter().copied())).is_ok(), fits, "{numbers:?}");
        }
        assert_eq!(containers, page([1, 2, 3, 9]));
    }

    #[test]
    fn more_containers_than_a_node_may_have_are_refused() {
        let mut containers = Vec::new();
        let most = u32::try_from(CONTAINERS_MAX).unwrap();
        assert_eq!(take_in(&mut containers, page(0..most)), Ok(()));
        assert!(take_in(&mut containers, page([most])).is_err());
    }
}
