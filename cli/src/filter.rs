//! Which containers a command speaks of: within one flag any value may fit, across flags all must.

use std::str::FromStr;

use domain::{Container, ContainerId, NodeName, Record, Status, Subject};

/// A name, or a part of one, or a pattern with `*` and `?` for the whole of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern(String);

impl FromStr for Pattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() { Err("a name to look for must not be empty") } else { Ok(Self(text.to_owned())) }
    }
}

impl Pattern {
    /// The name fits.
    pub(crate) fn fits(&self, name: &str) -> bool {
        if self.0.contains(['*', '?']) { glob(self.0.as_bytes(), name.as_bytes()) } else { name.contains(&self.0) }
    }
}

/// `*` stands for any text, `?` for one byte. Goes back to the last `*` alone, so it takes time `pattern × text` at most.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[t] => {
                p += 1;
                t += 1;
            }
            Some(_) | None => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                p = at + 1;
                t = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// Which containers to speak of; all, where no flag is given.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Filters (a flag may be repeated: any of its values; different flags: all of them)")]
pub(crate) struct Filters {
    /// Only on this node
    #[arg(long, env = "DECKWATCH_NODE", value_name = "NAME", value_delimiter = ',')]
    pub(crate) node: Vec<NodeName>,

    /// Only with this status: created start_failed running paused restarting exited removing dead unknown
    #[arg(long, env = "DECKWATCH_STATUS", value_name = "STATUS", value_delimiter = ',')]
    pub(crate) status: Vec<Status>,

    /// Only of this compose project
    #[arg(long, env = "DECKWATCH_PROJECT", value_name = "PROJECT", value_delimiter = ',')]
    pub(crate) project: Vec<String>,

    /// Only of this compose service: `web` or `shop/web`
    #[arg(long, env = "DECKWATCH_SERVICE", value_name = "SERVICE", value_delimiter = ',')]
    pub(crate) service: Vec<String>,

    /// Only with this in the name; with `*` and `?` it is a pattern for the whole name
    #[arg(long, env = "DECKWATCH_NAME", value_name = "TEXT", value_delimiter = ',')]
    pub(crate) name: Vec<Pattern>,
}

impl Filters {
    /// The node is spoken of.
    pub(crate) fn fits_node(&self, node: &NodeName) -> bool {
        self.node.is_empty() || self.node.contains(node)
    }

    /// The container is spoken of.
    pub(crate) fn fits(&self, container: &Container) -> bool {
        let project = container.project.as_deref();
        self.fits_node(&container.node)
            && any_or_none_given(&self.status, |status| *status == container.status)
            && any_or_none_given(&self.project, |wanted| project == Some(wanted.as_str()))
            && any_or_none_given(&self.service, |wanted| fits_service(wanted, project, container.service.as_deref()))
            && any_or_none_given(&self.name, |pattern| pattern.fits(&container.name))
    }

    /// The record is spoken of. What is about no single container's state is hidden by a filter of containers.
    pub(crate) fn fits_record(&self, record: &Record) -> bool {
        match &record.subject {
            Subject::Container(container) => self.fits(container),
            Subject::Event(_) | Subject::Node(_) | Subject::Gap(_) | Subject::Correction(_) => {
                self.fits_node(&record.node) && !self.names_containers()
            }
        }
    }

    fn names_containers(&self) -> bool {
        !(self.status.is_empty() && self.project.is_empty() && self.service.is_empty() && self.name.is_empty())
    }
}

fn any_or_none_given<T>(values: &[T], fits: impl Fn(&T) -> bool) -> bool {
    values.is_empty() || values.iter().any(fits)
}

/// `wanted` is a service, or `<project>/<service>`.
pub(crate) fn fits_service(wanted: &str, project: Option<&str>, service: Option<&str>) -> bool {
    match wanted.split_once('/') {
        Some((in_project, name)) => project == Some(in_project) && service == Some(name),
        None => service == Some(wanted),
    }
}

/// What a user's word for a container means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meant<T> {
    /// This one.
    One(T),
    /// None.
    Nothing,
    /// More than one: the same container on several nodes, or a prefix or name that several have.
    Several(Vec<T>),
}

/// Finds what is meant by `word`: an exact id, else the prefix of one id, else an exact name.
pub(crate) fn meant<T>(all: Vec<T>, word: &str, id: impl Fn(&T) -> ContainerId, name: impl Fn(&T) -> &str) -> Meant<T> {
    let prefix = word.to_ascii_lowercase();
    let (by_id, rest): (Vec<T>, Vec<T>) =
        all.into_iter().partition(|item| !prefix.is_empty() && id(item).to_string().starts_with(&prefix));
    if by_id.len() == 1 {
        return one_or_several(by_id);
    }
    // A prefix that several ids have may still be somebody's exact name.
    let (by_id_and_name, by_id): (Vec<T>, Vec<T>) = by_id.into_iter().partition(|item| name(item) == word);
    let by_name: Vec<T> =
        by_id_and_name.into_iter().chain(rest.into_iter().filter(|item| name(item) == word)).collect();
    if by_name.is_empty() { one_or_several(by_id) } else { one_or_several(by_name) }
}

fn one_or_several<T>(mut found: Vec<T>) -> Meant<T> {
    match (found.pop(), found.is_empty()) {
        (None, _) => Meant::Nothing,
        (Some(only), true) => Meant::One(only),
        (Some(last), false) => {
            found.push(last);
            Meant::Several(found)
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::node::NodeChange;
    use domain::record::{NodeState, Recovery};
    use domain::{Timestamp, Writer};

    use super::*;
    use crate::sample;

    #[test]
    fn names_by_part_or_by_pattern() {
        for (pattern, name, fits) in [
            ("web", "shop-web-1", true),
            ("web", "db", false),
            ("web*", "shop-web-1", false),
            ("*web*", "shop-web-1", true),
            ("shop-???-1", "shop-web-1", true),
            ("*-*-2", "shop-web-1", false),
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
        ] {
            assert_eq!(pattern.parse::<Pattern>().unwrap().fits(name), fits, "{pattern} {name}");
        }
        assert!("".parse::<Pattern>().is_err());
    }

    #[test]
    fn any_value_of_a_flag_and_every_flag() {
        let web = sample::container(1, "web");
        let with = |change: fn(&mut Filters)| {
            let mut filters = Filters::default();
            change(&mut filters);
            filters.fits(&web)
        };
        assert!(with(|_| {}));
        assert!(with(|f| f.status = vec![Status::Exited, Status::Running]));
        assert!(!with(|f| f.status = vec![Status::Exited]));
        assert!(with(|f| f.service = vec!["front".to_owned()]));
        assert!(with(|f| f.service = vec!["shop/front".to_owned()]));
        assert!(!with(|f| f.service = vec!["other/front".to_owned()]));
        assert!(!with(|f| {
            f.status = vec![Status::Running];
            f.project = vec!["other".to_owned()];
        }));
    }

    #[test]
    fn a_filter_of_containers_hides_what_is_about_none() {
        let record = Record {
            node: "n1".parse().unwrap(),
            stamp: None,
            writer: Writer(1),
            recorded_at: Timestamp(0),
            observed_at: None,
            cause: None,
            event: None,
            subject: Subject::Node(NodeChange::Back),
            repeated: false,
            removed: false,
            node_state: NodeState::default(),
            recovery: Recovery::default(),
        };
        let on_node = Filters { node: vec!["n1".parse().unwrap()], ..Filters::default() };
        assert!(on_node.fits_record(&record));
        let named = Filters { name: vec!["web".parse().unwrap()], ..on_node };
        assert!(!named.fits_record(&record));
    }

    #[test]
    fn id_before_prefix_before_name() {
        let find = |names: &[(u8, &str)], word: &str| {
            let all: Vec<Container> = names.iter().map(|(byte, name)| sample::container(*byte, name)).collect();
            match meant(all, word, |c| c.id, |c| &c.name) {
                Meant::One(container) => format!("one {}", container.name),
                Meant::Nothing => "none".to_owned(),
                Meant::Several(all) => format!("{} of them", all.len()),
            }
        };
        let all = [(0xab, "web"), (0xac, "db"), (0xcd, "a"), (0xce, "ab")];
        assert_eq!(find(&all, &"ab".repeat(32)), "one web");
        assert_eq!(find(&all, "abab"), "one web");
        assert_eq!(find(&all, "AB"), "one web", "a unique prefix goes before a name");
        assert_eq!(find(&all, "a"), "one a", "no unique prefix, but a name");
        assert_eq!(find(&all, "c"), "2 of them");
        assert_eq!(find(&all, "web"), "one web");
        assert_eq!(find(&all, "we"), "none");
        assert_eq!(find(&all, ""), "none");
        assert_eq!(find(&[(1, "x"), (2, "x")], "x"), "2 of them");
    }
}
