//! Operations on a node's keys, and their form as arguments of the function library.

use domain::container::AsOf;
use domain::node::NodeStatus;
use domain::{Container, ContainerId, Status, Timestamp, fields};

/// When a container's state is written over the one that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Always: the order of the record decides.
    Always,
    /// If it is not older than the stored one.
    NotOlder,
    /// If it is newer than the stored one, or there is none.
    Newer,
}

impl Mode {
    fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::NotOlder => "not_older",
            Self::Newer => "newer",
        }
    }
}

/// How a container's state is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// As it is.
    Known,
    /// Unknown since that time: nobody can look at the node.
    Silent(Timestamp),
    /// Unknown since that time, until the rebuild is over.
    Rebuilding(Timestamp),
}

/// One operation. The function applies them in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// A container's state, and whether it can be shown.
    Put { container: Box<Container>, shown: Shown, mode: Mode },
    /// A container is gone.
    Remove { id: ContainerId, as_of: AsOf, mode: Mode },
    /// Fields of the node; an empty value removes one.
    Node(Vec<(&'static str, String)>),
    /// How the node is. `said`: the record itself says so, so its containers are unknown again.
    Status { status: NodeStatus, since: Timestamp, reason: Option<String>, said: bool },
    /// A rebuild begins.
    Begin { since: Timestamp },
    /// The statement that ends the rebuild begins.
    Stating,
    /// That statement names these.
    Keep(Vec<ContainerId>),
    /// That statement is whole: the rebuild ends.
    Finish,
    /// The node is retired.
    Forget,
}

impl Op {
    /// Appends the operation in the library's form.
    pub(crate) fn append_to(&self, args: &mut Vec<String>) {
        match self {
            Self::Put { container, shown, mode } => append_put(args, container, *shown, *mode),
            Self::Remove { id, as_of, mode } => {
                args.extend(["remove".to_owned(), id.to_string(), mode.as_str().to_owned(), freshness(*as_of)]);
            }
            Self::Node(fields) => {
                args.extend(["node".to_owned(), (2 * fields.len()).to_string()]);
                args.extend(fields.iter().flat_map(|(name, value)| [(*name).to_owned(), value.clone()]));
            }
            Self::Status { status, since, reason, said } => args.extend([
                "status".to_owned(),
                status.to_string(),
                since.to_string(),
                reason.clone().unwrap_or_default(),
                if *said { "1" } else { "0" }.to_owned(),
            ]),
            Self::Begin { since } => args.extend(["begin".to_owned(), since.to_string()]),
            Self::Stating => args.push("stating".to_owned()),
            Self::Keep(ids) => {
                args.extend(["keep".to_owned(), ids.len().to_string()]);
                args.extend(ids.iter().map(ContainerId::to_string));
            }
            Self::Finish => args.push("finish".to_owned()),
            Self::Forget => args.push("forget".to_owned()),
        }
    }
}

fn append_put(args: &mut Vec<String>, container: &Container, shown: Shown, mode: Mode) {
    let since = container.status_since.map(|since| since.to_string()).unwrap_or_default();
    let (unknown_since, last_since) = match shown {
        Shown::Known => (None, String::new()),
        Shown::Silent(unknown) => (Some(unknown), String::new()),
        // What `status_since` is again when the rebuild is over.
        Shown::Rebuilding(unknown) => (Some(unknown), since),
    };
    let mut shown = container.clone();
    if let Some(since) = unknown_since.filter(|_| container.status != Status::Unknown) {
        shown.status = Status::Unknown;
        shown.last_status = Some(container.status);
        shown.status_since = Some(since);
    }
    let fields = fields::container(&shown);
    args.extend([
        "put".to_owned(),
        shown.id.to_string(),
        mode.as_str().to_owned(),
        freshness(shown.freshness()),
        shown.status.to_string(),
        shown.compose_service().unwrap_or_default(),
        last_since,
        (2 * fields.len()).to_string(),
    ]);
    args.extend(fields.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
}

/// `(epoch, as_of)` as text that sorts as the numbers do.
fn freshness(as_of: AsOf) -> String {
    format!("{:020}{:020}", as_of.epoch, as_of.tick)
}
