//! The cgroup of a daemon that was started on first use, and of its launcher.
//!
//! Whoever happens to call first may live in the scope of a login or of a job, which is killed with all that is
//! in it; a daemon serves later callers, too.

use std::fs;
use std::path::{Path, PathBuf};

use super::tree::cgroup_mounts;
use crate::sys_error::{Step, SysError};

/// The leaf's name, beside those of the slots.
pub(crate) const LEAF: &str = "daemon";

/// Being in the home's own cgroup. Dropped, the process is out again.
#[derive(Debug)]
pub struct OwnCgroup {
    home_id: String,
}

impl OwnCgroup {
    /// Moves the calling process, with all its threads, into the home's own cgroup.
    ///
    /// # Errors
    /// When cgroup v2 is not there or does not let us.
    pub fn enter(home_id: &str) -> Result<Self, SysError> {
        let root = v2_root().step(|| "find cgroup v2")?;
        let leaf = leaf(&root, home_id);
        let own = Self { home_id: home_id.to_owned() };
        fs::create_dir_all(&leaf).step(|| format!("make the cgroup {}", leaf.display()))?;
        fs::write(leaf.join("cgroup.procs"), "0").step(|| format!("enter the cgroup {}", leaf.display()))?;
        Ok(own)
    }
}

impl Drop for OwnCgroup {
    fn drop(&mut self) {
        leave_own_cgroup(&self.home_id);
    }
}

/// Moves the calling process out of the home's own cgroup, if it is in it, and removes it with the home's
/// directory above once nobody else is in them.
pub(crate) fn leave_own_cgroup(home_id: &str) {
    let Ok(root) = v2_root() else { return };
    let leaf = leaf(&root, home_id);
    let inside = format!("/ebbtide/{home_id}/{LEAF}");
    if fs::read_to_string("/proc/self/cgroup")
        .is_ok_and(|text| text.lines().any(|line| line.ends_with(&inside)))
    {
        let _ = fs::write(root.join("cgroup.procs"), "0");
    }
    for directory in leaf.ancestors().take(3) {
        if fs::remove_dir(directory).is_err() && directory.exists() {
            return;
        }
    }
}

fn leaf(root: &Path, home_id: &str) -> PathBuf {
    root.join("ebbtide").join(home_id).join(LEAF)
}

fn v2_root() -> std::io::Result<PathBuf> {
    cgroup_mounts()?.v2.ok_or_else(|| std::io::ErrorKind::NotFound.into())
}
