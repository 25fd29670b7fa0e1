//! The options of `klatschctl chat`. The doc comments are the help texts.

use std::path::PathBuf;

use clap::Args;
use domain::ConversationId;
use secret::Secret;

/// Over the options that say where the services are.
const SERVICES: &str = "Which server";

/// How the chat is called, in lines of at most 80 columns, which clap does not break.
const CHAT_USAGE: &str = "klatschctl chat [OPTIONS] --name <NAME>
       <--with <NAME>|--group <TITLE>|--conversation <ID>>";

/// What `klatschctl chat` is told.
#[derive(Debug, Args)]
#[command(override_usage = CHAT_USAGE)]
pub struct ChatArguments {
    /// Base URL of the chat service, and of the others unless they are named
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
    /// Make the account if the name is new
    #[arg(long)]
    pub(crate) register: bool,
    #[command(flatten)]
    pub(crate) target: TargetOptions,
    /// Whom to begin a new group with
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', requires = "group")]
    pub(crate) members: Vec<String>,
    /// How long to wait for somebody who has not registered yet, in seconds. Unless named, 300 at a terminal, else 60
    #[arg(long, value_name = "SECONDS")]
    pub(crate) wait: Option<u64>,
    /// Where this device keeps how far it has come; by default a file in your configuration folder
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
    /// Show what there is, send what is piped in, and end
    #[arg(long)]
    pub(crate) once: bool,
}

/// With whom.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct TargetOptions {
    /// Talk with one other
    #[arg(long, value_name = "NAME")]
    pub(crate) with: Option<String>,
    /// Talk in the group of this title; one that you are not in is made
    #[arg(long, value_name = "TITLE")]
    pub(crate) group: Option<String>,
    /// Talk in this conversation
    #[arg(long, value_name = "ID")]
    pub(crate) conversation: Option<ConversationId>,
}
