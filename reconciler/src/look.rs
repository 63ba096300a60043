//! One look at one node: the store against the engine's answer, against the record, and against itself.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use domain::node::{DriftKind, NodeStatus};
use domain::{Container, ContainerId, NodeName, Record, Stamp, digest};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::{Instant, sleep};
use view::keys::NodeKeys;
use view::producer::{self, Snapshot, Unanswered};
use view::store::NodeView;
use view::unsaid::Unsaid;

use crate::compare::{as_last_known, compare};
use crate::elsewhere::Member;
use crate::engine::{Doubt, doubts};
use crate::finding::{Finding, Ledger};
use crate::trouble::Trouble;
use crate::worker::Desk;
use crate::{elsewhere, indexes, record};

/// How often it is asked whether the store covers an answer.
const COVERED_TICK: std::time::Duration = std::time::Duration::from_millis(50);

/// What is remembered of a node from look to look.
#[derive(Default)]
pub(crate) struct Memory {
    /// Containers that fit their last record, each with a fingerprint of what the store held then; 0 for what it lacks.
    verified: HashMap<ContainerId, u64>,
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
    /// How the node is, as the store says.
    pub(crate) status: NodeStatus,
    /// The producer answers.
    pub(crate) answers: bool,
    /// A container of the node, if it has any.
    pub(crate) any: Option<ContainerId>,
}

impl Desk {
    /// Looks at a node once.
    pub(crate) async fn look(&self, node: &NodeName, memory: &mut Memory, share: Share) -> Result<Look, Trouble> {
        let mut keys = self.examine(node).await?;
        let status = status(&keys.view);
        let unsettled = |missed| Look { findings: None, missed, status, answers: false, any: None };
        if !is_settled(&keys.view) {
            return Ok(unsettled(0));
        }
        let mut findings = indexes::misfits(&keys);
        findings.extend(unreadable(&keys.view));
        let snapshot = self.ask_engine(node, &keys.view, status).await?;
        if snapshot.is_none() && self.state.last_of(node).await?.is_none() {
            // Neither its producer nor the record tells of it: what it said before the record was lost stays.
            return Ok(Look { findings: None, missed: 0, status, answers: false, any: None });
        }
        let (mut doubted, mut missed) = (Vec::new(), 0);
        if let Some(snapshot) = &snapshot {
            missed = snapshot.head.missed_events;
            if !snapshot.head.same && answer_stamp(snapshot).epoch >= store_stamp(&keys.view).epoch {
                keys = self.covering(node, answer_stamp(snapshot)).await?;
                if !is_settled(&keys.view) {
                    return Ok(unsettled(missed));
                }
                doubted = doubts(
                    compare(status, &keys.view.containers, &snapshot.containers),
                    &keys.view.containers,
                    answer_stamp(snapshot),
                    store_stamp(&keys.view),
                );
            }
        }
        findings.extend(self.against_record(node, &keys, doubted, memory, share, snapshot.is_some()).await?);
        findings.extend(self.against_other_slots(node, keys.clone(), memory, share).await?);
        let any = keys.view.containers.first().map(|container| container.id);
        Ok(Look { findings: Some(findings), missed, status, answers: snapshot.is_some(), any })
    }

    /// The node's keys, all of one moment.
    pub(crate) async fn examine(&self, node: &NodeName) -> Result<NodeKeys, Trouble> {
        view::keys::examine(&self.store, &self.prefix, node).await?.ok_or(Trouble::NoLibrary)
    }

    /// All states as the engine has them; `None` where its producer cannot say.
    async fn ask_engine(
        &self,
        node: &NodeName,
        view: &NodeView,
        status: NodeStatus,
    ) -> Result<Option<Snapshot>, Trouble> {
        let known: Vec<_> = view.containers.iter().map(|stored| as_last_known(status, stored)).collect();
        let digest = Some(digest::of(&known));
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

    /// The node's keys when they cover a stamp, or after a while as they are.
    async fn covering(&self, node: &NodeName, stamp: Stamp) -> Result<NodeKeys, Trouble> {
        let deadline = Instant::now() + self.limits.covered;
        loop {
            let keys = self.examine(node).await?;
            if store_stamp(&keys.view) >= stamp || Instant::now() >= deadline {
                return Ok(keys);
            }
            sleep(COVERED_TICK).await;
        }
    }

    /// What is doubted, and what was not yet seen to fit, against the last records.
    async fn against_record(
        &self,
        node: &NodeName,
        keys: &NodeKeys,
        doubted: Vec<Doubt>,
        memory: &mut Memory,
        share: Share,
        answers: bool,
    ) -> Result<Vec<Finding>, Trouble> {
        let stored: BTreeMap<ContainerId, &Container> =
            keys.view.containers.iter().map(|container| (container.id, container)).collect();
        let mut prints: HashMap<ContainerId, u64> =
            stored.iter().map(|(id, container)| (*id, fingerprint(container))).collect();
        if !answers {
            // Nobody says which containers there are: the record does.
            for id in self.state.containers(node).await? {
                prints.entry(id).or_insert(0);
            }
        }
        memory.verified.retain(|id, print| prints.get(id) == Some(print));
        let mut ids: Vec<ContainerId> = doubted.iter().map(|doubt| doubt.container).collect();
        let unverified = prints.keys().filter(|id| !memory.verified.contains_key(id) && !ids.contains(id)).copied();
        let unverified: Vec<_> = unverified.take(share.records).collect();
        ids.extend(unverified);

        let applied = keys.view.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.place.sequence);
        let questions = ids.into_iter().map(|id| async move {
            let last: Result<_, Trouble> = self.state.last_of_container(node, &id).await.map_err(Trouble::from);
            last.map(|last| (id, last))
        });
        let lasts: Vec<(ContainerId, Option<(u64, Record)>)> =
            stream::iter(questions).buffer_unordered(self.limits.questions).try_collect().await?;
        let mut doubted: BTreeMap<ContainerId, Doubt> =
            doubted.into_iter().map(|doubt| (doubt.container, doubt)).collect();
        let mut findings = Vec::new();
        for (id, last) in lasts {
            let known = stored.get(&id).copied();
            let print = prints.get(&id).copied().unwrap_or(0);
            let doubt = doubted.remove(&id);
            let held = held(print, last.as_ref());
            if let Some((kind, fields)) = record::judge(known, last.as_ref(), applied) {
                findings.push(found(id, kind, &fields, held, true));
            } else if let Some(Doubt { kind, fields, .. }) = doubt {
                findings.push(found(id, kind, &fields, held, false));
            } else if last.is_none_or(|(sequence, _)| sequence <= applied) {
                memory.verified.insert(id, print);
            }
        }
        Ok(findings)
    }

    /// Some of what other slots say of the node, a different part at each look.
    async fn against_other_slots(
        &self,
        node: &NodeName,
        keys: NodeKeys,
        memory: &mut Memory,
        share: Share,
    ) -> Result<Vec<Finding>, Trouble> {
        let all = elsewhere::members(&keys);
        let count = share.members.min(all.len());
        let start = memory.turn % all.len().max(1);
        memory.turn = start + count;
        let turn: Vec<_> = all.iter().cycle().skip(start).take(count).cloned().collect();
        let told = elsewhere::read(&self.store, &self.prefix, node, &turn).await?;
        let suspects = elsewhere::misfits(&keys, &turn, &told);
        if suspects.is_empty() {
            return Ok(Vec::new());
        }
        // It may have changed and been told between two readings: what is wrong between two that agree is wrong.
        let keys = self.examine(node).await?;
        let again = elsewhere::read(&self.store, &self.prefix, node, &suspects).await?;
        let suspects = elsewhere::misfits(&keys, &suspects, &again);
        let after = self.examine(node).await?;
        let stands = |member: &Member| {
            let same = elsewhere::expected(&keys, member) == elsewhere::expected(&after, member);
            same && !elsewhere::is_untold(&after, member)
        };
        Ok(suspects.into_iter().filter(stands).map(elsewhere::finding).collect())
    }
}

fn found(id: ContainerId, kind: DriftKind, fields: &[&'static str], held: u64, sure: bool) -> Finding {
    let fields = fields.iter().map(|field| (*field).to_owned()).collect();
    Finding { kind, container: Some(id), fields, members: Vec::new(), held, sure }
}

/// Tells a drift that stays from one that was put right and is there again.
fn held(print: u64, last: Option<&(u64, Record)>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (print, last.map(|(sequence, _)| *sequence)).hash(&mut hasher);
    hasher.finish()
}

/// Containers whose fields hold what they should not.
fn unreadable(view: &NodeView) -> impl Iterator<Item = Finding> {
    view.unreadable
        .iter()
        .filter_map(|(id, invalid)| Some(found(id.parse().ok()?, DriftKind::EditedStore, &[invalid.field()], 0, true)))
}

/// Nothing that builds the keys anew is under way; of a lost node that waits for its return. Where the node's hash or
/// checkpoint is not there, the projector finds and names that.
pub(crate) fn is_settled(view: &NodeView) -> bool {
    let checkpoint = view.checkpoint.as_ref().filter(|_| view.node.contains_key("name"));
    checkpoint.is_some_and(|checkpoint| checkpoint.rebuild.is_none() || status(view) == NodeStatus::Lost)
}

fn status(view: &NodeView) -> NodeStatus {
    view.node.get("status").and_then(|status| status.parse().ok()).unwrap_or(NodeStatus::Alive)
}

fn store_stamp(view: &NodeView) -> Stamp {
    let number = |field: &str| view.node.get(field).and_then(|text| text.parse().ok()).unwrap_or(0);
    Stamp { epoch: number("epoch"), seq: number("seq") }
}

fn answer_stamp(snapshot: &Snapshot) -> Stamp {
    Stamp { epoch: snapshot.head.responder.epoch, seq: snapshot.head.seq }
}

/// Never 0.
fn fingerprint(container: &Container) -> u64 {
    let mut hasher = DefaultHasher::new();
    container.hash(&mut hasher);
    hasher.finish().max(1)
}
