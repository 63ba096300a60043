//! The order of one node's observations: pure, total, without dependencies.
//!
//! [`Reorder`] is given what arrives, in any order and any number of times, and puts out each stamp once, in order.
//! What holds for it, whatever is put in:
//!
//! 1. Delivered and lost stamps cover `1, 2, 3…` of each epoch, in order, each once; an open gap covers the rest of its
//!    epoch and the epochs between, and after it nothing of them counts (`model.rs`, `covers_in_order`).
//! 2. Every item that goes in comes out once, delivered or discarded with a reason, or is held (`model.rs`, `nothing_disappears`).
//! 3. At most [`Limits::held_max`] items are held (`model.rs`, `bounded`).
//! 4. No stamp is declared lost that was never given, nor one that could be read when its producer said that it is not
//!    kept, or was asked in vain. Too much that is early, and the next hello, end the wait sooner (`model.rs`, `no_needless_gap`).
//! 5. When faults end, all that was acknowledged is delivered or declared lost (`model.rs`, `can_finish`).
#![no_std]

extern crate alloc;

mod reorder;
mod stamp;

pub use reorder::{Answer, Beat, Discarded, Hello, Input, Limits, Loss, Output, Position, Previous, Reorder, Why};
pub use stamp::Stamp;
