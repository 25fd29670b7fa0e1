//! The document and the code name the same routes. That answers are as described, every other test makes sure of.
#![allow(clippy::unwrap_used)]

mod world;

use std::collections::BTreeSet;

use reqwest::Method;
use world::{World, contract};

/// The tag of this service's operations in the document.
const TAG: &str = "conversations";

#[test]
fn every_route_is_described_and_nothing_else() {
    let mut described = BTreeSet::new();
    for (path, methods) in contract::document()["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if operation["tags"].as_array().unwrap().iter().any(|tag| tag == TAG) {
                described.insert((method.to_uppercase(), path.clone()));
            }
        }
    }
    let table: BTreeSet<_> =
        chat::ROUTES.iter().map(|(method, path)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(described, table);
}

#[tokio::test]
async fn every_route_of_the_table_is_served_and_wants_a_token() {
    let world = World::new().await;
    let service = world.start().await;
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    for (method, template) in chat::ROUTES {
        let path: Vec<_> = template.split('/').map(|part| if part.starts_with('{') { id } else { part }).collect();
        let method: Method = method.parse().unwrap();
        service.call(method, &path.join("/"), None, None).await.refused("unauthorized");
    }
    service.call(Method::GET, "/v1/nothing", None, None).await.refused("not_found");
    service.call(Method::PATCH, "/v1/sync", None, None).await.refused("method_not_allowed");
    service.stop().await;
}
