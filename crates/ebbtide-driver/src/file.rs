//! Files and directories of a running sandbox, as the caller sees them.
//!
//! A path is looked up inside the sandbox, with the rights of its commands, and a relative one from the main command's
//! working directory. Content goes in pieces with flow control: whoever does not take a piece stops the other side, and
//! no whole file is ever in memory.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::DriverError;

/// Bytes that come out of a sandbox, in order.
#[async_trait]
pub trait Content: Send {
    /// The next piece, never empty; `None` once everything has come. Waits without bound. Safe to drop at any await:
    /// no byte is lost. Dropping the content ends the transfer.
    ///
    /// # Errors
    /// When the rest cannot be read. Nothing comes after an error.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, DriverError>;
}

/// A file that is open for reading.
pub struct FileRead {
    /// How many bytes will come: the size at the time of opening. A file that has grown since then gives no more, one
    /// that has shrunk ends in [`FileErrorKind::Truncated`].
    pub size: u64,
    /// Its permission bits.
    pub mode: u32,
    /// What it holds.
    pub content: Box<dyn Content>,
}

impl fmt::Debug for FileRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileRead").field("size", &self.size).field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// How to write a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteOptions {
    /// The permission bits that it gets. `None` keeps those of a file that is there; a new one gets 0644.
    pub mode: Option<u32>,
    /// How many bytes will come, if that is known. A commit after fewer or more is refused.
    pub size: Option<u64>,
}

/// Bytes that go into a sandbox. What they are to become is there after [`Sink::commit`] and not before.
#[async_trait]
pub trait Sink: Send {
    /// Takes a piece. Waits without bound while the sandbox does not keep up.
    ///
    /// # Errors
    /// When it cannot be kept; every later call fails, too.
    async fn write(&mut self, bytes: &[u8]) -> Result<(), DriverError>;

    /// Waits, without bound, until no more can be taken, and says why. For a caller who has nothing to write for the
    /// moment. Safe to drop at any await.
    async fn refused(&mut self) -> DriverError;

    /// Says that nothing more comes, and waits until everything is in place.
    ///
    /// # Errors
    /// When it could not be put in place.
    async fn commit(self: Box<Self>) -> Result<(), DriverError>;
}

/// Something that a path led to and that could not be done.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("{path:?}: {kind}")]
pub struct FileError {
    /// The path, as the caller wrote it; inside an archive, the entry's.
    pub path: String,
    /// What is wrong with it.
    pub kind: FileErrorKind,
}

/// What is wrong with a path.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FileErrorKind {
    /// There is nothing.
    #[error("no such file or directory in the sandbox")]
    NotFound,
    /// It is a directory where a file is wanted.
    #[error("is a directory")]
    IsDirectory,
    /// It, or something on the way to it, is not a directory where one is wanted.
    #[error("is not a directory, or leads through something that is none")]
    NotDirectory,
    /// The sandbox's own rights do not allow it.
    #[error("permission denied in the sandbox")]
    PermissionDenied,
    /// It is a pipe, a socket, a device or a door into the kernel.
    #[error("is not a regular file")]
    NotRegular,
    /// It lies on a read-only file system.
    #[error(
        "lies on a read-only file system; write below /tmp, /root or another directory of the sandbox's own"
    )]
    ReadOnly,
    /// The sandbox's disk, or its bound, is full.
    #[error("no space left in the sandbox; remove files there, or give it a larger disk")]
    NoSpace,
    /// It holds more than can be taken at once.
    #[error("is too large: at most {max} bytes can be taken")]
    TooLarge {
        /// How much it holds, if that is known.
        size: Option<u64>,
        /// How much can be taken.
        max: u64,
    },
    /// Symbolic links lead in a circle, or out of what a path may lead to.
    #[error("symbolic links lead in a circle, or through a door of the kernel")]
    SymlinkLoop,
    /// The path, or a part of it, is longer than the kernel takes.
    #[error("the name is too long")]
    NameTooLong,
    /// It held less than was announced.
    #[error("ended after {found} of {expected} bytes")]
    Truncated {
        /// How many bytes were announced.
        expected: u64,
        /// How many there were.
        found: u64,
    },
    /// It is in use in a way that does not allow it: a mount point, a program that runs.
    #[error("is in use in the sandbox: a mount, or a program that runs")]
    Busy,
    /// It is no archive, or holds an entry that may not be unpacked.
    #[error("cannot be unpacked: {0}")]
    Archive(String),
    /// Whoever worked on it inside the sandbox was ended there, e.g. for lack of memory.
    #[error("the transfer was ended inside the sandbox; it may be out of memory or of processes")]
    Interrupted,
    /// Something else, with the kernel's error number.
    #[error("{}", std::io::Error::from_raw_os_error(*.0))]
    Io(i32),
}

impl FileErrorKind {
    /// The kind that an error number of the kernel stands for.
    pub fn from_errno(errno: i32) -> Self {
        match errno {
            libc::ENOENT => Self::NotFound,
            libc::EISDIR => Self::IsDirectory,
            libc::ENOTDIR => Self::NotDirectory,
            libc::EACCES | libc::EPERM => Self::PermissionDenied,
            libc::ENXIO | libc::ENODEV => Self::NotRegular,
            libc::EROFS => Self::ReadOnly,
            libc::ENOSPC | libc::EDQUOT => Self::NoSpace,
            libc::ELOOP => Self::SymlinkLoop,
            libc::ENAMETOOLONG => Self::NameTooLong,
            libc::EBUSY | libc::ETXTBSY => Self::Busy,
            errno => Self::Io(errno),
        }
    }

    /// This kind of error at `path`.
    pub fn at(self, path: impl Into<String>) -> FileError {
        FileError { path: path.into(), kind: self }
    }
}
