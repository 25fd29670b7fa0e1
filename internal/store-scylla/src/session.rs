//! The driver's session: connections and the execution profile.

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

/// The timeout of a request: its caller backs off and retries.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// The timeout of a connection: the driver then uses other nodes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to the cluster.
pub(crate) async fn connect(config: &ScyllaConfig) -> Result<Session, StoreError> {
    let mut profile = profile_of(config.datacenter.as_deref()).into_handle();
    let mut builder = SessionBuilder::new()
        .known_nodes(&config.contact_points)
        .default_execution_profile_handle(profile.clone())
        .compression(Some(Compression::Lz4))
        .connection_timeout(CONNECT_TIMEOUT)
        // Enough for routing; the columns of all tables of the cluster are not needed.
        .fetch_full_schema_metadata(false)
        // Migrations await every step; sessions that use new tables read their metadata themselves.
        .refresh_metadata_on_auto_schema_agreement(false)
        .pool_size(match config.pool {
            Pool::PerShard(connections) => PoolSize::PerShard(connections),
            Pool::PerHost(connections) => PoolSize::PerHost(connections),
        });
    if let Some(credentials) = &config.credentials {
        builder = builder.user(&credentials.username, credentials.password.expose());
    }
    let session = builder.build().await.map_err(unconnected)?;
    let datacenter = datacenter_of(&session, config)?;
    if let Some(datacenter) = datacenter.as_deref().filter(|_| config.datacenter.is_none()) {
        tracing::info!(datacenter, "the cluster's one datacenter is used, also if others join it");
        profile.map_to_another_profile(profile_of(Some(datacenter)));
    }
    Ok(session)
}

/// The execution profile: only nodes of that datacenter are used.
fn profile_of(datacenter: Option<&str>) -> ExecutionProfile {
    let mut policy = DefaultPolicy::builder().token_aware(true).permit_dc_failover(false);
    if let Some(datacenter) = datacenter {
        policy = policy.prefer_datacenter(datacenter.to_owned());
    }
    // The quorum of the local datacenter, which is the one whose `applied` is read.
    ExecutionProfile::builder()
        .load_balancing_policy(policy.build())
        .consistency(Consistency::LocalQuorum)
        .serial_consistency(Some(SerialConsistency::LocalSerial))
        .request_timeout(Some(REQUEST_TIMEOUT))
        .build()
}

/// A cluster that does not answer yet is a transient error; a wrong configuration is not.
fn unconnected(error: NewSessionError) -> StoreError {
    match error {
        NewSessionError::EmptyKnownNodesList | NewSessionError::IllegalConfig(_) => StoreError::Broken(Box::new(error)),
        // Non-exhaustive: unresolved names, refused connections and unreadable metadata are all worth a retry.
        error => StoreError::Transient(Box::new(error)),
    }
}

fn datacenter_of(session: &Session, config: &ScyllaConfig) -> Result<Option<String>, StoreError> {
    let state = session.get_cluster_state();
    let known = state.get_nodes_info().iter().filter_map(|node| node.datacenter.as_deref()).collect();
    let chosen = choose(config.datacenter.as_deref(), &known).map_err(StoreError::Misconfigured)?;
    Ok(chosen.map(str::to_owned))
}

/// Chooses the datacenter; `None` when the servers do not report theirs.
///
/// With a misspelt name every request would fail, for ever, as if the cluster were down. Without a name, each
/// request would be answered by the quorum of any datacenter: rows written in one may not be readable in another
/// yet, while `applied` already is. So a single datacenter is kept for as long as the session lives: another one
/// that joins later would otherwise be used at once, long before it has the rows.
fn choose<'a>(wanted: Option<&'a str>, known: &BTreeSet<&'a str>) -> Result<Option<&'a str>, String> {
    let names = || known.iter().copied().collect::<Vec<_>>().join(", ");
    match wanted {
        Some(wanted) if known.contains(wanted) => Ok(Some(wanted)),
        Some(wanted) => Err(format!("no node is in datacenter '{wanted}'; there are: {}", names())),
        None if known.len() <= 1 => Ok(known.first().copied()),
        None => Err(format!("the cluster has more than one datacenter ({}): name ours with --cql-datacenter", names())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_only_datacenter_is_chosen_and_of_more_a_known_one_must_be_named() {
        let (none, one, two) = (BTreeSet::new(), BTreeSet::from(["a"]), BTreeSet::from(["a", "b"]));
        assert_eq!(choose(None, &none), Ok(None), "the server does not say");
        assert_eq!(choose(None, &one), Ok(Some("a")));
        for known in [&one, &two] {
            assert_eq!(choose(Some("a"), known), Ok(Some("a")));
            assert!(choose(Some("c"), known).is_err_and(|fault| fault.contains("'c'; there are: a")));
        }
        assert!(choose(None, &two).is_err_and(|fault| fault.contains("(a, b)")));
    }

    /// A datacenter chosen after connecting reaches the session through its profile handle.
    #[test]
    fn a_datacenter_that_is_chosen_later_is_the_one_of_the_sessions_profile() {
        let mut handle = profile_of(None).into_handle();
        let of_session = handle.clone();
        handle.map_to_another_profile(profile_of(Some("a")));
        let policy = format!("{:?}", of_session.to_profile());
        assert!(policy.contains("\"a\""), "{policy}");
    }
}
