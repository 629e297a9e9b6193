//! Entering the sandbox: identity, mounts, loopback, and what the payload may never have.

use std::ffi::CStr;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode};
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags, mount, mount_bind, mount_change,
    mount_remount, move_mount, unmount,
};
use rustix::process::{chdir, pivot_root, setsid, umask};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::{Inheritance, Roots, names};
use crate::capabilities;
use crate::root::EMPTY_DIR;
use crate::sys_error::{Step, SysError};
use crate::{protocol, sys};

/// The host has 4096 terminals for everybody, by default: each sandbox gets a part of them.
const TERMINALS: &CStr = c"newinstance,ptmxmode=0666,mode=620,gid=5,max=256";
/// Parts of proc that tell of the host or reach it; a file is covered by the null device.
const MASKED_FILES: [&str; 5] =
    ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sysrq-trigger", "/proc/latency_stats"];
/// Directories covered by the empty one of the device tree, which is read-only.
const MASKED_DIRS: [&str; 3] = ["/proc/acpi", "/proc/scsi", "/sys/firmware"];
/// Parts of proc that can be read and not written.
const READ_ONLY: [&str; 4] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"];

/// Enters the sandbox; on return the process sees nothing but it.
pub(super) fn enter(inheritance: &mut Inheritance) -> Result<(), SysError> {
    // First of all, while the launcher builds the root.
    sys::unshare(libc::CLONE_NEWNET).step(|| "make the network namespace".to_owned())?;
    let (roots, mounts) = protocol::receive::<Roots>(&inheritance.launcher)
        .map_err(|error| SysError::new("wait for the root file system", std::io::Error::other(error)))?;
    let mut mounts = roots.targets.iter().zip(&mounts);
    if let Some((_, root)) = mounts.next() {
        attach(root, &inheritance.stage)?;
    }
    chdir(&inheritance.stage).step(|| "enter the root".to_owned())?;
    // Not before: the way to the stage leads through directories that are open to the host's root alone.
    become_root()?;
    // A mount that could propagate would have to come from the host; ours never do.
    let _ = mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC);
    pivot_root(".", ".").step(|| "change the root".to_owned())?;
    // From here on every path is looked up in the new root, so that nothing in an image leads a mount out of it. The
    // old root is still there, on top of the new one's directory: without a proc that is seen whole in the namespace
    // the kernel gives no other.
    for (target, mount) in mounts {
        attach(mount, &Path::new("/").join(target))?;
    }
    own_file_systems()?;
    unmount(".", UnmountFlags::DETACH).step(|| "leave the old root".to_owned())?;
    chdir("/").step(|| "enter the root".to_owned())?;
    names::prepare()?;
    mask()?;
    sys::bring_loopback_up().step(|| "bring the loopback interface up".to_owned())?;
    umask(Mode::from_raw_mode(0o022));
    capabilities::limit_bounding_set()?;
    capabilities::no_new_privs()?;
    capabilities::set_dumpable(false)
}

fn attach(mount: &OwnedFd, at: &Path) -> Result<(), SysError> {
    move_mount(mount, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .step(|| format!("attach the file system of {}", at.display()))
}

/// Takes the identity of the sandbox's root and a session of its own.
fn become_root() -> Result<(), SysError> {
    let (uid, gid) = (rustix::process::Uid::ROOT, rustix::process::Gid::ROOT);
    set_thread_groups(&[]).step(|| "drop the groups".to_owned())?;
    set_thread_res_gid(gid, gid, gid).step(|| "become the sandbox's root group".to_owned())?;
    set_thread_res_uid(uid, uid, uid).step(|| "become the sandbox's root".to_owned())?;
    setsid().step(|| "make a session".to_owned()).map(drop)
}

/// Mounts what belongs to this sandbox's namespaces.
fn own_file_systems() -> Result<(), SysError> {
    let common = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount_own("/proc", "proc", common, None)?;
    mount_own("/dev/pts", "devpts", MountFlags::NOSUID | MountFlags::NOEXEC, Some(TERMINALS))?;
    mount_own("/dev/shm", "tmpfs", common, Some(c"mode=1777,size=64m"))?;
    mount_own("/dev/mqueue", "mqueue", common, None)?;
    // Where the host's own sysfs is covered, the kernel refuses a new one; programs do without it.
    let _ = mount_own("/sys", "sysfs", common | MountFlags::RDONLY, None);
    Ok(())
}

fn mount_own(at: &str, kind: &str, flags: MountFlags, data: Option<&CStr>) -> Result<(), SysError> {
    mount(kind, at, kind, flags, data).step(|| format!("mount {kind} at {at}"))
}

fn mask() -> Result<(), SysError> {
    for path in MASKED_FILES {
        skip_absent(path, mount_bind("/dev/null", path))?;
    }
    for path in MASKED_DIRS {
        skip_absent(path, mount_bind(EMPTY_DIR, path))?;
    }
    let read_only =
        MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    for path in READ_ONLY {
        if fs::symlink_metadata(path).is_ok() {
            mount_bind(path, path)
                .and_then(|()| mount_remount(path, read_only, c""))
                .step(|| format!("protect {path}"))?;
        }
    }
    Ok(())
}

fn skip_absent(path: &str, result: rustix::io::Result<()>) -> Result<(), SysError> {
    match result {
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(()),
        result => result.step(|| format!("mask {path}")),
    }
}
