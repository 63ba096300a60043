//! Holds the protobuf files to buf's STANDARD rules, and to what was once promised to their readers.

mod golden;
mod inline;
mod rules;

use prost_reflect::DescriptorPool;

/// The project's own files, as they were compiled.
fn project() -> DescriptorPool {
    DescriptorPool::decode(proto::DESCRIPTOR).expect("the build wrote a descriptor set")
}
