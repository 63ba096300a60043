//! Every way to break a reader shows.

use std::collections::BTreeSet;

use super::{broken, lines};
use crate::inline;

const OLD: &str = r#"
syntax = "proto3";
package p.v1;
message M {
  reserved 9;
  int32 a = 1;
  optional string b = 2;
  repeated E c = 3;
  map<string, N> d = 4;
  oneof o {
    N e = 5;
    bytes f = 6;
  }
}
message N {}
enum E {
  E_UNSPECIFIED = 0;
  E_A = 1;
}
service MyService {
  rpc Do(M) returns (stream N);
}
"#;

fn of(source: &str) -> BTreeSet<String> {
    lines(&inline::compile(&[("p/v1/a.proto", source)]).expect("it compiles"), "p.")
}

#[test]
fn a_line_for_everything() {
    let expected = [
        "enum p.v1.E",
        "field p.v1.M = 1: int32 a",
        "field p.v1.M = 2: optional string b",
        "field p.v1.M = 3: repeated p.v1.E c",
        "field p.v1.M = 4: map<string, p.v1.N> d",
        "field p.v1.M = 5: oneof o p.v1.N e",
        "field p.v1.M = 6: oneof o bytes f",
        "message p.v1.M",
        "message p.v1.N",
        "reserved p.v1.M = 9",
        "rpc p.v1.MyService.Do(p.v1.M) returns (stream p.v1.N)",
        "value p.v1.E = 0: E_UNSPECIFIED",
        "value p.v1.E = 1: E_A",
    ];
    assert_eq!(of(OLD), expected.map(str::to_owned).into());
}

/// What an edit of the file breaks.
fn edit(from: &str, to: &str) -> String {
    assert!(OLD.contains(from), "{from}");
    broken(&of(OLD), &of(&OLD.replace(from, to))).join("\n")
}

#[test]
fn what_is_gone_is_named() {
    assert_eq!(edit("int32 a = 1;", ""), "`field p.v1.M = 1: int32 a` is gone");
    assert_eq!(edit("E_A = 1;", ""), "`value p.v1.E = 1: E_A` is gone");
    assert_eq!(edit("reserved 9;", ""), "`reserved p.v1.M = 9` is gone");
    assert_eq!(
        edit("rpc Do(M) returns (stream N);", "rpc Do(M) returns (N);"),
        "`rpc p.v1.MyService.Do(p.v1.M) returns (stream p.v1.N)` is gone"
    );
}

#[test]
fn what_is_changed_is_named_with_what_it_is_now() {
    for (from, to, line, now) in [
        ("int32 a = 1;", "int64 a = 1;", "1: int32 a", "1: int64 a"),
        ("int32 a = 1;", "int32 z = 1;", "1: int32 a", "1: int32 z"),
        ("optional string b", "string b", "2: optional string b", "2: string b"),
        ("repeated E c", "E c", "3: repeated p.v1.E c", "3: p.v1.E c"),
        ("map<string, N>", "map<int32, N>", "4: map<string, p.v1.N> d", "4: map<int32, p.v1.N> d"),
    ] {
        let expected = format!("`field p.v1.M = {line}` is now `field p.v1.M = {now}`: a number is never used anew");
        assert_eq!(edit(from, to), expected);
    }
    assert_eq!(
        edit("E_A = 1;", "E_B = 1;"),
        "`value p.v1.E = 1: E_A` is now `value p.v1.E = 1: E_B`: a number is never used anew"
    );
}

#[test]
fn a_field_that_moves_out_of_its_oneof_is_a_change() {
    let moved = edit("N e = 5;\n    bytes f = 6;\n  }", "bytes f = 6;\n  }\n  N e = 5;");
    assert!(moved.starts_with("`field p.v1.M = 5: oneof o p.v1.N e` is now"), "{moved}");
}

#[test]
fn what_is_added_breaks_nothing() {
    assert_eq!(edit("int32 a = 1;", "int32 a = 1; int32 z = 10;"), "");
    assert_eq!(edit("message N {}", "message N {} message Z {}"), "");
    assert_eq!(edit("E_A = 1;", "E_A = 1; E_B = 2;"), "");
}
