//! The driver's session: who is connected how.

use std::collections::BTreeSet;
use std::time::Duration;

use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::client::{Compression, PoolSize};
use scylla::errors::NewSessionError;
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::statement::{Consistency, SerialConsistency};
use store::StoreError;

use crate::config::{Pool, ScyllaConfig};

/// A request that takes longer is given up: its caller backs off and tries again.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// A node that does not take a connection within this time is passed over.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to the cluster.
pub(crate) async fn connect(config: &ScyllaConfig) -> Result<Session, StoreError> {
    let mut policy = DefaultPolicy::builder().token_aware(true).permit_dc_failover(false);
    if let Some(datacenter) = &config.datacenter {
        policy = policy.prefer_datacenter(datacenter.clone());
    }
    // The quorum of one datacenter: the one whose `applied` is read.
    let profile = ExecutionProfile::builder()
        .load_balancing_policy(policy.build())
        .consistency(Consistency::LocalQuorum)
        .serial_consistency(Some(SerialConsistency::LocalSerial))
        .request_timeout(Some(REQUEST_TIMEOUT))
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&config.contact_points)
        .default_execution_profile_handle(profile.into_handle())
        .compression(Some(Compression::Lz4))
        .connection_timeout(CONNECT_TIMEOUT)
        // Enough for routing; the columns of every table of the cluster are nobody's business here.
        .fetch_full_schema_metadata(false)
        // Migrations wait for each of their steps; what they made is looked up by the sessions that use it.
        .refresh_metadata_on_auto_schema_agreement(false)
        .pool_size(match config.pool {
            Pool::PerShard(connections) => PoolSize::PerShard(connections),
            Pool::PerHost(connections) => PoolSize::PerHost(connections),
        });
    if let Some(credentials) = &config.credentials {
        builder = builder.user(&credentials.username, credentials.password.reveal());
    }
    let session = builder.build().await.map_err(unconnected)?;
    check_datacenter(&session, config)?;
    Ok(session)
}

/// A cluster that does not answer yet may do so later; a configuration that cannot work will not.
fn unconnected(error: NewSessionError) -> StoreError {
    match error {
        NewSessionError::EmptyKnownNodesList | NewSessionError::IllegalConfig(_) => StoreError::Broken(Box::new(error)),
        // Non-exhaustive: unresolved names, refused connections and unreadable metadata are all worth another try.
        error => StoreError::Transient(Box::new(error)),
    }
}

fn check_datacenter(session: &Session, config: &ScyllaConfig) -> Result<(), StoreError> {
    let state = session.get_cluster_state();
    let known = state.get_nodes_info().iter().filter_map(|node| node.datacenter.as_deref()).collect();
    match datacenter_fault(config.datacenter.as_deref(), &known) {
        Some(fault) => Err(StoreError::Misconfigured(fault)),
        None => Ok(()),
    }
}

/// With a misspelt datacenter every request would fail, for ever, as if the cluster were down. Without one, each request
/// would be answered by the quorum of some datacenter: what was written in one may not be read in another yet, `applied`
/// before its rows among it.
fn datacenter_fault(wanted: Option<&str>, known: &BTreeSet<&str>) -> Option<String> {
    let names = || known.iter().copied().collect::<Vec<_>>().join(", ");
    match wanted {
        Some(wanted) if known.contains(wanted) => None,
        Some(wanted) => Some(format!("no node is in datacenter '{wanted}'; there are: {}", names())),
        None if known.len() <= 1 => None,
        None => {
            Some(format!("the cluster has more than one datacenter ({}): name ours with --cql-datacenter", names()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_are_more_datacenters_than_one_a_known_one_must_be_named() {
        let (none, one, two) = (BTreeSet::new(), BTreeSet::from(["a"]), BTreeSet::from(["a", "b"]));
        assert_eq!(datacenter_fault(None, &none), None, "the server does not say");
        assert_eq!(datacenter_fault(None, &one), None);
        for known in [&one, &two] {
            assert_eq!(datacenter_fault(Some("a"), known), None);
            assert!(datacenter_fault(Some("c"), known).is_some_and(|fault| fault.contains("'c'; there are: a")));
        }
        assert!(datacenter_fault(None, &two).is_some_and(|fault| fault.contains("(a, b)")));
    }
}
