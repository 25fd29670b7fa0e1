//! librdkafka's log lines, and the errors that it recovers from by itself.

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

use crate::statistics::ReaderLooks;

/// Passes them on to our own log, and statistics to their observer, if the client makes any.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    pub(crate) looks: Option<ReaderLooks>,
}

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka client error");
    }

    fn stats_raw(&self, statistics: &[u8]) {
        if let Some(looks) = &self.looks {
            looks.look(statistics);
        }
    }
}

impl ConsumerContext for Quiet {}

/// Logs librdkafka's lines one level lower: it warns of every connection that it then re-opens by itself.
pub(crate) fn log_line(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(facility, message, "librdkafka");
        }
        RDKafkaLogLevel::Error => tracing::warn!(facility, message, "librdkafka"),
        RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => tracing::info!(facility, message, "librdkafka"),
        RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => tracing::debug!(facility, message, "librdkafka"),
    }
}
