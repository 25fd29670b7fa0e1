//! The document and the code say the same.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use serde_json::Value;

/// The tag of this service's operations in the document.
const TAG: &str = "users";

fn document() -> Value {
    serde_yaml_ng::from_str(include_str!("../../../schemas/openapi.yaml")).unwrap()
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let document = document();
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if operation["tags"].as_array().unwrap().iter().any(|tag| tag == TAG) {
                described.insert((method.to_uppercase(), path.clone()));
            }
        }
    }
    let served: BTreeSet<_> =
        users::route_table().into_iter().map(|(method, path)| (method.to_owned(), path.to_owned())).collect();
    assert_eq!(described, served);
}

#[test]
fn the_error_codes_and_their_statuses_are_those_of_the_code() {
    let document = document();
    let schema = &document["components"]["schemas"]["ErrorCode"];
    let names: Vec<Value> = protocol::ErrorCode::ALL.iter().map(|code| serde_json::to_value(code).unwrap()).collect();
    assert_eq!(*schema["anyOf"][0]["enum"].as_array().unwrap(), names);
    let table = schema["description"].as_str().unwrap();
    for code in protocol::ErrorCode::ALL {
        let name = serde_json::to_value(code).unwrap();
        let row = format!("| `{}` | {} | ", name.as_str().unwrap(), code.status());
        assert!(table.contains(&row), "the table lacks {row}");
    }
}

/// The tests of the services (`contract`) check that the codes are those that are really answered.
#[test]
fn every_operation_lists_its_error_codes() {
    let document = document();
    let known: Vec<Value> = protocol::ErrorCode::ALL.iter().map(|code| serde_json::to_value(code).unwrap()).collect();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let listed = operation["x-error-codes"].as_array().unwrap_or_else(|| panic!("{method} {path}: no codes"));
            for code in listed {
                assert!(known.contains(code), "{method} {path}: there is no code {code}");
            }
        }
    }
}

/// Codes that an operation is refused with before it runs are listed by all operations of that kind.
#[test]
fn operations_of_one_kind_list_the_codes_of_that_kind() {
    let document = document();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let listed = operation["x-error-codes"].as_array().unwrap();
            let mut wanted = vec!["bad_request", "rate_limited", "busy", "unavailable", "internal"];
            if operation.get("security").is_none() {
                wanted.extend(["unauthorized", "token_expired", "session_ended"]);
            }
            if operation.get("requestBody").is_some() {
                wanted.extend(["too_large", "too_slow"]);
            }
            for code in wanted {
                assert!(listed.contains(&Value::from(code)), "{method} {path} does not list {code}");
            }
        }
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn check(document: &Value, node: &Value) {
        match node {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    let pointer = reference.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
                }
                members.values().for_each(|member| check(document, member));
            }
            Value::Array(items) => items.iter().for_each(|item| check(document, item)),
            _ => {}
        }
    }
    let document = document();
    check(&document, &document);
}
