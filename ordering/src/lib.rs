//! The order of one node's observations.
#![no_std]

mod stamp;

pub use stamp::Stamp;
