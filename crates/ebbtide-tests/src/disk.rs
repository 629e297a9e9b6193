//! A disk of its own for a home, so that one that is full harms nobody else.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use tempfile::NamedTempFile;

use crate::wait::holds_within;

/// An ext4 in a sparse file behind a loop device, unmounted and removed at the end.
#[derive(Debug)]
pub struct Disk {
    at: PathBuf,
    file: NamedTempFile,
}

impl Disk {
    /// Makes one of `bytes` and mounts it at `at`, which is made if it is not there.
    ///
    /// # Panics
    /// When the machine has no loop devices, or no `mkfs.ext4`.
    pub fn mount(at: &Path, bytes: u64) -> Self {
        fs::create_dir_all(at).expect("make a place for a disk");
        let file = tempfile::Builder::new().prefix("ebb-e2e-disk-").tempfile().expect("the file of a disk");
        file.as_file().set_len(bytes).expect("the size of a disk");
        // Nothing reserved for root, which is who the tests are.
        must(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(file.path()));
        must(Command::new("mount").args(["-o", "loop"]).arg(file.path()).arg(at));
        Self { at: at.to_owned(), file }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// The file that it lies in.
    pub fn file(&self) -> &Path {
        self.file.path()
    }

    /// How many bytes are free.
    ///
    /// # Panics
    /// When the kernel does not say.
    pub fn free(&self) -> u64 {
        statvfs(&self.at).map(|disk| disk.f_bavail * disk.f_frsize).expect("its space")
    }

    /// Takes all of the space that is left, until what is returned is dropped.
    ///
    /// # Panics
    /// When it is not even known how much is left.
    pub fn fill(&self) -> Full {
        self.fill_but(0)
    }

    /// The same, but for so many bytes.
    ///
    /// # Panics
    /// When it is not even known how much is left.
    pub fn fill_but(&self, left: u64) -> Full {
        let path = self.at.join("full");
        // Without an inode to be had there is nothing to fill it with: it is as full as it gets.
        if let Ok(file) = File::create(&path) {
            let (mut at, mut most) = (0, u64::MAX);
            loop {
                let piece = self.free().saturating_sub(left).min(most);
                if piece < 4096 {
                    break;
                }
                match fallocate(&file, FallocateFlags::empty(), at, piece) {
                    Ok(()) => at += piece,
                    Err(_) => most = piece / 2,
                }
            }
        }
        Full(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = holds_within(Duration::from_secs(10), || {
            Command::new("umount").arg(&self.at).output().is_ok_and(|output| output.status.success())
        });
        if !unmounted {
            let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
            let text = format!("somebody still uses the disk at {}", self.at.display());
            if std::thread::panicking() {
                eprintln!("{text}");
            } else {
                panic!("{text}");
            }
        }
    }
}

/// What fills a disk; it is free again when this is dropped.
#[derive(Debug)]
pub struct Full(PathBuf);

impl Drop for Full {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn must(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_filled_takes_nothing_more_until_it_is_freed() {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::mount(&directory.path().join("disk"), 64 << 20);
        let full = disk.fill();
        let refused = fs::write(disk.path().join("file"), [1; 8192]).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::StorageFull);
        drop(full);
        fs::write(disk.path().join("file"), [1; 8192]).unwrap();
    }
}
