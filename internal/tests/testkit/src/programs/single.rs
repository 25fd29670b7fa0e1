//! `klatsch`: all services in one process, on the embedded engines.

use std::path::PathBuf;

use anyhow::Result;

use super::program::{Program, Setup};
use crate::device::Endpoints;

/// A `klatsch` with a data folder of its own.
#[derive(Debug)]
pub struct Single {
    /// The process.
    pub program: Program,
}

impl Single {
    /// Prepares a `klatsch` without starting it.
    ///
    /// # Errors
    /// When it cannot be built.
    pub async fn new() -> Result<Self> {
        let mut program = Program::new(Setup { program: "klatsch", ..Setup::default() }).await?;
        let data = program.data();
        program.add_arguments(["--data".into(), data.into_os_string()]);
        Ok(Self { program })
    }

    /// The data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.program.data()
    }

    /// The URLs that devices use.
    #[must_use]
    pub fn endpoints(&self) -> Endpoints {
        let url = self.program.url();
        Endpoints { users: url.clone(), chat: vec![url.clone()], sockets: vec![url] }
    }
}
