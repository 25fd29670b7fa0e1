//! Creating and describing topics.

use std::time::Duration;

use super::{Factory, fill, fresh, spec, within};
use crate::Watermarks;

pub(super) async fn created_once(factory: &dyn Factory) {
    let log = factory.open().await;
    let declared = spec(fresh(factory, "topic"), 3);
    assert_eq!(within(log.describe(&declared)).await.expect("readable"), None);
    within(log.create(&declared)).await.expect("created");
    fill(log.as_ref(), &declared.name, 2, 0..4).await;
    within(log.create(&declared)).await.expect("one that exists is left as it is");
    let marks = within(log.watermarks(&declared.name, 2)).await.expect("readable");
    assert_eq!(marks, Watermarks { low: 0, next: 4 });
    let log = factory.reopen(log).await;
    let found = within(log.describe(&declared)).await.expect("readable").expect("there");
    assert_eq!((found.partitions, found.faults), (3, Vec::new()));
    let for_ever = events::topics::TopicSpec { retention: None, ..spec(fresh(factory, "topic"), 1) };
    within(log.create(&for_ever)).await.expect("created");
    let found = within(log.describe(&for_ever)).await.expect("readable").expect("there");
    assert_eq!(found.faults, Vec::<String>::new());
}

pub(super) async fn faults(factory: &dyn Factory) {
    let log = factory.open().await;
    let declared = spec(fresh(factory, "topic"), 3);
    within(log.create(&declared)).await.expect("created");
    let mut other = declared.clone();
    other.partitions = 4;
    within(log.create(&other)).await.expect("one that exists is left as it is");
    let found = within(log.describe(&other)).await.expect("readable").expect("there");
    assert_eq!((found.partitions, found.faults.len()), (3, 1), "{:?}", found.faults);
    other.retention = Some(Duration::from_secs(60));
    let found = within(log.describe(&other)).await.expect("readable").expect("there");
    assert_eq!(found.faults.len(), 2, "{:?}", found.faults);
    other.retention = None;
    let found = within(log.describe(&other)).await.expect("readable").expect("there");
    assert_eq!(found.faults.len(), 2, "{:?}", found.faults);
}
