//! `klatsch`: everything in one process, on the embedded engines in a folder.

use std::path::PathBuf;

use anyhow::Result;

use super::program::{Program, Setup};
use crate::device::Endpoints;

/// A `klatsch` on a folder of its own.
#[derive(Debug)]
pub struct Single {
    /// The process.
    pub program: Program,
}

impl Single {
    /// A `klatsch` that is not started.
    ///
    /// # Errors
    /// When it cannot be built.
    pub async fn new() -> Result<Self> {
        let mut program = Program::new(Setup { program: "klatsch", ..Setup::default() }).await?;
        let data = program.data();
        program.add_arguments(["--data".into(), data.into_os_string()]);
        Ok(Self { program })
    }

    /// The folder of its data.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.program.data()
    }

    /// Where devices find it.
    #[must_use]
    pub fn endpoints(&self) -> Endpoints {
        let url = self.program.url();
        Endpoints { users: url.clone(), chat: vec![url.clone()], sockets: vec![url] }
    }
}
