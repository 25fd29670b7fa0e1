//! Every answer is what `schemas/openapi.yaml` says it is.
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

fn matches(schema: &'static Value, value: &Value, place: &str) {
    let schema = resolve(schema);
    if let Some(only) = schema.get("const") {
        return assert_eq!(value, only, "{place}");
    }
    let right_type = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("boolean") => value.is_boolean(),
        other => panic!("{place}: type {other:?} in the document"),
    };
    assert!(right_type, "{place}: {value} is not {}", schema["type"]);
    if let Some(names) = schema["enum"].as_array() {
        assert!(names.contains(value), "{place}: {value} is none of {names:?}");
    }
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(value.get(required.as_str().unwrap()).is_some(), "{place}: no {required} in {value}");
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        let described = schema["properties"].get(name);
        matches(
            described.unwrap_or_else(|| panic!("{place}: {name} is not described")),
            member,
            &format!("{place} {name}"),
        );
    }
    for item in value.as_array().into_iter().flatten() {
        matches(&schema["items"], item, place);
    }
}
