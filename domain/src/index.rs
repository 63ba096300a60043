//! What indexes tell of a node: how the store finds containers without knowing their node.

use std::fmt;
use std::str::FromStr;

use crate::ContainerId;
use crate::container::UnknownWord;

/// What an index tells of a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IndexMember {
    /// That a container is on it: `id:<container id>`.
    Container(ContainerId),
    /// Its containers of a compose service, and its share of that service's totals: `service:<project>/<service>`. What
    /// another hand wrote may have any name.
    Service(String),
    /// That it is there, and which of its containers have which status: `node`.
    Node,
}

/// What a member begins with, or is.
const FORMS: &[&str] = &["id:<container id>", "service:<project>/<service>", "node"];

impl fmt::Display for IndexMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(id) => write!(f, "id:{id}"),
            Self::Service(service) => write!(f, "service:{service}"),
            Self::Node => f.write_str("node"),
        }
    }
}

impl FromStr for IndexMember {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let unknown = || UnknownWord { text: text.chars().take(80).collect(), known: FORMS };
        match text.split_once(':') {
            None if text == "node" => Ok(Self::Node),
            Some(("id", id)) => id.parse().map(Self::Container).map_err(|_| unknown()),
            Some(("service", service)) => Ok(Self::Service(service.to_owned())),
            None | Some(_) => Err(unknown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_read_as_it_is_written() {
        let services = ["a/b:c", "nosuch", ""].map(|service| IndexMember::Service(service.to_owned()));
        for member in services.into_iter().chain([IndexMember::Container([7; 32].into()), IndexMember::Node]) {
            assert_eq!(member.to_string().parse(), Ok(member));
        }
        for text in ["", "id:", "id:ab", "service", "nodes", "node:x"] {
            assert!(text.parse::<IndexMember>().is_err(), "{text}");
        }
    }
}
