//! `accounts`: who may do what in NATS, as a part of nats-server's configuration, and a key for each.

mod keys;
mod rights;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use domain::{NodeName, Partitions, Prefix};
use service::Failure;

use crate::out::{self, Ended};
use keys::{Key, State};
use rights::{Member, Rights};

/// Largest configuration that is read again.
const CONFIG_SIZE_MAX: u64 = 64 << 20;

const EXAMPLES: &str = "\
Examples:
  deckwatch accounts n1 n2 --partitions 8     first: keys of all roles, and of two nodes
  deckwatch accounts n3                       later: one more node; all else stays as it is
  deckwatch accounts                          who there is

In the folder (--dir):
  server/accounts.conf    for nats-server; it holds no secret
  node-<name>/nkey        for `deckwatch producer --node <name> --nats-nkey <file>` on that node's host
  sequencer/nkey, projector/nkey, reconciler/nkey    for the roles
  operator/nkey           for `forget`, `verify`, `doctor` and whoever may do all
  reader/nkey             for `watch`, `history` and `gaps`, and other programs that read

Each node has an account of its own: its key publishes and answers for that node alone.
A reader's key reads the ordered record, and writes nothing.
Beside each nkey stands nkey.pub, which alone is needed to keep the account: the nkey may be moved to its host.
To take a node out, remove its folder and say `deckwatch accounts` again.
When the number of partitions has changed, say it again with the new --partitions.

nats-server takes the file with a line in its own configuration, with the path from that one's folder:
  include accounts/server/accounts.conf
When the file has changed, send nats-server a SIGHUP, and a second one some seconds later:
only then what a new account imports works. Then ask `deckwatch doctor --for producer --node <name>` on the node's host.";

/// Arguments of `accounts`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Nodes that get an account, beside those that have one
    #[arg(value_name = "NODE")]
    nodes: Vec<NodeName>,
    /// Folder for the configuration and the keys
    #[arg(long, env = "DECKWATCH_DIR", value_name = "FOLDER", default_value = "accounts")]
    dir: PathBuf,
    /// Number of partitions that the streams have or are made with [default: as when it was written last, else 1]
    #[arg(long, env = "DECKWATCH_PARTITIONS", value_name = "NUMBER")]
    partitions: Option<Partitions>,
    /// What the names of all subjects and streams begin with [default: as when it was written last, else deckwatch]
    #[arg(long, env = "DECKWATCH_PREFIX", value_name = "NAME")]
    prefix: Option<Prefix>,
}

/// Writes what is missing, and says what to do next.
pub(crate) fn run(args: &Args) -> Result<(), Ended> {
    let server = args.dir.join("server");
    for folder in [&args.dir, &server] {
        make_folder(folder).map_err(|error| unusable(folder, &error))?;
    }
    let config = server.join("accounts.conf");
    let written = read(&config).map_err(|error| unusable(&config, &error))?;
    let (prefix, partitions) =
        written.as_deref().and_then(rights::remembered).unwrap_or((Prefix::default(), Partitions::ONE));
    let mut members: Vec<Member> = Member::ROLES.to_vec();
    members.extend(known_nodes(&args.dir)?.into_iter().chain(args.nodes.iter().cloned()).map(Member::Node));
    members.sort();
    members.dedup();
    let mut keys = BTreeMap::new();
    for member in members {
        let folder = args.dir.join(member.folder());
        let key = Key::ensure(&folder)?;
        keys.insert(member, key);
    }
    let rights = Rights {
        prefix: args.prefix.clone().unwrap_or(prefix),
        partitions: args.partitions.unwrap_or(partitions),
        keys: keys.iter().map(|(member, key)| (member.clone(), key.public.clone())).collect(),
    };
    let text = rights.render();
    let changed = written.as_deref() != Some(&text);
    if changed {
        keys::write(&config, &text).map_err(|error| unusable(&config, &error))?;
    }
    out::data(&report(&args.dir, &keys, changed))
}

/// Folders of nodes that an earlier run made.
fn known_nodes(dir: &Path) -> Result<Vec<NodeName>, Failure> {
    let entries = fs::read_dir(dir).map_err(|error| unusable(dir, &error))?;
    let mut nodes = Vec::new();
    for entry in entries {
        let name = entry.map_err(|error| unusable(dir, &error))?.file_name();
        nodes.extend(name.to_str().and_then(Member::node_of_folder));
    }
    Ok(nodes)
}

fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() > CONFIG_SIZE_MAX => {
            Err(io::Error::new(ErrorKind::FileTooLarge, "it is too large to be what this program wrote"))
        }
        Ok(_) => fs::read_to_string(path).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn unusable(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!(
        "cannot use {}: {error}; check its permissions, or name another folder with --dir",
        path.display()
    ))
}

/// Who there is, and what to do next.
fn report(dir: &Path, keys: &BTreeMap<Member, Key>, changed: bool) -> String {
    let mut lines = vec![format!(
        "{}  {}",
        dir.join("server/accounts.conf").display(),
        if changed { "written" } else { "as it was" }
    )];
    lines.extend(keys.iter().map(|(member, key)| {
        let state = match key.state {
            State::New => "new",
            State::Kept => "as it was",
            State::Elsewhere => "kept elsewhere",
        };
        format!("{}  {state}", dir.join(member.folder()).join("nkey").display())
    }));
    if changed {
        lines.extend([
            "Next:".to_owned(),
            "- nats-server: `include` the first of these in its configuration, by its path from there;".to_owned(),
            "  one that runs takes it with a SIGHUP, and a second one some seconds later.".to_owned(),
            "- Bring each nkey to where its program runs, readable for that program alone, and name it with --nats-nkey."
                .to_owned(),
            "- See there with `deckwatch doctor --for <role>` whether all is permitted.".to_owned(),
        ]);
    }
    lines.join("\n") + "\n"
}
