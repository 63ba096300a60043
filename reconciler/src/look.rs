//! One look at one node: the store against the engine's answer, against the record, and against itself.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use domain::digest::Digest;
use domain::node::{DriftKind, NodeStatus};
use domain::{Container, ContainerId, NodeName, Stamp};
use tokio::time::{Instant, sleep};
use view::checkpoint::Checkpoint;
use view::keys::{Head, NodeKeys, Print, Since};
use view::producer::{self, Snapshot, Unanswered};
use view::store::NodeView;
use view::unsaid::Unsaid;

use crate::compare::compare;
use crate::elsewhere::Member;
use crate::engine::doubts;
use crate::finding::{Finding, Ledger};
use crate::node::{OfEngine, Standing};
use crate::picture::Picture;
use crate::told::{against_record, node_against_record};
use crate::worker::Desk;
use crate::{elsewhere, indexes};
use view::trouble::Trouble;

/// How often it is asked whether the store covers an answer.
const COVERED_TICK: std::time::Duration = std::time::Duration::from_millis(50);

/// What is remembered of a node from look to look.
#[derive(Default)]
pub(crate) struct Memory {
    /// What the store held then.
    pub(crate) picture: Picture,
    /// Containers that fit their last record, each with a fingerprint of what it holds of them; 0 for what it lacks.
    pub(crate) verified: HashMap<ContainerId, u64>,
    /// The node's own fields that fit the record at its checkpoint.
    pub(crate) standing: Option<Standing>,
    /// Those that fit the last record of the node itself.
    pub(crate) of_engine: Option<OfEngine>,
    /// Where the next look goes on with what other slots say.
    turn: usize,
    /// The drifts that were found.
    pub(crate) ledger: Ledger,
    /// Drifts that its producer could not be told of yet.
    pub(crate) unsaid: Unsaid,
}

/// How many questions a look may ask beyond those that every look asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    /// Last records to be read.
    pub(crate) records: usize,
    /// Members of indexes in other slots.
    pub(crate) members: usize,
}

/// What a look came to.
pub(crate) struct Look {
    /// All that is wrong; `None` where nothing can be judged: the node's keys are being built anew, or nobody tells of it.
    pub(crate) findings: Option<Vec<Finding>>,
    /// Changes that the producer found and no event had told.
    pub(crate) missed: u32,
    /// How the node is.
    pub(crate) status: NodeStatus,
    /// The producer answers.
    pub(crate) answers: bool,
    /// A container of the node, if it has any.
    pub(crate) any: Option<ContainerId>,
}

/// A node's keys in one look.
pub(crate) struct Seen {
    pub(crate) head: Head,
    pub(crate) status: NodeStatus,
    /// Those that may be compared with the record: all, or where the keys are those of the last look some of them.
    pub(crate) containers: Vec<Container>,
    /// What is wrong with the keys by themselves.
    pub(crate) findings: Vec<Finding>,
}

impl Memory {
    /// Containers that were not yet seen to fit, so many at most; in no order, so that some that never fit do not keep
    /// others from their turn.
    fn unverified(&self, max: usize) -> Vec<ContainerId> {
        let all: HashSet<_> = self.picture.containers.iter().filter(|id| !self.verified.contains_key(id)).collect();
        all.into_iter().take(max).copied().collect()
    }

    /// Takes in what a node's keys are now.
    fn take_in(&mut self, since: Since) -> Seen {
        let status = status(since.node());
        let (print, keys) = match since {
            Since::Same(head, containers) => return Seen { head, status, containers, findings: Vec::new() },
            Since::Changed(print, keys) => (print, keys),
        };
        let mut findings = indexes::misfits(&keys);
        findings.extend(unreadable(&keys.view));
        self.picture = Picture::of(&keys, status, findings.is_empty().then_some(print));
        let NodeKeys { view: NodeView { checkpoint, node, containers, .. }, untold, .. } = keys;
        let prints: HashMap<_, _> = containers.iter().map(|container| (container.id, fingerprint(container))).collect();
        self.verified.retain(|id, print| prints.get(id) == Some(print));
        Seen { head: Head { checkpoint, node, untold }, status, containers, findings }
    }
}

impl Desk {
    /// Looks at a node once.
    pub(crate) async fn look(&self, node: &NodeName, memory: &mut Memory, share: Share) -> Result<Look, Trouble> {
        let known = memory.picture.print.as_ref();
        let since = self.examine_since(node, known, &memory.unverified(share.records)).await?;
        let mut seen = memory.take_in(since);
        let unsettled = |missed| Look { findings: None, missed, status: NodeStatus::Alive, answers: false, any: None };
        if !is_settled(seen.head.checkpoint.as_ref(), &seen.head.node) {
            return Ok(unsettled(0));
        }
        let snapshot = self.ask_engine(node, memory.picture.digest).await?;
        let missed = match &snapshot {
            Some(snapshot) if snapshot.head.missed_events > 0 => self.missed(node, memory, snapshot).await?,
            Some(_) | None => 0,
        };
        if (snapshot.is_none() || seen.status == NodeStatus::Lost) && !self.is_told(node, &seen).await? {
            return Ok(unsettled(missed));
        }
        let mut doubted = Vec::new();
        if let Some(snapshot) = &snapshot {
            let answer = answer_stamp(snapshot);
            if !snapshot.head.same && answer.epoch >= store_stamp(&seen.head.node).epoch {
                seen = memory.take_in(self.covering(node, answer).await?);
                if !is_settled(seen.head.checkpoint.as_ref(), &seen.head.node) {
                    return Ok(unsettled(missed));
                }
                let differences = compare(seen.status, &seen.containers, &snapshot.containers);
                doubted = doubts(differences, &seen.containers, answer, store_stamp(&seen.head.node));
            }
        }
        let told = self.told(node, &seen, &doubted, memory, share, snapshot.is_some()).await?;
        let mut findings = std::mem::take(&mut seen.findings);
        let mut status = seen.status;
        if !told.is_empty() {
            // Read last: where it stands, what was read before is of the same stream.
            let Some(applied) = self.applied(node, &seen.head, &told).await? else { return Ok(unsettled(missed)) };
            let of_node = node_against_record(node, &seen.head, &told, &applied, memory);
            status = of_node.as_ref().and_then(|(_, recorded)| *recorded).unwrap_or(status);
            findings.extend(of_node.map(|(finding, _)| finding));
            findings.extend(against_record(&seen, doubted, told, &applied, memory));
        }
        findings.extend(self.against_other_slots(node, &seen, memory, share).await?);
        let any = memory.picture.containers.first().copied();
        Ok(Look { findings: Some(findings), missed, status, answers: snapshot.is_some(), any })
    }

    /// The node's keys, all of one moment.
    pub(crate) async fn examine(&self, node: &NodeName) -> Result<NodeKeys, Trouble> {
        view::keys::examine(&self.store, &self.prefix, node).await?.ok_or(Trouble::NoLibrary)
    }

    /// The same, or where they are those of a print some containers.
    async fn examine_since(
        &self,
        node: &NodeName,
        known: Option<&Print>,
        wanted: &[ContainerId],
    ) -> Result<Since, Trouble> {
        let since = view::keys::examine_since(&self.store, &self.prefix, node, known, wanted).await?;
        since.ok_or(Trouble::NoLibrary)
    }

    /// The record knows the node, and says that it is lost where the store does, unless the store has all of it. Else the
    /// store shows what was before the record was lost, or the node's return is under way.
    async fn is_told(&self, node: &NodeName, seen: &Seen) -> Result<bool, Trouble> {
        let Some((sequence, record)) = self.state.last_of(node).await? else { return Ok(false) };
        if record.node_state.lost || seen.status != NodeStatus::Lost {
            return Ok(true);
        }
        let Some(place) = seen.head.checkpoint.as_ref().map(|checkpoint| checkpoint.place) else { return Ok(false) };
        Ok(sequence <= place.sequence && self.state.writer_at(place.sequence).await? == Some(place.writer))
    }

    /// All states as the engine has them, or that they have this digest; `None` where its producer cannot say.
    async fn ask_engine(&self, node: &NodeName, digest: Option<Digest>) -> Result<Option<Snapshot>, Trouble> {
        let look = producer::Look::WhereNeeded;
        match producer::snapshot(&self.client, &self.prefix, node, digest, look, self.limits.answer).await {
            Ok(snapshot) => Ok(Some(snapshot)),
            Err(Unanswered::Away(why)) => Err(Trouble::Nats(why)),
            Err(why) => {
                tracing::debug!(%node, %why, "no states from its producer");
                Ok(None)
            }
        }
    }

    /// Changes that no event had told. One whose life is over was not there to hear of them: then there are none.
    async fn missed(&self, node: &NodeName, memory: &Memory, snapshot: &Snapshot) -> Result<u32, Trouble> {
        let now = self.examine_since(node, memory.picture.print.as_ref(), &[]).await?;
        let is_over = answer_stamp(snapshot).epoch < store_stamp(now.node()).epoch;
        Ok(if is_over { 0 } else { snapshot.head.missed_events })
    }

    /// The node's keys, all of them, when they cover a stamp, or after a while as they are.
    async fn covering(&self, node: &NodeName, stamp: Stamp) -> Result<Since, Trouble> {
        let deadline = Instant::now() + self.limits.covered;
        loop {
            let keys = self.examine_since(node, None, &[]).await?;
            if store_stamp(keys.node()) >= stamp || Instant::now() >= deadline {
                return Ok(keys);
            }
            sleep(COVERED_TICK).await;
        }
    }

    /// Some of what other slots say of the node, a different part at each look.
    async fn against_other_slots(
        &self,
        node: &NodeName,
        seen: &Seen,
        memory: &mut Memory,
        share: Share,
    ) -> Result<Vec<Finding>, Trouble> {
        let picture = &memory.picture;
        let all = elsewhere::members(picture);
        let count = share.members.min(all.len());
        let start = memory.turn % all.len().max(1);
        memory.turn = start + count;
        let turn: Vec<_> = all.iter().cycle().skip(start).take(count).cloned().collect();
        let told = elsewhere::read(&self.store, &self.prefix, node, &turn).await?;
        let suspects = elsewhere::misfits(picture, &seen.head.untold, &turn, &told);
        if suspects.is_empty() {
            return Ok(Vec::new());
        }
        // It may have changed and been told between two readings: what is wrong between two that agree is wrong.
        let (before, untold) = self.all_keys(node).await?;
        let again = elsewhere::read(&self.store, &self.prefix, node, &suspects).await?;
        let suspects = elsewhere::misfits(&before, &untold, &suspects, &again);
        let (after, untold) = self.all_keys(node).await?;
        let stands = |member: &Member| {
            let same = elsewhere::expected(&before, member) == elsewhere::expected(&after, member);
            same && !elsewhere::is_among(&untold, member)
        };
        Ok(suspects.into_iter().filter(stands).map(elsewhere::finding).collect())
    }

    /// What a node's keys are now, and what other slots are yet to be told.
    async fn all_keys(&self, node: &NodeName) -> Result<(Picture, BTreeSet<String>), Trouble> {
        let keys = self.examine(node).await?;
        Ok((Picture::of(&keys, NodeStatus::Alive, None), keys.untold))
    }
}

pub(crate) fn found(id: ContainerId, kind: DriftKind, fields: &[&'static str], held: u64, sure: bool) -> Finding {
    let fields = fields.iter().map(|field| (*field).to_owned()).collect();
    Finding { kind, container: Some(id), fields, members: Vec::new(), held, sure }
}

/// Containers whose fields hold what they should not.
fn unreadable(view: &NodeView) -> impl Iterator<Item = Finding> {
    view.unreadable
        .iter()
        .filter_map(|(id, invalid)| Some(found(id.parse().ok()?, DriftKind::EditedStore, &[invalid.field()], 0, true)))
}

/// Nothing that builds the keys anew is under way; of a lost node that waits for its return. Where the node's hash or
/// checkpoint is not there, the projector finds and names that.
pub(crate) fn is_settled(checkpoint: Option<&Checkpoint>, node: &BTreeMap<String, String>) -> bool {
    let checkpoint = checkpoint.filter(|_| node.contains_key("name"));
    checkpoint.is_some_and(|checkpoint| checkpoint.rebuild.is_none() || status(node) == NodeStatus::Lost)
}

fn status(node: &BTreeMap<String, String>) -> NodeStatus {
    node.get("status").and_then(|status| status.parse().ok()).unwrap_or(NodeStatus::Alive)
}

fn store_stamp(node: &BTreeMap<String, String>) -> Stamp {
    let number = |field: &str| node.get(field).and_then(|text| text.parse().ok()).unwrap_or(0);
    Stamp { epoch: number("epoch"), seq: number("seq") }
}

fn answer_stamp(snapshot: &Snapshot) -> Stamp {
    Stamp { epoch: snapshot.head.responder.epoch, seq: snapshot.head.seq }
}

/// Never 0.
pub(crate) fn fingerprint(container: &Container) -> u64 {
    hashed(container).max(1)
}

pub(crate) fn hashed(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
