//! What a helper does inside a sandbox: reads or writes one file, or one directory, with the rights of the sandbox's
//! commands.
//!
//! A helper is a clone of init that gives up what a command does not have and executes nothing. It copies between the
//! file and a pipe itself, for three reasons. The daemon never holds a descriptor of something inside, so whatever that
//! is (a file that grows for ever, a file system that hangs) stalls a helper and no thread of the daemon. The pages that
//! are read and written are charged to the sandbox that they belong to. And rights, quotas and read-only mounts are
//! those that a command would meet, for the kernel checks them on the same kind of process.
//!
//! A path is looked up in the sandbox's own root, symbolic links included, but never through a "magic" link of proc:
//! such a one leads to where the helper itself came from.

mod archive;
mod lookup;
mod read;
mod write;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use ebbtide_driver::FileErrorKind;
use rustix::io::Errno;

use crate::protocol::{self, FileAction, FileTask, FromHelper};
use crate::sys;

pub(crate) use lookup::{Place, make_directory};
pub(crate) use write::put;

/// How long a helper may take until it has opened its file. Then the kernel ends it.
const OPENING_SECONDS: u32 = 20;

/// The two ends that a helper works with.
pub(crate) struct Channels {
    /// To the daemon.
    pub(crate) control: OwnedFd,
    /// The end of a pipe: to write to when something is read, to read from when something is written.
    pub(crate) content: File,
}

/// Does one task and tells how it went.
pub(crate) fn run(task: FileTask, channels: Channels) {
    sys::alarm(OPENING_SECONDS);
    let Channels { control, content } = channels;
    let result = match task.action {
        FileAction::Read => read::read(&task.path, &control, content),
        FileAction::Write(options) => write::write(&task.path, options, &control, content),
        FileAction::Pack => archive::pack(&task.path, &control, content),
        FileAction::Unpack => archive::unpack(&task.path, &control, content),
    };
    let last = match result {
        Ok(bytes) => FromHelper::Done { bytes },
        Err(Stop::Failed(kind)) => FromHelper::Failed(kind.at(task.path)),
        Err(Stop::Inside(below, kind)) if below.as_os_str().is_empty() => {
            FromHelper::Failed(kind.at(task.path))
        }
        Err(Stop::Inside(below, kind)) => {
            FromHelper::Failed(kind.at(Path::new(&task.path).join(below).to_string_lossy()))
        }
        Err(Stop::Abandoned) => return,
    };
    // A daemon that has gone away needs no answer.
    let _ = protocol::send(&control, &last, &[]);
}

/// Why a task was not done.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It cannot be done.
    Failed(FileErrorKind),
    /// It cannot be done for something below the path.
    Inside(PathBuf, FileErrorKind),
    /// The daemon, or its caller, does not want it any more.
    Abandoned,
}

impl From<FileErrorKind> for Stop {
    fn from(kind: FileErrorKind) -> Self {
        Self::Failed(kind)
    }
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Self::Failed(FileErrorKind::from_errno(errno.raw_os_error()))
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(FileErrorKind::from_errno(error.raw_os_error().unwrap_or(libc::EIO)))
    }
}

/// Tells the daemon that the content begins. From here on the pace is the caller's.
fn opened(control: &OwnedFd, size: u64, mode: u32) -> Result<(), Stop> {
    sys::alarm(0);
    protocol::send(control, &FromHelper::Opened { size, mode }, &[]).map_err(|_| Stop::Abandoned)
}
