//! The floors: the same work as the programs do, by the bare drivers and nothing else. Started by `bench`.
//!
//! ```text
//! bare rows FOLDER SENDERS SECONDS RATE      the storage engine alone
//! bare --listen ADDRESS                      deliveries to sockets; KLATSCH_KAFKA is in the environment
//! ```

mod deliveries;
mod rows;

use anyhow::Result;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["rows", folder, senders, seconds, rate] => {
            rows::run(folder.as_ref(), senders.parse()?, seconds.parse()?, rate.parse()?)
        }
        _ => deliveries::run(arguments).await,
    }
}
