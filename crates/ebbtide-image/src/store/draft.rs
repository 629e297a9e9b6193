//! What is half-made: a directory or file under `tmp/` that belongs to whoever holds its lock.

use std::fs::{self, DirBuilder, File};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::lock::{Mode, is_linked, try_lock};
use crate::ImageError;
use crate::error::Doing as _;
use crate::layer::remove_path;

/// A directory that is being filled. If it is not put in its place it goes; if its process dies, the next one removes it.
pub(super) struct Draft {
    path: PathBuf,
    _lock: File,
    is_placed: bool,
}

impl Draft {
    /// A new, empty directory.
    pub(super) fn directory(tmp: &Path, what: &str) -> Result<Self, ImageError> {
        loop {
            let path = unused(tmp, what);
            match DirBuilder::new().mode(0o755).create(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                made => made.doing("make", &path)?,
            }
            // Until it is locked it looks like one whose process has died.
            let Ok(lock) = File::open(&path) else { continue };
            if try_lock(&lock, Mode::Exclusive).doing("lock", &path)? && is_linked(&lock, &path) {
                return Ok(Self { path, _lock: lock, is_placed: false });
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts it in its place. If another was first, that one stays: both are the same.
    pub(super) fn place(mut self, at: &Path) -> Result<(), ImageError> {
        match fs::rename(&self.path, at) {
            Ok(()) => self.is_placed = true,
            Err(_) if at.is_dir() => {}
            Err(error) => return Err(error).doing("make", at),
        }
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_placed {
            let _ = remove_path(&self.path);
        }
    }
}

/// Writes a small file so that it is there as a whole or not at all, and on the disk before this returns.
pub(super) fn write_file(tmp: &Path, at: &Path, content: &[u8]) -> Result<(), ImageError> {
    let draft = unused(tmp, "file");
    let write = || {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&draft, at)?;
        File::open(at.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().doing("write", at).inspect_err(|_| drop(fs::remove_file(&draft)))
}

/// A name under `tmp/` that nobody else uses.
pub(super) fn unused(tmp: &Path, what: &str) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    tmp.join(format!("{what}-{}-{now:x}-{count}", std::process::id()))
}
