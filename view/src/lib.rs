//! Reads what others write and say: the current picture in Redis, which the projector writes, the ordered record, which
//! the sequencer writes, and what producers answer. Writes nothing.

pub mod checkpoint;
pub mod cursor;
pub mod keys;
pub mod producer;
pub mod record;
pub mod store;
pub mod trouble;
pub mod unsaid;

/// Version of the key layout in Redis. An older program refuses a newer one.
pub const SCHEMA: u32 = 1;
