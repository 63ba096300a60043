//! One entry of the spool's files: its length, a CRC-32, and an observation as history.

use domain::wire::Wire;
use domain::{Batch, Instance, NodeName, Observation};

/// What stands at the begin of each file.
pub(super) const MAGIC: [u8; 8] = *b"dwspool1";
/// Length and checksum.
const HEAD: usize = 8;

/// The bytes of an entry.
pub(super) fn encode(node: &NodeName, observation: Observation) -> Vec<u8> {
    // One message for itself, with numbers that no message on the wire has a use for.
    let batch = Batch {
        node: node.clone(),
        epoch: 1,
        instance: Instance(1),
        first_seq: 2,
        as_of_floor: 0,
        observations: vec![observation],
    };
    let payload = batch.encode();
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut bytes = Vec::with_capacity(HEAD + payload.len());
    bytes.extend_from_slice(&length);
    bytes.extend_from_slice(&crc32fast::hash(&payload).to_le_bytes());
    bytes.extend_from_slice(&payload);
    bytes
}

/// The whole entries at the begin of a file, with the place behind each. What is not whole ends them.
pub(super) struct Entries<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Entries<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        // Without its first word there is no entry in it.
        let at = if bytes.starts_with(&MAGIC) { MAGIC.len() } else { bytes.len() };
        Self { bytes, at }
    }

    fn word(&self, at: usize) -> Option<u32> {
        let word = self.bytes.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(word.try_into().ok()?))
    }

    fn entry(&self) -> Option<(Observation, usize)> {
        let length = usize::try_from(self.word(self.at)?).ok()?;
        let begin = self.at.checked_add(HEAD)?;
        let end = begin.checked_add(length)?;
        let payload = self.bytes.get(begin..end)?;
        if self.word(self.at + 4)? != crc32fast::hash(payload) {
            return None;
        }
        let mut observations = Batch::decode(payload).ok()?.observations;
        let observation = if observations.len() == 1 { observations.pop()? } else { return None };
        observation.spool_place.is_some().then_some((observation, end))
    }
}

impl Iterator for Entries<'_> {
    type Item = (Observation, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let (observation, end) = self.entry()?;
        self.at = end;
        Some((observation, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::tests::{event, node};

    fn file(numbers: std::ops::RangeInclusive<u64>) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        numbers.for_each(|number| bytes.extend(encode(&node(), event(number))));
        bytes
    }

    #[test]
    fn entries_are_read_back() {
        let bytes = file(1..=3);
        let read: Vec<_> = Entries::of(&bytes).map(|(observation, _)| observation).collect();
        assert_eq!(read, [event(1), event(2), event(3)]);
        assert_eq!(Entries::of(&bytes).last().unwrap().1, bytes.len());
    }

    #[test]
    fn cut_at_every_byte_what_is_whole_is_read() {
        let bytes = file(1..=3);
        let ends: Vec<usize> = Entries::of(&bytes).map(|(_, end)| end).collect();
        for cut in 0..=bytes.len() {
            let whole = ends.iter().filter(|end| **end <= cut).count();
            assert_eq!(Entries::of(&bytes[..cut]).count(), whole, "cut at {cut}");
        }
    }

    #[test]
    fn a_flipped_bit_ends_what_is_read() {
        let bytes = file(1..=3);
        let ends: Vec<usize> = Entries::of(&bytes).map(|(_, end)| end).collect();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let read: Vec<_> = Entries::of(&flipped).map(|(observation, _)| observation).collect();
            let before = if bit / 8 < MAGIC.len() { 0 } else { ends.iter().filter(|end| **end <= bit / 8).count() };
            assert_eq!(read, (1..=before).map(|n| event(n as u64)).collect::<Vec<_>>(), "bit {bit}");
        }
    }
}
