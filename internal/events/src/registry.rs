//! The client of the schema registry (Confluent's API): registers our schemas and reads their ids.

use std::error::Error;
use std::iter::from_fn;
use std::time::Duration;

use schema_registry_converter::async_impl::schema_registry::{
    SrSettings, get_all_subjects, is_compatible_schema, post_schema,
};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{RawError, SchemaType, SuppliedSchema};

use crate::codec::Codec;
use crate::schemas;

/// The timeout of one call to the registry.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// The registry's own error codes for a missing subject or version. A 404 without one of them does not come from a
/// schema registry.
const NOT_THERE: [u32; 2] = [40401, 40402];
/// Statuses among 400 to 499 that may pass by themselves: request timeout and too many requests.
const PASSING: [u16; 2] = [408, 429];

/// Why the schemas could not be registered.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The registry does not answer, or fails for the moment: retry.
    #[error("the schema registry at {url} is not reachable: {source}")]
    Unreachable {
        /// The registry's address.
        url: String,
        /// The error of the call.
        source: SRCError,
    },
    /// Another kind of server answers at the address.
    #[error("what answers at {url} is no schema registry: {source}; check the address, and its path if it has one")]
    NotOne {
        /// The address.
        url: String,
        /// The error of the call.
        source: SRCError,
    },
    /// The registry has an incompatible schema under that name: the program must not start.
    #[error("the schema registry refuses {subject}: {source}; another system uses the name, or the schema was changed")]
    Incompatible {
        /// The subject.
        subject: String,
        /// The error of the call.
        source: SRCError,
    },
}

/// One schema, as the registry sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryReport {
    /// The record's full name.
    pub subject: String,
    /// Whether our schema can be registered under that name.
    pub compatible: bool,
    /// The reason why not, in words.
    pub reason: Option<String>,
}

impl Codec {
    /// Registers every schema (one that is registered already keeps its id) and returns the codec that writes
    /// those ids.
    ///
    /// # Errors
    /// [`RegistryError::Unreachable`] is worth a retry, the others are not.
    pub async fn register(url: &str) -> Result<Self, RegistryError> {
        let settings = settings(url)?;
        let mut ids = Vec::new();
        for known in schemas::all() {
            let registered = post_schema(&settings, known.full_name.clone(), supplied(known)).await;
            ids.push(registered.map_err(|source| sorted(url, &known.full_name, source))?.id);
        }
        Ok(Self::with_ids(ids))
    }

    /// Checks every schema against the registry without registering any.
    ///
    /// # Errors
    /// When the registry does not answer, or another kind of server does.
    pub async fn check(url: &str) -> Result<Vec<RegistryReport>, RegistryError> {
        let settings = settings(url)?;
        // Every schema registry answers this call, and hardly any other server does.
        get_all_subjects(&settings).await.map_err(|source| match refusal(&source) {
            Some(_) => RegistryError::NotOne { url: url.to_owned(), source },
            None => RegistryError::Unreachable { url: url.to_owned(), source },
        })?;
        let mut reports = Vec::new();
        for known in schemas::all() {
            let subject = known.full_name.clone();
            let (compatible, reason) = match is_compatible_schema(&settings, subject.clone(), supplied(known)).await {
                Ok(true) => (true, None),
                Ok(false) => (false, Some("not compatible with the registered version".to_owned())),
                // A subject that does not exist yet is compatible with every schema.
                Err(error) if code(&error).is_some_and(|code| NOT_THERE.contains(&code)) => (true, None),
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

/// Sorts the error of a failed call about a subject.
fn sorted(url: &str, subject: &str, source: SRCError) -> RegistryError {
    match refusal(&source) {
        Some(Refusal::OfARegistry) => RegistryError::Incompatible { subject: subject.to_owned(), source },
        Some(Refusal::OfAnother) => RegistryError::NotOne { url: url.to_owned(), source },
        None => RegistryError::Unreachable { url: url.to_owned(), source },
    }
}

/// An error that a retry would meet again, by the kind of server that gave it.
enum Refusal {
    OfARegistry,
    OfAnother,
}

/// The refusal in the error; `None` when it is transient: no answer, or a registry that fails or is overloaded.
fn refusal(error: &SRCError) -> Option<Refusal> {
    match status(error) {
        Some(404) if code(error).is_none_or(|code| !NOT_THERE.contains(&code)) => Some(Refusal::OfAnother),
        Some(status) if (400..500).contains(&status) && !PASSING.contains(&status) => Some(Refusal::OfARegistry),
        Some(_) => None,
        // A complete answer that is not in the registry's format.
        None => causes(error).any(|cause| cause.is::<serde_json::Error>()).then_some(Refusal::OfAnother),
    }
}

/// The HTTP status of the answer, parsed from the library's error text, which is all that the library keeps of it.
fn status(error: &SRCError) -> Option<u16> {
    let (_, status) = error.error.split_once(" failed with status ")?;
    status.split(' ').next()?.parse().ok()
}

/// The registry's error code; `None` when the body is not a registry's.
fn code(error: &SRCError) -> Option<u32> {
    causes(error).find_map(|cause| cause.downcast_ref::<RawError>()).map(|raw| raw.error_code)
}

fn causes(error: &SRCError) -> impl Iterator<Item = &(dyn Error + 'static)> {
    let mut next = error.source();
    from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}
