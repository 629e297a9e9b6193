//! What the dead have left.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::Store;
use super::collect::unused;
use super::draft::write_file;
use super::lock::{Mode, is_linked, try_lock};
use crate::ImageError;
use crate::error::Doing as _;
use crate::layer::remove_path;

/// How long a blob that a dead writer has begun waits for somebody who goes on with it.
const PARTIAL: Duration = Duration::from_secs(24 * 3600);
/// A small file is written in one go; this is a hundred times longer than that could ever take.
const SMALL_FILE: Duration = Duration::from_secs(600);
/// Another process does this once after each boot.
const BOOT: Duration = Duration::from_secs(60);

impl Store {
    /// Removes what processes that have died have left half-made, and after a reboot what may never have reached the
    /// disk.
    pub(super) fn sweep(&self) -> Result<(), ImageError> {
        self.sweep_drafts(PARTIAL)?;
        let path = self.paths().boot();
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let is_swept = || fs::read_to_string(&path).is_ok_and(|swept| swept == boot);
        if is_swept() {
            return Ok(());
        }
        let _turn = self.turn(Mode::Exclusive, BOOT)?;
        if is_swept() {
            return Ok(());
        }
        self.sweep_drafts(Duration::ZERO)?;
        let images = self.list()?;
        unused(self.paths(), &images)?.remove(self.paths())?;
        write_file(&self.paths().tmp(), &path, boot.as_bytes())
    }

    /// Removes drafts that nobody is at any more; begun blobs only if they are older than `partial`.
    /// That is zero only while nobody puts anything in, so then small files are nobody's either.
    pub(super) fn sweep_drafts(&self, partial: Duration) -> Result<(), ImageError> {
        let tmp = self.paths().tmp();
        for entry in fs::read_dir(&tmp).doing("read", &tmp)? {
            let path = entry.doing("read", &tmp)?.path();
            // Whoever it belongs to may be removing it, too.
            let Ok(about) = fs::symlink_metadata(&path) else { continue };
            let age = about.modified().ok().and_then(|then| SystemTime::now().duration_since(then).ok());
            let is_older = |than| age.unwrap_or_default() >= than;
            if about.is_dir() {
                if is_abandoned(&path) {
                    remove_path(&path).doing("remove", &path)?;
                }
            } else if is_partial(&path) {
                if is_older(partial) && is_abandoned(&path) {
                    remove_path(&path).doing("remove", &path)?;
                }
            } else if partial.is_zero() || is_older(SMALL_FILE) {
                remove_path(&path).doing("remove", &path)?;
            }
        }
        Ok(())
    }
}

fn is_partial(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"blob-"))
}

/// Whether nobody has it locked, and it is not another by now. What is removed while somebody waits for its lock is
/// seen to be gone by them.
fn is_abandoned(path: &Path) -> bool {
    File::open(path)
        .is_ok_and(|file| try_lock(&file, Mode::Exclusive).unwrap_or(false) && is_linked(&file, path))
}
