//! The driver's session: who is connected how.

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

/// With a misspelt datacenter every request would fail, for ever, as if the cluster were down.
fn check_datacenter(session: &Session, config: &ScyllaConfig) -> Result<(), StoreError> {
    let Some(wanted) = &config.datacenter else { return Ok(()) };
    let state = session.get_cluster_state();
    let mut known: Vec<&str> = state.get_nodes_info().iter().filter_map(|node| node.datacenter.as_deref()).collect();
    known.sort_unstable();
    known.dedup();
    if known.contains(&wanted.as_str()) {
        return Ok(());
    }
    let text = format!("no node is in datacenter '{wanted}'; there are: {}", known.join(", "));
    Err(StoreError::Broken(text.into()))
}
