//! Requests over NATS, each with an inbox of its own: the client's shared one keeps an entry for each that times out.

use std::time::Duration;

use async_nats::{Client, Message, StatusCode};
use bytes::Bytes;
use futures::StreamExt;

/// What came of a request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// An answer.
    Said(Message),
    /// The server knows that nobody listens.
    Nobody,
    /// No answer in time, or no connection.
    Silence,
}

/// Asks once.
pub(crate) async fn ask(client: &Client, subject: String, payload: Bytes, wait_max: Duration) -> Answer {
    let asked = tokio::time::timeout(wait_max, async {
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await.ok()?;
        client.publish_with_reply(subject, inbox, payload).await.ok()?;
        answers.next().await
    });
    match asked.await {
        Ok(Some(message)) if message.status == Some(StatusCode::NO_RESPONDERS) => Answer::Nobody,
        Ok(Some(message)) => Answer::Said(message),
        Ok(None) | Err(_) => Answer::Silence,
    }
}
