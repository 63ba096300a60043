//! Whether a node is heard of.

use domain::node::NodeChange;

use ordering::Input;

use super::Node;
use crate::partition::{Millis, Output};

impl Node {
    /// Nothing is known of it but beats, and they ended.
    pub(crate) fn is_rumour(&self, now: Millis) -> bool {
        self.state.epoch == 0 && !self.retired && now > self.silent_since + self.rules.lost_after
    }

    /// It is heard of in order again.
    pub(super) fn rise(&mut self, out: &mut Output) {
        if std::mem::take(&mut self.retired) {
            self.state.lost = false;
        } else if self.state.lost {
            self.back(out);
        }
    }

    pub(super) fn lose_if_silent(&mut self, now: Millis, read_to: Option<Millis>, out: &mut Output) {
        let deadline = self.silent_since + self.rules.lost_after;
        let read = read_to.is_some_and(|read_to| read_to > deadline);
        // What is missing is put in its place first.
        let waits = self.order.deadline().is_some();
        if self.state.lost || self.state.epoch == 0 || now <= deadline || !read || waits {
            return;
        }
        if out.cut.contains(&self.name) {
            self.step(now, Input::Close, out);
            out.cut.remove(&self.name);
        }
        self.end_statement(out);
        self.state.lost = true;
        let silent = self.rules.lost_after / 1000;
        self.change(NodeChange::Lost(format!("no sign of life of its producer for {silent} s")), out);
    }

    pub(super) fn back(&mut self, out: &mut Output) {
        self.state.lost = false;
        self.doubt(out);
        self.change(NodeChange::Back, out);
    }
}
