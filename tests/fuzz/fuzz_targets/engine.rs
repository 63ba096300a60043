//! An engine's answers: what a producer makes of them is what others can read.

#![no_main]

use domain::wire::Wire;
use domain::{Batch, Cause, Instance, Observation, Observed, Timestamp};
use libfuzzer_sys::fuzz_target;
use producer::engine::fuzz::{event, inspected};

fuzz_target!(|json: &[u8]| {
    let observed = inspected(json).map(|container| (None, Observed::Container(Box::new(container))));
    let heard = event(json).map(|(id, event)| (Some(event), Observed::Event(id)));
    for (event, observed) in observed.into_iter().chain(heard) {
        let cause = if event.is_some() { Cause::Event } else { Cause::List };
        let observation = Observation { observed_at: Timestamp(1), cause, event, spool_place: None, observed };
        let batch = Batch {
            node: "n1".parse().expect("a name"),
            epoch: 1,
            instance: Instance(1),
            first_seq: 2,
            as_of_floor: 1,
            observations: vec![observation],
        };
        let read = Batch::decode(&batch.encode());
        assert_eq!(read.as_ref().ok(), Some(&batch), "{read:?}");
    }
});
