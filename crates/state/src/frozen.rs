//! A store as it was at one moment, to read from while the store itself goes on.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use crate::{Options, StateError, Store};

/// Read-only, in a directory of its own beside the store's, whose files it shares. Dropping it removes the directory; what a
/// process that ended has left is removed by [`Frozen::clean`].
#[derive(Debug)]
pub struct Frozen {
    /// Closed before its directory is removed.
    store: Option<Store>,
    path: PathBuf,
}

/// What the directories are called behind the name of the store's.
const MARK: &str = ".frozen.";

impl Frozen {
    /// The store as it is now. Its buffers are written out for it, which takes some tenths of a second.
    ///
    /// # Errors
    /// What the file system says.
    pub fn of(store: &Store, number: u64) -> Result<Self, StateError> {
        let mut name = store.path().as_os_str().to_owned();
        name.push(format!("{MARK}{number}"));
        let path = PathBuf::from(name);
        remove(&path)?;
        store.checkpoint(&path)?;
        let mut frozen = Self { store: None, path };
        frozen.store = Some(Store::open_read_only(&frozen.path, &Options::default())?);
        Ok(frozen)
    }

    /// Removes what was left beside a store.
    ///
    /// # Errors
    /// What the file system says.
    pub fn clean(store: &Store) -> Result<(), StateError> {
        let (Some(parent), Some(name)) = (store.path().parent(), store.path().file_name()) else { return Ok(()) };
        let directory = |source| StateError::Directory { path: parent.to_owned(), source };
        let prefix = format!("{}{MARK}", name.to_string_lossy());
        for entry in std::fs::read_dir(parent).map_err(directory)? {
            let entry = entry.map_err(directory)?;
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }
}

fn remove(path: &Path) -> Result<(), StateError> {
    match std::fs::remove_dir_all(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(StateError::Directory { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

impl Deref for Frozen {
    type Target = Store;

    #[allow(clippy::expect_used, reason = "only dropping it takes the store out")]
    fn deref(&self) -> &Store {
        self.store.as_ref().expect("a frozen store is open")
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        drop(self.store.take());
        // What cannot be removed now is removed by the next start.
        let _left = remove(&self.path);
    }
}
