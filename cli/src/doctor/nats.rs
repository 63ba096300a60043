//! NATS: is it there, and is all in it that is needed.

use std::time::Duration;

use async_nats::{Client, RequestErrorKind};
use domain::{Instance, Partitions, Prefix};
use futures::StreamExt;
use serde_json::Value;
use service::nats::{self, parse_version};

use super::check::Check;
use super::clock::Reading;

/// How long one question may take.
const QUESTION_TIME: Duration = Duration::from_secs(3);
/// How long producers may take to say who they are.
const GATHER_TIME: Duration = Duration::from_millis(700);
/// Most producers that are heard.
const PRODUCERS_MAX: usize = 10_000;
/// Least size of a message that the server must take: NATS's own default.
const PAYLOAD_MIN: usize = 1 << 20;
/// Percentage of JetStream's room from which on it is told.
const FULL_PERCENT: u64 = 90;

/// What was found, and how many partitions the streams are made for.
pub(super) async fn checks(settings: &nats::Settings, prefix: &Prefix) -> (Vec<Check>, Option<Partitions>) {
    let client = match nats::connect(settings, "deckwatch doctor").await {
        Ok(client) => client,
        Err(failure) => return (vec![Check::of_failure("nats", &failure)], None),
    };
    let info = client.server_info();
    let mut found = vec![Check::ok("nats", format!("version {} at {}", info.version, settings.servers))];
    found.push(payload(info.max_payload));
    let jetstream = jetstream(ask(&client, "$JS.API.INFO").await);
    let works = jetstream.outcome != super::check::Outcome::Failed;
    found.push(jetstream);
    let mut partitions = None;
    if works {
        let before = service::clock::now();
        let raw = ask(&client, &format!("$JS.API.STREAM.INFO.{}", prefix.raw_stream())).await;
        let after = service::clock::now();
        partitions = raw.as_ref().ok().and_then(|raw| partitions_of(raw, prefix));
        found.extend(streams(&client, settings, prefix, partitions).await);
        let theirs = raw.ok().and_then(|raw| raw.get("ts")?.as_str()?.parse().ok());
        found.extend(theirs.map(|theirs| Reading { before, theirs, after }.check("nats")));
    }
    found.extend(producers(&client, prefix).await);
    (found, partitions)
}

pub(super) fn payload(max: usize) -> Check {
    let what = "nats max_payload";
    if max >= PAYLOAD_MIN {
        return Check::ok(what, format!("{max} bytes"));
    }
    let detail = format!("{max} bytes: lists of many containers do not fit");
    Check::failed(what, detail, format!("set max_payload of nats-server to {PAYLOAD_MIN} or more"))
}

/// Asks a question that is answered in JSON.
async fn ask(client: &Client, subject: &str) -> Result<Value, String> {
    let request = async_nats::Request::new().inbox(client.new_inbox()).timeout(Some(QUESTION_TIME));
    let answer = client.send_request(subject.to_owned(), request).await.map_err(|error| match error.kind() {
        RequestErrorKind::NoResponders => "it is not enabled, or not permitted".to_owned(),
        RequestErrorKind::TimedOut => format!("no answer within {QUESTION_TIME:?}"),
        RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded | RequestErrorKind::Other => {
            error.to_string()
        }
    })?;
    let answer: Value = serde_json::from_slice(&answer.payload).map_err(|error| error.to_string())?;
    match answer.pointer("/error/description").and_then(Value::as_str) {
        Some(why) => Err(why.to_owned()),
        None => Ok(answer),
    }
}

fn jetstream(answer: Result<Value, String>) -> Check {
    let what = "jetstream";
    let info = match answer {
        Ok(info) => info,
        Err(why) => return Check::failed(what, why, "start nats-server with -js, and let this account use JetStream"),
    };
    let number = |path: &str| info.pointer(path).and_then(Value::as_u64);
    let used = number("/storage").unwrap_or(0);
    // Without a limit the server says -1.
    match number("/limits/max_storage").filter(|max| *max > 0) {
        Some(max) if used.saturating_mul(100) >= max.saturating_mul(FULL_PERCENT) => {
            let advice = "give it more room, or lower --raw-max-bytes and --state-max-bytes";
            Check::warning(what, format!("{used} of {max} bytes are used"), advice)
        }
        Some(max) => Check::ok(what, format!("{used} of {max} bytes are used")),
        None => Check::ok(what, format!("{used} bytes are used")),
    }
}

pub(super) fn partitions_of(info: &Value, prefix: &Prefix) -> Option<Partitions> {
    info.get("config")?.get("metadata")?.get(prefix.partitions_metadata())?.as_str()?.parse().ok()
}

async fn streams(
    client: &Client,
    settings: &nats::Settings,
    prefix: &Prefix,
    partitions: Option<Partitions>,
) -> Vec<Check> {
    let Some(partitions) = partitions else {
        let detail = format!("no stream {} of deckwatch's is there", prefix.raw_stream());
        return vec![Check::warning("streams", detail, "start a sequencer, or name the right --prefix")];
    };
    let config = sequencer::Config {
        nats: settings.clone(),
        prefix: prefix.clone(),
        partitions,
        replicas: 1,
        heartbeat: Duration::ZERO,
        lost_after: Duration::ZERO,
        gap_wait: Duration::ZERO,
        instance: Instance(0),
        limits: sequencer::Limits::default(),
    };
    let found = sequencer::examine(client, &config).await;
    let wrong = found.iter().filter_map(|(_, fault)| Some(Check::of_failure("streams", fault.as_ref()?)));
    let wrong: Vec<Check> = wrong.collect();
    if wrong.is_empty() {
        return vec![Check::ok("streams", format!("{} for {partitions} partition(s)", found.len()))];
    }
    wrong
}

/// The producers' versions, as far as they may be asked.
async fn producers(client: &Client, prefix: &Prefix) -> Vec<Check> {
    let inbox = client.new_inbox();
    let Ok(mut answers) = client.subscribe(inbox.clone()).await else { return Vec::new() };
    if client.publish_with_reply("$SRV.PING", inbox, "".into()).await.is_err() {
        return Vec::new();
    }
    let mut heard = Vec::new();
    let gather = async {
        while heard.len() < PRODUCERS_MAX
            && let Some(answer) = answers.next().await
        {
            heard.extend(producer_of(&answer.payload, prefix));
        }
    };
    // Nobody says that there is nobody else.
    drop(tokio::time::timeout(GATHER_TIME, gather).await);
    heard.sort();
    versions(&heard, env!("CARGO_PKG_VERSION"))
}

/// Node and version of a producer's answer.
fn producer_of(payload: &[u8], prefix: &Prefix) -> Option<(String, String)> {
    let answer: Value = serde_json::from_slice(payload).ok()?;
    let node = answer.get("name")?.as_str()?.strip_prefix(&prefix.to_string())?.strip_prefix('-')?;
    Some((node.to_owned(), answer.get("version")?.as_str()?.to_owned()))
}

fn versions(heard: &[(String, String)], ours: &str) -> Vec<Check> {
    let too_far = |version: &str| match (parse_version(version), parse_version(ours)) {
        (Some((major, minor, _)), Some((our_major, our_minor, _))) => {
            major != our_major || minor.abs_diff(our_minor) > 1
        }
        (None, _) | (_, None) => true,
    };
    let wrong = heard.iter().filter(|(_, version)| too_far(version)).map(|(node, version)| {
        let detail = format!("the producer of {node} is version {version}, this program {ours}");
        Check::failed("versions", detail, "use versions at most one minor apart; readers first, producers last")
    });
    let wrong: Vec<Check> = wrong.collect();
    match (wrong.is_empty(), heard.len()) {
        (false, _) => wrong,
        (true, 0) => vec![Check::warning("versions", "no producer was heard", "start one beside each engine")],
        (true, many) => vec![Check::ok("versions", format!("{many} producer(s) fit version {ours}"))],
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Outcome;
    use super::*;

    #[test]
    fn what_jetstream_says_of_itself() {
        let said =
            |used: u64, max: i64| jetstream(Ok(serde_json::json!({"storage": used, "limits": {"max_storage": max}})));
        assert_eq!(said(5, -1).outcome, Outcome::Ok);
        assert_eq!(said(89, 100).outcome, Outcome::Ok);
        assert_eq!(said(90, 100).outcome, Outcome::Warning);
        assert_eq!(jetstream(Err("off".to_owned())).outcome, Outcome::Failed);
        assert_eq!((payload(PAYLOAD_MIN).outcome, payload(1000).outcome), (Outcome::Ok, Outcome::Failed));
    }

    #[test]
    fn versions_one_minor_apart_work_together() {
        let judged = |version: &str| versions(&[("n1".to_owned(), version.to_owned())], "1.4.2")[0].outcome;
        assert_eq!([judged("1.4.0"), judged("1.5.9"), judged("1.3.0")], [Outcome::Ok; 3]);
        assert_eq!([judged("1.6.0"), judged("2.4.2"), judged("new")], [Outcome::Failed; 3]);
        assert_eq!(versions(&[], "1.4.2")[0].outcome, Outcome::Warning);
        let answer = br#"{"name":"deckwatch-n-1","version":"0.1.0"}"#;
        assert_eq!(producer_of(answer, &Prefix::default()), Some(("n-1".to_owned(), "0.1.0".to_owned())));
        assert_eq!(producer_of(br#"{"name":"other-n1","version":"0.1.0"}"#, &Prefix::default()), None);
    }
}
