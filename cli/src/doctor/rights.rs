//! What a role must be permitted in NATS: each thing is tried in a way that changes nothing.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use async_nats::{Client, HeaderMap, RequestErrorKind, StatusCode, header};
use bytes::Bytes;
use domain::names::{Request, StateSubject};
use domain::{NodeName, Partition, Partitions, Prefix};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use service::Permissions;
use service::nats;
use service::permissions::Act;

use super::check::Check;
use super::nats::{partitions_of, payload};

/// How long one trial may take.
const TRIAL_TIME: Duration = Duration::from_secs(2);
/// How long it may take until the server says that nobody hears a message.
const NOBODY_TIME: Duration = Duration::from_millis(500);
/// How long the client may take to tell what the server refused.
const TOLD_TIME: Duration = Duration::from_millis(100);
/// Trials under way at once.
const TRIALS_MAX: usize = 32;
/// How long the server keeps the reader of a trial.
const READER_KEPT: Duration = Duration::from_secs(1);
/// A node, a key and a stream that are none: their names are not used by anybody.
const NONE: &str = "doctor-asks";

/// For whom permissions are tried.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// A node's producer.
    Producer,
    /// The sequencer.
    Sequencer,
    /// The projector.
    Projector,
    /// The reconciler.
    Reconciler,
    /// Whoever reads the ordered record.
    Reader,
}

/// What a role does in NATS.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Trial {
    /// A question that somebody answers, and be it with a refusal.
    Ask { subject: String, payload: String },
    /// A message that a stream takes in: sent so that it refuses.
    Store { subject: String },
    /// A message that nobody need hear.
    Say { subject: String },
    /// A message that others hear while they run.
    Beat { subject: String },
    /// A subscription.
    Hear { subject: String },
    /// To read a stream from its first.
    Read { stream: String },
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ask { subject, .. } | Self::Store { subject } | Self::Say { subject } | Self::Beat { subject } => {
                write!(f, "publish on {subject}")
            }
            Self::Hear { subject } => write!(f, "subscribe to {subject}"),
            Self::Read { stream } => write!(f, "read stream {stream}"),
        }
    }
}

/// How a trial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Done,
    Nobody,
    Silence,
}

/// What is found for a role: of a producer, for this node.
pub(super) async fn checks(
    settings: &nats::Settings,
    prefix: &Prefix,
    role: For,
    node: Option<&NodeName>,
) -> Vec<Check> {
    let permissions = Permissions::default();
    let client = match nats::connect_noting(settings, "deckwatch doctor", permissions.clone()).await {
        Ok(client) => client,
        Err(failure) => return vec![Check::of_failure("nats", &failure)],
    };
    let info = client.server_info();
    let mut found = vec![Check::ok("nats", format!("version {} at {}", info.version, settings.servers))];
    found.push(payload(info.max_payload));
    let first = match role {
        For::Producer | For::Sequencer => prefix.raw_stream(),
        For::Projector | For::Reconciler | For::Reader => prefix.state_stream(Partition(0)),
    };
    let partitions = match partitions(&client, prefix, &first).await {
        Ok(partitions) => partitions,
        Err(unknown) => {
            let refused = permissions.refused();
            found.push(unknown.check(&first, prefix, &refused));
            return found;
        }
    };
    let trials = match (role, node) {
        (For::Producer, None) => {
            found.push(Check::failed("permissions", "the name of the node is not known", "name it with --node"));
            return found;
        }
        (For::Producer, Some(node)) => producer(prefix, partitions, node),
        (For::Sequencer, _) => sequencer(prefix),
        (For::Projector, _) => projector(prefix),
        (For::Reconciler, _) => reconciler(prefix),
        (For::Reader, _) => reader(prefix, partitions),
    };
    let trying = trials.into_iter().map(|trial| async {
        let ended = trial.run(&client).await;
        (trial, ended)
    });
    let tried: Vec<(Trial, Ended)> = stream::iter(trying).buffer_unordered(TRIALS_MAX).collect().await;
    tokio::time::sleep(TOLD_TIME).await;
    found.extend(judge(&tried, &permissions.refused(), prefix));
    found
}

/// Why the number of partitions is not known.
enum Unknown {
    NoStream,
    Not(Ended),
}

impl Unknown {
    fn check(&self, stream: &str, prefix: &Prefix, refused: &BTreeSet<Act>) -> Check {
        match self {
            Self::NoStream => {
                let detail = format!("no stream {stream} of deckwatch's is there: what it permits cannot be seen");
                Check::warning("streams", detail, "start a sequencer, or name the right --prefix")
            }
            Self::Not(ended) => {
                let trial = Trial::Ask { subject: format!("$JS.API.STREAM.INFO.{stream}"), payload: String::new() };
                judge_one(&trial, *ended, refused, prefix)
                    .unwrap_or_else(|| Check::failed("streams", format!("no word of stream {stream}"), "see its log"))
            }
        }
    }
}

async fn partitions(client: &Client, prefix: &Prefix, stream: &str) -> Result<Partitions, Unknown> {
    let answer = request(client, format!("$JS.API.STREAM.INFO.{stream}"), HeaderMap::new(), Bytes::new()).await;
    let answer: Value = serde_json::from_slice(&answer.map_err(Unknown::Not)?).unwrap_or_default();
    partitions_of(&answer, prefix).ok_or(Unknown::NoStream)
}

/// What a node's producer does.
fn producer(prefix: &Prefix, partitions: Partitions, node: &NodeName) -> Vec<Trial> {
    let partition = partitions.of(node);
    let claim = format!("$KV.{}.{node}", prefix.nodes_bucket());
    let itself = prefix.state(partition, node, &StateSubject::Node);
    vec![
        Trial::Store { subject: prefix.raw(node) },
        Trial::Store { subject: claim.clone() },
        ask(&format!("DIRECT.GET.KV_{}.{claim}", prefix.nodes_bucket()), ""),
        ask(&format!("DIRECT.GET.{}.{itself}", prefix.state_stream(partition)), ""),
        Trial::Beat { subject: prefix.beat(node) },
        Trial::Hear { subject: prefix.rpc(node, Request::Snapshot).replace(Request::Snapshot.as_str(), NONE) },
        Trial::Hear { subject: format!("$SRV.PING.{}", prefix.service(node)) },
    ]
}

fn sequencer(prefix: &Prefix) -> Vec<Trial> {
    let (raw, first) = (prefix.raw_stream(), Partition(0));
    let purge = json!({"filter": format!("{prefix}.raw.{NONE}")}).to_string();
    let mut trials = vec![
        // A stream without a name is refused.
        ask(&format!("STREAM.CREATE.{raw}"), "{}"),
        // None is stored under so short a subject.
        ask(&format!("STREAM.PURGE.{raw}"), &purge),
        ask(&format!("STREAM.MSG.GET.{raw}"), &json!({"seq": 1}).to_string()),
        Trial::Read { stream: raw },
        Trial::Read { stream: prefix.state_stream(first) },
        Trial::Store { subject: format!("{prefix}.state.{first}.{NONE}.node") },
        Trial::Store { subject: format!("{prefix}.dead.{NONE}") },
        Trial::Store { subject: format!("$KV.{}.{NONE}", prefix.nodes_bucket()) },
        Trial::Say { subject: format!("{prefix}.rpc.{NONE}.replay") },
        Trial::Hear { subject: prefix.beat_all() },
        Trial::Hear { subject: prefix.control_forget(first) },
    ];
    trials.extend(lease(prefix));
    trials
}

fn projector(prefix: &Prefix) -> Vec<Trial> {
    let (stream, first) = (prefix.state_stream(Partition(0)), Partition(0));
    let mut trials = vec![
        ask(&format!("STREAM.MSG.GET.{stream}"), &json!({"seq": 1}).to_string()),
        Trial::Read { stream },
        Trial::Say { subject: format!("{prefix}.rpc.{NONE}.resync") },
        Trial::Hear { subject: prefix.beat_all() },
        Trial::Hear { subject: prefix.control_rebuild(first) },
    ];
    trials.extend(lease(prefix));
    trials
}

fn reconciler(prefix: &Prefix) -> Vec<Trial> {
    let (stream, first) = (prefix.state_stream(Partition(0)), Partition(0));
    let mut trials = vec![
        ask(&format!("STREAM.MSG.GET.{stream}"), &json!({"seq": 1}).to_string()),
        Trial::Say { subject: format!("{prefix}.rpc.{NONE}.snapshot") },
        // Without a node it is refused.
        Trial::Say { subject: prefix.control_rebuild(first) },
    ];
    trials.extend(lease(prefix));
    trials
}

fn reader(prefix: &Prefix, partitions: Partitions) -> Vec<Trial> {
    let of_one = |partition| {
        let stream = prefix.state_stream(partition);
        let get = ask(&format!("STREAM.MSG.GET.{stream}"), &json!({"seq": 1}).to_string());
        [ask(&format!("STREAM.INFO.{stream}"), ""), get, Trial::Read { stream }]
    };
    partitions.all().flat_map(of_one).collect()
}

fn lease(prefix: &Prefix) -> [Trial; 2] {
    let bucket = prefix.leases_bucket();
    let key = format!("$KV.{bucket}.{NONE}");
    [Trial::Store { subject: key.clone() }, ask(&format!("DIRECT.GET.KV_{bucket}.{key}"), "")]
}

fn ask(api: &str, payload: &str) -> Trial {
    Trial::Ask { subject: format!("$JS.API.{api}"), payload: payload.to_owned() }
}

impl Trial {
    async fn run(&self, client: &Client) -> Ended {
        let ended = |answer: Result<Bytes, Ended>| answer.err().unwrap_or(Ended::Done);
        let none = HeaderMap::new;
        match self {
            Self::Ask { subject, payload } => {
                ended(request(client, subject.clone(), none(), payload.clone().into()).await)
            }
            Self::Store { subject } => {
                let mut headers = HeaderMap::new();
                headers.insert(header::NATS_EXPECTED_STREAM, NONE);
                ended(request(client, subject.clone(), headers, Bytes::new()).await)
            }
            Self::Say { subject } | Self::Beat { subject } => {
                let said = request(client, subject.clone(), none(), Bytes::new());
                tokio::time::timeout(NOBODY_TIME, said).await.map_or(Ended::Silence, ended)
            }
            // What is heard is let go; a refusal comes before the answers to what is asked after it.
            Self::Hear { subject } => client.subscribe(subject.clone()).await.map_or(Ended::Silence, |_| Ended::Done),
            Self::Read { stream } => {
                let name = format!("{NONE}-{:016x}", service::random());
                let create = json!({"stream_name": stream, "action": "create", "config": {
                    "name": name, "deliver_policy": "all", "ack_policy": "none", "mem_storage": true, "num_replicas": 1,
                    "inactive_threshold": READER_KEPT.as_nanos(),
                }});
                let subject = format!("$JS.API.CONSUMER.CREATE.{stream}.{name}");
                if let Err(ended) = request(client, subject, none(), create.to_string().into()).await {
                    return ended;
                }
                let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}");
                let next = json!({"batch": 1, "no_wait": true}).to_string();
                ended(request(client, subject, none(), next.into()).await)
            }
        }
    }
}

/// Asks once, with an inbox of its own.
async fn request(client: &Client, subject: String, headers: HeaderMap, payload: Bytes) -> Result<Bytes, Ended> {
    let mut request = async_nats::Request::new().inbox(client.new_inbox()).timeout(Some(TRIAL_TIME)).payload(payload);
    if !headers.is_empty() {
        request = request.headers(headers);
    }
    match client.send_request(subject, request).await {
        Ok(answer) if answer.status == Some(StatusCode::NO_RESPONDERS) => Err(Ended::Nobody),
        Ok(answer) => Ok(answer.payload),
        Err(error) if error.kind() == RequestErrorKind::NoResponders => Err(Ended::Nobody),
        Err(_) => Err(Ended::Silence),
    }
}

/// One line where all is permitted; else one for each thing that is not.
fn judge(tried: &[(Trial, Ended)], refused: &BTreeSet<Act>, prefix: &Prefix) -> Vec<Check> {
    let wrong = tried.iter().filter_map(|(trial, ended)| judge_one(trial, *ended, refused, prefix));
    let wrong: Vec<Check> = wrong.collect();
    if wrong.is_empty() {
        return vec![Check::ok("permissions", format!("all {} that were tried", tried.len()))];
    }
    wrong
}

fn judge_one(trial: &Trial, ended: Ended, refused: &BTreeSet<Act>, prefix: &Prefix) -> Option<Check> {
    let advice = "permit it in NATS: write the accounts with `deckwatch accounts`, and send nats-server two SIGHUPs";
    if refused.iter().any(|act| trial.is_in(act, prefix)) {
        return Some(Check::failed("permissions", format!("NATS does not permit to {trial}"), advice));
    }
    match (trial, ended) {
        (_, Ended::Done) | (Trial::Say { .. }, _) | (Trial::Beat { .. }, Ended::Silence) => None,
        (Trial::Beat { .. }, Ended::Nobody) => {
            let detail = format!("nobody hears it to {trial}: it is not permitted, or no sequencer runs");
            Some(Check::warning("permissions", detail, format!("start a sequencer; else {advice}")))
        }
        (Trial::Ask { .. } | Trial::Store { .. } | Trial::Hear { .. } | Trial::Read { .. }, Ended::Nobody) => {
            let detail = format!("nothing is reached: to {trial} is not permitted, or JetStream is off");
            Some(Check::failed("permissions", detail, advice))
        }
        (Trial::Ask { .. } | Trial::Store { .. } | Trial::Hear { .. } | Trial::Read { .. }, Ended::Silence) => {
            let detail = format!("no answer within {} s to {trial}", TRIAL_TIME.as_secs());
            Some(Check::failed("permissions", detail, "see if NATS is overloaded, or has no leader for it"))
        }
    }
}

impl Trial {
    /// Whether this is what the server refused.
    fn is_in(&self, act: &Act, prefix: &Prefix) -> bool {
        let (published, of_act) = match act {
            Act::Publish(subject) => (true, subject),
            Act::Subscribe(subject) => (false, subject),
        };
        // An account may have another name for JetStream's interface.
        let of_act = of_act.replacen(&format!("{prefix}.js."), "$JS.API.", 1);
        let fits = |subject: &str| match of_act.strip_suffix('>') {
            Some(all) => subject.starts_with(all),
            None => subject == of_act,
        };
        match self {
            Self::Hear { subject } => !published && fits(subject),
            Self::Ask { subject, .. } | Self::Store { subject } | Self::Say { subject } | Self::Beat { subject } => {
                published && fits(subject)
            }
            Self::Read { stream } => {
                published
                    && ["CREATE", "MSG.NEXT"].iter().any(|api| fits(&format!("$JS.API.CONSUMER.{api}.{stream}.x")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Outcome;
    use super::*;

    fn refused(subject: &str) -> BTreeSet<Act> {
        [Act::Publish(subject.to_owned())].into()
    }

    #[test]
    fn what_was_refused_is_named() {
        let prefix = Prefix::default();
        let read = (Trial::Read { stream: "S".into() }, Ended::Silence);
        let ask = (ask("STREAM.INFO.S", ""), Ended::Silence);
        let say = (Trial::Say { subject: "deckwatch.rpc.x.replay".into() }, Ended::Nobody);
        for (tried, of_act) in [
            (&read, "deckwatch.js.CONSUMER.CREATE.S.>"),
            (&ask, "$JS.API.STREAM.INFO.S"),
            (&ask, "deckwatch.js.STREAM.INFO.S"),
            (&say, "deckwatch.rpc.>"),
        ] {
            let found = judge(std::slice::from_ref(tried), &refused(of_act), &prefix);
            assert!(found[0].detail.starts_with("NATS does not permit to "), "{found:?}");
        }
        assert!(judge_one(&say.0, say.1, &BTreeSet::new(), &prefix).is_none());
        assert!(judge_one(&ask.0, ask.1, &refused("other"), &prefix).unwrap().detail.starts_with("no answer"));
    }

    #[test]
    fn what_leads_nowhere_is_not_permitted() {
        let (prefix, none) = (Prefix::default(), BTreeSet::new());
        let outcome = |trial: Trial, ended| judge_one(&trial, ended, &none, &prefix).map(|check| check.outcome);
        assert_eq!(outcome(Trial::Store { subject: "s".into() }, Ended::Nobody), Some(Outcome::Failed));
        assert_eq!(outcome(Trial::Beat { subject: "s".into() }, Ended::Nobody), Some(Outcome::Warning));
        assert_eq!(outcome(Trial::Beat { subject: "s".into() }, Ended::Silence), None);
        assert_eq!(judge(&[], &none, &prefix)[0].outcome, Outcome::Ok);
    }
}
