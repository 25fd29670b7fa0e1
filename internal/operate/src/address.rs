//! The address of the operators' socket.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

/// Its name in the data folder.
pub const SOCKET: &str = "operators.sock";
/// Bytes of a path that every system takes as a socket's address.
const PATH_BYTES_MAX: usize = 100;

/// An address of the socket in a folder.
pub(crate) struct Address {
    pub(crate) path: PathBuf,
    /// Kept open while the path goes through it.
    _folder: Option<File>,
}

impl Address {
    /// The address in that folder. A path that is too long for an address goes through the folder's descriptor.
    pub(crate) fn of(folder: &Path) -> io::Result<Self> {
        let path = folder.join(SOCKET);
        if path.as_os_str().len() <= PATH_BYTES_MAX {
            return Ok(Self { path, _folder: None });
        }
        let folder = File::open(folder)?;
        let path = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(SOCKET);
        Ok(Self { path, _folder: Some(folder) })
    }
}
