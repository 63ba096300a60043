//! Redis: is it there, does it take what the projector writes, and does it keep it.

use domain::{Partitions, Prefix, Timestamp};
use service::redis::{Error, Store};
use view::{SCHEMA, store};

use super::check::{Check, Outcome};
use super::clock::Reading;
use crate::picture;

/// Keys that are tried for writing: enough to come by every master of a cluster.
const PROBES: u32 = 64;

/// What was found; `partitions` is what the streams are made for.
pub(super) async fn checks(redis: &Store, prefix: &Prefix) -> Vec<Check> {
    if let Err(failure) = redis.check().await {
        return vec![Check::of_failure("redis", &failure)];
    }
    let infos: Vec<String> = match redis.each(&redis::cmd("INFO")).await {
        Ok(infos) => infos,
        Err(error) => return vec![Check::of_failure("redis", &picture::failure(&error))],
    };
    let mut versions: Vec<_> = infos.iter().map(|info| version(info)).collect();
    versions.sort();
    versions.dedup();
    let masters = if infos.len() > 1 { format!(", {} masters", infos.len()) } else { String::new() };
    let mut found =
        vec![Check::ok("redis", format!("version {} at {}{masters}", versions.join(", "), redis.address()))];
    found.push(writes(redis, prefix, &infos).await);
    found.extend(worst(infos.iter().map(|info| eviction(info))));
    found.extend(worst(clocks(redis).await.into_iter()));
    found.push(schema(redis, prefix).await);
    found.push(current(redis, prefix).await);
    found
}

/// The streams and Redis are of one installation.
pub(super) async fn same_partitions(redis: &Store, prefix: &Prefix, streams: Partitions) -> Option<Check> {
    let stored = store::partitions(redis, prefix).await.ok()??;
    let detail = format!("Redis is made for {stored} partition(s), the streams for {streams}");
    let advice = "name the Redis and the NATS of one installation, or another --prefix";
    (stored != streams).then(|| Check::failed("partitions", detail, advice))
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn version(info: &str) -> String {
    let valkey = field(info, "valkey_version").map(|version| format!("{version} (Valkey)"));
    valkey.or_else(|| field(info, "redis_version").map(str::to_owned)).unwrap_or_default()
}

/// Of what was found on several servers, what is to be looked at first.
fn worst(found: impl Iterator<Item = Check>) -> Option<Check> {
    found.max_by_key(|check| match check.outcome {
        Outcome::Ok => 0,
        Outcome::Warning => 1,
        Outcome::Failed => 2,
    })
}

/// Asks it to write nothing: refused where it would refuse to write something.
async fn writes(redis: &Store, prefix: &Prefix, infos: &[String]) -> Check {
    let nothing = (0..PROBES).map(|number| {
        let mut nothing = redis::cmd("SETRANGE");
        nothing.arg(format!("{prefix}:doctor:{number}")).arg(0).arg("");
        nothing
    });
    let answer = redis.batch(&nothing.collect::<Vec<_>>()).await;
    let refused = answer.err().map(|error| (error.code().unwrap_or_default().to_owned(), error.to_string()));
    let mut roles = infos.iter().filter_map(|info| field(info, "role"));
    judge_writes(refused, roles.find(|role| *role != "master").unwrap_or("master"))
}

fn judge_writes(refused: Option<(String, String)>, role: &str) -> Check {
    let what = "redis writes";
    match refused {
        None if role == "slave" => {
            let detail = "it is a replica: what is written there is overwritten";
            Check::failed(what, detail, "name the primary with --redis")
        }
        None => Check::ok(what, "taken"),
        Some((code, why)) => {
            let advice = match code.as_str() {
                "READONLY" => "it is a read-only replica; name the primary with --redis",
                "MISCONF" => "it cannot save to disk; make room there, and see its log",
                "NOREPLICAS" => "bring its replicas back, or lower min-replicas-to-write",
                "OOM" => "raise its maxmemory",
                "NOPERM" => "let its user write to all keys of the prefix",
                _ => "see its log",
            };
            Check::failed(what, why, advice)
        }
    }
}

fn eviction(info: &str) -> Check {
    let (what, advice) = ("redis eviction", "set maxmemory-policy to noeviction");
    let policy = field(info, "maxmemory_policy").unwrap_or("unknown");
    let bounded = field(info, "maxmemory").is_some_and(|max| max != "0");
    match (policy, bounded) {
        ("noeviction", _) => Check::ok(what, policy),
        (_, true) => Check::failed(what, format!("{policy}: keys vanish when memory is short"), advice),
        (_, false) => Check::warning(what, format!("{policy}: with a maxmemory keys would vanish"), advice),
    }
}

async fn clocks(redis: &Store) -> Vec<Check> {
    let before = service::clock::now();
    let answers: Result<Vec<(i64, i64)>, Error> = redis.each(&redis::cmd("TIME")).await;
    let after = service::clock::now();
    let read = |(seconds, micros): (i64, i64)| {
        let theirs = Timestamp(seconds.saturating_mul(1_000_000_000).saturating_add(micros.saturating_mul(1_000)));
        Reading { before, theirs, after }.check("redis")
    };
    answers.unwrap_or_default().into_iter().map(read).collect()
}

async fn schema(redis: &Store, prefix: &Prefix) -> Check {
    let mut ask = redis::cmd("HGET");
    ask.arg(prefix.meta_key()).arg("schema");
    let found: Result<Option<String>, Error> = redis.query(&ask).await;
    match found {
        Ok(found) => judge_schema(found.as_deref()),
        Err(error) => Check::of_failure("redis schema", &picture::failure(&error)),
    }
}

fn judge_schema(found: Option<&str>) -> Check {
    let what = "redis schema";
    match found.map(str::parse::<u32>) {
        None => Check::warning(what, "no projector has written there yet", "start one, or name the right --prefix"),
        Some(Ok(schema)) if schema <= SCHEMA => Check::ok(what, format!("version {schema}")),
        Some(Ok(schema)) => {
            Check::failed(what, format!("version {schema} is newer than {SCHEMA}"), "use a newer deckwatch")
        }
        Some(Err(_)) => Check::failed(what, "it is no number: another hand wrote it", "use another --prefix"),
    }
}

async fn current(redis: &Store, prefix: &Prefix) -> Check {
    let what = "picture";
    match picture::read(redis, prefix).await.map(|picture| picture.stale()) {
        Ok(None) => Check::ok(what, "current"),
        Ok(Some(reason)) => {
            let (detail, advice) =
                reason.split_once("; ").unwrap_or((&reason, "see the /readyz of sequencer and projector"));
            Check::warning(what, format!("not current: {detail}"), advice)
        }
        Err(failure) => Check::of_failure(what, &failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_it_does_not_write_is_told() {
        let refused = |code: &str| judge_writes(Some((code.to_owned(), "why".to_owned())), "master");
        assert!(refused("READONLY").advice.contains("read-only replica"));
        assert!(refused("MISCONF").advice.contains("disk"));
        assert_eq!(refused("ERR").outcome, Outcome::Failed);
        assert_eq!(judge_writes(None, "master").outcome, Outcome::Ok);
        assert_eq!(judge_writes(None, "slave").outcome, Outcome::Failed);
    }

    #[test]
    fn what_may_vanish_is_told() {
        let judged =
            |policy: &str, max: &str| eviction(&format!("maxmemory:{max}\r\nmaxmemory_policy:{policy}\r\n")).outcome;
        assert_eq!(judged("noeviction", "100"), Outcome::Ok);
        assert_eq!(judged("allkeys-lru", "100"), Outcome::Failed);
        assert_eq!(judged("allkeys-lru", "0"), Outcome::Warning);
        let newer = (SCHEMA + 1).to_string();
        assert_eq!([judge_schema(Some("1")).outcome, judge_schema(None).outcome], [Outcome::Ok, Outcome::Warning]);
        assert_eq!([judge_schema(Some(&newer)).outcome, judge_schema(Some("x")).outcome], [Outcome::Failed; 2]);
        assert_eq!(version("redis_version:7.2.4\r\nvalkey_version:8.0.1\r\n"), "8.0.1 (Valkey)");
    }
}
