//! Which labels may leave the host.

use std::collections::{BTreeMap, HashMap};

/// Which labels may leave the host: those on the allow-list where there is one, minus those on the deny-list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelPolicy {
    /// Patterns of keys, `*` standing for any text; empty: every label.
    pub allow: Vec<String>,
    /// Patterns of keys, `*` standing for any text.
    pub deny: Vec<String>,
}

impl LabelPolicy {
    /// Those of the labels that may leave.
    pub fn filter(&self, labels: &HashMap<String, String>) -> BTreeMap<String, String> {
        let may_leave = |key: &str| {
            (self.allow.is_empty() || self.allow.iter().any(|pattern| matches(pattern, key)))
                && !self.deny.iter().any(|pattern| matches(pattern, key))
        };
        labels.iter().filter(|(key, _)| may_leave(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

fn matches(pattern: &str, key: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == key };
    let Some(mut key) = key.strip_prefix(first) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return key.ends_with(part);
        }
        // The leftmost place for each middle part leaves most room for those after it.
        let Some(at) = key.find(part) else { return false };
        key = &key[at + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, key, fits) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*", "", true),
            ("*.secret", "x.secret", true),
            ("*.secret", "x.secret.y", false),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(matches(pattern, key), fits, "{pattern} {key}");
        }
    }

    #[test]
    fn the_deny_list_wins() {
        let labels: HashMap<_, _> =
            [("app.name", "x"), ("app.token", "y"), ("other", "z")].map(|(k, v)| (k.into(), v.into())).into();
        let policy = LabelPolicy { allow: vec!["app.*".into()], deny: vec!["*token*".into()] };
        assert_eq!(policy.filter(&labels).into_keys().collect::<Vec<_>>(), ["app.name"]);
        assert_eq!(LabelPolicy::default().filter(&labels).len(), 3);
    }
}
