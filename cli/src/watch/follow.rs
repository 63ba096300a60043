//! Follows one partition's stream: in order, without hole and without repeat, over reconnects.

use std::time::Duration;

use domain::revision::Place;
use domain::{Partition, Record};
use futures::StreamExt;
use service::Failure;
use tokio::sync::mpsc;
use view::cursor::{Refused, check};

use crate::out;
use crate::streams::{Streams, Trouble, decode};

/// How long to wait before the next attempt to read.
const RETRY_TIME: Duration = Duration::from_millis(500);
/// How often it is looked if the connection is still the same.
const LOOK_TIME: Duration = Duration::from_secs(1);

/// A record in its place.
pub(crate) struct Followed {
    /// Which partition.
    pub(crate) partition: Partition,
    /// Its place there.
    pub(crate) place: Place,
    /// The record.
    pub(crate) record: Record,
}

/// What was seen of a partition.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Its place.
    pub(crate) place: Place,
    /// Places of its nodes that are further on, in order.
    pub(crate) further: Vec<Place>,
}

/// The watch may go on from there, as the leader says: what was seen last is still what stands there.
pub(crate) async fn verify(streams: &Streams, partition: Partition, seen: &Seen) -> Result<(), Trouble> {
    let edges = streams.edges(partition).await?;
    let ahead = seen.further.iter().filter(|further| further.sequence > seen.place.sequence);
    for place in std::iter::once(&seen.place).chain(ahead) {
        let found = match place.sequence {
            0 => None,
            sequence => streams.writer(partition, sequence).await?,
        };
        check(*place, edges, found).map_err(|refused| Trouble::Final(failure(refused, partition, *place)))?;
    }
    Ok(())
}

/// What to tell the user.
fn failure(refused: Refused, partition: Partition, place: Place) -> Failure {
    Failure::unanswered(format!(
        "cannot watch from {partition}:{place}: {refused}; \
         list again (`deckwatch ps -o json`) and watch from that revision"
    ))
}

/// Sends every record after the place that was seen, until nobody takes them any more. Ends only for what waiting cannot heal.
pub(crate) async fn follow(
    streams: Streams,
    partition: Partition,
    mut seen: Seen,
    to: mpsc::Sender<Result<Followed, Failure>>,
) {
    let mut told = false;
    while !to.is_closed() {
        let before = seen.place;
        match read_on(&streams, partition, &mut seen, &to).await {
            Ok(()) => {}
            Err(Trouble::Final(failure)) => {
                drop(to.send(Err(failure)).await);
                return;
            }
            Err(Trouble::Away(reason)) => {
                told &= seen.place == before;
                if !told {
                    out::complain(&format!("the watch waits: {reason}"));
                    told = true;
                }
                tokio::time::sleep(RETRY_TIME).await;
            }
        }
    }
}

/// Reads as long as connection and reader are the same; what was `seen` is verified first, since a server that was away may
/// have come back with another past.
async fn read_on(
    streams: &Streams,
    partition: Partition,
    seen: &mut Seen,
    to: &mpsc::Sender<Result<Followed, Failure>>,
) -> Result<(), Trouble> {
    let connects = streams.connects();
    verify(streams, partition, seen).await?;
    let mut messages = streams.read_from(partition, seen.place.sequence.saturating_add(1)).await?;
    let mut first = true;
    loop {
        let next = tokio::select! {
            next = messages.next() => next,
            () = tokio::time::sleep(LOOK_TIME) => {
                if streams.connects() != connects || to.is_closed() {
                    return Ok(());
                }
                continue;
            }
        };
        let message = match next {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(Trouble::Away(format!("NATS does not go on: {error}"))),
            None => return Err(Trouble::Away("NATS ended the reading".to_owned())),
        };
        if streams.connects() != connects {
            return Ok(());
        }
        let (sequence, record) = decode(&message)?;
        if sequence != seen.place.sequence.saturating_add(1) {
            // What a stream keeps is without holes: it was trimmed meanwhile, or is another one by now.
            if first {
                verify(streams, partition, seen).await?;
                return Err(Trouble::Final(failure(Refused::TooOld, partition, seen.place)));
            }
            return Ok(());
        }
        first = false;
        seen.place = Place { sequence, writer: record.writer };
        if to.send(Ok(Followed { partition, place: seen.place, record })).await.is_err() {
            return Ok(());
        }
    }
}
