//! deckwatch's messages: generated code only, from `deckwatch/v1/*.proto`.
//!
//! `domain::wire` turns them into values that are valid by type; nothing else should look inside them.

/// Package `deckwatch.v1`.
pub mod v1 {
    #![allow(
        clippy::all,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        clippy::clone_on_ref_ptr,
        clippy::wildcard_enum_match_arm,
        missing_docs,
        unused_qualifications,
        reason = "generated"
    )]
    include!(concat!(env!("OUT_DIR"), "/deckwatch.v1.rs"));
}

/// All files with their comments, as an encoded `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));
