//! Reads what others write: the current picture in Redis, which the projector writes, and the ordered record, which
//! the sequencer writes. Writes nothing.

pub mod checkpoint;
pub mod record;
pub mod store;

/// Version of the key layout in Redis. An older program refuses a newer one.
pub const SCHEMA: u32 = 1;
