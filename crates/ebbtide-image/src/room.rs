//! How much may be taken of the disk that images come onto.
//!
//! Asked before it is taken: a disk that is full harms the ledger and every sandbox, and one who brings an image can wait.

use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::fs::fstatvfs;

use crate::ImageError;
use crate::error::Doing as _;

/// How much is taken of the disk before it is asked again: others write to it, too.
const BETWEEN_LOOKS: u64 = 64 << 20;
/// How many files are made before it is asked again.
const FILES_BETWEEN_LOOKS: u64 = 4096;

/// What may be taken of a disk.
#[derive(Debug)]
pub(crate) struct Room {
    /// Bytes that have to stay free.
    reserve: u64,
    /// Where, for the words of a refusal.
    path: PathBuf,
    /// What may be taken without asking.
    bytes: u64,
    files: u64,
}

impl Room {
    pub(crate) fn new(reserve: u64, path: PathBuf) -> Self {
        Self { reserve, path, bytes: 0, files: 0 }
    }

    /// Takes so much of the disk that `on` is on.
    pub(crate) fn take(&mut self, files: u64, bytes: u64, on: impl AsFd) -> Result<(), ImageError> {
        if files > self.files || bytes > self.bytes {
            self.look(files, bytes, on)?;
        }
        self.files -= files;
        self.bytes -= bytes;
        Ok(())
    }

    /// Looks how much the disk has.
    fn look(&mut self, files: u64, bytes: u64, on: impl AsFd) -> Result<(), ImageError> {
        let stat = fstatvfs(on).doing("ask for the free space of", &self.path)?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        // Files run out, too, where their number is fixed.
        let spare =
            if stat.f_files == 0 { u64::MAX } else { stat.f_favail.saturating_sub(stat.f_files / 50) };
        let room = free.saturating_sub(self.reserve);
        if room < bytes || spare < files {
            return Err(ImageError::NoRoom { free, reserve: self.reserve, path: self.path.clone() });
        }
        self.bytes = room.min(bytes.saturating_add(BETWEEN_LOOKS));
        self.files = spare.min(FILES_BETWEEN_LOOKS);
        Ok(())
    }
}
