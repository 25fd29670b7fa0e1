//! Command line for real servers: for manual use, and to start one set for all test binaries of a run.
//!
//! ```text
//! servers fetch                               fetch the programs only
//! servers up  [kafka] [cql] [registry]        start them, print how to reach them, stay until Ctrl-C or end of input
//! servers run [kafka] [cql] [registry] -- COMMAND ...
//!                                             start them, run a command with their addresses in its environment,
//!                                             stop them
//! ```
//! Without a server's name, all three are meant. `run` ends with the command's exit code.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use testkit::servers::{self, Cassandra, Kafka, Registry};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::time::Instant;

const USAGE: &str = "usage: servers fetch | up [kafka] [cql] [registry] | run [kafka] [cql] [registry] -- COMMAND ...";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let code = match act(&arguments).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("servers: {error:#}");
            1
        }
    };
    // `exit` instead of a return from `main`: the runtime would wait for the thread that may still read standard
    // input.
    std::process::exit(code)
}

async fn act(arguments: &[String]) -> Result<i32> {
    let Some((verb, rest)) = arguments.split_first() else { bail!(USAGE) };
    match verb.as_str() {
        "fetch" if rest.is_empty() => {
            eprintln!("servers are in {}", servers::fetch_all().await?.display());
            Ok(0)
        }
        "up" => {
            let up = Up::start(rest).await?;
            for (name, value) in up.environment() {
                println!("{name}={value}");
            }
            stay().await?;
            Ok(0)
        }
        "run" => {
            let split = rest.iter().position(|word| word == "--").context(USAGE)?;
            let (names, command) = (&rest[..split], &rest[split + 1..]);
            let (program, command_arguments) = command.split_first().context(USAGE)?;
            let up = Up::start(names).await?;
            let status = Command::new(program)
                .args(command_arguments)
                .envs(up.environment())
                .status()
                .await
                .with_context(|| format!("running {program}"))?;
            // There is no code when a signal ended the command.
            Ok(status.code().unwrap_or(1))
        }
        _ => bail!(USAGE),
    }
}

/// The running servers.
struct Up {
    kafka: Option<Kafka>,
    cql: Option<Cassandra>,
    registry: Option<Registry>,
}

impl Up {
    async fn start(names: &[String]) -> Result<Self> {
        if let Some(unknown) = names.iter().find(|name| !["kafka", "cql", "registry"].contains(&name.as_str())) {
            bail!("no server is called {unknown}; {USAGE}");
        }
        let asked = |name: &str| names.is_empty() || names.iter().any(|asked| asked == name);
        let begun = Instant::now();
        let (kafka, cql, registry) = tokio::try_join!(
            async { if asked("kafka") { Kafka::start().await.map(Some) } else { Ok(None) } },
            async { if asked("cql") { Cassandra::start().await.map(Some) } else { Ok(None) } },
            async { if asked("registry") { Registry::start().await.map(Some) } else { Ok(None) } },
        )?;
        eprintln!("servers ready after {:.1} s", begun.elapsed().as_secs_f64());
        Ok(Self { kafka, cql, registry })
    }

    /// The environment variables that make tests use these servers.
    fn environment(&self) -> Vec<(&'static str, String)> {
        let kafka = self.kafka.as_ref().map(|kafka| (servers::GIVEN_KAFKA, kafka.bootstrap().to_owned()));
        let cql = self.cql.as_ref().map(|cql| (servers::GIVEN_CQL, cql.address().to_owned()));
        let registry = self.registry.as_ref().map(|registry| (servers::GIVEN_REGISTRY, registry.url().to_owned()));
        let wanted = (servers::WANTED, "1".to_owned());
        [Some(wanted), kafka, cql, registry].into_iter().flatten().collect()
    }
}

async fn stay() -> Result<()> {
    let mut input = tokio::io::stdin();
    let mut ignored = [0; 1024];
    loop {
        tokio::select! {
            biased;
            interrupted = tokio::signal::ctrl_c() => return Ok(interrupted?),
            read = input.read(&mut ignored) => if read? == 0 { return Ok(()) },
        }
    }
}
