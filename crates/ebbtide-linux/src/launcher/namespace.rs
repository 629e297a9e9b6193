//! The launcher's private mount namespace: the host's root and the few mounts that the work needs.
//!
//! Each clone copies the mount table, at more than a microsecond a mount, and keeps every file system in it busy.
//! A host can have thousands of mounts; the launcher keeps those that cover the paths it uses. Paths stay as
//! they are.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_change, unmount};
use rustix::process::{chdir, pivot_root};

use crate::sys;
use crate::sys_error::{Step, SysError};

/// Enters the namespace. `stage` is a directory to put it together at; `needed` are the paths to keep.
pub(super) fn enter(stage: &Path, needed: &[&Path]) -> Result<(), SysError> {
    let points = mount_points().step(|| "read the mount table")?;
    let keep: BTreeSet<&PathBuf> = needed.iter().flat_map(|path| covering(&points, path)).collect();
    sys::unshare(libc::CLONE_NEWNS).step(|| "make a mount namespace")?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .step(|| "make the mounts private")?;
    fs::create_dir_all(stage).step(|| format!("make the directory {}", stage.display()))?;
    mount_bind("/", stage).step(|| "bind the host's root")?;
    // Shorter paths first, so that a mount is there before those on it.
    for point in keep {
        let at = stage.join(point.strip_prefix("/").unwrap_or(point));
        mount_bind(point, &at).step(|| format!("bind {}", point.display()))?;
    }
    chdir(stage).step(|| format!("enter {}", stage.display()))?;
    pivot_root(".", ".").step(|| "change the root")?;
    unmount(".", UnmountFlags::DETACH).step(|| "leave the host's mounts")?;
    chdir("/").step(|| "enter the root")
}

fn mount_points() -> std::io::Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(unescape)
        .filter(|path| path != Path::new("/"))
        .collect())
}

/// The mount points on the way to a path, and those right below it for the hierarchies of cgroups.
fn covering<'a>(points: &'a [PathBuf], path: &Path) -> Vec<&'a PathBuf> {
    let below_cgroup = |point: &Path| path == Path::new("/sys/fs/cgroup") && point.parent() == Some(path);
    points.iter().filter(|point| path.starts_with(point) || below_cgroup(point)).collect()
}

/// Undoes the octal escapes of the mount table.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail
            .get(..3)
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mounts_on_the_way_to_a_needed_path_are_kept() {
        let points: Vec<PathBuf> =
            ["/proc", "/home", "/home/a", "/sys/fs/cgroup", "/sys/fs/cgroup/cpu", "/sys"]
                .map(PathBuf::from)
                .to_vec();
        let kept = |path: &str| covering(&points, Path::new(path)).len();
        assert_eq!(kept("/home/a/b"), 2);
        assert_eq!(kept("/proc"), 1);
        assert_eq!(kept("/sys/fs/cgroup"), 3);
        assert_eq!(kept("/var/lib"), 0);
    }

    #[test]
    fn escapes_of_the_mount_table_are_undone() {
        assert_eq!(unescape(r"/a\040b\134c"), Path::new("/a b\\c"));
    }
}
