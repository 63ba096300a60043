//! The project breaks no rule, and every rule can be broken.

use std::collections::BTreeSet;

use super::findings;
use crate::{inline, project};

#[test]
fn the_projects_files_break_no_rule() {
    assert_eq!(findings(&project()), Vec::<String>::new());
}

const HEAD: &str = "// Says what it holds.\nsyntax = \"proto3\";\npackage p.v1;\n";

/// The rules that these files break, each once.
fn broken(files: &[(&str, &str)]) -> BTreeSet<String> {
    let pool = inline::compile(files).expect("it compiles");
    let rule = |finding: String| finding.split(' ').next().map(str::to_owned);
    findings(&pool).into_iter().filter_map(rule).collect()
}

/// The one rule that a file with this body breaks.
fn breaks(body: &str) -> String {
    let rules = broken(&[("p/v1/a.proto", &format!("{HEAD}{body}"))]);
    rules.into_iter().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_good_file_breaks_none() {
    let body = "// M.\nmessage M {\n// F.\noptional M a_b = 1;\n// O.\noneof o {\n// G.\nint32 g = 2;\n}\n// H.\nmap<string, M> h = 3;\n}\n\
        // E.\nenum BigWord {\n// Z.\nBIG_WORD_UNSPECIFIED = 0;\n}";
    assert_eq!(breaks(body), "");
}

#[test]
fn messages_and_fields() {
    for (rule, body) in [
        ("MESSAGE_PASCAL_CASE", "// M.\nmessage big_word {}"),
        ("COMMENT_MESSAGE", "message M {}"),
        ("COMMENT_MESSAGE", "// M.\nmessage M {\nmessage N {}\n}"),
        ("FIELD_LOWER_SNAKE_CASE", "// M.\nmessage M {\n// F.\nint32 bigWord = 1;\n}"),
        ("COMMENT_FIELD", "// M.\nmessage M {\nint32 f = 1;\n}"),
        ("ONEOF_LOWER_SNAKE_CASE", "// M.\nmessage M {\n// O.\noneof O {\n// F.\nint32 f = 1;\n}\n}"),
        ("COMMENT_ONEOF", "// M.\nmessage M {\noneof o {\n// F.\nint32 f = 1;\n}\n}"),
    ] {
        assert_eq!(breaks(body), rule, "{body}");
    }
}

#[test]
fn enums() {
    for (rule, body) in [
        ("ENUM_PASCAL_CASE", "// E.\nenum e {\n// Z.\nE_UNSPECIFIED = 0;\n}"),
        ("COMMENT_ENUM", "enum E {\n// Z.\nE_UNSPECIFIED = 0;\n}"),
        ("COMMENT_ENUM_VALUE", "// E.\nenum E {\nE_UNSPECIFIED = 0;\n}"),
        ("ENUM_VALUE_PREFIX", "// E.\nenum E {\n// Z.\nE_UNSPECIFIED = 0;\n// A.\nA = 1;\n}"),
        ("ENUM_ZERO_VALUE_SUFFIX", "// E.\nenum E {\n// Z.\nE_NONE = 0;\n}"),
        ("ENUM_VALUE_UPPER_SNAKE_CASE", "// E.\nenum E {\n// Z.\nE_UNSPECIFIED = 0;\n// A.\nE_a = 1;\n}"),
        (
            "ENUM_NO_ALLOW_ALIAS",
            "// E.\nenum E {\noption allow_alias = true;\n// Z.\nE_UNSPECIFIED = 0;\n// A.\nE_A = 1;\n// B.\nE_B = 1;\n}",
        ),
    ] {
        assert_eq!(breaks(body), rule, "{body}");
    }
}

#[test]
fn services() {
    let types = "// Q.\nmessage DoRequest {}\n// A.\nmessage DoResponse {}\n";
    for (rule, service) in [
        ("", "// S.\nservice MyService {\n// R.\nrpc Do(DoRequest) returns (stream DoResponse);\n}"),
        ("SERVICE_SUFFIX", "// S.\nservice My {\n// R.\nrpc Do(DoRequest) returns (DoResponse);\n}"),
        ("COMMENT_SERVICE", "service MyService {\n// R.\nrpc Do(DoRequest) returns (DoResponse);\n}"),
        ("COMMENT_RPC", "// S.\nservice MyService {\nrpc Do(DoRequest) returns (DoResponse);\n}"),
        ("SERVICE_PASCAL_CASE", "// S.\nservice my_Service {\n// R.\nrpc Do(DoRequest) returns (DoResponse);\n}"),
        (
            "RPC_REQUEST_STANDARD_NAME RPC_RESPONSE_STANDARD_NAME",
            "// S.\nservice MyService {\n// R.\nrpc Undo(DoRequest) returns (DoResponse);\n}",
        ),
        (
            "RPC_REQUEST_RESPONSE_UNIQUE",
            "// S.\nservice MyService {\n// R.\nrpc Do(DoRequest) returns (DoResponse);\n}\n\
            // T.\nservice YourService {\n// R.\nrpc Do(DoRequest) returns (DoResponse);\n}",
        ),
    ] {
        assert_eq!(breaks(&format!("{types}{service}")), rule, "{service}");
    }
    let small = "// Q.\nmessage doRequest {}\n// A.\nmessage doResponse {}\n\
        // S.\nservice MyService {\n// R.\nrpc do(doRequest) returns (doResponse);\n}";
    assert_eq!(breaks(small), "MESSAGE_PASCAL_CASE RPC_PASCAL_CASE");
}

#[test]
fn files_and_packages() {
    let one = |path: &str, source: &str| broken(&[(path, source)]).into_iter().collect::<Vec<_>>().join(" ");
    for (rule, path, source) in [
        ("", "p/v1/a.proto", HEAD),
        ("FILE_LOWER_SNAKE_CASE", "p/v1/A.proto", HEAD),
        ("PACKAGE_DIRECTORY_MATCH", "q/v1/a.proto", HEAD),
        ("COMMENT_FILE", "p/v1/a.proto", "syntax = \"proto3\";\npackage p.v1;"),
        ("PACKAGE_VERSION_SUFFIX", "p/a.proto", "// F.\nsyntax = \"proto3\";\npackage p;"),
        ("PACKAGE_LOWER_SNAKE_CASE", "P/v1/a.proto", "// F.\nsyntax = \"proto3\";\npackage P.v1;"),
        ("SYNTAX_SPECIFIED", "p/v1/a.proto", "// F.\nsyntax = \"proto2\";\npackage p.v1;"),
    ] {
        assert_eq!(one(path, source), rule, "{path}");
    }
    assert!(one("a.proto", "// F.\nsyntax = \"proto3\";").contains("PACKAGE_DEFINED"));
    let second = HEAD.replace("p.v1", "q.v1");
    assert!(broken(&[("p/v1/a.proto", HEAD), ("p/v1/b.proto", &second)]).contains("DIRECTORY_SAME_PACKAGE"));
    assert!(broken(&[("p/v1/a.proto", HEAD), ("q/v1/b.proto", HEAD)]).contains("PACKAGE_SAME_DIRECTORY"));
}

#[test]
fn imports() {
    let imported = format!("{HEAD}// N.\nmessage N {{}}");
    let with = |import: &str, body: &str| {
        let source = format!("{HEAD}{import} \"p/v1/b.proto\";\n{body}");
        broken(&[("p/v1/a.proto", &source), ("p/v1/b.proto", &imported)]).into_iter().collect::<Vec<_>>().join(" ")
    };
    let user = "// M.\nmessage M {\n// F.\nN f = 1;\n}";
    assert_eq!(with("import", user), "");
    assert_eq!(with("import", ""), "IMPORT_USED");
    assert_eq!(with("import public", user), "IMPORT_NO_PUBLIC");
    assert_eq!(with("import weak", user), "IMPORT_NO_WEAK");
}

#[test]
fn what_only_the_old_syntax_has() {
    let head = HEAD.replace("proto3", "proto2");
    let broken = |field: &str| broken(&[("p/v1/a.proto", &format!("{head}// M.\nmessage M {{\n// F.\n{field}\n}}"))]);
    assert!(broken("required int32 f = 1;").contains("FIELD_NOT_REQUIRED"));
    assert!(broken("optional group G = 1 {}").contains("FIELD_NO_GROUP"));
    let enumeration = format!("{head}// E.\nenum E {{\n// A.\nE_A = 1;\n}}");
    assert!(super::tests::broken(&[("p/v1/a.proto", &enumeration)]).contains("ENUM_FIRST_VALUE_ZERO"));
}

#[test]
fn a_number_used_twice_does_not_even_compile() {
    let source = format!("{HEAD}message M {{ int32 a = 1; int32 b = 1; }}");
    assert!(inline::compile(&[("p/v1/a.proto", &source)]).is_err());
    let source = format!("{HEAD}message M {{ reserved 1; int32 b = 1; }}");
    assert!(inline::compile(&[("p/v1/a.proto", &source)]).is_err());
}
