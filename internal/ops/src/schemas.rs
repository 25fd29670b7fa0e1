//! The schemas and the registry: check and register.

use events::{Codec, RegistryReport};

use crate::OpsError;

/// The registry's report on each of our schemas, without registering any.
///
/// # Errors
/// When the registry does not answer.
pub async fn check(url: &str) -> Result<Vec<RegistryReport>, OpsError> {
    Ok(Codec::check(url).await?)
}

/// Registers every schema; those that exist already keep their ids.
///
/// # Errors
/// When the registry does not answer, or refuses a schema.
pub async fn register(url: &str) -> Result<(), OpsError> {
    Codec::register(url).await?;
    Ok(())
}
