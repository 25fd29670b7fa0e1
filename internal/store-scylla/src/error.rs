//! The driver's errors, sorted by what a caller does about them.
//!
//! The driver's enums are non-exhaustive, so each match ends with an arm for variants of later drivers: they count
//! as broken, which stops a program with a clear error and never skips anything.

use scylla::errors::{DbError, ExecutionError, PrepareError, RequestAttemptError, SchemaAgreementError};

/// The meaning of an error for its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sorted {
    /// Back off and retry.
    Transient,
    /// A table or keyspace is missing: not migrated, or dropped meanwhile.
    Missing,
    /// A retry will not help.
    Broken,
}

/// An answer that does not fit our statements.
#[derive(Debug, thiserror::Error)]
#[error("the server's answer cannot be read")]
pub(crate) struct Unreadable(#[source] pub(crate) Box<dyn std::error::Error + Send + Sync>);

pub(crate) fn of_execution(error: &ExecutionError) -> Sorted {
    match error {
        ExecutionError::LastAttemptError(error) => of_attempt(error),
        ExecutionError::PrepareError(error) => of_prepare(error),
        // No node is known, or none has a connection: that passes.
        ExecutionError::EmptyPlan
        | ExecutionError::ConnectionPoolError(_)
        | ExecutionError::RequestTimeout(_)
        | ExecutionError::MetadataError(_) => Sorted::Transient,
        ExecutionError::SchemaAgreementError(error) => of_agreement(error),
        ExecutionError::BadQuery(_) | ExecutionError::UseKeyspaceError(_) => Sorted::Broken,
        _ => Sorted::Broken,
    }
}

pub(crate) fn of_prepare(error: &PrepareError) -> Sorted {
    match error {
        PrepareError::ConnectionPoolError(_) => Sorted::Transient,
        PrepareError::AllAttemptsFailed { first_attempt } => of_attempt(first_attempt),
        PrepareError::PreparedStatementIdsMismatch => Sorted::Broken,
        _ => Sorted::Broken,
    }
}

pub(crate) fn of_agreement(error: &SchemaAgreementError) -> Sorted {
    match error {
        SchemaAgreementError::RequestError(error) => of_attempt(error),
        SchemaAgreementError::PrepareError(error) => of_prepare(error),
        SchemaAgreementError::ConnectionPoolError(_)
        | SchemaAgreementError::Timeout(_)
        | SchemaAgreementError::RequiredHostAbsent(_) => Sorted::Transient,
        _ => Sorted::Broken,
    }
}

fn of_attempt(error: &RequestAttemptError) -> Sorted {
    match error {
        RequestAttemptError::DbError(error, message) => of_server(error, message),
        RequestAttemptError::UnableToAllocStreamId | RequestAttemptError::BrokenConnectionError(_) => Sorted::Transient,
        // A table was changed under a prepared statement, or driver and server do not speak the same protocol.
        RequestAttemptError::SerializationError(_)
        | RequestAttemptError::CqlRequestSerialization(_)
        | RequestAttemptError::BodyExtensionsParseError(_)
        | RequestAttemptError::CqlResultParseError(_)
        | RequestAttemptError::CqlErrorParseError(_)
        | RequestAttemptError::UnexpectedResponse(_)
        | RequestAttemptError::RepreparedIdChanged { .. }
        | RequestAttemptError::RepreparedIdMissingInBatch
        | RequestAttemptError::NonfinishedPagingState => Sorted::Broken,
        _ => Sorted::Broken,
    }
}

fn of_server(error: &DbError, message: &str) -> Sorted {
    match error {
        DbError::Unavailable { .. }
        | DbError::Overloaded
        | DbError::IsBootstrapping
        | DbError::TruncateError
        | DbError::ReadTimeout { .. }
        | DbError::WriteTimeout { .. }
        | DbError::ReadFailure { .. }
        | DbError::WriteFailure { .. }
        | DbError::RateLimitReached { .. }
        // The driver re-prepares by itself: this is a server that drops statements faster than that.
        | DbError::Unprepared { .. }
        // A bug of the server, which another attempt may not meet.
        | DbError::ServerError => Sorted::Transient,
        DbError::Invalid | DbError::ConfigError => of_invalid(message),
        DbError::SyntaxError
        | DbError::AlreadyExists { .. }
        | DbError::FunctionFailure { .. }
        | DbError::AuthenticationError
        | DbError::Unauthorized
        | DbError::ProtocolError
        | DbError::Other(_) => Sorted::Broken,
        _ => Sorted::Broken,
    }
}

/// Only the text distinguishes them: "unconfigured table x", "table x does not exist", "Keyspace 'x' does not
/// exist".
fn of_invalid(message: &str) -> Sorted {
    let message = message.to_ascii_lowercase();
    let absent = [
        "unconfigured",
        "does not exist",
        "no keyspace",
        "can't find a keyspace",
        "unknown keyspace",
        "undefined column",
        "unrecognized name",
    ];
    if absent.iter().any(|said| message.contains(said)) { Sorted::Missing } else { Sorted::Broken }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invalid(message: &str) -> ExecutionError {
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(DbError::Invalid, message.to_owned()))
    }

    #[test]
    fn a_missing_table_is_told_from_a_wrong_statement() {
        for said in ["unconfigured table heads", "table heads does not exist", "Keyspace 'k_i1' does not exist"] {
            assert_eq!(of_execution(&invalid(said)), Sorted::Missing, "{said}");
        }
        assert_eq!(of_execution(&invalid("Invalid amount of bind variables")), Sorted::Broken);
    }

    #[test]
    fn what_may_pass_is_transient() {
        for error in [DbError::Overloaded, DbError::ServerError, DbError::IsBootstrapping] {
            let error = ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, String::new()));
            assert_eq!(of_execution(&error), Sorted::Transient);
        }
        assert_eq!(of_execution(&ExecutionError::EmptyPlan), Sorted::Transient);
    }
}
