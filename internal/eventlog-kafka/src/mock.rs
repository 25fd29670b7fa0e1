//! A broker inside this process, for tests: librdkafka's mock cluster, which answers some requests with errors.
//!
//! It supports groups but no administration: topics are created here, and a program that checks its topics does
//! not start on it. It keeps 5 MiB of each partition. It ignores the sequence numbers of producers without
//! transactions: of two requests in flight it accepts the second although the first has failed, which no real
//! broker does. So use it with [`KafkaConfig::requests_in_flight`](crate::KafkaConfig) of 1.

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use eventlog::LogError;
use events::topics::TopicSpec;

use crate::errors::broken;

/// The mock broker; dropping it ends it.
pub struct MockBroker {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

/// The errors that a broker may answer, by request: during elections, overload, and moves of coordinators.
const ANSWERS: [(RDKafkaApiKey, &[RDKafkaRespErr]); 9] = {
    use RDKafkaRespErr as E;
    const LEADER: E = E::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;
    const UNKNOWN: E = E::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    const TIMED_OUT: E = E::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT;
    const REPLICAS: E = E::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS;
    const MOVED: E = E::RD_KAFKA_RESP_ERR_NOT_COORDINATOR;
    const LOADING: E = E::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS;
    const AWAY: E = E::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE;
    [
        (RDKafkaApiKey::Produce, &[LEADER, TIMED_OUT, REPLICAS]),
        (RDKafkaApiKey::Fetch, &[LEADER, UNKNOWN]),
        (RDKafkaApiKey::ListOffsets, &[LEADER, UNKNOWN]),
        (RDKafkaApiKey::FindCoordinator, &[AWAY]),
        (RDKafkaApiKey::JoinGroup, &[MOVED, LOADING]),
        (RDKafkaApiKey::SyncGroup, &[MOVED]),
        (RDKafkaApiKey::Heartbeat, &[MOVED, AWAY]),
        (RDKafkaApiKey::OffsetFetch, &[MOVED, LOADING]),
        (RDKafkaApiKey::OffsetCommit, &[MOVED, LOADING, TIMED_OUT]),
    ]
};

impl MockBroker {
    /// Starts a broker with these topics.
    ///
    /// # Errors
    /// When librdkafka cannot start it.
    pub fn start<'t>(topics: impl IntoIterator<Item = &'t TopicSpec>) -> Result<Self, LogError> {
        let cluster = MockCluster::new(1).map_err(broken)?;
        for topic in topics {
            let partitions = i32::try_from(topic.partitions).map_err(broken)?;
            cluster.create_topic(&topic.name, partitions, 1).map_err(broken)?;
        }
        Ok(Self { cluster })
    }

    /// The broker's address.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    /// Answers the next `requests` requests of each kind, each with an error when `fails` returns a number for it;
    /// the number selects one of the errors of that kind.
    pub fn trouble(&self, requests: usize, mut fails: impl FnMut() -> Option<usize>) {
        for (kind, errors) in ANSWERS {
            let answer = |()| match fails() {
                Some(which) => errors[which % errors.len()],
                None => RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR,
            };
            let answers: Vec<_> = std::iter::repeat_n((), requests).map(answer).collect();
            self.cluster.request_errors(kind, &answers);
        }
    }

    /// Answers all further requests without errors.
    pub fn calm(&self) {
        ANSWERS.iter().for_each(|(kind, _)| self.cluster.clear_request_errors(*kind));
    }
}
