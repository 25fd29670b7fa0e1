//! What the programs of a fleet must come to agree on, as metrics: the rules, the generations of the topics, and the
//! store's incarnation. During an upgrade, or while reads move to another incarnation, they differ for a while.

use std::sync::Arc;

use domain::RULES_NEWEST;
use events::topics;
use process::{Metrics, TopicLabel};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use store::SharedStore;

/// Registers the versions of a program that reads from this store.
pub fn register(metrics: &Metrics, store: &SharedStore) {
    let rules: Gauge = Gauge::default();
    rules.set(i64::from(RULES_NEWEST));
    metrics.register("rules_version", "Newest version of the rules that this program knows", rules);
    let generations: Family<TopicLabel, Gauge> = Family::default();
    for spec in topics::all() {
        generations.get_or_create(&TopicLabel { topic: &spec.name }).set(i64::from(spec.generation));
    }
    metrics.register("topic_generation", "Generation of each topic that this program was built for", generations);
    // The metrics do not keep a store open that was closed.
    let store = Arc::downgrade(store);
    metrics.register_read("store_incarnation", "Incarnation of the rows that this program reads", move || {
        store.upgrade().map(|store| f64::from(store.incarnation()))
    });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use environment::Clock;
    use store::embedded::EmbeddedStore;
    use store::{Following, IncarnationStore};
    use tokio::time::{sleep, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_incarnation_is_the_one_that_is_read_now() {
        let (metrics, clock) = (Metrics::new(), Clock::system());
        let embedded = EmbeddedStore::open(kv::Database::in_memory(), clock).await.unwrap();
        let store: SharedStore = Following::new(embedded.clone());
        register(&metrics, &store);
        let shows = |line: &str| metrics.text().lines().any(|shown| shown == line);
        let rules = format!("klatsch_rules_version {RULES_NEWEST}");
        assert!(shows(&rules) && shows("klatsch_topic_generation{topic=\"chat.deliveries\"} 0"), "{}", metrics.text());
        assert!(shows("klatsch_store_incarnation 1.0"), "{}", metrics.text());

        let next = embedded.make_incarnation().await.unwrap();
        assert!(embedded.switch_incarnation(1, next).await.unwrap());
        let moved = timeout(Duration::from_secs(60), async {
            while !shows("klatsch_store_incarnation 2.0") {
                sleep(Duration::from_millis(100)).await; // virtual time
            }
        });
        moved.await.expect("reads move to the new incarnation");
        store.close().await;
        drop(store);
        assert!(!metrics.text().contains("klatsch_store_incarnation "), "{}", metrics.text());
    }
}
