//! Telling other slots what changed on a node: after each change, and at the start what a crash left untold.

use domain::NodeName;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use service::redis::Error;

use crate::keys::{Keys, Pending};

/// Most rounds of one telling. Another instance that changes the node meanwhile makes a further round needed;
/// what is left then is told after the next change.
const ROUNDS_MAX: usize = 100;

/// Tells all that is untold of a node.
pub(crate) async fn tell(keys: &Keys, node: &NodeName, questions: usize) -> Result<(), Error> {
    for _ in 0..ROUNDS_MAX {
        let pending = keys.pending(node).await?;
        if pending.members.is_empty() {
            return Ok(());
        }
        // The node's own entry last: as long as it is there, a start finds what is left to tell.
        let (own, others): (Vec<_>, Vec<_>) = pending.members.iter().partition(|(member, _)| member == "node");
        for members in [others, own] {
            let told =
                members.into_iter().map(|(member, values)| tell_one(keys, node, &pending, member, values).boxed());
            let told: Vec<_> = told.collect();
            stream::iter(told).buffer_unordered(questions).try_collect::<()>().await?;
        }
        if keys.told(node, &pending).await? == 0 {
            return Ok(());
        }
    }
    Ok(())
}

async fn tell_one(
    keys: &Keys,
    node: &NodeName,
    pending: &Pending,
    member: &str,
    values: &[String],
) -> Result<(), Error> {
    let is_in = values.first().is_some_and(|value| value == "1");
    if member == "node" {
        return keys.member(&keys.prefix.nodes_key(), node.as_str(), is_in).await;
    }
    if let Some(id) = member.strip_prefix("id:") {
        // What is no id was not put there by the library, and has no key.
        return match id.parse() {
            Ok(id) => keys.member(&keys.prefix.id_key(&id), node.as_str(), is_in).await,
            Err(_) => Ok(()),
        };
    }
    let Some(service) = member.strip_prefix("service:") else {
        return Ok(());
    };
    let mut args = vec![node.to_string()];
    args.extend(values.iter().cloned());
    args.push(revision(pending));
    let nodes = keys.share(service, &args).await?;
    let services = keys.prefix.services_key();
    keys.member(&services, service, nodes > 0).await?;
    // Another partition's projector may have set a share between the last two calls.
    if nodes == 0 && keys.exists(&keys.prefix.service_key(service)).await? {
        keys.member(&services, service, true).await?;
    }
    Ok(())
}

/// The revision of a share: where the node stood.
fn revision(pending: &Pending) -> String {
    pending.at.parse().map(|checkpoint| format!("{}:{}", checkpoint.partition, checkpoint.place)).unwrap_or_default()
}
