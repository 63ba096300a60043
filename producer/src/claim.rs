//! Claiming an epoch: one life of the node's producer, fenced by a compare-and-set.

use std::time::Duration;

use async_nats::Client;
use bytes::Bytes;
use domain::names::{Request, StateSubject};
use domain::node::{NodeClaim, PreviousLife};
use domain::rpc::{ReplayRequest, ReplayResponse};
use domain::wire::Wire;
use domain::{Partitions, Prefix, Record};
use service::Failure;
use service::kv::{Bucket, Error};

use crate::ask::{Answer, ask};
use crate::core::Identity;
use crate::files::Life;
use crate::watcher::another_engine;

/// How long the node's producer may take to answer.
const WHO_WAIT: Duration = Duration::from_secs(2);
/// So many unanswered requests mean that it is gone: a second producer is harmless, the epoch fences.
const WHO_TRIES: usize = 3;
/// How long JetStream may take to answer.
const SERVER_WAIT: Duration = Duration::from_secs(3);

/// Who claims, and where.
pub(crate) struct Claimant<'a> {
    pub(crate) client: &'a Client,
    pub(crate) prefix: &'a Prefix,
    pub(crate) identity: &'a Identity,
    pub(crate) engine_id: &'a str,
}

/// What is known of the node's lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lives {
    /// This program's own last one.
    pub(crate) own: Option<PreviousLife>,
    /// The last one that was written down beside the engine.
    pub(crate) written: Option<Life>,
    /// An epoch that the sequencer has passed.
    pub(crate) passed: u64,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Claimed {
    /// The epoch is ours.
    Epoch { epoch: u64, revision: u64, previous: Option<PreviousLife> },
    /// Another producer of this node is alive.
    Passive,
    /// The streams are not there, or do not answer.
    Away(Waiting),
    /// Another one was faster.
    Contended,
    /// A stand-in is not needed.
    NotNeeded,
}

/// Why a claim has to wait.
#[derive(Debug)]
pub(crate) enum Waiting {
    /// No sequencer has made the streams.
    ForStreams,
    /// Something did not answer.
    For(String),
}

impl Claimant<'_> {
    /// Tries once.
    ///
    /// # Errors
    /// Another engine holds the node's name.
    pub(crate) async fn claim(&self, lives: &Lives) -> Result<Claimed, Failure> {
        let Some(partitions) = self.partitions().await else { return Ok(Claimed::Away(Waiting::ForStreams)) };
        let partitions = match partitions {
            Ok(partitions) => partitions,
            Err(reason) => return Ok(Claimed::Away(Waiting::For(reason))),
        };
        let present = self.who().await;
        self.check_holder(present.as_ref().and_then(|present| present.engine_id.as_deref()))?;
        match present {
            None => {}
            Some(_) if self.identity.stand_in => return Ok(Claimed::NotNeeded),
            Some(Present { stand_in: true, .. }) => {}
            Some(Present { stand_in: false, .. }) => return Ok(Claimed::Passive),
        }
        let bucket = Bucket::new(self.client.clone(), self.prefix.nodes_bucket());
        let entry = match bucket.get(self.identity.node.as_str()).await {
            Ok(entry) => entry,
            Err(Error::NoStream(_)) => return Ok(Claimed::Away(Waiting::ForStreams)),
            Err(error) => return Ok(Claimed::Away(Waiting::For(format!("the bucket of nodes: {error}")))),
        };
        // A key that was deleted has a revision and no value.
        let holder = entry.as_ref().and_then(|entry| NodeClaim::decode(&entry.value).ok());
        self.check_holder(holder.as_ref().map(|holder| holder.engine_id.as_str()))?;
        let recorded = match self.recorded(partitions).await {
            Ok(recorded) => recorded,
            Err(reason) => return Ok(Claimed::Away(Waiting::For(reason))),
        };
        if self.identity.stand_in && is_superseded_stand_in(lives, holder.as_ref()) {
            return Ok(Claimed::NotNeeded);
        }
        let (epoch, previous) = next(lives, holder.as_ref(), recorded);
        let claim = NodeClaim {
            epoch,
            engine_id: self.engine_id.to_owned(),
            instance: self.identity.instance,
            stand_in: self.identity.stand_in,
        };
        let expected = entry.map_or(0, |entry| entry.revision);
        match bucket.update(self.identity.node.as_str(), Bytes::from(claim.encode()), expected).await {
            Ok(revision) => Ok(Claimed::Epoch { epoch, revision, previous }),
            Err(Error::Conflict) => Ok(Claimed::Contended),
            Err(Error::NoStream(_)) => Ok(Claimed::Away(Waiting::ForStreams)),
            Err(error) => Ok(Claimed::Away(Waiting::For(format!("the bucket of nodes: {error}")))),
        }
    }

    fn check_holder(&self, engine_id: Option<&str>) -> Result<(), Failure> {
        match engine_id {
            Some(holder) if holder != self.engine_id => Err(another_engine(self.identity, holder, self.engine_id)),
            Some(_) | None => Ok(()),
        }
    }

    /// The number of partitions, from the metadata of the stream of observations; `None` while there is no stream.
    async fn partitions(&self) -> Option<Result<Partitions, String>> {
        let stream = self.prefix.raw_stream();
        let subject = format!("$JS.API.STREAM.INFO.{stream}");
        let message = match ask(self.client, subject, Bytes::new(), SERVER_WAIT).await {
            Answer::Said(message) => message,
            Answer::Nobody => return Some(Err("JetStream is not enabled, or not permitted, in NATS".to_owned())),
            Answer::Silence => return Some(Err("JetStream does not answer".to_owned())),
        };
        let info: serde_json::Value = match serde_json::from_slice(&message.payload) {
            Ok(info) => info,
            Err(error) => return Some(Err(format!("an answer about the stream {stream} that is no JSON: {error}"))),
        };
        if let Some(error) = info.get("error") {
            let code = error.get("code").and_then(serde_json::Value::as_u64);
            return if code == Some(404) { None } else { Some(Err(format!("the stream {stream}: {error}"))) };
        }
        let key = self.prefix.partitions_metadata();
        let partitions = info.pointer("/config/metadata").and_then(|metadata| metadata.get(&key)?.as_str());
        let Some(partitions) = partitions else {
            return Some(Err(format!("the stream {stream} has no {key} in its metadata")));
        };
        Some(partitions.parse().map_err(|error| format!("the stream {stream}: {error}")))
    }

    async fn who(&self) -> Option<Present> {
        let subject = self.prefix.rpc(&self.identity.node, Request::Replay);
        let request = Bytes::from(ReplayRequest { epoch: 0, from_seq: 0, to_seq: 0 }.encode());
        for _ in 0..WHO_TRIES {
            match ask(self.client, subject.clone(), request.clone(), WHO_WAIT).await {
                Answer::Nobody => return None,
                Answer::Silence => {}
                Answer::Said(message) => {
                    // An error is an answer too: somebody is there.
                    let responder = ReplayResponse::decode(&message.payload).ok().map(|answer| answer.responder);
                    let is_own =
                        responder.as_ref().is_some_and(|responder| responder.instance == self.identity.instance);
                    let stand_in = responder.as_ref().is_some_and(|responder| responder.stand_in);
                    let engine_id = responder.map(|responder| responder.engine_id).filter(|id| !id.is_empty());
                    return (!is_own).then_some(Present { stand_in, engine_id });
                }
            }
        }
        None
    }

    /// The node's epoch in its last record; 0 where there is none.
    async fn recorded(&self, partitions: Partitions) -> Result<u64, String> {
        let partition = partitions.of(&self.identity.node);
        let stream = self.prefix.state_stream(partition);
        let subject = self.prefix.state(partition, &self.identity.node, &StateSubject::Node);
        let subject = format!("$JS.API.DIRECT.GET.{stream}.{subject}");
        let message = match ask(self.client, subject, Bytes::new(), SERVER_WAIT).await {
            Answer::Said(message) => message,
            Answer::Nobody => return Err(format!("the stream {stream} is not there, or not permitted")),
            Answer::Silence => return Err(format!("the stream {stream} does not answer")),
        };
        match message.status.map(|status| status.as_u16()) {
            Some(404) => Ok(0),
            Some(code) => Err(format!("the stream {stream} answers with status {code}")),
            None => match Record::decode(&message.payload) {
                Ok(record) => Ok(record.node_state.epoch),
                Err(error) => Err(format!("the last record of node {} cannot be read: {error}", self.identity.node)),
            },
        }
    }
}

/// Somebody answers for the node.
struct Present {
    stand_in: bool,
    /// `None` where the answer does not tell it.
    engine_id: Option<String>,
}

/// Whoever is superseded by a real producer while it stands in has nothing left to do.
fn is_superseded_stand_in(lives: &Lives, holder: Option<&NodeClaim>) -> bool {
    match (lives.own, holder) {
        (Some(own), Some(holder)) => !holder.stand_in && holder.epoch > own.epoch,
        (None, _) | (_, None) => false,
    }
}

/// The next epoch, and the life before it.
fn next(lives: &Lives, holder: Option<&NodeClaim>, recorded: u64) -> (u64, Option<PreviousLife>) {
    let claimed = holder.map_or(0, |holder| holder.epoch);
    let written = lives.written.as_ref().map_or(0, |life| life.epoch);
    let own = lives.own.map_or(0, |own| own.epoch);
    let highest = [claimed, recorded, written, own, lives.passed].into_iter().max().unwrap_or_default();
    let written_life = lives.written.as_ref().filter(|life| life.epoch != 0).map(|life| PreviousLife {
        epoch: life.epoch,
        instance: Some(life.instance()),
        last_seq: life.last_seq,
    });
    let others = PreviousLife {
        epoch: claimed.max(recorded),
        instance: holder.filter(|holder| holder.epoch >= recorded).map(|holder| holder.instance),
        last_seq: None,
    };
    // The own end is known best; of others', only that they were.
    let previous = lives.own.or(written_life).filter(|life| life.epoch >= others.epoch);
    let previous = previous.or(Some(others).filter(|others| others.epoch != 0));
    (highest.saturating_add(1), previous)
}

#[cfg(test)]
mod tests {
    use domain::Instance;

    use super::*;

    fn life(epoch: u64, last_seq: Option<u64>) -> PreviousLife {
        PreviousLife { epoch, instance: Some(Instance(7)), last_seq }
    }

    fn holder(epoch: u64, stand_in: bool) -> NodeClaim {
        NodeClaim { epoch, engine_id: "e".into(), instance: Instance(9), stand_in }
    }

    #[test]
    fn the_next_epoch_is_above_all_that_are_known() {
        let written = Some(Life { epoch: 4, instance: 7, last_seq: Some(20), ..Life::default() });
        for (lives, claimed, recorded, epoch, previous) in [
            (Lives::default(), None, 0, 1, None),
            (Lives { written: written.clone(), ..Lives::default() }, None, 0, 5, Some(life(4, Some(20)))),
            (
                Lives { own: Some(life(6, Some(3))), written: written.clone(), passed: 0 },
                Some(6),
                6,
                7,
                Some(life(6, Some(3))),
            ),
            (Lives { own: Some(life(6, Some(3))), written, passed: 9 }, None, 0, 10, Some(life(6, Some(3)))),
        ] {
            let claimed = claimed.map(|epoch| holder(epoch, false));
            assert_eq!(next(&lives, claimed.as_ref(), recorded), (epoch, previous), "{lives:?}");
        }
    }

    #[test]
    fn of_another_life_in_between_only_its_epoch_is_told() {
        let lives = Lives { own: Some(life(6, Some(3))), ..Lives::default() };
        let other = PreviousLife { epoch: 8, instance: Some(Instance(9)), last_seq: None };
        assert_eq!(next(&lives, Some(&holder(8, true)), 7), (9, Some(other)));
        let recorded = PreviousLife { epoch: 9, instance: None, last_seq: None };
        assert_eq!(next(&lives, Some(&holder(8, true)), 9), (10, Some(recorded)));
    }

    #[test]
    fn a_stand_in_gives_way_to_a_real_producer_alone() {
        let lives = Lives { own: Some(life(6, None)), ..Lives::default() };
        assert!(is_superseded_stand_in(&lives, Some(&holder(7, false))));
        assert!(!is_superseded_stand_in(&lives, Some(&holder(7, true))));
        assert!(!is_superseded_stand_in(&lives, Some(&holder(6, false))));
        assert!(!is_superseded_stand_in(&Lives::default(), Some(&holder(7, false))));
    }
}
