//! The options of `klatschctl chat`. Their doc comments are the help texts.

use std::path::PathBuf;

use clap::Args;
use domain::ConversationId;
use secret::Secret;

/// The heading of the options with the services' URLs.
const SERVICES: &str = "Which server";

/// The usage of the command, in lines of at most 80 columns, because clap does not wrap usage lines.
const CHAT_USAGE: &str = "klatschctl chat [OPTIONS] --name <NAME>
       <--with <NAME>|--group <TITLE>|--conversation <ID>>";

/// The options of `klatschctl chat`.
#[derive(Debug, Args)]
#[command(override_usage = CHAT_USAGE)]
pub struct ChatArguments {
    /// Base URL of the chat service, and of the other services unless they are given
    #[arg(long, help_heading = SERVICES, env = "KLATSCH_URL", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub(crate) url: String,
    /// Base URL of the user service
    #[arg(long, help_heading = SERVICES, env = "KLATSCH_USERS_URL", value_name = "URL")]
    pub(crate) users_url: Option<String>,
    /// Base URL of the websocket service
    #[arg(long, help_heading = SERVICES, env = "KLATSCH_SOCKET_URL", value_name = "URL")]
    pub(crate) socket_url: Option<String>,
    /// Your name
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// Your password; asked for when it is not given. Others on this machine can see flags: prefer the environment
    #[arg(long, env = "KLATSCH_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    pub(crate) password: Option<Secret>,
    /// Register the account if the name is new
    #[arg(long)]
    pub(crate) register: bool,
    #[command(flatten)]
    pub(crate) target: TargetOptions,
    /// The first members of a new group
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', requires = "group")]
    pub(crate) members: Vec<String>,
    /// How long to wait for a user who has not registered yet, in seconds. By default, 300 at a terminal, else 60
    #[arg(long, value_name = "SECONDS")]
    pub(crate) wait: Option<u64>,
    /// The file in which this device keeps its state; by default one in your configuration folder
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
    /// Show the newest messages, send what is piped in, and end
    #[arg(long)]
    pub(crate) once: bool,
}

/// The conversation to talk in.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct TargetOptions {
    /// Talk with the user of this name
    #[arg(long, value_name = "NAME")]
    pub(crate) with: Option<String>,
    /// Talk in your group with this title; if there is none, it is created
    #[arg(long, value_name = "TITLE")]
    pub(crate) group: Option<String>,
    /// Talk in the conversation with this id
    #[arg(long, value_name = "ID")]
    pub(crate) conversation: Option<ConversationId>,
}
