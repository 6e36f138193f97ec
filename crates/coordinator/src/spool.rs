//! Where the pieces of transactions wait for their cut: in memory, and beyond a limit in a file a node.
//!
//! The files are scratch: PostgreSQL's WAL is the log, and what is in them was not confirmed to any slot. They are
//! emptied when nothing waits in them and deleted when the aggregator starts.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

/// One piece, wherever it lies.
#[derive(Debug)]
pub(crate) enum Piece {
    /// In memory.
    Memory(Bytes),
    /// In the node's file.
    Disk { offset: u64, length: usize },
}

impl Piece {
    /// Bytes that it takes, in memory and on disk.
    pub(crate) fn sizes(&self) -> (usize, u64) {
        match self {
            Self::Memory(bytes) => (bytes.len(), 0),
            Self::Disk { length, .. } => (0, *length as u64),
        }
    }
}

/// One node's file.
#[derive(Debug)]
pub(crate) struct Spool {
    path: PathBuf,
    file: Option<File>,
    end: u64,
    live: u64,
}

impl Spool {
    /// The file of one node in `dir`; made when first written.
    pub(crate) fn new(dir: &Path, node: types::NodeId) -> Self {
        Self { path: dir.join(format!("spool-{node}")), file: None, end: 0, live: 0 }
    }

    /// Bytes that wait in the file.
    pub(crate) fn live(&self) -> u64 {
        self.live
    }

    /// Appends a piece.
    ///
    /// # Errors
    /// What the file system says (no room left).
    pub(crate) fn put(&mut self, bytes: &[u8]) -> io::Result<Piece> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::options().read(true).write(true).create(true).truncate(true).open(&self.path)?),
        };
        file.write_all_at(bytes, self.end)?;
        let piece = Piece::Disk { offset: self.end, length: bytes.len() };
        self.end += bytes.len() as u64;
        self.live += bytes.len() as u64;
        Ok(piece)
    }

    /// Takes a piece out.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn take(&mut self, piece: Piece) -> io::Result<Bytes> {
        match piece {
            Piece::Memory(bytes) => Ok(bytes),
            Piece::Disk { offset, length } => {
                let mut bytes = vec![0; length];
                match &self.file {
                    Some(file) => file.read_exact_at(&mut bytes, offset)?,
                    None => return Err(io::Error::other("a piece of a file that was never written")),
                }
                self.forget(length as u64)?;
                Ok(bytes.into())
            }
        }
    }

    /// Drops a piece unread.
    ///
    /// # Errors
    /// What the file system says when the emptied file is cut.
    pub(crate) fn discard(&mut self, piece: &Piece) -> io::Result<()> {
        match piece {
            Piece::Memory(_) => Ok(()),
            Piece::Disk { length, .. } => self.forget(*length as u64),
        }
    }

    fn forget(&mut self, length: u64) -> io::Result<()> {
        self.live -= length;
        if self.live == 0 {
            self.end = 0;
            if let Some(file) = &self.file {
                file.set_len(0)?;
            }
        }
        Ok(())
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if self.file.take().is_some()
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::debug!(path = %self.path.display(), %error, "spool file not removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_back_and_the_file_empties() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(dir.path(), types::NodeId(3));
        let a = spool.put(b"first").unwrap();
        let b = spool.put(b"second").unwrap();
        assert_eq!(spool.take(b).unwrap(), "second");
        assert_eq!(spool.live(), 5);
        assert_eq!(spool.take(a).unwrap(), "first");
        assert_eq!(std::fs::metadata(dir.path().join("spool-3")).unwrap().len(), 0);
        let c = spool.put(b"third").unwrap();
        spool.discard(&c).unwrap();
        assert_eq!(spool.live(), 0);
        drop(spool);
        assert!(!dir.path().join("spool-3").exists());
    }
}
