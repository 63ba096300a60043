//! The ordered record is without holes: where the disk of a server spoiled some of it, another server's copy is taken, and
//! where none is whole, it begins after its last hole.

use std::time::Duration;

use async_nats::jetstream::Context as JetStream;
use async_nats::jetstream::stream::{Info, Stream};
use tokio::time::sleep;

use crate::worker::Broken;

/// How long an election may take.
const ELECTION_MAX: Duration = Duration::from_secs(5);
/// How often it is looked if it is over.
const ELECTION_PAUSE: Duration = Duration::from_millis(100);

/// A stream without holes.
pub(crate) struct Whole {
    pub(crate) stream: Stream,
    /// It had holes everywhere: what was before the last one is gone.
    pub(crate) trimmed: bool,
}

/// What is to be done about a stream's holes.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Whole,
    /// Another server may have all of it.
    Elect,
    /// Nobody has: it is to begin at this sequence.
    Trim(u64),
}

/// Opens a stream, and sees to it that it is without holes.
pub(crate) async fn open(jetstream: &JetStream, name: &str) -> Result<Whole, Broken> {
    let mut trimmed = false;
    let mut elections = 0;
    loop {
        let stream = get(jetstream, name).await?;
        match judge(&stream, elections).await? {
            Verdict::Whole => return Ok(Whole { stream, trimmed }),
            Verdict::Elect => {
                elections += 1;
                elect(jetstream, &stream).await?;
            }
            Verdict::Trim(first) => {
                tracing::warn!(stream = name, first, "records that its disk spoiled are gone, and all before them");
                let purged = stream.purge().sequence(first).await;
                purged.map_err(|error| Broken::new("cannot trim the stream of records to what is whole", &error))?;
                trimmed = true;
            }
        }
    }
}

async fn get(jetstream: &JetStream, name: &str) -> Result<Stream, Broken> {
    jetstream.get_stream(name).await.map_err(|error| Broken::new("cannot look at the stream of records", &error))
}

async fn judge(stream: &Stream, elections: usize) -> Result<Verdict, Broken> {
    let Info { state, config, .. } = stream.cached_info();
    if state.deleted_count.unwrap_or(0) == 0 {
        return Ok(Verdict::Whole);
    }
    if elections + 1 < config.num_replicas {
        return Ok(Verdict::Elect);
    }
    let detailed = stream.info_builder().with_deleted(true).fetch().await;
    let detailed = detailed.map_err(|error| Broken::new("cannot look for holes in the stream of records", &error))?;
    Ok(after_holes(detailed.info.state.deleted.as_deref()))
}

fn after_holes(holes: Option<&[u64]>) -> Verdict {
    let last = holes.unwrap_or_default().iter().max();
    last.map_or(Verdict::Whole, |last| Verdict::Trim(last.saturating_add(1)))
}

/// Has another server lead the stream.
async fn elect(jetstream: &JetStream, stream: &Stream) -> Result<(), Broken> {
    let Info { config, cluster, .. } = stream.cached_info();
    let before = cluster.as_ref().and_then(|cluster| cluster.leader.clone());
    tracing::warn!(
        stream = config.name,
        server = before,
        "its disk spoiled some of the records: another server is asked"
    );
    let subject = format!("STREAM.LEADER.STEPDOWN.{}", config.name);
    let asked: Result<serde_json::Value, _> = jetstream.request(subject, &serde_json::json!({})).await;
    asked.map_err(|error| Broken::new("no other server can be had for the records", &error))?;
    let elected = async {
        loop {
            sleep(ELECTION_PAUSE).await;
            let now = get(jetstream, &config.name).await.ok();
            let leader = now.and_then(|stream| stream.cached_info().cluster.clone()).and_then(|cluster| cluster.leader);
            if leader.is_some() && leader != before {
                return;
            }
        }
    };
    let late = |_| Broken::because("no other server leads the stream of records yet");
    tokio::time::timeout(ELECTION_MAX, elected).await.map_err(late)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_begins_after_the_last_hole() {
        assert_eq!(after_holes(None), Verdict::Whole);
        assert_eq!(after_holes(Some(&[])), Verdict::Whole);
        assert_eq!(after_holes(Some(&[7, 9, 8])), Verdict::Trim(10));
    }
}
