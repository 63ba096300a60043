//! The container engine: how it is asked, and what its answers mean.

pub(crate) mod connect;
pub mod dial;
pub(crate) mod events;
#[cfg(feature = "fuzz")]
pub mod fuzz;
pub(crate) mod hidden;
pub mod labels;
pub(crate) mod ring;
pub(crate) mod row;
pub mod simulated;
pub mod ssh;
pub(crate) mod state;
