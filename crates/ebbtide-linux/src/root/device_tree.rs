//! The `/dev` of every sandbox: one read-only tmpfs with the harmless devices, made once by the launcher.
//!
//! A sandbox cannot make device nodes, and binding each of the host's costs a mount a device. A clone of this
//! tree costs one.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::mount::{MountFlags, mount};

use crate::sys;
use crate::sys_error::{Step, SysError};

const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
/// Places to mount something at, and one that stays empty.
const DIRECTORIES: [&str; 5] = ["pts", "shm", "mqueue", ".own", ".empty"];
/// A directory in every sandbox that is empty and read-only, to cover others with.
pub(crate) const EMPTY_DIR: &str = "/dev/.empty";
/// A directory in every sandbox for the files that it has of its own.
pub(crate) const OWN_DIR: &str = "/dev/.own";

pub(crate) struct DeviceTree {
    path: PathBuf,
}

impl DeviceTree {
    /// Makes the tree at `path`, in the launcher's own mount namespace.
    pub(crate) fn make(path: &Path) -> Result<Self, SysError> {
        fs::create_dir_all(path).step(|| format!("make the directory {}", path.display()))?;
        let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
        mount("ebb-dev", path, "tmpfs", flags, Some(c"mode=0755,size=64k"))
            .step(|| format!("mount a tmpfs at {}", path.display()))?;
        for (name, major, minor) in DEVICES {
            let node = path.join(name);
            mknodat(CWD, &node, FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(major, minor))
                .step(|| format!("make the device {}", node.display()))?;
            fs::set_permissions(&node, fs::Permissions::from_mode(0o666))
                .step(|| format!("open up the device {}", node.display()))?;
        }
        for (name, target) in LINKS {
            symlink(target, path.join(name)).step(|| format!("make the link {name}"))?;
        }
        for name in DIRECTORIES {
            fs::create_dir(path.join(name)).step(|| format!("make the directory {name}"))?;
        }
        Ok(Self { path: path.to_owned() })
    }

    /// A detached read-only clone for one sandbox.
    pub(crate) fn clone_for_sandbox(&self) -> Result<OwnedFd, SysError> {
        let clone = super::detached_clone(&self.path).step(|| "clone the device tree".to_owned())?;
        sys::make_read_only(clone.as_fd()).step(|| "make the device tree read-only".to_owned())?;
        Ok(clone)
    }
}
