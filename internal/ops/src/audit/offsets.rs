//! The offsets at which an audit begins, by partition, on the command line and in a file.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::OpsError;

/// Offsets by partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditOffsets {
    /// The next offset of each partition of `chat.messages`.
    pub next: BTreeMap<u32, u64>,
}

impl AuditOffsets {
    /// Parses offsets in the form in which an audit prints them: `PARTITION:OFFSET,...`.
    ///
    /// # Errors
    /// When the text is of another form.
    pub fn parse(text: &str) -> Result<Self, OpsError> {
        let wrong = |part: &str| OpsError::Usage(format!("'{part}' is no position: PARTITION:OFFSET"));
        let offset = |part: &str| {
            let (partition, offset) = part.split_once(':')?;
            Some((partition.parse().ok()?, offset.parse().ok()?))
        };
        let offsets = text.split(',').map(|part| offset(part).ok_or_else(|| wrong(part)));
        Ok(Self { next: offsets.collect::<Result<_, _>>()? })
    }

    /// Parses the content of a file; empty when there is no such file yet.
    ///
    /// # Errors
    /// When the file could not be read, or has another format.
    pub fn of(file: &Path, read: io::Result<Vec<u8>>) -> Result<Self, OpsError> {
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(OpsError::io(format!("reading {}", file.display()), error)),
        };
        let wrong = |error| OpsError::Usage(format!("{} is not from an audit: {error}", file.display()));
        serde_json::from_slice(&bytes).map_err(wrong)
    }

    /// The content of the file for these offsets.
    ///
    /// # Errors
    /// When they cannot be serialized.
    pub fn text(&self) -> Result<String, OpsError> {
        let text = serde_json::to_string(self).map_err(|error| OpsError::Failed(error.to_string()))?;
        Ok(text + "\n")
    }
}

/// Replaces a file's text atomically: a reader sees the old one or the new one.
///
/// # Errors
/// When it cannot be written.
pub fn replace(file: &Path, text: &str) -> Result<(), OpsError> {
    let failed = |error| OpsError::io(format!("writing {}", file.display()), error);
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    let mut written = fs::File::create(&beside).map_err(failed)?;
    written.write_all(text.as_bytes()).and_then(|()| written.sync_data()).map_err(failed)?;
    fs::rename(&beside, file).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back_from_words_and_from_a_file() {
        let offsets = AuditOffsets { next: BTreeMap::from([(0, 17), (11, 0)]) };
        assert_eq!(AuditOffsets::parse("0:17,11:0").ok(), Some(offsets.clone()));
        for wrong in ["", "3", "x:1", "1:2,"] {
            assert!(AuditOffsets::parse(wrong).is_err(), "{wrong}");
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.json");
        assert_eq!(AuditOffsets::of(&file, fs::read(&file)).ok(), Some(AuditOffsets::default()));
        replace(&file, &offsets.text().unwrap()).unwrap();
        assert_eq!(AuditOffsets::of(&file, fs::read(&file)).ok(), Some(offsets));
        fs::write(&file, "{").unwrap();
        assert!(matches!(AuditOffsets::of(&file, fs::read(&file)), Err(OpsError::Usage(_))));
    }
}
