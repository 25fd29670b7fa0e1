//! Repairs the end of fjall's journal after a power cut.
//!
//! A batch that was being written when the power went may have its end on disk and not its middle: disks and file
//! systems write unsynced data in any order. fjall (3.1) drops an end that stops in the middle of a batch, but refuses
//! to open when a whole batch has a wrong checksum. Nothing that was synced can stand behind such a batch, so the
//! journal is cut before it, as other engines do.
//!
//! This reads fjall's format (`fjall/src/journal/entry.rs`) and acts only where it recognises all of a batch and the
//! batch is wrong; anything else is left to fjall.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
/// The last bytes of a batch.
const TRAILER: &[u8; 4] = b"FJL\x03";
/// Fields of an item before its key: kind, compression, table, lengths of key, value and stored value.
const ITEM_FIELDS: usize = 2 + 8 + 2 + 4 + 4;
const COMPRESSION_NONE: u8 = 0;

/// What was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Repaired {
    pub(crate) journal: PathBuf,
    /// Bytes that were kept.
    pub(crate) kept: u64,
    /// A copy of the rest, where that might be more than a batch that was never acknowledged.
    pub(crate) aside: Option<PathBuf>,
}

/// Cuts the newest journal in `folder` before a batch that is wrong, if there is one.
pub(crate) fn repair(folder: &Path) -> io::Result<Option<Repaired>> {
    let Some(journal) = newest(folder)? else { return Ok(None) };
    let length = fs::metadata(&journal)?.len();
    let mut batches = Batches { file: BufReader::new(File::open(&journal)?), at: 0, length };
    let kept = loop {
        let begin = batches.at;
        match batches.next() {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(Bad::Batch) => break begin,
            Err(Bad::Foreign) => return Ok(None),
            Err(Bad::Io(error)) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            Err(Bad::Io(error)) => return Err(error),
        }
    };
    let aside = set_aside(&journal, kept)?;
    let file = OpenOptions::new().write(true).open(&journal)?;
    file.set_len(kept)?;
    file.sync_all()?;
    Ok(Some(Repaired { journal, kept, aside }))
}

fn newest(folder: &Path) -> io::Result<Option<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    let mut found: Option<(u64, PathBuf)> = None;
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".jnl"));
        let Some(number) = name.and_then(|name| name.parse().ok()) else { continue };
        if found.as_ref().is_none_or(|(newest, _)| *newest < number) {
            found = Some((number, path));
        }
    }
    Ok(found.map(|(_, path)| path))
}

/// Keeps a copy where whole batches stand behind the wrong one: they may have reached the disk by chance, or a bit has
/// turned in the middle of synced data.
fn set_aside(journal: &Path, kept: u64) -> io::Result<Option<PathBuf>> {
    let mut file = File::open(journal)?;
    file.seek(SeekFrom::Start(kept))?;
    let mut rest = Vec::new();
    file.read_to_end(&mut rest)?;
    if rest.windows(TRAILER.len()).filter(|bytes| bytes == TRAILER).count() < 2 {
        return Ok(None);
    }
    let aside = journal.with_extension("torn");
    fs::write(&aside, &rest)?;
    File::open(&aside)?.sync_all()?;
    Ok(Some(aside))
}

/// Why a batch cannot be read.
enum Bad {
    /// It is complete and wrong: fjall would refuse it.
    Batch,
    /// It is no batch, or stops in the middle: left to fjall.
    Foreign,
    Io(io::Error),
}

impl From<io::Error> for Bad {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

struct Batches {
    file: BufReader<File>,
    at: u64,
    length: u64,
}

impl Batches {
    /// Reads one batch; `false` at the end.
    fn next(&mut self) -> Result<bool, Bad> {
        if self.at == self.length {
            return Ok(false);
        }
        let [tag] = self.take()?;
        if tag != START {
            return Err(Bad::Foreign);
        }
        let mut left = u32::from_le_bytes(self.take()?);
        let _seqno: [u8; 8] = self.take()?;
        let mut checksum = Xxh3::new();
        loop {
            let [tag] = self.take()?;
            match tag {
                END => {
                    let expected = u64::from_le_bytes(self.take()?);
                    let trailer: [u8; 4] = self.take()?;
                    return match (&trailer == TRAILER, left == 0 && checksum.digest() == expected) {
                        (true, true) => Ok(true),
                        (true, false) => Err(Bad::Batch),
                        (false, _) => Err(Bad::Foreign),
                    };
                }
                ITEM | CLEAR if left == 0 => return Err(Bad::Batch),
                ITEM => {
                    checksum.update(&[tag]);
                    self.item(&mut checksum)?;
                }
                CLEAR => {
                    checksum.update(&[tag]);
                    checksum.update(&self.take::<8>()?);
                }
                _ => return Err(Bad::Foreign),
            }
            left -= 1;
        }
    }

    fn item(&mut self, checksum: &mut Xxh3) -> Result<(), Bad> {
        let fields: [u8; ITEM_FIELDS] = self.take()?;
        checksum.update(&fields);
        let [_, compression, .., k0, k1, v0, v1, v2, v3, s0, s1, s2, s3] = fields;
        let key = u64::from(u16::from_le_bytes([k0, k1]));
        let (value, stored) = (u32::from_le_bytes([v0, v1, v2, v3]), u32::from_le_bytes([s0, s1, s2, s3]));
        let bytes = key + u64::from(stored);
        // The lengths contradict one another, so this is no item.
        if (compression == COMPRESSION_NONE && value != stored) || bytes > self.length - self.at {
            return Err(Bad::Batch);
        }
        let mut rest = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
        self.file.read_exact(&mut rest)?;
        self.at += bytes;
        checksum.update(&rest);
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Bad> {
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;
    use crate::{Batch, Database, Durability};

    const VALUE_BYTES: usize = 9000;

    /// A folder with `commits` of one large and one small row each, not closed in order.
    async fn folder(commits: u8) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path()).unwrap();
        let table = database.table("t").unwrap();
        for number in 0..commits {
            let mut batch = Batch::default();
            batch.put(&table, vec![number, 0], value(number));
            batch.put(&table, vec![number, 1], vec![number]);
            database.commit(batch, Durability::Power).await.unwrap();
        }
        folder
    }

    /// Bytes that compression does not make smaller.
    fn value(number: u8) -> Vec<u8> {
        let mut state = u64::from(number) + 1;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        };
        (0..VALUE_BYTES).map(|_| next()).collect()
    }

    fn rows(folder: &Path) -> usize {
        let table = Database::open(folder).unwrap().table("t").unwrap();
        table.scan_prefix(&[], 100).unwrap().len()
    }

    /// The offset of the middle of the large value of that commit.
    fn middle_of(journal: &Path, number: u8) -> u64 {
        let (bytes, value) = (fs::read(journal).unwrap(), value(number));
        bytes.windows(64).position(|some| some == &value[1000..1064]).unwrap() as u64
    }

    #[tokio::test]
    async fn a_whole_journal_is_read_to_its_end_and_left_alone() {
        let folder = folder(5).await;
        let journal = newest(folder.path()).unwrap().unwrap();
        let before = fs::read(&journal).unwrap();
        assert_eq!(repair(folder.path()).unwrap(), None);
        assert_eq!(fs::read(&journal).unwrap(), before);
        // The journal was understood, not given up on: every batch of it is read.
        let length = before.len() as u64;
        let mut batches = Batches { file: BufReader::new(File::open(&journal).unwrap()), at: 0, length };
        let mut count = 0;
        while batches.next().is_ok_and(|more| more) {
            count += 1;
        }
        assert!(count >= 5, "{count} batches in fjall's journal: has its format changed?");
    }

    #[tokio::test]
    async fn a_batch_with_its_end_and_without_its_middle_is_cut_off() {
        let folder = folder(3).await;
        let journal = newest(folder.path()).unwrap().unwrap();
        let file = OpenOptions::new().write(true).open(&journal).unwrap();
        file.write_all_at(&[0; 4096], middle_of(&journal, 2)).unwrap();
        let mended = repair(folder.path()).unwrap().unwrap();
        assert_eq!((mended.journal, mended.aside), (journal, None));
        assert_eq!(rows(folder.path()), 4, "what was safe is there");
    }

    #[tokio::test]
    async fn where_whole_batches_stand_behind_it_they_are_set_aside() {
        let folder = folder(3).await;
        let journal = newest(folder.path()).unwrap().unwrap();
        let file = OpenOptions::new().write(true).open(&journal).unwrap();
        file.write_all_at(&[0; 4096], middle_of(&journal, 1)).unwrap();
        assert_eq!(rows(folder.path()), 2, "opening mends");
        let aside = journal.with_extension("torn");
        assert!(fs::read(&aside).unwrap().windows(64).any(|some| some == &value(2)[1000..1064]));
    }
}
