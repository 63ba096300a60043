//! buf's STANDARD and COMMENTS rules, under buf's names.

use std::collections::{BTreeMap, BTreeSet};

use prost_reflect::DescriptorPool;
use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, ServiceDescriptorProto,
};

/// Files that others wrote.
const FOREIGN: &str = "google/";

// Numbers of descriptor.proto, of which a location's path is made.
const MESSAGES: i32 = 4;
const ENUMS: i32 = 5;
const SERVICES: i32 = 6;
const SYNTAX: i32 = 12;
const FIELDS: i32 = 2;
const NESTED_MESSAGES: i32 = 3;
const NESTED_ENUMS: i32 = 4;
const ONEOFS: i32 = 8;
const VALUES: i32 = 2;
const METHODS: i32 = 2;

/// What breaks a rule: `RULE where`.
struct Findings(Vec<String>);

impl Findings {
    fn check(&mut self, holds: bool, rule: &str, place: &str) {
        if !holds {
            self.0.push(format!("{rule} {place}"));
        }
    }
}

/// Everything in the pool's own files that breaks a rule.
fn findings(pool: &DescriptorPool) -> Vec<String> {
    let files: Vec<_> = pool.files().map(|file| file.file_descriptor_proto().clone()).collect();
    let own: Vec<_> = files.iter().filter(|file| !file.name().starts_with(FOREIGN)).collect();
    let mut findings = Findings(Vec::new());
    for file in &own {
        check_file(file, &mut findings);
        check_imports(file, &files, &mut findings);
        for (index, message) in file.message_type.iter().enumerate() {
            check_message(&Place::new(file), &[MESSAGES, number(index)], message, &mut findings);
        }
        for (index, list) in file.enum_type.iter().enumerate() {
            check_enum(&Place::new(file), &[ENUMS, number(index)], list, &mut findings);
        }
        for (index, service) in file.service.iter().enumerate() {
            check_service(&Place::new(file), number(index), service, &mut findings);
        }
    }
    check_packages(&own, &mut findings);
    check_rpc_types(&own, &mut findings);
    findings.0
}

/// A file, and which of its elements have a comment.
struct Place<'a> {
    package: &'a str,
    commented: BTreeSet<&'a [i32]>,
}

impl<'a> Place<'a> {
    fn new(file: &'a FileDescriptorProto) -> Self {
        let locations = file.source_code_info.iter().flat_map(|info| &info.location);
        let commented = locations.filter(|place| !place.leading_comments().trim().is_empty());
        Self { package: file.package(), commented: commented.map(|place| place.path.as_slice()).collect() }
    }

    fn name(&self, parts: &[&str]) -> String {
        std::iter::once(self.package).chain(parts.iter().copied()).collect::<Vec<_>>().join(".")
    }
}

fn number(index: usize) -> i32 {
    i32::try_from(index).expect("few elements")
}

fn within(path: &[i32], field: i32, index: usize) -> Vec<i32> {
    [path, &[field, number(index)]].concat()
}

fn check_file(file: &FileDescriptorProto, findings: &mut Findings) {
    let path = file.name();
    let (directory, base) = path.rsplit_once('/').unwrap_or(("", path));
    let stem = base.strip_suffix(".proto").unwrap_or(base);
    findings.check(is_lower_snake(stem), "FILE_LOWER_SNAKE_CASE", path);
    findings.check(file.syntax() == "proto3", "SYNTAX_SPECIFIED", path);
    findings.check(!file.package().is_empty(), "PACKAGE_DEFINED", path);
    findings.check(file.package().split('.').all(is_lower_snake), "PACKAGE_LOWER_SNAKE_CASE", path);
    findings.check(file.package().replace('.', "/") == directory, "PACKAGE_DIRECTORY_MATCH", path);
    let version = file.package().rsplit('.').next().and_then(|last| last.strip_prefix('v'));
    let is_version = version.is_some_and(|digits| digits.parse::<u32>().is_ok_and(|version| version >= 1));
    findings.check(is_version, "PACKAGE_VERSION_SUFFIX", path);
    findings.check(Place::new(file).commented.contains(&[SYNTAX][..]), "COMMENT_FILE", path);
}

fn check_imports(file: &FileDescriptorProto, all: &[FileDescriptorProto], findings: &mut Findings) {
    let path = file.name();
    findings.check(file.public_dependency.is_empty(), "IMPORT_NO_PUBLIC", path);
    findings.check(file.weak_dependency.is_empty(), "IMPORT_NO_WEAK", path);
    let mut used = BTreeSet::new();
    file.message_type.iter().for_each(|message| types_used(message, &mut used));
    for method in file.service.iter().flat_map(|service| &service.method) {
        used.extend([method.input_type().to_owned(), method.output_type().to_owned()]);
    }
    for import in &file.dependency {
        let imported = all.iter().find(|file| file.name() == import).expect("imports are part of the set");
        let is_used = types_defined(imported).iter().any(|name| used.contains(name));
        findings.check(is_used, "IMPORT_USED", &format!("{path}: {import}"));
    }
}

fn types_used(message: &DescriptorProto, used: &mut BTreeSet<String>) {
    used.extend(message.field.iter().filter_map(|field| field.type_name.clone()));
    message.nested_type.iter().for_each(|nested| types_used(nested, used));
}

/// Full names with a leading dot, as fields name them.
fn types_defined(file: &FileDescriptorProto) -> Vec<String> {
    fn nested(prefix: &str, message: &DescriptorProto, names: &mut Vec<String>) {
        let name = format!("{prefix}.{}", message.name());
        names.extend(message.enum_type.iter().map(|list| format!("{name}.{}", list.name())));
        message.nested_type.iter().for_each(|inner| nested(&name, inner, names));
        names.push(name);
    }
    let prefix = format!(".{}", file.package());
    let mut names: Vec<_> = file.enum_type.iter().map(|list| format!("{prefix}.{}", list.name())).collect();
    file.message_type.iter().for_each(|message| nested(&prefix, message, &mut names));
    names
}

fn check_message(place: &Place<'_>, path: &[i32], message: &DescriptorProto, findings: &mut Findings) {
    let is_map_entry = message.options.as_ref().is_some_and(|options| options.map_entry());
    if is_map_entry {
        return;
    }
    let name = place.name(&[message.name()]);
    findings.check(is_pascal(message.name()), "MESSAGE_PASCAL_CASE", &name);
    findings.check(place.commented.contains(path), "COMMENT_MESSAGE", &name);
    for (index, field) in message.field.iter().enumerate() {
        let name = place.name(&[message.name(), field.name()]);
        check_field(field, &name, findings);
        findings.check(place.commented.contains(&*within(path, FIELDS, index)), "COMMENT_FIELD", &name);
    }
    let optional = message.field.iter().filter(|field| field.proto3_optional());
    let made_by_optional: BTreeSet<_> = optional.filter_map(|field| field.oneof_index).collect();
    for (index, oneof) in message.oneof_decl.iter().enumerate() {
        if !made_by_optional.contains(&number(index)) {
            let name = place.name(&[message.name(), oneof.name()]);
            findings.check(is_lower_snake(oneof.name()), "ONEOF_LOWER_SNAKE_CASE", &name);
            findings.check(place.commented.contains(&*within(path, ONEOFS, index)), "COMMENT_ONEOF", &name);
        }
    }
    for (index, nested) in message.nested_type.iter().enumerate() {
        check_message(place, &within(path, NESTED_MESSAGES, index), nested, findings);
    }
    for (index, list) in message.enum_type.iter().enumerate() {
        check_enum(place, &within(path, NESTED_ENUMS, index), list, findings);
    }
}

fn check_field(field: &FieldDescriptorProto, name: &str, findings: &mut Findings) {
    findings.check(is_lower_snake(field.name()), "FIELD_LOWER_SNAKE_CASE", name);
    findings.check(field.label() != Label::Required, "FIELD_NOT_REQUIRED", name);
    findings.check(field.r#type() != Type::Group, "FIELD_NO_GROUP", name);
}

fn check_enum(place: &Place<'_>, path: &[i32], list: &EnumDescriptorProto, findings: &mut Findings) {
    let name = place.name(&[list.name()]);
    findings.check(is_pascal(list.name()), "ENUM_PASCAL_CASE", &name);
    findings.check(place.commented.contains(path), "COMMENT_ENUM", &name);
    let allows_alias = list.options.as_ref().is_some_and(|options| options.allow_alias());
    findings.check(!allows_alias, "ENUM_NO_ALLOW_ALIAS", &name);
    let prefix = format!("{}_", upper_snake(list.name()));
    let first_is_zero = list.value.first().is_some_and(|value| value.number() == 0);
    findings.check(first_is_zero, "ENUM_FIRST_VALUE_ZERO", &name);
    for (index, value) in list.value.iter().enumerate() {
        let name = place.name(&[list.name(), value.name()]);
        findings.check(is_upper_snake(value.name()), "ENUM_VALUE_UPPER_SNAKE_CASE", &name);
        findings.check(value.name().starts_with(&prefix), "ENUM_VALUE_PREFIX", &name);
        let is_zero = value.number() == 0;
        findings.check(!is_zero || value.name().ends_with("_UNSPECIFIED"), "ENUM_ZERO_VALUE_SUFFIX", &name);
        findings.check(place.commented.contains(&*within(path, VALUES, index)), "COMMENT_ENUM_VALUE", &name);
    }
}

fn check_service(place: &Place<'_>, index: i32, service: &ServiceDescriptorProto, findings: &mut Findings) {
    let path = [SERVICES, index];
    let name = place.name(&[service.name()]);
    findings.check(is_pascal(service.name()), "SERVICE_PASCAL_CASE", &name);
    findings.check(service.name().ends_with("Service"), "SERVICE_SUFFIX", &name);
    findings.check(place.commented.contains(&path[..]), "COMMENT_SERVICE", &name);
    for (index, method) in service.method.iter().enumerate() {
        let name = place.name(&[service.name(), method.name()]);
        findings.check(is_pascal(method.name()), "RPC_PASCAL_CASE", &name);
        findings.check(place.commented.contains(&*within(&path, METHODS, index)), "COMMENT_RPC", &name);
        let is_named = |full: &str, suffix| full.rsplit('.').next() == Some(&format!("{}{suffix}", method.name()));
        findings.check(is_named(method.input_type(), "Request"), "RPC_REQUEST_STANDARD_NAME", &name);
        findings.check(is_named(method.output_type(), "Response"), "RPC_RESPONSE_STANDARD_NAME", &name);
    }
}

fn check_packages(files: &[&FileDescriptorProto], findings: &mut Findings) {
    let directory = |file: &FileDescriptorProto| file.name().rsplit_once('/').map_or("", |(path, _)| path).to_owned();
    let mut by_package: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    let mut by_directory: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for file in files {
        by_package.entry(file.package()).or_default().insert(directory(file));
        by_directory.entry(directory(file)).or_default().insert(file.package());
    }
    for (package, directories) in by_package {
        findings.check(directories.len() == 1, "PACKAGE_SAME_DIRECTORY", package);
    }
    for (directory, packages) in by_directory {
        findings.check(packages.len() == 1, "DIRECTORY_SAME_PACKAGE", &directory);
    }
}

fn check_rpc_types(files: &[&FileDescriptorProto], findings: &mut Findings) {
    let methods = files.iter().flat_map(|file| &file.service).flat_map(|service| &service.method);
    let mut uses: BTreeMap<&str, usize> = BTreeMap::new();
    for method in methods {
        *uses.entry(method.input_type()).or_default() += 1;
        *uses.entry(method.output_type()).or_default() += 1;
    }
    for (name, count) in uses {
        findings.check(count == 1, "RPC_REQUEST_RESPONSE_UNIQUE", name);
    }
}

fn is_lower_snake(name: &str) -> bool {
    let letters = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    letters && !name.is_empty() && !name.starts_with('_') && !name.ends_with('_') && !name.contains("__")
}

fn is_upper_snake(name: &str) -> bool {
    !name.chars().any(|c| c.is_ascii_lowercase()) && is_lower_snake(&name.to_ascii_lowercase())
}

fn is_pascal(name: &str) -> bool {
    let mut chars = name.chars();
    let is_run = |name: &str| name.as_bytes().windows(2).any(|pair| pair.iter().all(u8::is_ascii_uppercase));
    chars.next().is_some_and(|c| c.is_ascii_uppercase()) && chars.all(|c| c.is_ascii_alphanumeric()) && !is_run(name)
}

fn upper_snake(pascal: &str) -> String {
    let mut text = String::new();
    for (index, c) in pascal.chars().enumerate() {
        if c.is_ascii_uppercase() && index > 0 {
            text.push('_');
        }
        text.push(c.to_ascii_uppercase());
    }
    text
}

mod tests;
