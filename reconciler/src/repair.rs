//! What is done about drifts: producers look again, and the projector builds indexes anew. Nothing is written here.

use domain::node::{Correction, NodeStatus};
use domain::rpc::{MEMBERS_MAX, RebuildRequest, RebuildResponse};
use domain::{IndexMember, NodeName};
use view::producer;

use crate::finding::{Finding, Verdict};
use crate::look::{Look, Memory};
use crate::worker::Desk;

impl Desk {
    /// Counts and names what is new, and asks for what puts it right. What is not done is found again.
    pub(crate) async fn repair(&self, node: &NodeName, look: &Look, verdict: Verdict, memory: &mut Memory) {
        for finding in &verdict.new {
            self.name(node, finding);
            memory.unsaid.keep(correction(finding));
        }
        let mut ids: Vec<_> =
            verdict.open.iter().filter(|finding| is_content(finding)).filter_map(|finding| finding.container).collect();
        if look.answers {
            if verdict.open.iter().any(|finding| is_content(finding) && finding.container.is_none()) {
                // What the node's own fields hold comes with a statement of all.
                ids.clear();
            } else if ids.is_empty() && !memory.unsaid.is_empty() {
                // To name no container asks for such a statement; one that is looked at anyway costs less.
                ids.extend(look.any);
            }
            let saying = memory.unsaid.say(&self.client, &self.prefix, node, &ids, self.limits.answer);
            if let Err(why) = saying.await {
                tracing::info!(%node, %why, "its producer does not look again");
            }
        }
        let mut members: Vec<IndexMember> = verdict.open.iter().flat_map(|finding| finding.members.clone()).collect();
        if is_silent(look) {
            // Those that the record has no more go; for the others it is read again.
            members.extend(ids.iter().copied().map(IndexMember::Container));
        }
        members.sort();
        members.dedup();
        let mut mended = true;
        for part in members.chunks(MEMBERS_MAX) {
            mended &= self.rebuild(node, part.to_vec()).await;
        }
        if mended {
            let of_indexes = verdict.open.iter().filter(|finding| !finding.members.is_empty());
            of_indexes.for_each(|finding| memory.ledger.close(finding));
        }
        if wants_all_anew(look, &verdict) {
            self.rebuild(node, Vec::new()).await;
        }
    }

    /// Counts a drift and says it.
    pub(crate) fn name(&self, node: &NodeName, finding: &Finding) {
        let Finding { kind, container, fields, .. } = finding;
        self.metrics.drifts(kind.as_str(), 1);
        let container = container.map(|id| id.to_string()).unwrap_or_default();
        let fields = fields.join(" ");
        tracing::warn!(%node, %kind, container, fields, "store and engine disagree");
    }

    /// Asks the node's projector to build indexes of it anew, or with no members named all of its keys.
    /// Says whether it does.
    async fn rebuild(&self, node: &NodeName, members: Vec<IndexMember>) -> bool {
        let subject = self.prefix.control_rebuild(self.partitions.of(node));
        let request = RebuildRequest { node: node.clone(), members };
        let answer = producer::ask::<_, RebuildResponse>(&self.client, subject, &request, self.limits.answer).await;
        if let Err(why) = &answer {
            tracing::info!(%node, %why, "the projector does not build its keys anew");
        }
        answer.is_ok()
    }
}

/// What the keys of a container or of the node itself hold is wrong, not an index.
fn is_content(finding: &Finding) -> bool {
    finding.members.is_empty()
}

/// Nobody can look again.
fn is_silent(look: &Look) -> bool {
    !look.answers && look.status != NodeStatus::Alive
}

/// All of the node's keys are to be built anew. Not at each look, as nothing of the partition is current meanwhile.
fn wants_all_anew(look: &Look, verdict: &Verdict) -> bool {
    verdict.stubborn || is_silent(look) && verdict.new.iter().any(is_content)
}

fn correction(finding: &Finding) -> Correction {
    Correction { drift: finding.kind, container_id: finding.container, fields: finding.fields.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Ledger;
    use domain::node::DriftKind;

    fn asked(answers: bool, members: Vec<IndexMember>) -> Vec<bool> {
        let look = Look { findings: None, missed: 0, status: NodeStatus::Lost, answers, any: None };
        let kind = DriftKind::EditedStore;
        let found = Finding { kind, container: None, fields: Vec::new(), members, held: 0, sure: true };
        let mut ledger = Ledger::default();
        (0..4).map(|_| wants_all_anew(&look, &ledger.enter(vec![found.clone()]))).collect()
    }

    #[test]
    fn all_is_built_anew_at_first_where_nobody_can_look_again_and_where_a_drift_stays() {
        assert_eq!(asked(false, Vec::new()), [true, false, true, false]);
        assert_eq!(asked(true, Vec::new()), [false, false, true, false]);
        assert_eq!(asked(false, vec![IndexMember::Node]), [false, false, true, false]);
    }
}
