//! The calls to Redis that the projector makes.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::revision::Place;
use domain::{ContainerId, IndexMember, NodeName, Partition, Partitions, Prefix, Timestamp};
use redis::{Cmd, Value};
use service::Failure;
use service::redis::{Error, Store};

use view::SCHEMA;
use view::checkpoint::{CHECKPOINT_FIELDS, FIELDS, Stored, place_fields};
use view::store::of_its_type;

use crate::beats::Beat;
use crate::library::{Function, call, load};

/// What a node's keys tell of where they stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) stored: Stored,
    /// The node's hash is there.
    pub(crate) is_there: bool,
}

/// What became of an apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// All of it is in the store; so many members are untold.
    Done { untold: u64 },
    /// Nothing was changed: another checkpoint is stored.
    Refused,
}

/// What other slots must be told of a node, as it is at a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) at: Stored,
    pub(crate) members: Vec<(String, Vec<String>)>,
}

/// Redis, by the contract's names.
pub(crate) struct Keys {
    pub(crate) store: Store,
    pub(crate) prefix: Prefix,
}

impl Keys {
    /// Loads the library, and says in `meta` what layout and how many partitions the keys have.
    pub(crate) async fn prepare(&self, partitions: Partitions) -> Result<Result<(), Failure>, Error> {
        let mut ask = redis::cmd("HMGET");
        ask.arg(self.prefix.meta_key()).arg(&["schema", "partitions"]);
        let meta: Value = of_its_type(self.store.query(&ask).await)?;
        let mut meta =
            texts(&meta).unwrap_or_default().into_iter().map(|text| Some(text).filter(|text| !text.is_empty()));
        let (schema, stored) = (meta.next().flatten(), meta.next().flatten());
        if let Some(refusal) = refuses(schema.as_deref(), stored.as_deref(), partitions) {
            return Ok(Err(Failure::failed(format!("Redis at {} {refusal}", self.store.address()))));
        }
        load(&self.store, &self.prefix).await?;
        if schema.is_none() || stored.is_none() {
            self.store.query::<i64>(redis::cmd("DEL").arg(self.prefix.meta_key())).await?;
            let mut set = redis::cmd("HSET");
            set.arg(self.prefix.meta_key()).arg("schema").arg(SCHEMA).arg("partitions").arg(partitions.count());
            self.store.query::<i64>(&set).await?;
        }
        Ok(Ok(()))
    }

    /// The names in `<prefix>:nodes`.
    pub(crate) async fn nodes(&self) -> Result<Vec<NodeName>, Error> {
        view::store::nodes(&self.store, &self.prefix).await
    }

    /// Where the nodes' keys stand, in the nodes' order.
    pub(crate) async fn standings(&self, nodes: &[NodeName]) -> Result<Vec<Standing>, Error> {
        let mut standings = Vec::with_capacity(nodes.len());
        for part in nodes.chunks(PIPELINE_MAX) {
            let commands: Vec<_> = part.iter().flat_map(|node| self.ask_standing(node)).collect();
            // A key of the wrong type reads as absent, and the rebuild that follows puts it right.
            let answers = self.store.batch(&commands).await?;
            standings.extend(answers.chunks(2).map(|pair| {
                let fields = pair.first().and_then(texts).and_then(|fields| fields.try_into().ok());
                let name = pair.get(1).and_then(text).unwrap_or_default();
                let stored = fields.map_or_else(Stored::default, Stored);
                Standing { stored, is_there: !name.is_empty() }
            }));
        }
        Ok(standings)
    }

    fn ask_standing(&self, node: &NodeName) -> [Cmd; 2] {
        let (mut checkpoint, mut name) = (redis::cmd("HMGET"), redis::cmd("HGET"));
        checkpoint.arg(self.prefix.checkpoint_key(node)).arg(&CHECKPOINT_FIELDS);
        name.arg(self.prefix.node_key(node)).arg("name");
        [checkpoint, name]
    }

    /// Changes a node's keys, if they stand at the checkpoint that the arguments begin with.
    pub(crate) async fn apply(&self, node: &NodeName, args: &[String]) -> Result<Applied, Error> {
        let answer: Vec<Value> =
            call(&self.store, &self.prefix, Function::Apply, &self.prefix.node_key(node), args).await?;
        match answer.as_slice() {
            [word, Value::Int(untold)] if text(word).as_deref() == Some("applied") => {
                Ok(Applied::Done { untold: u64::try_from(*untold).unwrap_or(0) })
            }
            _ => Ok(Applied::Refused),
        }
    }

    /// Builds indexes of a node anew from its containers' keys, without those that are gone; what other slots hold of
    /// them is untold then.
    pub(crate) async fn mend(
        &self,
        node: &NodeName,
        members: &[IndexMember],
        gone: &[ContainerId],
    ) -> Result<(), Error> {
        let mut args: Vec<String> = gone.iter().map(|id| format!("gone:{id}")).collect();
        args.extend(members.iter().map(ToString::to_string));
        call::<i64>(&self.store, &self.prefix, Function::Mend, &self.prefix.node_key(node), &args).await.map(drop)
    }

    /// What other slots must be told of a node.
    pub(crate) async fn pending(&self, node: &NodeName) -> Result<Pending, Error> {
        let answer: Vec<Value> =
            call(&self.store, &self.prefix, Function::Pending, &self.prefix.node_key(node), &[]).await?;
        let mut rows = answer.iter().filter_map(texts);
        let at = rows.next().and_then(|fields| <[String; FIELDS]>::try_from(fields).ok());
        let members = rows.filter_map(|mut row| {
            let member = if row.is_empty() { None } else { Some(row.remove(0)) };
            Some((member?, row))
        });
        Ok(Pending { at: at.map_or_else(Stored::default, Stored), members: members.collect() })
    }

    /// Those members were told as they were then. Answers how many are untold now.
    pub(crate) async fn told(&self, node: &NodeName, pending: &Pending) -> Result<u64, Error> {
        let mut args = pending.at.0.to_vec();
        args.extend(pending.members.iter().map(|(member, _)| member.clone()));
        call(&self.store, &self.prefix, Function::Told, &self.prefix.node_key(node), &args).await
    }

    /// Sets a node's share of a service. Answers how many nodes have one.
    pub(crate) async fn share(&self, service: &str, args: &[String]) -> Result<u64, Error> {
        call(&self.store, &self.prefix, Function::Share, &self.prefix.service_key(service), args).await
    }

    /// Signs of life of nodes; of those that are not there nothing is written.
    pub(crate) async fn beats(&self, beats: &BTreeMap<NodeName, Beat>) -> Result<(), Error> {
        let beats: Vec<_> = beats.iter().collect();
        for part in beats.chunks(PIPELINE_MAX) {
            let commands = part.iter().map(|(node, Beat { at, stand_in })| {
                let stand_in = if *stand_in { "true".to_owned() } else { String::new() };
                Function::Beat.call(&self.prefix, &self.prefix.node_key(node), &[at.to_string(), stand_in])
            });
            self.store.batch(&commands.collect::<Vec<_>>()).await?;
        }
        Ok(())
    }

    /// Says up to where the partition is current, for a while.
    pub(crate) async fn renew(
        &self,
        partition: Partition,
        place: Place,
        now: Timestamp,
        lasts: Duration,
    ) -> Result<(), Error> {
        let key = self.prefix.partition_key(partition);
        let (sequence, writer) = place_fields(place);
        let lasts = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
        let mut pipeline = redis::pipe();
        pipeline.atomic().cmd("DEL").arg(&key).ignore();
        let fields = [("sequence", sequence), ("writer", writer), ("applied_at", now.to_string())];
        pipeline.hset_multiple(&key, &fields).ignore();
        pipeline.cmd("PEXPIRE").arg(&key).arg(lasts).ignore();
        self.store.pipeline(&pipeline).await
    }

    /// The partition is not current.
    pub(crate) async fn not_current(&self, partition: Partition) -> Result<(), Error> {
        self.store.query(redis::cmd("DEL").arg(self.prefix.partition_key(partition))).await
    }

    /// Adds a member to a set, or takes it away.
    pub(crate) async fn member(&self, set: &str, member: &str, is_in: bool) -> Result<(), Error> {
        let command = |name: &str| {
            let mut command = redis::cmd(name);
            command.arg(set).arg(member);
            command
        };
        let change = command(if is_in { "SADD" } else { "SREM" });
        match self.store.query::<i64>(&change).await {
            Err(error) if error.code() == Some("WRONGTYPE") => {
                self.store.query::<i64>(redis::cmd("DEL").arg(set)).await?;
                self.store.query::<i64>(&change).await.map(drop)
            }
            result => result.map(drop),
        }
    }

    /// It is yet to be told whether the list of nodes has the node.
    pub(crate) async fn is_untold(&self, node: &NodeName) -> Result<bool, Error> {
        let mut ask = redis::cmd("SISMEMBER");
        ask.arg(self.prefix.untold_key(node)).arg(IndexMember::Node.to_string());
        of_its_type(self.store.query(&ask).await)
    }

    /// One of a node's containers, if it has any.
    pub(crate) async fn any_container(&self, node: &NodeName) -> Result<Option<ContainerId>, Error> {
        let mut ask = redis::cmd("SRANDMEMBER");
        ask.arg(self.prefix.containers_key(node));
        let id: Option<String> = of_its_type(self.store.query(&ask).await)?;
        Ok(id.and_then(|id| id.parse().ok()))
    }

    /// A key is there.
    pub(crate) async fn exists(&self, key: &str) -> Result<bool, Error> {
        self.store.query(redis::cmd("EXISTS").arg(key)).await
    }
}

/// Most commands in one pipeline.
const PIPELINE_MAX: usize = 500;

/// Why a store with that `meta` is refused, if it is.
fn refuses(schema: Option<&str>, stored: Option<&str>, partitions: Partitions) -> Option<String> {
    if let Some(schema) = schema
        && schema.parse::<u32>().is_ok_and(|schema| schema > SCHEMA)
    {
        return Some(format!(
            "has keys of schema {schema}, and this program knows {SCHEMA}; use the newer program, or another --prefix"
        ));
    }
    let stored = stored?;
    (stored != partitions.to_string()).then(|| {
        format!(
            "has keys of {stored} partitions, and the streams have {partitions}; \
             delete the keys of the prefix, or use another --prefix"
        )
    })
}

fn text(value: &Value) -> Option<String> {
    redis::from_redis_value_ref::<Option<String>>(value).ok().map(Option::unwrap_or_default)
}

fn texts(value: &Value) -> Option<Vec<String>> {
    let Value::Array(values) = value else { return None };
    values.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_layout_is_refused() {
        let two = Partitions::try_from(2).unwrap();
        assert_eq!(refuses(None, None, two), None);
        assert_eq!(refuses(Some("1"), Some("2"), two), None);
        assert!(refuses(Some("2"), Some("2"), two).unwrap().contains("newer program"));
        assert!(refuses(Some("1"), Some("8"), two).unwrap().contains("8 partitions"));
    }
}
