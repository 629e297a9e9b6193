//! What can go wrong with an archive.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use thiserror::Error;

/// Why a directory could not be packed or unpacked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The kernel refused something about a file.
    #[error("{path:?}: {source}")]
    File {
        /// The path below the directory.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The stream could not be written or read.
    #[error("the stream of the archive broke off: {0}")]
    Stream(#[source] io::Error),
    /// An entry that may not be unpacked.
    #[error("the entry {path:?} {problem}")]
    Refused {
        /// The entry, as the archive has it.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// What came is no archive.
    #[error("not a tar stream: {0}")]
    Malformed(String),
}

impl ArchiveError {
    pub(crate) fn file(path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::File { path: path.into(), source: source.into() }
    }

    pub(crate) fn refused(path: &[u8], problem: &'static str) -> Self {
        Self::Refused { path: PathBuf::from(OsStr::from_bytes(path)), problem }
    }
}
