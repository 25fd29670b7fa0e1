//! Files that only their owner may read: people's messages lie in them.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::Mode;

/// The modes of a folder and of a file: the owner may use them, nobody else.
const FOLDER: u32 = 0o700;
const FILE: u32 = 0o600;

/// Makes the folder where it is missing and takes all permissions on it and on its content from everybody but its
/// owner; does the same for whatever this process makes from now on. Links are left alone.
///
/// # Errors
/// When the folder is another user's, or cannot be made.
pub fn folder(folder: &Path) -> io::Result<()> {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    fs::DirBuilder::new().recursive(true).mode(FOLDER).create(folder)?;
    tighten(folder)
}

fn tighten(folder: &Path) -> io::Result<()> {
    restrict(folder, FOLDER)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            tighten(&entry.path())?;
        } else if kind.is_file() {
            restrict(&entry.path(), FILE)?;
        }
    }
    Ok(())
}

fn restrict(path: &Path, mode: u32) -> io::Result<()> {
    let mut permissions = fs::metadata(path)?.permissions();
    if permissions.mode() & 0o777 & !mode == 0 {
        return Ok(());
    }
    permissions.set_mode(mode);
    fs::set_permissions(path, permissions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn an_old_folder_is_closed_to_others_and_a_new_one_is_made_so() {
        let outer = std::env::temp_dir().join(format!("klatsch-private-{}", std::process::id()));
        let inner = outer.join("db/tables");
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("1"), "a message").unwrap();
        for path in [&outer, &inner] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::set_permissions(inner.join("1"), fs::Permissions::from_mode(0o644)).unwrap();
        folder(&outer).unwrap();
        assert_eq!((mode(&outer), mode(&inner), mode(&inner.join("1"))), (FOLDER, FOLDER, FILE));
        folder(&outer.join("new")).unwrap();
        fs::write(outer.join("new/file"), "another").unwrap();
        assert_eq!((mode(&outer.join("new")), mode(&outer.join("new/file"))), (FOLDER, FILE));
        fs::remove_dir_all(&outer).unwrap();
    }
}
