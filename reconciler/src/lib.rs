//! Doubts everything, writes nothing: compares the store with what engines answer.
//!
//! So far the comparison alone. Whatever asks and whatever is done about a difference stands around it.

mod compare;

pub use compare::{Difference, compare};
