//! Command line for the attacks of [`testkit::attack`].
//!
//! ```text
//! attack NAME [--url http://127.0.0.1:PORT] [--count N]
//! ```
//! Starts a `klatsch` of its own unless a URL is given. The exit code is 1 when people were not served or something
//! was lost.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use testkit::attack::{self, ATTACKS, Wishes};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match act(&arguments).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            println!("not as it should be");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("attack: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn act(arguments: &[String]) -> Result<bool> {
    let Some((name, options)) = arguments.split_first() else { bail!(usage()) };
    if !ATTACKS.iter().any(|attack| attack.name == name) {
        bail!(usage());
    }
    let (mut wishes, mut options) = (Wishes::default(), options.iter());
    while let Some(option) = options.next() {
        let value = options.next().with_context(|| format!("{option} needs a value\n{}", usage()))?;
        match option.as_str() {
            "--url" => wishes.url = Some(value.clone()),
            "--count" => wishes.count = Some(value.parse().with_context(|| format!("{value} is no number"))?),
            _ => bail!(usage()),
        }
    }
    // The attackers need many descriptors, too.
    process::descriptors::raise()?;
    attack::run(name, wishes).await
}

fn usage() -> String {
    let lines = ATTACKS.iter().map(|attack| format!("\n  {:<16}{}", attack.name, attack.what));
    format!("usage: attack NAME [--url http://127.0.0.1:PORT] [--count N]; the names:{}", lines.collect::<String>())
}
