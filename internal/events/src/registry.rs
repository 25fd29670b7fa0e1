//! The schema registry (Confluent's API): registers our schemas and learns their ids.

use schema_registry_converter::async_impl::schema_registry::{SrSettings, is_compatible_schema, post_schema};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{SchemaType, SuppliedSchema};
use std::time::Duration;

use crate::codec::Codec;
use crate::schemas;

/// How long one call to the registry may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the schemas could not be registered.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry does not answer: try again.
    #[error("the schema registry at {url} is not reachable: {source}")]
    Unreachable {
        /// Where.
        url: String,
        /// What it said.
        source: SRCError,
    },
    /// The registry holds a schema of that name which ours does not go with: do not start.
    #[error("the schema registry refuses {subject}: {source}; another system uses the name, or the schema was changed")]
    Incompatible {
        /// The subject.
        subject: String,
        /// What it said.
        source: SRCError,
    },
}

/// One schema, as the registry sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryReport {
    /// The record's full name.
    pub subject: String,
    /// Whether ours can be registered under it.
    pub compatible: bool,
    /// What is wrong, in words.
    pub reason: Option<String>,
}

impl Codec {
    /// Registers every schema (an existing one keeps its id) and returns the codec that writes those ids.
    ///
    /// # Errors
    /// [`RegistryError::Unreachable`] is worth another try, [`RegistryError::Incompatible`] is not.
    pub async fn register(url: &str) -> Result<Self, RegistryError> {
        let settings = settings(url)?;
        let mut ids = Vec::new();
        for known in schemas::all() {
            let registered = post_schema(&settings, known.full_name.clone(), supplied(known)).await;
            ids.push(registered.map_err(|source| sorted(url, &known.full_name, source))?.id);
        }
        Ok(Self::with_ids(ids))
    }

    /// Asks the registry about every schema without registering any.
    ///
    /// # Errors
    /// When the registry does not answer.
    pub async fn check(url: &str) -> Result<Vec<RegistryReport>, RegistryError> {
        let settings = settings(url)?;
        let mut reports = Vec::new();
        for known in schemas::all() {
            let subject = known.full_name.clone();
            let (compatible, reason) = match is_compatible_schema(&settings, subject.clone(), supplied(known)).await {
                Ok(true) => (true, None),
                Ok(false) => (false, Some("not compatible with the registered version".to_owned())),
                // A subject that is not there yet has nothing to be compatible with.
                Err(error) if error.to_string().contains("40401") || error.to_string().contains("404") => (true, None),
                Err(source) => return Err(sorted(url, &subject, source)),
            };
            reports.push(RegistryReport { subject, compatible, reason });
        }
        Ok(reports)
    }
}

fn settings(url: &str) -> Result<SrSettings, RegistryError> {
    let mut builder = SrSettings::new_builder(url.trim_end_matches('/').to_owned());
    let built = builder.set_timeout(CALL_TIMEOUT).build();
    built.map_err(|source| RegistryError::Unreachable { url: url.to_owned(), source })
}

fn supplied(known: &schemas::Known) -> SuppliedSchema {
    SuppliedSchema::new(Some(known.full_name.clone()), SchemaType::Avro, known.kind.text().to_owned())
}

/// A refusal of the registry's is final; silence is not.
fn sorted(url: &str, subject: &str, source: SRCError) -> RegistryError {
    if source.retriable {
        RegistryError::Unreachable { url: url.to_owned(), source }
    } else {
        RegistryError::Incompatible { subject: subject.to_owned(), source }
    }
}
