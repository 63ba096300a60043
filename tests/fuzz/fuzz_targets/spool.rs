//! The spool: what a disk gives back is read as far as it is whole, and can be written again.
//!
//! The first byte says how many good entries the file begins with, the next three which bit of them is flipped (of no
//! bit, where it is beyond the end), and the two after it where they are cut. The rest follows as it is.

#![no_main]

use domain::NodeName;
use libfuzzer_sys::fuzz_target;
use producer::spool_fuzz::{opened, valid};

fuzz_target!(|data: &[u8]| {
    let Some(([entries, bit @ .., cut_low, cut_high], rest)) = data.split_first_chunk::<6>() else { return };
    let node: NodeName = "n1".parse().expect("a name");
    // Without entries the whole file is arbitrary.
    let mut bytes = if *entries == 0 { Vec::new() } else { valid(&node, entries % 32) };
    let bit = usize::from(bit[0]) | usize::from(bit[1]) << 8 | usize::from(bit[2]) << 16;
    if let Some(byte) = bytes.get_mut(bit / 8) {
        *byte ^= 1 << (bit % 8);
    }
    bytes.truncate(usize::from(u16::from_le_bytes([*cut_low, *cut_high])));
    bytes.extend_from_slice(rest);
    // A folder in memory, where there is one.
    let memory = std::path::Path::new("/dev/shm");
    let within = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let folder = tempfile::tempdir_in(within).expect("a folder");
    opened(folder.path(), &node, &bytes);
});
