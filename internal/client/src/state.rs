//! The state that a device keeps between its runs, and the file that holds it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use domain::{CommandId, ConversationId, Cursor, Seq, UserId};
use serde::{Deserialize, Serialize};

use crate::marks::Marks;
use crate::tracked::Tracked;

/// The state of a device. It must be stored as a whole: with a cursor but without the `highest` seqs that belong
/// to it, frames would be shown twice.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceState {
    /// The user of the device.
    pub user: Option<UserId>,
    /// The cursor at which the feed resumes; `None` before the first sync is complete.
    pub cursor: Option<Cursor>,
    /// The filter: the highest feed seq of each conversation.
    pub highest: BTreeMap<ConversationId, Seq>,
    /// Conversations that could not be synced yet. Their frames are not shown: a later sync covers them.
    pub unsynced: BTreeSet<ConversationId>,
    /// Whether the last sync may have omitted conversations: any conversation that is not in `highest` may be
    /// unsynced, too.
    pub incomplete: bool,
    /// Commands whose fate is open, and recently refused ones.
    pub commands: BTreeMap<CommandId, Tracked>,
    /// Read marks that are not acknowledged yet.
    pub(crate) marks: Marks,
}

impl DeviceState {
    /// The count of commands that the user still waits for.
    #[must_use]
    pub fn open_commands(&self) -> usize {
        self.commands.values().filter(|tracked| tracked.is_open()).count()
    }

    /// Whether no read mark waits for its acknowledgement.
    #[must_use]
    pub fn marks_are_acknowledged(&self) -> bool {
        self.marks.is_empty()
    }
}

/// Why a state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// An error of the file system.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, with the path.
        what: String,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The file does not contain a state.
    #[error("{path} is not a state file ({why}): remove it, or name another")]
    NotOne {
        /// The path of the file.
        path: String,
        /// What is wrong with it.
        why: serde_json::Error,
    },
}

/// A file with a device's state. It is locked for as long as this value lives, because two devices must not share
/// a state.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    /// The lock is a file of its own, because the state file is replaced by renaming.
    _lock: File,
}

impl StateFile {
    /// Locks the file, and creates its folder; `None` when another process has locked it.
    ///
    /// # Errors
    /// When the folder or the lock file cannot be made.
    pub fn lock(path: &Path) -> Result<Option<Self>, StateError> {
        let failed =
            |source| StateError::Io { what: format!("the state file {} cannot be used", path.display()), source };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let lock = File::options().create(true).append(true).open(path.with_extension("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Self { path: path.to_owned(), _lock: lock })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// The path of the state file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The state that was saved last; the default when there is none yet.
    ///
    /// # Errors
    /// When the file exists and cannot be read.
    pub fn load(&self) -> Result<DeviceState, StateError> {
        let path = self.path.display();
        match fs::read(&self.path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|why| StateError::NotOne { path: path.to_string(), why })
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(DeviceState::default()),
            Err(source) => Err(StateError::Io { what: format!("the state file {path} cannot be read"), source }),
        }
    }

    /// Replaces the saved state atomically.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, state: &DeviceState) -> Result<(), StateError> {
        let failed = |source| StateError::Io {
            what: format!("the state file {} cannot be written", self.path.display()),
            source,
        };
        let bytes = serde_json::to_vec(state).map_err(|error| failed(error.into()))?;
        let beside = self.path.with_extension("new");
        let mut file = File::create(&beside).map_err(failed)?;
        file.write_all(&bytes).and_then(|()| file.sync_data()).map_err(failed)?;
        fs::rename(&beside, &self.path).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{CommandFrame, CommandKind};

    #[test]
    fn what_was_saved_is_loaded_and_the_file_is_one_device_s() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/ann.json");
        let file = StateFile::lock(&path).unwrap().unwrap();
        assert_eq!(file.load().unwrap(), DeviceState::default());
        assert!(StateFile::lock(&path).unwrap().is_none(), "locked");

        let conversation: ConversationId = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        let id = CommandId::first_at(5);
        let mut state = DeviceState {
            cursor: Some("0.3.9.00000000000000ff".parse().unwrap()),
            highest: BTreeMap::from([(conversation, Seq::try_from(7).unwrap())]),
            unsynced: BTreeSet::from([conversation]),
            ..DeviceState::default()
        };
        let command = CommandFrame::new(id, conversation, CommandKind::send("hi".into(), None));
        state.commands.insert(id, Tracked::new(command, conversation));
        state.marks.want(conversation, Seq::try_from(6).unwrap());
        file.save(&state).unwrap();
        assert_eq!(file.load().unwrap(), state);
        drop(file);
        let file = StateFile::lock(&path).unwrap().unwrap();
        assert_eq!(file.load().unwrap(), state, "after the process");
        fs::write(&path, "{").unwrap();
        assert!(matches!(file.load(), Err(StateError::NotOne { .. })));
    }
}
