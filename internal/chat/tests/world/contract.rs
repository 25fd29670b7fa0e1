//! Checks that every answer is as `schemas/openapi.yaml` describes it.
//!
//! A small part of JSON Schema, stricter in one point: a member that is not described is a fault, so that the document
//! cannot fall behind the code.

use std::sync::OnceLock;

use serde_json::Value;

pub(crate) fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| serde_yaml_ng::from_str(include_str!("../../../../schemas/openapi.yaml")).unwrap())
}

/// Panics when the answer is not one that the document describes.
pub(crate) fn check(method: &str, path: &str, status: u16, body: &Value) {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let schema = if status < 300 {
        let operation = operation(method, path);
        let parameters = operation["parameters"].as_array().into_iter().flatten().map(resolve);
        let named: Vec<_> = parameters.filter(|each| each["in"] == "query").map(|each| &each["name"]).collect();
        for name in query.split('&').filter_map(|each| each.split('=').next()).filter(|name| !name.is_empty()) {
            assert!(named.contains(&&Value::from(name)), "{method} {path}: {name} is not described");
        }
        let described = &operation["responses"][status.to_string()];
        let described = resolve(described);
        assert!(described.is_object(), "{method} {path}: {status} is not described");
        let Some(content) = described.get("content") else { return assert_eq!(body, "", "{method} {path}") };
        &content["application/json"]["schema"]
    } else {
        if let Some(operation) = find(method, path) {
            let listed = operation["x-error-codes"].as_array().unwrap_or_else(|| panic!("{method} {path}: no codes"));
            assert!(listed.contains(&body["code"]), "{method} {path}: {} is not among its codes", body["code"]);
        }
        &document()["components"]["schemas"]["Error"]
    };
    matches(schema, body, &format!("{method} {path}"));
}

fn operation<'d>(method: &str, path: &str) -> &'d Value {
    find(method, path).unwrap_or_else(|| panic!("{method} {path} is not described"))
}

fn find<'d>(method: &str, path: &str) -> Option<&'d Value> {
    let paths = document()["paths"].as_object().unwrap();
    let fits = |template: &str| {
        let (left, right): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
        left.len() == right.len() && left.iter().zip(&right).all(|(l, r)| l.starts_with('{') || l == r)
    };
    let (_, item) = paths.iter().find(|(template, _)| fits(template))?;
    item.get(method.to_lowercase())
}

fn resolve(node: &'static Value) -> &'static Value {
    match node.get("$ref").and_then(Value::as_str) {
        Some(reference) => document().pointer(&reference[1..]).unwrap(),
        None => node,
    }
}

fn matches(schema: &'static Value, value: &Value, path: &str) {
    let schema = resolve(schema);
    if let Some(only) = schema.get("const") {
        return assert_eq!(value, only, "{path}");
    }
    if schema.get("oneOf").is_some() {
        return matches(branch(schema, value, path), value, path);
    }
    // An open enum: receivers accept any text, but the services only send the named ones.
    if let Some(named) = schema.get("anyOf") {
        assert_eq!(named[1], serde_json::json!({ "type": "string" }), "{path}: this is no open enum");
        return matches(&named[0], value, path);
    }
    let parts = parts(schema);
    for part in &parts {
        let right_type = match part["type"].as_str() {
            Some("object") => value.is_object(),
            Some("array") => value.is_array(),
            Some("string") => value.is_string(),
            Some("integer") => value.is_i64() || value.is_u64(),
            Some("boolean") => value.is_boolean(),
            other => panic!("{path}: type {other:?} in the document"),
        };
        assert!(right_type, "{path}: {value} is not {}", part["type"]);
        within(part, value, path);
        for required in part["required"].as_array().into_iter().flatten() {
            assert!(value.get(required.as_str().unwrap()).is_some(), "{path}: no {required} in {value}");
        }
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        let described = parts.iter().find_map(|part| part["properties"].get(name));
        matches(
            described.unwrap_or_else(|| panic!("{path}: {name} is not described")),
            member,
            &format!("{path} {name}"),
        );
    }
    for item in value.as_array().into_iter().flatten() {
        matches(&schema["items"], item, path);
    }
}

/// The member of a union that the discriminator names. The value must match that one and no other, so that a client
/// that tries them all, without looking at the discriminator, gets the same.
fn branch(schema: &'static Value, value: &Value, path: &str) -> &'static Value {
    let discriminator = &schema["discriminator"];
    let property = discriminator["propertyName"].as_str().unwrap_or_else(|| panic!("{path}: no discriminator"));
    let name = value[property].as_str().unwrap_or_else(|| panic!("{path}: no {property} in {value}"));
    let reference = &discriminator["mapping"][name];
    assert!(reference.is_string(), "{path}: {property} {name} is not described");
    let members = schema["oneOf"].as_array().unwrap();
    let named = |member: &&Value| member["$ref"] == *reference;
    let takes = |member: &&'static Value| {
        let parts = parts(resolve(member));
        let constant = parts.iter().find_map(|part| part["properties"][property].get("const"));
        constant.unwrap_or_else(|| panic!("{path}: {member} does not fix {property}")) == name
    };
    let taking: Vec<_> = members.iter().filter(takes).collect();
    assert!(taking.len() == 1 && named(&taking[0]), "{path}: {name} is taken by {taking:?}");
    taking[0]
}

/// A schema and those that it is composed of (`allOf`).
fn parts(schema: &'static Value) -> Vec<&'static Value> {
    match schema.get("allOf").and_then(Value::as_array) {
        Some(all) => all.iter().flat_map(|part| parts(resolve(part))).collect(),
        None => vec![schema],
    }
}

/// Checks the value's range.
fn within(schema: &Value, value: &Value, path: &str) {
    let length = value.as_str().map(|text| text.chars().count()).or(value.as_array().map(Vec::len));
    let size = length.map(|length| length as u64).or(value.as_u64());
    let bound = |keyword: &str| schema[keyword].as_u64();
    if let Some(lowest) = ["minimum", "minLength", "minItems"].iter().find_map(|keyword| bound(keyword)) {
        assert!(size >= Some(lowest), "{path}: {value} is below {lowest}");
    }
    if let Some(highest) = ["maximum", "maxLength", "maxItems"].iter().find_map(|keyword| bound(keyword)) {
        assert!(size.is_some_and(|size| size <= highest), "{path}: {value} is above {highest}");
    }
    if let Some(names) = schema["enum"].as_array() {
        assert!(names.contains(value), "{path}: {value} is none of {names:?}");
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        let fits = regex_lite::Regex::new(pattern).unwrap().is_match(value.as_str().unwrap());
        assert!(fits, "{path}: {value} is not {pattern}");
    }
}
