//! Sorts the errors of Kafka by what a caller does about them.

use eventlog::{AppendError, CommitError, LogError};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The meaning of an error of Kafka for its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It passes: back off and retry.
    Transient,
    /// A retry will not help.
    Broken,
    /// The topic or partition does not exist.
    NoTopic,
    /// The record is too large.
    TooLarge,
    /// The offset does not exist.
    OutOfRange,
    /// The client is not, or no longer, allowed to do this as a member.
    Fenced,
    /// Not acknowledged in time.
    TimedOut,
    /// Not accepted: the queue is full.
    QueueFull,
}

/// Sorts an error by its code; an error without one comes from the client itself.
pub(crate) fn kind_of(error: &KafkaError) -> Kind {
    error.rdkafka_error_code().map_or(Kind::Broken, kind)
}

/// The only place that sorts codes. Codes that are not listed count as transient: a consumer that backs off loses
/// nothing, whereas one that stops needs an operator.
pub(crate) fn kind(code: RDKafkaErrorCode) -> Kind {
    use RDKafkaErrorCode as Code;
    match code {
        Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicOrPartition | Code::InvalidTopic => {
            Kind::NoTopic
        }
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize => Kind::TooLarge,
        Code::OffsetOutOfRange | Code::AutoOffsetReset | Code::NoOffset => Kind::OutOfRange,
        Code::IllegalGeneration
        | Code::UnknownMemberId
        | Code::FencedInstanceId
        | Code::Fenced
        | Code::AssignmentLost
        | Code::NonEmptyGroup
        | Code::FencedMemberEpoch
        | Code::StaleMemberEpoch
        | Code::UnreleasedInstanceId => Kind::Fenced,
        Code::MessageTimedOut => Kind::TimedOut,
        Code::QueueFull => Kind::QueueFull,
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState
        | Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::InvalidArgument
        | Code::InvalidConfig
        | Code::InvalidGroupId
        | Code::InvalidSessionTimeout
        | Code::InvalidPartitions
        | Code::InvalidReplicationFactor
        | Code::InvalidReplicaAssignment
        | Code::InvalidRequest
        | Code::InvalidRecord
        | Code::InvalidMessage
        | Code::InvalidTimestamp
        | Code::InvalidRequiredAcks
        | Code::InvalidCommitOffsetSize
        | Code::InconsistentGroupProtocol
        | Code::OffsetMetadataTooLarge
        | Code::PolicyViolation
        | Code::SecurityDisabled
        | Code::UnsupportedVersion
        | Code::UnsupportedFeature
        | Code::UnsupportedForMessageFormat
        | Code::UnsupportedCompressionType
        | Code::NotImplemented
        | Code::NotConfigured
        | Code::UnknownProtocol
        | Code::CriticalSystemResource
        | Code::LogTruncation
        | Code::Fatal => Kind::Broken,
        _ => Kind::Transient,
    }
}

/// A failed request about `topic`.
pub(crate) fn log_error(topic: &str, error: KafkaError) -> LogError {
    match kind_of(&error) {
        Kind::NoTopic => LogError::NoTopic(topic.to_owned()),
        Kind::Transient | Kind::TimedOut | Kind::QueueFull => LogError::Transient(Box::new(error)),
        Kind::Broken | Kind::TooLarge | Kind::OutOfRange | Kind::Fenced => LogError::Broken(Box::new(error)),
    }
}

/// A failed commit.
pub(crate) fn commit_error(error: KafkaError) -> CommitError {
    match kind_of(&error) {
        Kind::Fenced => CommitError::Fenced,
        Kind::Transient | Kind::TimedOut | Kind::QueueFull => CommitError::Transient(Box::new(error)),
        Kind::Broken | Kind::NoTopic | Kind::TooLarge | Kind::OutOfRange => CommitError::Broken(Box::new(error)),
    }
}

/// The error of a record that the producer did not accept or could not deliver, other than a fatal error.
pub(crate) fn append_error(topic: &str, error: KafkaError) -> AppendError {
    match kind_of(&error) {
        Kind::NoTopic => AppendError::NoTopic(topic.to_owned()),
        Kind::TooLarge => AppendError::TooLarge,
        Kind::QueueFull => AppendError::Busy,
        Kind::TimedOut | Kind::Transient => AppendError::Unknown,
        Kind::Broken | Kind::OutOfRange | Kind::Fenced => AppendError::Fatal(Box::new(error)),
    }
}

/// A transient error with a message of our own.
pub(crate) fn transient(what: impl Into<Cause>) -> LogError {
    LogError::Transient(what.into())
}

/// A permanent error with a message of our own.
pub(crate) fn broken(what: impl Into<Cause>) -> LogError {
    LogError::Broken(what.into())
}
