//! The golden copy: one line for everything that a reader or a writer of another version may rely on.
//!
//! Adding is compatible. Anything else belongs in a new package beside the old one (`deckwatch.v2`).

use std::collections::BTreeSet;

use prost_reflect::{Cardinality, DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};

/// Set to 1, the golden copy takes in what was added.
const UPDATE: &str = "UPDATE_GOLDEN";
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden.txt");

/// One line each for messages, fields, reserved numbers, enum values and rpcs of the packages below `root`.
fn lines(pool: &DescriptorPool, root: &str) -> BTreeSet<String> {
    let own = |name: &str| name.starts_with(root);
    let mut lines = BTreeSet::new();
    for message in pool.all_messages().filter(|message| own(message.full_name()) && !message.is_map_entry()) {
        lines.insert(format!("message {}", message.full_name()));
        lines.extend(message.fields().map(|field| field_line(&message, &field)));
        for range in message.reserved_ranges() {
            lines.extend(range.map(|number| format!("reserved {} = {number}", message.full_name())));
        }
    }
    for list in pool.all_enums().filter(|list| own(list.full_name())) {
        lines.insert(format!("enum {}", list.full_name()));
        lines.extend(
            list.values().map(|value| format!("value {} = {}: {}", list.full_name(), value.number(), value.name())),
        );
    }
    for method in pool
        .services()
        .filter(|service| own(service.full_name()))
        .flat_map(|service| service.methods().collect::<Vec<_>>())
    {
        let stream = |is_stream| if is_stream { "stream " } else { "" };
        lines.insert(format!(
            "rpc {}({}{}) returns ({}{})",
            method.full_name(),
            stream(method.is_client_streaming()),
            method.input().full_name(),
            stream(method.is_server_streaming()),
            method.output().full_name(),
        ));
    }
    lines
}

fn field_line(message: &MessageDescriptor, field: &FieldDescriptor) -> String {
    let oneof = field.containing_oneof().filter(|oneof| !oneof.is_synthetic());
    let label = match (&oneof, field.cardinality()) {
        _ if field.is_map() => String::new(),
        (_, Cardinality::Repeated) => "repeated ".to_owned(),
        (_, Cardinality::Required) => "required ".to_owned(),
        (Some(oneof), Cardinality::Optional) => format!("oneof {} ", oneof.name()),
        (None, Cardinality::Optional) if field.field_descriptor_proto().proto3_optional() => "optional ".to_owned(),
        (None, Cardinality::Optional) => String::new(),
    };
    let kind = field.kind();
    let kind = match kind.as_message().filter(|_| field.is_map()) {
        Some(entry) => {
            let [key, value] = [entry.map_entry_key_field(), entry.map_entry_value_field()];
            format!("map<{}, {}>", type_name(&key.kind()), type_name(&value.kind()))
        }
        None => type_name(&kind),
    };
    format!("field {} = {}: {label}{kind} {}", message.full_name(), field.number(), field.name())
}

fn type_name(kind: &Kind) -> String {
    if let Some(message) = kind.as_message() {
        message.full_name().to_owned()
    } else if let Some(list) = kind.as_enum() {
        list.full_name().to_owned()
    } else {
        format!("{kind:?}")
    }
}

/// What of the golden copy no longer holds, each with what stands there now.
fn broken(golden: &BTreeSet<String>, now: &BTreeSet<String>) -> Vec<String> {
    // Up to the colon a line names a place: a message and a number.
    let place = |line: &str| line.split(": ").next().unwrap_or_default().to_owned();
    let message = |line: &str| match now.difference(golden).find(|new| new.contains(": ") && place(new) == place(line))
    {
        Some(new) => format!("`{line}` is now `{new}`: a number is never used anew"),
        None => format!("`{line}` is gone"),
    };
    golden.difference(now).map(|line| message(line)).collect()
}

#[test]
fn what_was_promised_still_holds() {
    let text = std::fs::read_to_string(GOLDEN).unwrap_or_default();
    let golden: BTreeSet<String> = text.lines().map(str::to_owned).collect();
    let now = lines(&crate::project(), "deckwatch.");
    let broken = broken(&golden, &now);
    assert!(
        broken.is_empty(),
        "this breaks programs of other versions; keep it, or make a new package beside the old one:\n{}",
        broken.join("\n")
    );
    let added: Vec<_> = now.difference(&golden).cloned().collect();
    if !added.is_empty() && std::env::var_os(UPDATE).is_some_and(|value| value == "1") {
        let text: String = now.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(GOLDEN, text).expect("the golden copy can be written");
        return;
    }
    let how = "run `UPDATE_GOLDEN=1 cargo test -p proto` and commit proto/tests/golden.txt";
    assert!(added.is_empty(), "the golden copy lacks what was added; {how}:\n{}", added.join("\n"));
}

mod tests;
