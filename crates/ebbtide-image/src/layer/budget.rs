//! How much a layer may still take: of its bounds, and of the disk.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::fstatvfs;

use crate::error::Doing as _;
use crate::{ImageError, Limits};

/// How much is taken of the disk before it is asked again: others write to it, too.
const BETWEEN_LOOKS: u64 = 64 << 20;
/// How many files are made before it is asked again.
const FILES_BETWEEN_LOOKS: u64 = 4096;
/// What a file takes on the disk besides its bytes, about.
const PER_ENTRY: u64 = 4096;

/// What is left for a layer.
pub(super) struct Budget<'a> {
    limits: &'a Limits,
    /// Bytes that the layers of the image have taken so far.
    spent: &'a AtomicU64,
    entries: u64,
    /// What may be taken of the disk without asking.
    room: u64,
    files: u64,
    path: PathBuf,
}

impl<'a> Budget<'a> {
    pub(super) fn new(limits: &'a Limits, spent: &'a AtomicU64, path: PathBuf) -> Self {
        Self { limits, spent, entries: 0, room: 0, files: 0, path }
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
        if cost > self.room || self.files == 0 {
            self.look(cost, directory)?;
        }
        self.room -= cost;
        self.files -= 1;
        Ok(())
    }

    /// Looks how much room the disk has.
    fn look(&mut self, cost: u64, directory: impl AsFd) -> Result<(), ImageError> {
        let stat = fstatvfs(directory).doing("ask for the free space of", &self.path)?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let reserve = self.limits.min_free_bytes;
        // Files run out, too, where their number is fixed.
        let spare =
            if stat.f_files == 0 { u64::MAX } else { stat.f_favail.saturating_sub(stat.f_files / 50) };
        let room = free.saturating_sub(reserve);
        if room < cost || spare == 0 {
            return Err(ImageError::NoRoom { free, reserve, path: self.path.clone() });
        }
        self.room = room.min(cost.saturating_add(BETWEEN_LOOKS));
        self.files = spare.min(FILES_BETWEEN_LOOKS);
        Ok(())
    }
}
