//! Daemon and a helper inside a sandbox, over a pair of sockets that the init makes for one file or directory. What
//! the file holds goes through a pipe beside it.

use ebbtide_driver::{FileError, WriteOptions};
use serde::{Deserialize, Serialize};

/// What a helper is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FileTask {
    /// As the caller wrote it; a relative one begins in the main command's working directory.
    pub(crate) path: String,
    pub(crate) action: FileAction,
}

/// What is to become of a path.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum FileAction {
    /// Its content goes out.
    Read,
    /// New content comes in.
    Write(WriteOptions),
    /// A directory goes out as a tar stream.
    Pack,
    /// A tar stream comes in and becomes a directory.
    Unpack,
}

/// What a helper says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromHelper {
    /// The content begins. For a write both numbers are zero.
    Opened { size: u64, mode: u32 },
    /// It could not be done; the helper has ended.
    Failed(FileError),
    /// Everything is where it should be; the helper has ended. After a read, the number of bytes that were there.
    Done { bytes: u64 },
}

/// What a helper is told once all content is in the pipe. If it never is, what it has begun is undone.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Commit {
    /// How many bytes there were.
    pub(crate) bytes: u64,
}
