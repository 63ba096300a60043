//! Coming by all keys in turn, on every master in turn.

use super::address::Endpoint;

/// How far it has come. Keys that move to another server meanwhile may be missed until the next turn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// The server it is at, in a cluster.
    pub(super) at: Option<Endpoint>,
    pub(super) cursor: u64,
}

impl Scan {
    /// It is at the begin: of the first turn, or of the next as all keys were come by.
    pub fn is_at_begin(&self) -> bool {
        self.at.is_none() && self.cursor == 0
    }

    /// Where it goes on, of the servers that there are now, sorted. One that is there no more is left out.
    pub(super) fn go_on<'a>(&mut self, masters: &[&'a Endpoint]) -> Option<&'a Endpoint> {
        let next = match &self.at {
            None => masters.first(),
            Some(at) => masters.iter().find(|master| **master >= at),
        };
        if self.at.as_ref() != next.copied() {
            *self = Self { at: next.copied().cloned(), cursor: 0 };
        }
        next.copied()
    }

    /// A server has told some keys, and `cursor` where it goes on: 0 where that was all.
    pub(super) fn told(&mut self, cursor: u64, masters: &[&Endpoint]) {
        self.cursor = cursor;
        if cursor == 0 {
            let next = masters.iter().find(|master| self.at.as_ref().is_some_and(|at| **master > at));
            self.at = next.copied().cloned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> Endpoint {
        Endpoint { host: "h".to_owned(), port }
    }

    #[test]
    fn each_master_is_come_by_once() {
        let (one, two, three) = (at(1), at(2), at(3));
        let masters = [&one, &two, &three];
        let mut scan = Scan::default();
        let mut asked = Vec::new();
        for cursor in [7, 0, 0, 9, 0] {
            asked.push((scan.go_on(&masters).unwrap().port, scan.cursor));
            scan.told(cursor, &masters);
        }
        assert_eq!(asked, [(1, 0), (1, 7), (2, 0), (3, 0), (3, 9)]);
        assert!(scan.is_at_begin());
    }

    #[test]
    fn a_cursor_is_of_one_server_alone() {
        let (one, two) = (at(1), at(2));
        let mut scan = Scan { at: Some(at(1)), cursor: 7 };
        assert_eq!((scan.go_on(&[&two]), scan.cursor), (Some(&two), 0));
        // All that is left was come by.
        let mut scan = Scan { at: Some(at(3)), cursor: 7 };
        assert_eq!(scan.go_on(&[&one, &two]), None);
        assert!(scan.is_at_begin());
    }
}
