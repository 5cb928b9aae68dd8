//! Temporary folders that commands run in.
//!
//! Airflow makes one for each command and removes it. Making an inode soon after others were removed is slow on ext4, which
//! looks for one that was not freed in the last seconds: a quarter of a millisecond, more than anything else that a short
//! command costs. A folder that is left empty and as it was is therefore lent out again.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::TempDir;

/// Folders that are kept for the next command: as many as commands often run at once.
const MAX_IDLE: usize = 32;
/// Only for their owner, as Python's `TemporaryDirectory` makes them.
const MODE: u32 = 0o700;

/// Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Folders {
    idle: Arc<Mutex<Vec<TempDir>>>,
}

/// An empty folder of a command's own. It goes back when this is dropped, or is removed with what is in it.
pub(crate) struct Folder {
    folder: Option<TempDir>,
    folders: Folders,
}

impl Folders {
    pub(crate) fn take(&self) -> io::Result<Folder> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        // Whatever cleans up temporary files may have taken it meanwhile.
        let folder = match idle.filter(|folder| is_as_new(folder.path())) {
            Some(folder) => folder,
            None => tempfile::Builder::new()
                .prefix("airflowtmp")
                .permissions(std::fs::Permissions::from_mode(MODE))
                .tempdir()?,
        };
        Ok(Folder { folder: Some(folder), folders: self.clone() })
    }
}

impl Folder {
    pub(crate) fn path(&self) -> &Path {
        self.folder.as_ref().map_or(Path::new("/"), TempDir::path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let Some(folder) = self.folder.take() else { return };
        if !is_as_new(folder.path()) {
            return;
        }
        let mut idle = self.folders.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push(folder);
        }
    }
}

/// Whether a command has left nothing behind.
fn is_as_new(path: &Path) -> bool {
    let is_own = std::fs::symlink_metadata(path)
        .is_ok_and(|metadata| metadata.is_dir() && metadata.permissions().mode() & 0o7777 == MODE);
    is_own && std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_folder_is_lent_out_again_and_any_other_is_not() {
        let folders = Folders::default();
        let first = folders.take().unwrap();
        let path = first.path().to_owned();
        assert!(is_as_new(&path));
        drop(first);
        let again = folders.take().unwrap();
        assert_eq!(again.path(), path);
        std::fs::write(path.join("left"), "x").unwrap();
        drop(again);
        assert!(!path.exists());
        let other = folders.take().unwrap();
        std::fs::set_permissions(other.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = other.path().to_owned();
        drop(other);
        assert!(!path.exists());
    }

    #[test]
    fn a_folder_that_vanished_is_replaced() {
        let folders = Folders::default();
        let path = folders.take().unwrap().path().to_owned();
        std::fs::remove_dir(&path).unwrap();
        assert!(is_as_new(folders.take().unwrap().path()));
    }
}
