//! One cgroup hierarchy's part of a home: plain directories and files.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use crate::sys_error::{Step, SysError};

/// Where the hierarchies are mounted.
pub(super) struct Mounts {
    pub(super) v2: Option<PathBuf>,
    pub(super) v1: HashMap<String, PathBuf>,
}

pub(super) fn cgroup_mounts() -> io::Result<Mounts> {
    let mut mounts = Mounts { v2: None, v1: HashMap::new() };
    for line in fs::read_to_string("/proc/self/mountinfo")?.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let Some(point) = left.split(' ').nth(4).map(PathBuf::from) else { continue };
        let mut right = right.split(' ');
        match right.next() {
            Some("cgroup2") => mounts.v2 = mounts.v2.or(Some(point)),
            Some("cgroup") => {
                for option in right.nth(1).unwrap_or_default().split(',') {
                    mounts.v1.entry(option.to_owned()).or_insert_with(|| point.clone());
                }
            }
            _ => {}
        }
    }
    Ok(mounts)
}

/// The directories of one home in one hierarchy.
pub(crate) struct Tree {
    root: PathBuf,
    home: PathBuf,
}

impl Tree {
    pub(super) fn new(root: &Path, home: &str) -> Self {
        Self { root: root.to_owned(), home: root.join("ebbtide").join(home) }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    pub(super) fn path(&self, slot: &str, leaf: &str) -> PathBuf {
        if leaf.is_empty() { self.home.join(slot) } else { self.home.join(slot).join(leaf) }
    }

    pub(super) fn make(&self, slot: &str, leaf: &str) -> Result<(), SysError> {
        let path = self.path(slot, leaf);
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir_all(&path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            result => result,
        }
        .step(|| format!("make the cgroup {}", path.display()))
    }

    pub(super) fn open(&self, slot: &str, leaf: &str) -> Result<OwnedFd, SysError> {
        let path = self.path(slot, leaf);
        File::open(&path).map(OwnedFd::from).step(|| format!("open the cgroup {}", path.display()))
    }

    pub(super) fn open_file(&self, slot: &str, leaf: &str, file: &str) -> Result<OwnedFd, SysError> {
        let path = self.path(slot, leaf).join(file);
        OpenOptions::new()
            .write(true)
            .open(&path)
            .map(OwnedFd::from)
            .step(|| format!("open {}", path.display()))
    }

    pub(super) fn open_to_read(&self, slot: &str, leaf: &str, file: &str) -> Result<OwnedFd, SysError> {
        let path = self.path(slot, leaf).join(file);
        File::open(&path).map(OwnedFd::from).step(|| format!("open {}", path.display()))
    }

    /// The freezer of the payload, thawed whatever has become of the slot that had it before: what is born into a
    /// frozen cgroup never gets as far as its first instruction.
    pub(super) fn thaw(&self, slot: &str) -> Result<OwnedFd, SysError> {
        let file = self.open_file(slot, "payload", "cgroup.freeze")?;
        rustix::io::write(&file, b"0").step(|| format!("thaw the cgroup of {slot}"))?;
        Ok(file)
    }

    pub(super) fn write(&self, slot: &str, leaf: &str, file: &str, value: &str) -> Result<(), SysError> {
        let path = self.path(slot, leaf).join(file);
        fs::write(&path, value).step(|| format!("write {value:?} to {}", path.display()))
    }

    /// As [`Tree::write`], but a file that the kernel does not offer is skipped.
    pub(super) fn write_if_there(
        &self,
        slot: &str,
        leaf: &str,
        file: &str,
        value: &str,
    ) -> Result<(), SysError> {
        let path = self.path(slot, leaf).join(file);
        match OpenOptions::new().write(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(mut file) => io::Write::write_all(&mut file, value.as_bytes()),
        }
        .step(|| format!("write {value:?} to {}", path.display()))
    }

    /// A file's text; nothing where the kernel does not offer it.
    pub(super) fn read(&self, slot: &str, leaf: &str, file: &str) -> Option<String> {
        fs::read_to_string(self.path(slot, leaf).join(file)).ok()
    }

    pub(super) fn give(&self, slot: &str, leaf: &str, file: &str, uid: u32) -> Result<(), SysError> {
        let path = self.path(slot, leaf).join(file);
        chown(&path, Some(uid), None).step(|| format!("give {} to the sandbox", path.display()))
    }

    /// Removes a directory; answers whether it was there.
    pub(super) fn remove(&self, slot: &str, leaf: &str) -> Result<bool, SysError> {
        let path = self.path(slot, leaf);
        match fs::remove_dir(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(SysError::new(format!("remove the cgroup {}", path.display()), error)),
        }
    }

    /// The processes of a cgroup; none where it is gone.
    pub(super) fn pids(&self, slot: &str, leaf: &str) -> Result<Vec<i32>, SysError> {
        let path = self.path(slot, leaf).join("cgroup.procs");
        let text = match fs::read_to_string(&path) {
            // The kernel says so of one that is removed while it is open.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => String::new(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text.step(|| format!("read {}", path.display()))?,
        };
        Ok(text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0).collect())
    }

    pub(super) fn slots(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.home) else { return Vec::new() };
        entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.starts_with("slot-"))
            .collect()
    }

    /// Removes the home's directory and the one above it where they are empty.
    pub(super) fn remove_home(&self) {
        for dir in [Some(self.home.as_path()), self.home.parent()].into_iter().flatten() {
            if fs::remove_dir(dir).is_err() {
                return;
            }
        }
    }
}
