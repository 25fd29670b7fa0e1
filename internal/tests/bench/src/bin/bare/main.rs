//! The floors: the same work as the programs do, by the bare drivers and nothing else. Started by `bench`.
//!
//! ```text
//! bare rows FOLDER SENDERS SECONDS RATE      the storage engine alone
//! bare store ADDRESS KEYSPACE MESSAGES CONVERSATIONS
//!                                            the rows of messages to the store
//! bare consume                               all records of `chat.messages`
//! bare deliveries --listen ADDRESS           records of `chat.deliveries` to sockets
//! bare talk --listen ADDRESS                 from sockets to the first topic of two, from the second one to sockets
//! bare hop --listen ADDRESS                  from the first topic to the second one
//! ```
//! `KLATSCH_KAFKA` is in the environment. Each answers `/readyz` at its address.

mod consume;
mod deliveries;
mod kafka;
mod rows;
mod sockets;
mod store;
mod two_hops;

use anyhow::{Result, bail};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["rows", folder, senders, seconds, rate] => {
            rows::run(folder.as_ref(), senders.parse()?, seconds.parse()?, rate.parse()?).await
        }
        ["store", address, keyspace, messages, conversations] => {
            store::run(address, keyspace, messages.parse()?, conversations.parse()?).await
        }
        ["consume"] => consume::run(),
        ["deliveries", "--listen", address, ..] => deliveries::run(TcpListener::bind(address).await?).await,
        ["talk", "--listen", address, ..] => two_hops::talk(TcpListener::bind(address).await?).await,
        ["hop", "--listen", address, ..] => two_hops::hop(TcpListener::bind(address).await?).await,
        _ => bail!("started by bench"),
    }
}
