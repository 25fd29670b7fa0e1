//! The operators' commands and their options. The doc comments are the help texts. Parsed commands travel to a running
//! `klatsch` as JSON: unknown names are refused there, so that no option is ever overlooked.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use axum::http::Uri;
use clap::{Args, Subcommand};
use domain::ConversationId;
use serde::{Deserialize, Serialize};

/// The heading of the options that choose what an audit covers.
const PORTION: &str = "What is looked at";
const REPORT: &str = "What is told";

/// The operators' commands.
#[derive(Debug, Subcommand, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Command {
    /// Topics: what must be there, and putting it in place
    #[command(subcommand)]
    Topics(TopicsCommand),
    /// Schemas and the registry
    #[command(subcommand)]
    Schemas(SchemasCommand),
    /// Make the tables, or bring them up to date; what is there stays
    Migrate,
    /// Apply the log to the store again
    #[command(subcommand)]
    Replay(ReplayCommand),
    /// The rows that are served, and those built beside them or served before
    #[command(subcommand)]
    Incarnations(IncarnationsCommand),
    /// Digests of the log-derived tables, to compare stores (the first half of each; `--json` has all of it)
    Checksum(ChecksumOptions),
    /// Compare what was accepted with what is stored and delivered; only reads. Exit 1 when something differs
    Audit(AuditOptions),
    /// Conversations that wait for an upgrade
    #[command(subcommand)]
    Holds(HoldsCommand),
    /// Where the consumer groups stand
    #[command(subcommand)]
    Groups(GroupsCommand),
    /// What is reachable, what is misconfigured, how far everything has come. Exit 1 when something does not work, such
    /// as a server that does not answer
    Doctor(DoctorOptions),
    /// Show records of a topic, decoded, one JSON object to a line
    Tail(TailOptions),
}

impl Command {
    /// The name of the command, for a log line: none of its arguments.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Topics(_) => "topics",
            Self::Schemas(_) => "schemas",
            Self::Migrate => "migrate",
            Self::Replay(_) => "replay",
            Self::Incarnations(_) => "incarnations",
            Self::Checksum(_) => "checksum",
            Self::Audit(_) => "audit",
            Self::Holds(_) => "holds",
            Self::Groups(_) => "groups",
            Self::Doctor(_) => "doctor",
            Self::Tail(_) => "tail",
        }
    }

    /// Whether the command works on the engines; the others only ask the registry.
    #[must_use]
    pub fn needs_engines(&self) -> bool {
        !matches!(self, Self::Schemas(_))
    }

    /// The files that the command reads through its [`crate::Output`].
    #[must_use]
    pub fn reads(&self) -> Vec<&Path> {
        let file = match self {
            Self::Checksum(options) => &options.compare,
            Self::Audit(options) => &options.state,
            _ => &None,
        };
        file.as_deref().into_iter().collect()
    }

    /// The files that the command replaces through its [`crate::Output`].
    #[must_use]
    pub fn replaces(&self) -> Vec<&Path> {
        let Self::Audit(options) = self else { return Vec::new() };
        options.state.as_deref().into_iter().chain(options.metrics.as_deref()).collect()
    }

    /// Makes the paths of its files absolute, because the command may run in another process.
    pub(crate) fn with_whole_paths(mut self) -> Self {
        if let Self::Doctor(DoctorOptions { jwks: Some(jwks), .. }) = &mut self
            && !jwks.contains("://")
            && let Ok(path) = std::path::absolute(&*jwks)
        {
            *jwks = path.to_string_lossy().into_owned();
        }
        self
    }
}

#[derive(Debug, Subcommand, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum TopicsCommand {
    /// Put in place what is missing
    Apply {
        /// Do it; without, only say what would be done
        #[arg(long)]
        yes: bool,
    },
    /// Whether everything is in place
    Check,
}

#[derive(Debug, Clone, Copy, Subcommand, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum SchemasCommand {
    /// Whether the registry would take our schemas
    Check,
    /// Register our schemas; those that are there already keep their ids
    Register,
}

#[derive(Debug, Subcommand, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum ReplayCommand {
    /// Rows from events, as the storage consumer makes them
    Storage(ReplayOptions),
}

#[derive(Debug, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayOptions {
    /// Everything; --into-new-incarnation is always that
    #[arg(
        long,
        conflicts_with_all = ["partition", "from_offset"],
        required_unless_present_any = ["partition", "into_new_incarnation"]
    )]
    pub(crate) from_start: bool,
    /// One partition of chat.messages
    #[arg(long, value_name = "P", requires = "from_offset")]
    pub(crate) partition: Option<u32>,
    /// From this offset on
    #[arg(long, value_name = "N", requires = "partition")]
    pub(crate) from_offset: Option<u64>,
    /// Build every row anew beside the served ones, compare both, then serve the new ones. Killed anywhere, nothing
    /// that is served has changed, and the same command goes on
    #[arg(long)]
    pub(crate) into_new_incarnation: bool,
    /// Do it; without, only say what would be done
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Subcommand, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum IncarnationsCommand {
    /// All incarnations, and which is current
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Bring one up to what is served, then serve it; one that was never current is compared first
    Switch {
        /// The incarnation
        number: u32,
        /// Do it; without, only say what would be done
        #[arg(long)]
        yes: bool,
    },
    /// Switch to the one that was current before: what it lacks is applied first, so nothing is lost
    Back {
        /// Do it; without, only say what would be done
        #[arg(long)]
        yes: bool,
    },
    /// Give one up that is not current, with all its rows
    Drop {
        /// The incarnation
        number: u32,
        /// Do it; without, only say what would be done
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChecksumOptions {
    /// Only this table
    #[arg(long, value_name = "NAME")]
    pub(crate) table: Option<String>,
    /// As JSON, which --compare reads
    #[arg(long)]
    pub(crate) json: bool,
    /// Compare with what an earlier 'checksum --json' wrote; exit 1 when they differ
    #[arg(long, value_name = "FILE")]
    pub(crate) compare: Option<PathBuf>,
}

#[derive(Debug, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditOptions {
    /// Only these partitions of chat.messages
    #[arg(long, help_heading = PORTION, value_name = "P,...", value_delimiter = ',')]
    pub(crate) partition: Vec<u32>,
    /// Begin here, in these partitions: as an audit prints it at its end. Without: with the oldest record of each
    #[arg(long, help_heading = PORTION, value_name = "P:OFFSET,...", conflicts_with_all = ["partition", "state"])]
    pub(crate) from: Option<String>,
    /// End before this offset of each partition
    #[arg(long, help_heading = PORTION, value_name = "N", conflicts_with = "follow")]
    pub(crate) to: Option<u64>,
    /// Keep in this file how far the audit has come, and go on from there
    #[arg(long, help_heading = PORTION, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
    /// Only so many of a hundred conversations, chosen by their ids
    #[arg(long, help_heading = PORTION, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100), conflicts_with = "conversation")]
    pub(crate) sample: Option<u8>,
    /// Only these conversations
    #[arg(long, help_heading = PORTION, value_name = "ID,...", value_delimiter = ',')]
    pub(crate) conversation: Vec<ConversationId>,
    /// Records that are read from the log in a second, at most; 0: as many as can be
    #[arg(long, value_name = "N", default_value_t = 2000)]
    pub(crate) rate: u32,
    /// Go on as the log grows, until stopped
    #[arg(long)]
    pub(crate) follow: bool,
    /// Keep the result in this file, as metrics in Prometheus' text format
    #[arg(long, help_heading = REPORT, value_name = "FILE")]
    pub(crate) metrics: Option<PathBuf>,
    /// Serve the result as metrics on /metrics of this address
    #[arg(long, help_heading = REPORT, value_name = "HOST:PORT", requires = "follow")]
    pub(crate) listen: Option<SocketAddr>,
    /// Differences and the result as JSON, one object to a line
    #[arg(long, help_heading = REPORT)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum HoldsCommand {
    /// Every conversation that is held
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// One conversation: its rows, and the event that it waits at
    Show {
        /// The conversation
        #[arg(value_name = "ID")]
        conversation: ConversationId,
    },
    /// Have a conversation tried again
    Redrive {
        /// The conversation
        #[arg(value_name = "ID")]
        conversation: ConversationId,
    },
    /// Drop the event that a conversation is held at: nobody will ever read it, in no replay either
    Drop(DropOptions),
    /// Every event that was dropped
    Dropped,
}

#[derive(Debug, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DropOptions {
    /// The conversation
    #[arg(value_name = "ID")]
    pub(crate) conversation: ConversationId,
    /// The event's seq, as 'holds show' prints it
    #[arg(long, value_name = "SEQ")]
    pub(crate) at: u64,
    /// Who you are; it is kept
    #[arg(long, value_name = "NAME")]
    pub(crate) by: String,
    /// Why; it is kept
    #[arg(long, value_name = "TEXT")]
    pub(crate) why: String,
    /// Do it; without, only say what would be done
    #[arg(long)]
    pub(crate) i_know_that_no_upgrade_will_ever_read_it: bool,
}

#[derive(Debug, Subcommand, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum GroupsCommand {
    /// Every group's position in every partition
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Say where the fan-out goes on, when its commit was lost; it must not be running
    Set {
        /// The topic
        topic: String,
        /// The partition
        partition: u32,
        /// The next offset to work on
        offset: u64,
        /// Do it; without, only say what it would mean
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DoctorOptions {
    /// Base URLs of services, to ask whether they are ready
    #[arg(long, value_name = "URL,...", value_delimiter = ',', value_parser = base_url)]
    pub(crate) url: Vec<String>,
    /// Where the user service publishes its keys
    #[arg(long, env = "KLATSCH_JWKS", value_name = "URL|PATH")]
    pub(crate) jwks: Option<String>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TailOptions {
    /// The topic
    pub(crate) topic: String,
    /// Only this partition
    #[arg(long, value_name = "P")]
    pub(crate) partition: Option<u32>,
    /// Where to begin: 'start', an offset, or '-N' for the last N of each partition
    #[arg(long, value_name = "PLACE", default_value = "-10", allow_hyphen_values = true)]
    pub(crate) from: String,
    /// Go on as records come
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Show what people said, too
    #[arg(long)]
    pub(crate) bodies: bool,
}

/// Parses the base URL of a server.
///
/// # Errors
/// When it is no such URL.
pub fn base_url(text: &str) -> Result<String, String> {
    let url = text.parse::<Uri>().ok().filter(|url| matches!(url.scheme_str(), Some("http" | "https")));
    match url.as_ref().and_then(Uri::host) {
        Some(host) if !host.is_empty() => Ok(text.to_owned()),
        _ => Err("it is no base URL like http://127.0.0.1:8080".into()),
    }
}
