//! The keys that verify access tokens, as the user service publishes them.

use std::convert::Infallible;
use std::sync::Arc;

use auth::Verifier;
use process::options::KeysOptions;
use process::{ConfigFault, Tasks, reporter};
use store::{ENDED_BUCKET_MS, SharedStore};

use crate::Bootstrap;

/// A verifier, and the tasks that periodically fetch its keys and the ended sessions. The program is not ready
/// until it has fetched the keys once; later it continues with the last ones.
///
/// # Errors
/// When keys cannot be fetched from that kind of location.
pub fn follow_keys(
    bootstrap: &Bootstrap,
    options: &KeysOptions,
    store: &SharedStore,
    tasks: &mut Tasks,
) -> Result<Verifier, ConfigFault> {
    let verifier = Verifier::remote(&options.jwks, bootstrap.clock.clone(), bootstrap.entropy.clone());
    let verifier = verifier.map_err(|error| ConfigFault::caused(error.to_string(), error))?;
    let condition = bootstrap.readiness.condition("keys", format!("waiting for the keys at {}", options.jwks));
    let follower = verifier.clone();
    tasks.spawn("keys", |token| async move {
        let report = reporter("fetching the keys of access tokens", condition);
        follower.follow(token, report).await;
        Ok::<(), Infallible>(())
    });
    let ended = verifier.ended().clone();
    let (clock, store) = (bootstrap.clock.clone(), Arc::clone(store));
    let condition = bootstrap.readiness.condition("ended sessions", "they were not read yet");
    tasks.spawn("ended sessions", |token| async move {
        let report = reporter("reading the sessions that were ended", condition);
        let read = |bucket| store.ended_sessions(bucket);
        token.run_until_cancelled(ended.follow(&clock, ENDED_BUCKET_MS, read, report)).await;
        Ok::<(), Infallible>(())
    });
    Ok(verifier)
}
