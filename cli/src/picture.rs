//! The picture in Redis: what is on every node, and the revision that it is true at.

use domain::{Container, Prefix};
use service::Failure;
use service::redis::{Error, Store};
use view::store::{self, Listing};

/// What is in Redis.
#[derive(Clone, Debug)]
pub(crate) struct Picture(Listing);

/// Reads the whole picture.
pub(crate) async fn read(store: &Store, prefix: &Prefix) -> Result<Picture, Failure> {
    store.check().await?;
    let mut listing = store::list(store, prefix).await.map_err(|error| failure(&error))?;
    for (_, node) in &mut listing.nodes {
        node.containers.sort_by(|a, b| a.name.cmp(&b.name).then(a.id.cmp(&b.id)));
    }
    Ok(Picture(listing))
}

impl Picture {
    /// The list that it was read as.
    pub(crate) fn listing(&self) -> &Listing {
        &self.0
    }

    /// All containers, by node and name.
    pub(crate) fn containers(&self) -> impl Iterator<Item = &Container> {
        self.0.nodes.iter().flat_map(|(_, node)| &node.containers)
    }

    /// `{"revision", "items"}`; the revision is null while the picture is not current.
    pub(crate) fn json(&self, items: impl Iterator<Item = serde_json::Value>) -> serde_json::Value {
        let items: Vec<_> = items.collect();
        let revision = self.0.revision.as_ref().map(ToString::to_string);
        serde_json::json!({"revision": revision, "items": items})
    }

    /// Why it is not current, if it is not.
    pub(crate) fn stale(&self) -> Option<String> {
        if self.0.revision.is_some() {
            return None;
        }
        let partitions: Vec<String> = self.0.stale.iter().map(ToString::to_string).collect();
        let unplaced = self.0.nodes.iter().find(|(_, node)| node.checkpoint.is_none());
        Some(match (partitions.is_empty(), unplaced) {
            (false, _) => format!(
                "partition {} is not kept up to date; see if its sequencer and projector run, and reach NATS and Redis",
                partitions.join(", ")
            ),
            (true, Some((name, _))) => format!("node {name} is being listed anew; wait a moment"),
            (true, None) => {
                "Redis holds nothing of deckwatch yet; start a projector on it (`deckwatch up`), or name the right --prefix"
                    .to_owned()
            }
        })
    }

    /// Says on standard error if the picture is not current.
    pub(crate) fn warn(&self) {
        if let Some(reason) = self.stale() {
            crate::out::complain(&format!("not current: {reason}"));
        }
    }
}

/// What to do about a question that Redis did not answer.
pub(crate) fn failure(error: &Error) -> Failure {
    if error.is_refused() {
        return Failure::unanswered(format!("{error}; give the right password with --redis-password-file"));
    }
    if store::is_not_loaded(error) {
        return Failure::unanswered(format!("{error}; wait for the projector to load its functions, or start it"));
    }
    Failure::unanswered(format!(
        "{error}; start Redis and a projector (`deckwatch up`), or name where Redis is with --redis"
    ))
}

#[cfg(test)]
mod tests {
    use domain::{Partition, Revision};

    use super::*;

    fn listing(revision: Option<&str>, stale: Vec<Partition>) -> Picture {
        Picture(Listing { revision: revision.map(|text| text.parse::<Revision>().unwrap()), stale, nodes: Vec::new() })
    }

    #[test]
    fn what_is_not_current_has_no_revision_and_says_why() {
        let current = listing(Some("0:0.0"), Vec::new());
        assert_eq!(current.stale(), None);
        assert_eq!(current.json(std::iter::empty()), serde_json::json!({"revision": "0:0.0", "items": []}));
        let silent = listing(None, vec![Partition(1), Partition(3)]);
        assert!(silent.stale().unwrap().starts_with("partition 1, 3 is not"));
        assert_eq!(silent.json(std::iter::empty()), serde_json::json!({"revision": null, "items": []}));
        assert!(listing(None, Vec::new()).stale().unwrap().starts_with("Redis holds nothing"));
    }
}
