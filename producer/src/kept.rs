//! What was sent in this epoch, kept for `replay`.

use std::collections::VecDeque;

use bytes::Bytes;

struct Message {
    first_seq: u64,
    last_seq: u64,
    bytes: Bytes,
}

/// The last messages of an epoch, acknowledged or not.
pub(crate) struct Kept {
    messages: VecDeque<Message>,
    bytes: usize,
    observations: u64,
    bytes_max: usize,
    observations_max: u64,
}

impl Kept {
    pub(crate) fn new(observations_max: u64, bytes_max: usize) -> Self {
        Self { messages: VecDeque::new(), bytes: 0, observations: 0, bytes_max, observations_max }
    }

    /// Keeps one more, and drops the oldest over the bounds.
    pub(crate) fn keep(&mut self, first_seq: u64, last_seq: u64, bytes: Bytes) {
        self.bytes += bytes.len();
        self.observations += last_seq + 1 - first_seq;
        self.messages.push_back(Message { first_seq, last_seq, bytes });
        while self.bytes > self.bytes_max || self.observations > self.observations_max {
            let Some(oldest) = self.messages.pop_front() else { break };
            self.bytes -= oldest.bytes.len();
            self.observations -= oldest.last_seq + 1 - oldest.first_seq;
        }
    }

    /// The messages that hold any of `from..=to`.
    pub(crate) fn covering(&self, from: u64, to: u64) -> Vec<Bytes> {
        let covering = self.messages.iter().filter(|message| message.first_seq <= to && message.last_seq >= from);
        covering.map(|message| message.bytes.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first() {
        let mut kept = Kept::new(10, 1 << 20);
        kept.keep(1, 1, Bytes::from_static(b"a"));
        kept.keep(2, 6, Bytes::from_static(b"b"));
        kept.keep(7, 11, Bytes::from_static(b"c"));
        assert_eq!(kept.covering(1, 1).len(), 0);
        assert_eq!(kept.covering(1, 7), [Bytes::from_static(b"b"), Bytes::from_static(b"c")]);
        assert_eq!(kept.covering(8, 9), [Bytes::from_static(b"c")]);
        let mut kept = Kept::new(100, 3);
        kept.keep(1, 1, Bytes::from_static(b"ab"));
        kept.keep(2, 2, Bytes::from_static(b"cd"));
        assert_eq!(kept.covering(1, 2), [Bytes::from_static(b"cd")]);
    }
}
