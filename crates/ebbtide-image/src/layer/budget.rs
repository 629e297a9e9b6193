//! How much a layer may still take: of its bounds, and of the disk.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::room::Room;
use crate::{ImageError, Limits};

/// What a file takes on the disk besides its bytes, about.
const PER_ENTRY: u64 = 4096;

/// What is left for a layer.
pub(super) struct Budget<'a> {
    limits: &'a Limits,
    /// Bytes that the layers of the image have taken so far.
    spent: &'a AtomicU64,
    entries: u64,
    room: Room,
}

impl<'a> Budget<'a> {
    pub(super) fn new(limits: &'a Limits, spent: &'a AtomicU64, path: PathBuf) -> Self {
        Self { limits, spent, entries: 0, room: Room::new(limits.min_free_bytes, path) }
    }

    /// Takes one entry: `size` bytes, what it took to tell it included, of which `stored` will be written on the disk of
    /// `directory`.
    pub(super) fn take(&mut self, size: u64, stored: u64, directory: impl AsFd) -> Result<(), ImageError> {
        self.entries += 1;
        if self.entries > self.limits.max_entries {
            let most = self.limits.max_entries;
            return Err(ImageError::TooLarge { what: "entries of a layer", most, setting: "max_entries" });
        }
        let most = self.limits.max_unpacked_bytes;
        let taken = |spent: u64| spent.checked_add(size).filter(|spent| *spent <= most);
        self.spent.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).map_err(|_| {
            ImageError::TooLarge { what: "unpacked bytes", most, setting: "max_unpacked_bytes" }
        })?;
        let cost = stored.saturating_add(PER_ENTRY);
        self.room.take(1, cost, directory)
    }
}
