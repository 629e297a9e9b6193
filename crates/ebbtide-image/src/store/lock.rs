//! Locks on files that may be removed or replaced while somebody waits for them.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::ImageError;
use crate::error::Doing as _;

/// The kernel tells nobody when a lock could be had within a time: so it is looked at.
const PAUSE: Duration = Duration::from_millis(10);

/// Whether a lock is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Shared,
    Exclusive,
}

/// Takes the lock if it can be had now.
pub(super) fn try_lock(file: &File, mode: Mode) -> io::Result<bool> {
    let operation = match mode {
        Mode::Shared => FlockOperation::NonBlockingLockShared,
        Mode::Exclusive => FlockOperation::NonBlockingLockExclusive,
    };
    loop {
        match flock(file, operation) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Waits for the lock as long as `is_worth` says; `what` is what was waited for in vain.
pub(super) fn lock(
    file: &File,
    path: &Path,
    mode: Mode,
    mut is_worth: impl FnMut(&File) -> bool,
    what: impl FnOnce() -> String,
) -> Result<(), ImageError> {
    while !try_lock(file, mode).doing("lock", path)? {
        if !is_worth(file) {
            return Err(ImageError::Busy { what: what() });
        }
        sleep(PAUSE);
    }
    Ok(())
}

/// As long as this.
pub(super) fn within(bound: Duration) -> impl FnMut(&File) -> bool {
    let deadline = Instant::now() + bound;
    move |_| Instant::now() < deadline
}

/// Whether the file is still what its path names. Between opening and locking it, its holder may have removed it.
pub(super) fn is_linked(file: &File, path: &Path) -> bool {
    fs::symlink_metadata(path)
        .is_ok_and(|now| file.metadata().is_ok_and(|ours| (now.dev(), now.ino()) == (ours.dev(), ours.ino())))
}
