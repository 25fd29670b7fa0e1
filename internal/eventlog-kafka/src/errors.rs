//! Every error of Kafka, sorted once by what a caller does about it.

use eventlog::{AppendError, CommitError, LogError};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What an error of Kafka means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It passes: back off and try again.
    Transient,
    /// Trying again will not help.
    Broken,
    /// There is no such topic or partition.
    NoTopic,
    /// The record is too large.
    TooLarge,
    /// The offset is not there.
    OutOfRange,
    /// The member is not, or no longer, who may do this.
    Fenced,
    /// Not acknowledged in time.
    TimedOut,
    /// Not taken: the queue is full.
    QueueFull,
}

/// Sorts an error by its code; one without a code is of the client itself.
pub(crate) fn kind_of(error: &KafkaError) -> Kind {
    error.rdkafka_error_code().map_or(Kind::Broken, kind)
}

/// The one place where codes are sorted. Codes that are not named pass by default: a consumer that backs off loses
/// nothing, one that stops needs a person.
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

/// A record that the producer did not take, or whose delivery failed, other than by a fatal error.
pub(crate) fn append_error(topic: &str, error: KafkaError) -> AppendError {
    match kind_of(&error) {
        Kind::NoTopic => AppendError::NoTopic(topic.to_owned()),
        Kind::TooLarge => AppendError::TooLarge,
        Kind::QueueFull => AppendError::Busy,
        Kind::TimedOut | Kind::Transient => AppendError::Unknown,
        Kind::Broken | Kind::OutOfRange | Kind::Fenced => AppendError::Fatal(Box::new(error)),
    }
}

/// A transient failure in words of our own.
pub(crate) fn transient(what: impl Into<Cause>) -> LogError {
    LogError::Transient(what.into())
}

/// A lasting failure in words of our own.
pub(crate) fn broken(what: impl Into<Cause>) -> LogError {
    LogError::Broken(what.into())
}
