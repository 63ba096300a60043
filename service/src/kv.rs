//! Key-value buckets of JetStream, by their subjects: what contract and permissions name.

use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::{Client, HeaderMap, header};
use bytes::Bytes;

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
        let headers = message.headers.as_ref();
        let deleted = headers.and_then(|headers| headers.get("KV-Operation")).is_some();
        let sequence = headers.and_then(|headers| headers.get(header::NATS_SEQUENCE));
        let revision = sequence.and_then(|sequence| sequence.as_str().parse().ok());
        let revision = revision.ok_or_else(|| Error::Unreachable("an answer without a sequence".to_owned()))?;
        let value = if deleted { Bytes::new() } else { message.payload };
        Ok(Some(Entry { value, revision }))
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
