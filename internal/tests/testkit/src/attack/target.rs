//! The server that is attacked: a `klatsch` started for it, or one that runs already.

use std::fs;
use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};

use super::memory;
use crate::device::Endpoints;
use crate::programs::Single;

/// The options of the command line.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// URL of a server that runs already, to be attacked instead of one started here.
    pub url: Option<String>,
    /// How many connections, messages or other units the attack uses, instead of its default.
    pub count: Option<usize>,
}

/// The attacked server. Dropping it stops what was started here.
#[derive(Debug)]
pub struct Target {
    single: Option<Single>,
    address: SocketAddr,
}

impl Target {
    /// The server at the given URL, or a new `klatsch` with these limits (shell commands such as `ulimit -Sn 1024`)
    /// and arguments.
    ///
    /// # Errors
    /// When the server does not start, or its address is not on the loopback.
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

    /// The address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URLs that devices use.
    #[must_use]
    pub fn endpoints(&self) -> Endpoints {
        let url = format!("http://{}", self.address);
        Endpoints { users: url.clone(), chat: vec![url.clone()], sockets: vec![url] }
    }

    /// Memory in use of the server, in MiB; `None` when it was not started here.
    #[must_use]
    pub fn resident_mib(&self) -> Option<u64> {
        Some(memory::resident_kib(self.pid()?)? / 1024)
    }

    /// Peak of the memory in use, in MiB; `None` when it was not started here.
    #[must_use]
    pub fn peak_mib(&self) -> Option<u64> {
        Some(memory::peak_kib(self.pid()?)? / 1024)
    }

    /// The number of open descriptors; `None` when it was not started here.
    #[must_use]
    pub fn descriptors(&self) -> Option<usize> {
        let pid = self.pid()?;
        Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
    }

    /// Fails when the server has ended.
    ///
    /// # Errors
    /// When it has ended: the error holds the end of its log.
    pub fn alive(&mut self) -> Result<()> {
        let Some(single) = &mut self.single else { return Ok(()) };
        let ended = single.program.has_ended()?;
        ensure!(ended.is_none(), "klatsch ended with {ended:?}; its log ends:\n{}", single.program.log_tail());
        Ok(())
    }

    /// The program, when it was started here: for what only its operator can do, such as stopping it.
    pub fn single(&mut self) -> Option<&mut Single> {
        self.single.as_mut()
    }

    fn pid(&self) -> Option<u32> {
        self.single.as_ref()?.program.pid()
    }
}
