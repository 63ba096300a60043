//! Who may do what: the accounts, what each lets in and reaches, and the users in them.
//!
//! The server does not check which subject a reply names, and a consumer may deliver to any subject that somebody
//! listens to in its account. So each node has an account of its own, and the streams are in one where nobody is:
//! whatever is asked there comes in by a name that the server wrote itself.

use std::collections::BTreeMap;
use std::fmt::Write;

use domain::names::StateSubject;
use domain::{NodeName, Partitions, Prefix};

/// What the first line begins with: by it the next run knows what it was told.
const FIRST: &str = "# Written by `deckwatch accounts`";

/// Whoever has a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Member {
    /// `deckwatch sequencer`.
    Sequencer,
    /// `deckwatch projector`.
    Projector,
    /// `deckwatch reconciler`.
    Reconciler,
    /// People who may do all.
    Operator,
    /// Whoever reads the ordered record.
    Reader,
    /// A node's producer.
    Node(NodeName),
}

impl Member {
    /// Those that are always there.
    pub(super) const ROLES: [Self; 5] =
        [Self::Sequencer, Self::Projector, Self::Reconciler, Self::Operator, Self::Reader];

    /// Name of the folder with its key.
    pub(super) fn folder(&self) -> String {
        match self {
            Self::Sequencer => "sequencer".to_owned(),
            Self::Projector => "projector".to_owned(),
            Self::Reconciler => "reconciler".to_owned(),
            Self::Operator => "operator".to_owned(),
            Self::Reader => "reader".to_owned(),
            Self::Node(node) => format!("node-{node}"),
        }
    }

    /// The node whose folder this is.
    pub(super) fn node_of_folder(name: &str) -> Option<NodeName> {
        name.strip_prefix("node-")?.parse().ok()
    }
}

/// All that the configuration says.
pub(super) struct Rights {
    /// What names begin with.
    pub(super) prefix: Prefix,
    /// How many partitions there are.
    pub(super) partitions: Partitions,
    /// The public key of each member.
    pub(super) keys: BTreeMap<Member, String>,
}

/// What an earlier run was told, from what it wrote.
pub(super) fn remembered(text: &str) -> Option<(Prefix, Partitions)> {
    let mut words = text.lines().next()?.strip_prefix(FIRST)?.trim_start_matches([' ', ':']).split(' ');
    let mut value = |name: &str| words.next().filter(|word| *word == name).and_then(|_| words.next());
    let prefix = value("prefix")?.parse().ok()?;
    Some((prefix, value("partitions")?.parse().ok()?))
}

impl Rights {
    /// The configuration: the same for the same members.
    pub(super) fn render(&self) -> String {
        let mut text = format!("{FIRST}: prefix {} partitions {}\n", self.prefix, self.partitions);
        text += "# It is written anew by the next run: what you add is lost.\naccounts {\n";
        text += &self.streams().render();
        text += &self.core().render();
        text += &self.readers().render();
        for (member, key) in &self.keys {
            if let Member::Node(node) = member {
                text += &self.node(node, key).render();
            }
        }
        text + "}\n"
    }

    /// Where the streams are, and nobody.
    fn streams(&self) -> Account {
        let mut streams =
            Account::new("STREAMS", "The streams, and nobody: what comes in was let in by another account.");
        streams.jetstream = true;
        streams.exports.push(("$JS.API.>".to_owned(), Answers::Many));
        streams.exports.extend(self.stored().into_iter().map(|subject| (subject, Answers::One)));
        streams
    }

    /// What streams take in.
    fn stored(&self) -> Vec<String> {
        let prefix = &self.prefix;
        let buckets = [prefix.nodes_bucket(), prefix.leases_bucket()].map(|bucket| format!("$KV.{bucket}.>"));
        [prefix.raw_all(), format!("{prefix}.state.>"), prefix.dead_all()].into_iter().chain(buckets).collect()
    }

    /// Where the roles and operators are.
    fn core(&self) -> Account {
        let mut core = Account::new("CORE", "The roles, and operators.");
        core.api(&self.prefix, "$JS.API.>");
        core.imports.extend(self.stored().into_iter().map(|subject| Import::from("STREAMS", subject)));
        for member in self.keys.keys() {
            if let Member::Node(node) = member {
                core.imports.push(Import::from(&account_of(node), self.requests(node)));
                core.imports.push(Import::from(&account_of(node), "$SRV.>".to_owned()));
            }
        }
        core.exports.push((self.prefix.beat_all(), Answers::One));
        core.users.extend(self.keys.iter().filter_map(|(member, key)| {
            let permissions = self.permissions(member)?;
            Some((member.folder(), key.clone(), permissions))
        }));
        core
    }

    /// What a role may do within its account; `None` for whoever is elsewhere.
    fn permissions(&self, member: &Member) -> Option<Option<Permissions>> {
        let prefix = &self.prefix;
        let (nodes, leases) = (format!("$KV.{}.>", prefix.nodes_bucket()), format!("$KV.{}.>", prefix.leases_bucket()));
        // What counts is the name after the mapping.
        let (api, rpc) = (format!("{prefix}.js.>"), format!("{prefix}.rpc.>"));
        let control = format!("{prefix}.control.>");
        let hear = [prefix.beat_all(), control.clone()];
        let (publish, subscribe) = match member {
            Member::Sequencer => {
                (vec![api, nodes, leases, format!("{prefix}.state.>"), prefix.dead_all(), rpc], hear.to_vec())
            }
            Member::Projector => (vec![api, leases, rpc], hear.to_vec()),
            // It may stand in for a node's producer.
            Member::Reconciler => {
                let publish = vec![api, nodes, leases, rpc.clone(), control, prefix.raw_all(), prefix.beat_all()];
                (publish, vec![prefix.beat_all(), rpc, "$SRV.>".to_owned()])
            }
            Member::Operator => return Some(None),
            Member::Reader | Member::Node(_) => return None,
        };
        let subscribe = std::iter::once("_INBOX.>".to_owned()).chain(subscribe).collect();
        Some(Some(Permissions { publish, subscribe }))
    }

    fn requests(&self, node: &NodeName) -> String {
        format!("{}.rpc.{node}.*", self.prefix)
    }

    /// Who reads, by pulling: a plain subscription would need a stream's subjects in this account.
    fn readers(&self) -> Account {
        let mut readers = Account::new("READERS", "Who reads the ordered record, and writes nothing.");
        for partition in self.partitions.all() {
            let stream = self.prefix.state_stream(partition);
            for asks in ["STREAM.INFO", "STREAM.MSG.GET", "DIRECT.GET", "CONSUMER.CREATE"] {
                readers.api(&self.prefix, &format!("$JS.API.{asks}.{stream}"));
            }
            // Not CONSUMER.DELETE: that would end another's reading.
            for asks in ["DIRECT.GET", "CONSUMER.CREATE", "CONSUMER.MSG.NEXT", "CONSUMER.INFO"] {
                readers.api(&self.prefix, &format!("$JS.API.{asks}.{stream}.>"));
            }
        }
        if let Some(key) = self.keys.get(&Member::Reader) {
            readers.users.push((Member::Reader.folder(), key.clone(), None));
        }
        readers
    }

    /// A node's producer: what it says, and what it is asked.
    fn node(&self, node: &NodeName, key: &str) -> Account {
        let prefix = &self.prefix;
        let mut account = Account::new(&account_of(node), &format!("Node {node}."));
        account.exports = vec![(self.requests(node), Answers::One), ("$SRV.>".to_owned(), Answers::Many)];
        let claim = format!("$KV.{}.{node}", prefix.nodes_bucket());
        account.imports.push(Import::from("STREAMS", prefix.raw(node)));
        account.imports.push(Import::from("CORE", prefix.beat(node)));
        account.imports.push(Import::from("STREAMS", claim.clone()));
        let (raw, bucket) = (prefix.raw_stream(), format!("KV_{}", prefix.nodes_bucket()));
        let partition = self.partitions.of(node);
        let state = prefix.state_stream(partition);
        let itself = prefix.state(partition, node, &StateSubject::Node);
        for asks in [
            format!("DIRECT.GET.{bucket}.{claim}"),
            format!("DIRECT.GET.{state}.{itself}"),
            format!("STREAM.INFO.{raw}"),
            format!("STREAM.INFO.{bucket}"),
        ] {
            account.api(prefix, &format!("$JS.API.{asks}"));
        }
        account.users.push((Member::Node(node.clone()).folder(), key.to_owned(), None));
        account
    }
}

fn account_of(node: &NodeName) -> String {
    format!("NODE_{node}")
}

/// How many answers a request may have.
#[derive(Clone, Copy)]
enum Answers {
    One,
    Many,
}

/// What an account reaches in another.
struct Import {
    account: String,
    subject: String,
    /// Its name here, where that is another one.
    to: Option<String>,
}

impl Import {
    fn from(account: &str, subject: String) -> Self {
        Self { account: account.to_owned(), subject, to: None }
    }
}

/// What a user may do in its account.
struct Permissions {
    publish: Vec<String>,
    subscribe: Vec<String>,
}

struct Account {
    name: String,
    about: String,
    jetstream: bool,
    mappings: Vec<(String, String)>,
    exports: Vec<(String, Answers)>,
    imports: Vec<Import>,
    users: Vec<(String, String, Option<Permissions>)>,
}

impl Account {
    fn new(name: &str, about: &str) -> Self {
        Self {
            name: name.to_owned(),
            about: about.to_owned(),
            jetstream: false,
            mappings: Vec::new(),
            exports: Vec::new(),
            imports: Vec::new(),
            users: Vec::new(),
        }
    }

    /// Reaches a subject of JetStream's interface.
    ///
    /// In an account without streams the server itself answers such a request before an import does, so they go by
    /// another name here.
    fn api(&mut self, prefix: &Prefix, subject: &str) {
        if self.mappings.is_empty() {
            self.mappings.push(("$JS.API.>".to_owned(), format!("{prefix}.js.>")));
        }
        let to = subject.replacen("$JS.API", &format!("{prefix}.js"), 1);
        self.imports.push(Import { account: "STREAMS".to_owned(), subject: subject.to_owned(), to: Some(to) });
    }

    fn render(&self) -> String {
        let mut text = format!("  # {}\n  \"{}\" {{\n", self.about, self.name);
        let mut line = |line: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "    {line}");
        };
        if self.jetstream {
            line("jetstream: enabled".to_owned());
        }
        for (from, to) in &self.mappings {
            line(format!("mappings: {{ \"{from}\": \"{to}\" }}"));
        }
        list(&mut line, "exports", &self.exports, |(subject, answers)| {
            let many = match answers {
                Answers::One => "",
                Answers::Many => ", response: stream",
            };
            format!("service: \"{subject}\"{many}")
        });
        list(&mut line, "imports", &self.imports, |Import { account, subject, to }| {
            let to = to.as_ref().map(|to| format!(", to: \"{to}\"")).unwrap_or_default();
            format!("service: {{ account: \"{account}\", subject: \"{subject}\" }}{to}")
        });
        list(&mut line, "users", &self.users, |(_, key, permissions)| match permissions {
            None => format!("nkey: {key}"),
            Some(Permissions { publish, subscribe }) => format!(
                "nkey: {key}, permissions: {{ publish: [{}], subscribe: [{}], allow_responses: true }}",
                quoted(publish),
                quoted(subscribe)
            ),
        });
        text + "  }\n"
    }
}

fn list<T>(line: &mut impl FnMut(String), name: &str, items: &[T], item: impl Fn(&T) -> String) {
    if items.is_empty() {
        return;
    }
    line(format!("{name}: ["));
    for each in items {
        line(format!("  {{ {} }}", item(each)));
    }
    line("]".to_owned());
}

fn quoted(subjects: &[String]) -> String {
    subjects.iter().map(|subject| format!("\"{subject}\"")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rights(nodes: &[&str]) -> Rights {
        let nodes = nodes.iter().map(|node| Member::Node(node.parse().unwrap()));
        let keys =
            Member::ROLES.into_iter().chain(nodes).map(|member| (member.clone(), format!("U_{}", member.folder())));
        Rights { prefix: Prefix::default(), partitions: 8.try_into().unwrap(), keys: keys.collect() }
    }

    /// The text of one account.
    fn account<'a>(text: &'a str, name: &str) -> &'a str {
        let from = text.find(&format!("  \"{name}\" {{")).expect("the account");
        &text[from..from + text[from..].find("\n  }").expect("its end")]
    }

    #[test]
    fn what_was_told_is_remembered() {
        let text = rights(&[]).render();
        let (prefix, partitions) = remembered(&text).unwrap();
        assert_eq!((prefix, partitions.count()), (Prefix::default(), 8));
        assert_eq!(remembered("accounts {}"), None);
        assert_eq!(remembered(""), None);
    }

    #[test]
    fn a_node_reaches_what_is_its_own_alone() {
        let text = rights(&["a", "b"]).render();
        let a = account(&text, "NODE_a");
        assert!(a.contains("\"deckwatch.raw.a\"") && a.contains("\"deckwatch.beat.a\"") && a.contains("U_node-a"));
        assert!(!a.contains(".b\"") && !a.contains("_b") && !a.contains("U_node-b") && !a.contains("jetstream"), "{a}");
        // FNV-1a of "a" is 0xe40c292c: partition 4 of 8.
        assert!(a.contains("DECKWATCH_STATE_4.deckwatch.state.4.a.node"), "{a}");
        assert_eq!(text, rights(&["b", "a"]).render());
    }

    #[test]
    fn nobody_is_where_the_streams_are() {
        let text = rights(&["a"]).render();
        assert!(!account(&text, "STREAMS").contains("users"));
        let readers = account(&text, "READERS");
        assert!(
            !readers.contains("\"deckwatch.state") && !readers.contains("RAW") && !readers.contains("KV"),
            "{readers}"
        );
        assert_eq!(readers.matches("CONSUMER.CREATE.DECKWATCH_STATE_7.>").count(), 2);
    }
}
