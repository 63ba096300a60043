//! Drifts on their way into the record: a node's producer says them there, once it can be told of them.

use std::time::Duration;

use async_nats::Client;
use domain::node::Correction;
use domain::rpc::ResyncRequest;
use domain::{ContainerId, NodeName, Prefix};

use crate::producer::{self, Unanswered};

/// Most containers, and most drifts, that one request names.
const RESYNC_MAX: usize = 100;
/// Most drifts of a node that wait for a producer which can be told of them.
const UNSAID_MAX: usize = 1000;

/// Drifts that a node's producer could not be told of yet, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Unsaid(Vec<Correction>);

impl Unsaid {
    /// Keeps one more, within the bound.
    pub fn keep(&mut self, correction: Correction) {
        if self.0.len() < UNSAID_MAX {
            self.0.push(correction);
        }
    }

    /// Takes in what came later.
    pub fn append(&mut self, later: Self) {
        later.0.into_iter().for_each(|correction| self.keep(correction));
    }

    /// All is said.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Asks the node's producer to look again at containers, and to say why in the record. What it was told of is not
    /// kept. To name no container asks for a statement of all of them, once, and what does not fit into that request is
    /// kept; with nothing to say either, nothing is asked.
    ///
    /// # Errors
    /// Why it is not known to look again.
    pub async fn say(
        &mut self,
        client: &Client,
        prefix: &Prefix,
        node: &NodeName,
        ids: &[ContainerId],
        patience: Duration,
    ) -> Result<(), Unanswered> {
        for part in 0..parts(ids.len(), self.0.len()) {
            let corrections: Vec<_> = self.0.iter().take(RESYNC_MAX).cloned().collect();
            let mut container_ids: Vec<_> = ids.iter().skip(part * RESYNC_MAX).take(RESYNC_MAX).copied().collect();
            if container_ids.is_empty() {
                container_ids.extend(ids.first());
            }
            let request = ResyncRequest { container_ids, corrections, ..ResyncRequest::default() };
            producer::resync(client, prefix, node, &request, patience).await?;
            self.0.drain(..request.corrections.len());
        }
        Ok(())
    }
}

/// How many requests name so many containers and so many drifts.
fn parts(ids: usize, drifts: usize) -> usize {
    let parts = ids.max(drifts).div_ceil(RESYNC_MAX);
    // Each that names no container costs the engine a look at all of them.
    if ids == 0 { parts.min(1) } else { parts }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::node::DriftKind;

    #[test]
    fn a_statement_is_asked_for_once() {
        for (ids, drifts, requests) in [(0, 0, 0), (0, 1, 1), (0, 101, 1), (0, 1000, 1), (1, 101, 2), (101, 0, 2)] {
            assert_eq!(parts(ids, drifts), requests, "{ids} containers, {drifts} drifts");
        }
    }

    #[test]
    fn bounded_and_in_order() {
        let correction =
            |field: &str| Correction { drift: DriftKind::Ghost, container_id: None, fields: vec![field.to_owned()] };
        let (mut unsaid, mut later) = (Unsaid::default(), Unsaid::default());
        assert!(unsaid.is_empty());
        unsaid.keep(correction("first"));
        (0..UNSAID_MAX).for_each(|_| later.keep(correction("later")));
        unsaid.append(later);
        assert_eq!((unsaid.0.len(), &unsaid.0[0]), (UNSAID_MAX, &correction("first")));
    }
}
