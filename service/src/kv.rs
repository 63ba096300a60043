//! Key-value buckets of JetStream, by their subjects: what contract and permissions name.

use std::fmt;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::{Client, HeaderMap, HeaderValue, Message, header};
use bytes::Bytes;
use domain::Timestamp;
use futures::StreamExt;

/// How long a read or a write may take.
const CALL_TIME: Duration = Duration::from_secs(3);

/// Why a bucket did not answer as hoped.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The key was changed by another meanwhile.
    #[error("the key was changed meanwhile")]
    Conflict,
    /// There is no such bucket.
    #[error("there is no bucket {0}")]
    NoStream(String),
    /// The write may or may not have happened; the read told nothing.
    #[error("{0}")]
    Unreachable(String),
}

/// One key's value.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The value.
    pub value: Bytes,
    /// Its revision, to name at the next update.
    pub revision: u64,
}

/// One key of a list.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The key.
    pub key: String,
    /// Its value and revision.
    pub entry: Entry,
    /// When it was written, by the clock of the server that stored it.
    pub written_at: Timestamp,
}

/// A bucket: stream `KV_<name>` over `$KV.<name>.>`.
#[derive(Clone, Debug)]
pub struct Bucket {
    client: Client,
    name: String,
}

impl Bucket {
    /// The bucket of that name.
    pub fn new(client: Client, name: String) -> Self {
        Self { client, name }
    }

    fn subject(&self, key: &str) -> String {
        format!("$KV.{}.{key}", self.name)
    }

    /// Reads a key, from any server that has the bucket: what it tells may be a moment old.
    ///
    /// # Errors
    /// No such bucket, or no answer.
    pub async fn get(&self, key: &str) -> Result<Option<Entry>, Error> {
        let subject = format!("$JS.API.DIRECT.GET.KV_{}.{}", self.name, self.subject(key));
        let asked = tokio::time::timeout(CALL_TIME, self.client.request(subject, Bytes::new())).await;
        let message = match asked {
            Err(_) => return Err(Error::Unreachable("no answer in time".to_owned())),
            Ok(Err(error)) if error.kind() == async_nats::RequestErrorKind::NoResponders => {
                return Err(Error::NoStream(self.name.clone()));
            }
            Ok(Err(error)) => return Err(Error::Unreachable(error.to_string())),
            Ok(Ok(message)) => message,
        };
        match message.status.map(|status| status.as_u16()) {
            None => {}
            Some(404) => return Ok(None),
            Some(code) => return Err(Error::Unreachable(format!("status {code}"))),
        }
        entry(&message).map(Some)
    }

    /// All keys that fit a filter, of which at most 1,024 (nats-server) are there, from any server that has the bucket.
    ///
    /// # Errors
    /// No such bucket, or no answer, or one that is not whole.
    pub async fn list(&self, filter: &str) -> Result<Vec<Listed>, Error> {
        let unreachable = |error: &dyn fmt::Display| Error::Unreachable(error.to_string());
        let listing = async {
            let inbox = self.client.new_inbox();
            let mut answers = self.client.subscribe(inbox.clone()).await.map_err(|error| unreachable(&error))?;
            let subject = format!("$JS.API.DIRECT.GET.KV_{}", self.name);
            let question = serde_json::json!({ "multi_last": [self.subject(filter)] }).to_string();
            let asked = self.client.publish_with_reply(subject, inbox, question.into()).await;
            asked.map_err(|error| unreachable(&error))?;
            let mut listed = Vec::new();
            while let Some(message) = answers.next().await {
                match message.status.map(|status| status.as_u16()) {
                    None => listed.push(self.listed(&message)?),
                    // The end of the answer; there are none.
                    Some(204 | 404) => return Ok(listed),
                    Some(503) => return Err(Error::NoStream(self.name.clone())),
                    Some(code) => return Err(Error::Unreachable(format!("status {code}"))),
                }
            }
            Err(Error::Unreachable("the connection ended".to_owned()))
        };
        tokio::time::timeout(CALL_TIME, listing)
            .await
            .unwrap_or_else(|_| Err(Error::Unreachable("no answer in time".to_owned())))
    }

    fn listed(&self, message: &Message) -> Result<Listed, Error> {
        let headers = message.headers.as_ref();
        let text = |name| headers.and_then(|headers| headers.get(name)).map(HeaderValue::as_str);
        let key = text(header::NATS_SUBJECT).and_then(|subject| subject.strip_prefix(&self.subject("")));
        let written_at = text(header::NATS_TIME_STAMP).and_then(|time| time.parse().ok());
        match (key, written_at) {
            (Some(key), Some(written_at)) => Ok(Listed { key: key.to_owned(), entry: entry(message)?, written_at }),
            _ => Err(Error::Unreachable("an answer without key or time".to_owned())),
        }
    }

    /// Removes a key for good, unless it was changed since it had that revision.
    ///
    /// # Errors
    /// No answer.
    pub async fn remove(&self, key: &str, revision: u64) -> Result<(), Error> {
        let unreachable = |error: &dyn fmt::Display| Error::Unreachable(error.to_string());
        let removing = async {
            let context = jetstream::new(self.client.clone());
            let stream = context.get_stream_no_info(format!("KV_{}", self.name)).await;
            let stream = stream.map_err(|error| unreachable(&error))?;
            // Up to, and without, a later write.
            let purged = stream.purge().filter(self.subject(key)).sequence(revision + 1).await;
            purged.map(drop).map_err(|error| unreachable(&error))
        };
        tokio::time::timeout(CALL_TIME, removing)
            .await
            .unwrap_or_else(|_| Err(Error::Unreachable("no answer in time".to_owned())))
    }

    /// Writes a key if its revision is still the expected one (0: it is not there). Returns the new revision.
    ///
    /// # Errors
    /// Changed meanwhile, or no answer: then it is not known whether it was written.
    pub async fn update(&self, key: &str, value: Bytes, expected_revision: u64) -> Result<u64, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, expected_revision.to_string().as_str());
        let context = jetstream::new(self.client.clone());
        let publish = async {
            let acknowledged = context.publish_with_headers(self.subject(key), headers, value).await?;
            acknowledged.await
        };
        match tokio::time::timeout(CALL_TIME, publish).await {
            Err(_) => Err(Error::Unreachable("no acknowledgement in time".to_owned())),
            Ok(Ok(acknowledged)) => Ok(acknowledged.sequence),
            Ok(Err(error)) if error.kind() == PublishErrorKind::WrongLastSequence => Err(Error::Conflict),
            Ok(Err(error)) if error.kind() == PublishErrorKind::StreamNotFound => {
                Err(Error::NoStream(self.name.clone()))
            }
            Ok(Err(error)) => Err(Error::Unreachable(error.to_string())),
        }
    }
}

/// The value and revision that an answer holds.
fn entry(message: &Message) -> Result<Entry, Error> {
    let headers = message.headers.as_ref();
    let deleted = headers.and_then(|headers| headers.get("KV-Operation")).is_some();
    let sequence = headers.and_then(|headers| headers.get(header::NATS_SEQUENCE));
    let revision = sequence.and_then(|sequence| sequence.as_str().parse().ok());
    let revision = revision.ok_or_else(|| Error::Unreachable("an answer without a sequence".to_owned()))?;
    let value = if deleted { Bytes::new() } else { message.payload.clone() };
    Ok(Entry { value, revision })
}
