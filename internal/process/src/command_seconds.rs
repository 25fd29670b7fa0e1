//! The time from a client's command to its answer, over sockets and HTTP alike.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use protocol::ErrorCode;
use tokio::time::Instant;

use crate::{Latency, Metrics};

/// The kind of read marks, which are no commands and are timed like them.
pub const MARK_KIND: &str = "mark";

/// The times of commands, by kind and answer. Cheap to clone; clones share the counts.
#[derive(Debug, Clone)]
pub struct CommandSeconds {
    seconds: Family<Labels, Latency>,
}

/// A command that is not answered yet. Dropping it counts nothing: its client is gone.
#[derive(Debug)]
#[must_use = "a command counts when it is answered"]
pub struct CommandTimer {
    seconds: Family<Labels, Latency>,
    kind: &'static str,
    begun: Instant,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    kind: &'static str,
    answer: &'static str,
}

impl CommandSeconds {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let words = "Time from a command to its answer; a mark's includes the 2 s in which marks are gathered";
        let seconds: Family<Labels, Latency> = metrics.register("command_seconds", words, Family::default());
        // There from the start: alerts tell a process that answered no command yet from one that tells nothing.
        let _ = seconds.get_or_create(&Labels { kind: "send", answer: "ack" });
        Self { seconds }
    }

    /// Begins to measure a command of that kind.
    pub fn begin(&self, kind: &'static str) -> CommandTimer {
        CommandTimer { seconds: self.seconds.clone(), kind, begun: Instant::now() }
    }
}

impl CommandTimer {
    /// The command was answered: with an error of that code, or with an acknowledgement.
    pub fn answered(self, error: Option<ErrorCode>) {
        let answer = match error {
            None => "ack",
            // It may be in the log: the client has to ask, or send it again.
            Some(ErrorCode::Unknown) => "unknown",
            Some(code) if code.status() >= 500 => "failed",
            Some(_) => "refused",
        };
        self.seconds.get_or_create(&Labels { kind: self.kind, answer }).observe(self.begun.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn answers_are_sorted_by_what_they_mean_for_the_client() {
        let metrics = Metrics::new();
        let errors = [None, Some(ErrorCode::Unknown), Some(ErrorCode::Busy), Some(ErrorCode::NotMember)];
        for error in errors {
            let timer = metrics.commands().begin("send");
            tokio::time::advance(std::time::Duration::from_millis(20)).await;
            timer.answered(error);
        }
        let text = metrics.text();
        for answer in ["ack", "unknown", "failed", "refused"] {
            let line = format!("klatsch_command_seconds_bucket{{le=\"0.025\",kind=\"send\",answer=\"{answer}\"}} 1");
            assert!(text.contains(&line), "{line} is not in {text}");
        }
    }
}
