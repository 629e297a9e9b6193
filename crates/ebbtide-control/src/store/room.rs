//! Room on the disk for the endings of sandboxes, taken while there is some.
//!
//! A full disk is when sandboxes have to be ended, and an ending is three small writes. So the write-ahead log has its place on
//! the disk from the start, and what makes a sandbox is refused before it comes to that.

use std::fs::File;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::place;

/// Enough for some two hundred endings; far below the size to which SQLite cuts the log.
const RESERVED: u64 = 8 << 20;
/// What the disk must have left for anything to be begun.
const NEEDED: u64 = 4 << 20;

/// Takes the place of the write-ahead log of the ledger at `path`, where the file system can.
pub(super) fn reserve(path: &Path) {
    let taken = File::options().write(true).open(place::log_of(path)).and_then(|log| {
        fallocate(&log, FallocateFlags::KEEP_SIZE, 0, RESERVED)?;
        Ok(())
    });
    if let Err(error) = taken {
        tracing::debug!(%error, "no room taken for the ledger's log");
    }
}

/// Whether there is room to begin something.
pub(super) fn is_there(path: &Path) -> bool {
    statvfs(path).map_or(true, |disk| disk.f_bavail * disk.f_frsize >= NEEDED)
}
