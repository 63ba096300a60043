//! What goes in comes out: values through protobuf, Redis fields and JSON, and junk through every decoder.

mod digest;
mod fields;
mod message;
mod strategy;
mod wire;

use proptest::test_runner::Config;

/// A failure is shown as a value, not kept as a generator's seed.
fn config(cases: u32) -> Config {
    Config { failure_persistence: None, ..Config::with_cases(cases) }
}
