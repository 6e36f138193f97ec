//! Reading keys in their order.

use std::path::Path;

use rocksdb::DBRawIterator;

use crate::StateError;

/// A key and its value.
pub type Entry<'a> = (&'a [u8], &'a [u8]);

/// Walks through a family's keys as they were when it was made; later writes are not seen. It can be placed again and
/// again, which is much cheaper than making another.
pub struct Cursor<'a> {
    iterator: DBRawIterator<'a>,
    path: &'a Path,
    /// Why there is nothing to read.
    failed: Option<StateError>,
    prefix: Vec<u8>,
    /// The next call gives the present place instead of moving on.
    fresh: bool,
    backwards: bool,
}

impl std::fmt::Debug for Cursor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cursor").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(iterator: DBRawIterator<'a>, path: &'a Path, failed: Option<StateError>) -> Self {
        Self { iterator, path, failed, prefix: Vec::new(), fresh: true, backwards: false }
    }

    /// Before the first key that starts with `prefix`; it ends behind the last of them.
    pub fn seek(&mut self, prefix: &[u8]) {
        self.seek_from(prefix, prefix);
    }

    /// Before the first key at or behind `from`; it ends behind the last that starts with `prefix`.
    pub fn seek_from(&mut self, prefix: &[u8], from: &[u8]) {
        self.set(prefix, false);
        self.iterator.seek(from);
    }

    /// Behind the last key that starts with `prefix`; from there it goes backwards.
    pub fn seek_last(&mut self, prefix: &[u8]) {
        self.set(prefix, true);
        let end = crate::batch::after_prefix(prefix);
        self.iterator.seek_for_prev(&end);
        // `end` itself may be a key.
        if self.iterator.key().is_some_and(|key| key == end) {
            self.iterator.prev();
        }
    }

    fn set(&mut self, prefix: &[u8], backwards: bool) {
        self.prefix.clear();
        self.prefix.extend_from_slice(prefix);
        self.fresh = true;
        self.backwards = backwards;
    }

    /// The next key and its value, `None` at the end.
    ///
    /// # Errors
    /// What the store says when it cannot read.
    #[allow(clippy::should_implement_trait, reason = "it lends what it gives, which an Iterator cannot")]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>, StateError> {
        if let Some(error) = self.failed.take() {
            self.failed = Some(StateError::Behind(error.to_string()));
            return Err(error);
        }
        if self.fresh {
            self.fresh = false;
        } else if self.iterator.valid() {
            if self.backwards {
                self.iterator.prev();
            } else {
                self.iterator.next();
            }
        }
        match self.iterator.item() {
            Some((key, value)) if key.starts_with(&self.prefix) => Ok(Some((key, value))),
            Some(_) => Ok(None),
            None => match self.iterator.status() {
                Ok(()) => Ok(None),
                Err(error) => Err(StateError::from_rocks(self.path, error)),
            },
        }
    }
}
