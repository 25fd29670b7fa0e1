//! The schema registry (Confluent's API): registers our schemas and learns their ids.

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

/// How long one call to the registry may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// The registry's own codes for a subject, or a version of one, that is not there. A plain 404 is no word of a
/// registry's.
const NOT_THERE: [u32; 2] = [40401, 40402];
/// Statuses among 400 to 499 that are no verdict: it took too long, or too many ask.
const PASSING: [u16; 2] = [408, 429];

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
    /// Something else answers there.
    #[error("what answers at {url} is no schema registry: {source}; check the address, and its path if it has one")]
    NotOne {
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
    /// [`RegistryError::Unreachable`] is worth another try, the others are not.
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
    /// When the registry does not answer, or is none.
    pub async fn check(url: &str) -> Result<Vec<RegistryReport>, RegistryError> {
        let settings = settings(url)?;
        // Every registry can answer this, and nothing else is likely to.
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
                // A subject that is not there yet has nothing to be compatible with.
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

/// What a failed call about a subject comes to.
fn sorted(url: &str, subject: &str, source: SRCError) -> RegistryError {
    match refusal(&source) {
        Some(Refusal::OfARegistry) => RegistryError::Incompatible { subject: subject.to_owned(), source },
        Some(Refusal::OfAnother) => RegistryError::NotOne { url: url.to_owned(), source },
        None => RegistryError::Unreachable { url: url.to_owned(), source },
    }
}

/// An answer that stays the same however often one asks.
enum Refusal {
    OfARegistry,
    OfAnother,
}

/// Silence, and a registry that fails or is too busy, are no refusal: that passes.
fn refusal(error: &SRCError) -> Option<Refusal> {
    match status(error) {
        Some(404) if code(error).is_none_or(|code| !NOT_THERE.contains(&code)) => Some(Refusal::OfAnother),
        Some(status) if (400..500).contains(&status) && !PASSING.contains(&status) => Some(Refusal::OfARegistry),
        Some(_) => None,
        // A whole answer, and not in the form that a registry's has.
        None => causes(error).any(|cause| cause.is::<serde_json::Error>()).then_some(Refusal::OfAnother),
    }
}

/// The HTTP status of the answer, of which the library keeps the text only.
fn status(error: &SRCError) -> Option<u16> {
    let (_, status) = error.error.split_once(" failed with status ")?;
    status.split(' ').next()?.parse().ok()
}

/// The registry's code for what is wrong; a body that is not a registry's has none.
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
