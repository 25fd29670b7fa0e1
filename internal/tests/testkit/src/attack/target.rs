//! What is attacked: a `klatsch` started for it, or one that runs already.

use std::fs;
use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};

use super::memory;
use crate::device::Endpoints;
use crate::programs::Single;

/// What was asked for on the command line.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// A server that runs already, instead of one started for the attack.
    pub url: Option<String>,
    /// How many of whatever the attack consists of, instead of its own number.
    pub count: Option<usize>,
}

/// What is attacked. Dropping it ends what was started.
#[derive(Debug)]
pub struct Target {
    single: Option<Single>,
    address: SocketAddr,
}

impl Target {
    /// The server at the URL, or a `klatsch` with these limits (shell commands such as `ulimit -Sn 1024`) and arguments.
    ///
    /// # Errors
    /// When it does not start, or is not on the loopback.
    pub async fn new(wishes: &Wishes, limits: &'static str, arguments: &[&str]) -> Result<Self> {
        let Some(url) = &wishes.url else {
            let mut single = Single::new().await?;
            single.program.limit(limits);
            single.program.add_arguments(arguments.iter().copied());
            single.program.start().await?;
            let address = single.program.address();
            return Ok(Self { single: Some(single), address });
        };
        let address = url.trim_end_matches('/').strip_prefix("http://").context("the URL begins with http://")?;
        let address = tokio::net::lookup_host(address).await?.next().context("the URL names no address")?;
        ensure!(address.ip().is_loopback(), "only a server on this machine's loopback is attacked, not {address}");
        Ok(Self { single: None, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where devices find it.
    #[must_use]
    pub fn endpoints(&self) -> Endpoints {
        let url = format!("http://{}", self.address);
        Endpoints { users: url.clone(), chat: vec![url.clone()], sockets: vec![url] }
    }

    /// Its memory in use, in MiB; `None` when it was not started here.
    #[must_use]
    pub fn resident_mib(&self) -> Option<u64> {
        Some(memory::resident_kib(self.pid()?)? / 1024)
    }

    /// The most memory that it ever used, in MiB.
    #[must_use]
    pub fn peak_mib(&self) -> Option<u64> {
        Some(memory::peak_kib(self.pid()?)? / 1024)
    }

    /// Its open descriptors.
    #[must_use]
    pub fn descriptors(&self) -> Option<usize> {
        let pid = self.pid()?;
        Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
    }

    /// An error when it has ended.
    ///
    /// # Errors
    /// With the end of its log.
    pub fn alive(&mut self) -> Result<()> {
        let Some(single) = &mut self.single else { return Ok(()) };
        let ended = single.program.has_ended()?;
        ensure!(ended.is_none(), "klatsch ended with {ended:?}; its log ends:\n{}", single.program.log_tail());
        Ok(())
    }

    /// The program, when it was started here: for what only an operator of it can do.
    pub fn single(&mut self) -> Option<&mut Single> {
        self.single.as_mut()
    }

    fn pid(&self) -> Option<u32> {
        self.single.as_ref()?.program.pid()
    }
}
