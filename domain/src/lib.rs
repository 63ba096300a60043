//! What deckwatch speaks of, valid by type: nothing here does I/O, reads a clock or knows a runtime.
//!
//! Values come in through [`wire`] (protobuf), [`fields`] (Redis and JSON), [`names`] and [`revision`],
//! each the only place that parses its form.

pub mod container;
pub mod digest;
pub mod ending;
pub mod fields;
pub mod id;
pub mod index;
pub mod json;
pub mod names;
pub mod node;
pub mod observation;
pub mod partition;
pub mod record;
pub mod revision;
pub mod rpc;
pub mod timestamp;
pub mod wire;

pub use container::{Container, Health, Port, Protocol, Status, StopCause};
pub use id::{ContainerId, Instance, InvalidId, Writer};
pub use index::IndexMember;
pub use names::{NodeName, Prefix};
pub use observation::{Batch, Cause, EngineEvent, Observation, Observed};
pub use ordering::Stamp;
pub use partition::{Partition, Partitions};
pub use record::{NodeState, Record, Subject};
pub use revision::Revision;
pub use timestamp::Timestamp;
