//! The directories of an overlay that can be written to, and whether a sandbox has left them as it found them.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{IFlags, flistxattr_query, ioctl_getflags};

use crate::sys_error::{Step, SysError};

/// What the overlay keeps for itself below the work directory.
const WORK: &str = "work";
/// The mark of a volatile overlay there, outermost last: that it was mounted, and that it cannot be again.
const VOLATILE: [&str; 2] = ["incompat/volatile", "incompat"];

/// Where a sandbox's writes go.
#[derive(Debug)]
pub(crate) struct UpperDirs {
    pub(super) upper: PathBuf,
    pub(super) work: PathBuf,
}

/// A directory at one moment. Whatever is done in it or to it changes this: on kernels that tell two moments of
/// one tick apart by the change time alone, on others at least if the outcome differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    changed: (i64, i64),
    modified: (i64, i64),
    mode: u32,
    owner: (u32, u32),
    /// Grows with each entry.
    size: u64,
    flags: IFlags,
    attributes: usize,
}

impl UpperDirs {
    /// The directories of a place on the disk.
    pub(crate) fn at(place: &Path) -> Self {
        Self { upper: place.join("upper"), work: place.join("work") }
    }

    /// Makes them, for the sandbox's root `uid`.
    pub(crate) fn make(&self, uid: u32) -> Result<(), SysError> {
        for dir in [&self.upper, &self.work] {
            fs::create_dir(dir)
                .and_then(|()| chown(dir, Some(uid), Some(uid)))
                .step(|| format!("make the directory {}", dir.display()))?;
        }
        Ok(())
    }

    /// The upper directory as it is now.
    pub(crate) fn stamp(&self) -> Result<Stamp, SysError> {
        let step = || format!("look at the directory {}", self.upper.display());
        let dir = File::open(&self.upper).step(step)?;
        let data = dir.metadata().step(step)?;
        Ok(Stamp {
            inode: data.ino(),
            changed: (data.ctime(), data.ctime_nsec()),
            modified: (data.mtime(), data.mtime_nsec()),
            mode: data.mode(),
            owner: (data.uid(), data.gid()),
            size: data.size(),
            flags: ioctl_getflags(&dir).step(step)?,
            attributes: flistxattr_query(&dir).step(step)?,
        })
    }

    /// Readies them for another overlay, for the same root, if the ended one has written nothing since `stamp`;
    /// answers whether it did.
    pub(crate) fn renew(&self, stamp: &Stamp) -> Result<bool, SysError> {
        if self.stamp()? != *stamp {
            return Ok(false);
        }
        let work = self.work.join(WORK);
        let step = || format!("clear the directory {}", work.display());
        fs::remove_file(work.join(VOLATILE[0]).join("dirty")).step(step)?;
        for mark in VOLATILE {
            fs::remove_dir(work.join(mark)).step(step)?;
        }
        // Something else would be the rest of a write that was cut off.
        match fs::remove_dir(&work) {
            Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => Ok(false),
            result => result.step(step).map(|()| true),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use rustix::fs::{XattrFlags, setxattr};

    use super::*;

    fn dirs() -> (tempfile::TempDir, UpperDirs) {
        let place = tempfile::tempdir().unwrap();
        let dirs = UpperDirs::at(place.path());
        dirs.make(rustix::process::getuid().as_raw()).unwrap();
        fs::create_dir_all(dirs.work.join("work/incompat/volatile")).unwrap();
        fs::write(dirs.work.join("work/incompat/volatile/dirty"), "").unwrap();
        (place, dirs)
    }

    #[test]
    fn an_untouched_upper_directory_is_readied() {
        let (_place, dirs) = dirs();
        let stamp = dirs.stamp().unwrap();
        assert!(dirs.renew(&stamp).unwrap());
        assert_eq!(fs::read_dir(&dirs.work).unwrap().count(), 0);
    }

    #[test]
    fn a_touched_upper_directory_is_not() {
        let touches: [fn(&Path); 4] = [
            |upper| fs::write(upper.join("file"), "").unwrap(),
            |upper| {
                fs::create_dir(upper.join("gone")).unwrap();
                fs::remove_dir(upper.join("gone")).unwrap();
            },
            |upper| fs::set_permissions(upper, fs::Permissions::from_mode(0o700)).unwrap(),
            |upper| {
                let times = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
                File::open(upper).unwrap().set_times(times).unwrap();
            },
        ];
        for touch in touches {
            let (_place, dirs) = dirs();
            let stamp = dirs.stamp().unwrap();
            // Beyond one tick of a coarse clock.
            std::thread::sleep(std::time::Duration::from_millis(15));
            touch(&dirs.upper);
            assert!(!dirs.renew(&stamp).unwrap());
        }
    }

    #[test]
    fn an_attribute_more_is_seen_whatever_the_clock_says() {
        let (_place, dirs) = dirs();
        let before = dirs.stamp().unwrap();
        setxattr(&dirs.upper, "user.left", b"behind", XattrFlags::empty()).unwrap();
        let after = dirs.stamp().unwrap();
        assert_ne!(before, Stamp { changed: before.changed, ..after });
    }

    #[test]
    fn the_rest_of_a_write_that_was_cut_off_is_not_taken_over() {
        let (_place, dirs) = dirs();
        fs::write(dirs.work.join("work/#12"), "half").unwrap();
        let stamp = dirs.stamp().unwrap();
        assert!(!dirs.renew(&stamp).unwrap());
    }
}
