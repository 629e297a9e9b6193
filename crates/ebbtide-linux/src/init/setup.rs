//! Entering the sandbox: identity, mounts, loopback, and what the payload may never have.

use std::fs;

use rustix::fs::{CWD, Mode};
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags, mount, mount_bind, mount_change,
    mount_remount, move_mount, unmount,
};
use rustix::process::{chdir, pivot_root, setsid, umask};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::{Inheritance, Roots};
use crate::capabilities;
use crate::root::EMPTY_DIR;
use crate::sys_error::{Step, SysError};
use crate::{protocol, sys};

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
    let stage = inheritance.stage.clone();
    for (target, mount) in roots.targets.iter().zip(&mounts) {
        let at = if target.is_empty() { stage.clone() } else { stage.join(target) };
        move_mount(mount, "", CWD, &at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .step(|| format!("attach the file system of /{target}"))?;
    }
    drop(mounts);
    chdir(&stage).step(|| "enter the root".to_owned())?;
    // Not before: the way to the stage leads through directories that are open to the host's root alone.
    become_root()?;
    own_file_systems()?;
    pivot_root(".", ".").step(|| "change the root".to_owned())?;
    unmount(".", UnmountFlags::DETACH).step(|| "leave the old root".to_owned())?;
    chdir("/").step(|| "enter the root".to_owned())?;
    mask()?;
    sys::bring_loopback_up().step(|| "bring the loopback interface up".to_owned())?;
    umask(Mode::from_raw_mode(0o022));
    capabilities::limit_bounding_set()?;
    capabilities::no_new_privs()?;
    capabilities::set_dumpable(false)
}

/// Takes the identity of the sandbox's root and a session of its own.
fn become_root() -> Result<(), SysError> {
    let (uid, gid) = (rustix::process::Uid::ROOT, rustix::process::Gid::ROOT);
    set_thread_groups(&[]).step(|| "drop the groups".to_owned())?;
    set_thread_res_gid(gid, gid, gid).step(|| "become the sandbox's root group".to_owned())?;
    set_thread_res_uid(uid, uid, uid).step(|| "become the sandbox's root".to_owned())?;
    setsid().step(|| "make a session".to_owned()).map(drop)
}

/// Mounts what belongs to this sandbox's namespaces; the working directory is the new root.
fn own_file_systems() -> Result<(), SysError> {
    // A mount that could propagate would have to come from the host; ours never do.
    let _ = mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC);
    let common = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount_own("proc", "proc", common, None)?;
    mount_own(
        "dev/pts",
        "devpts",
        MountFlags::NOSUID | MountFlags::NOEXEC,
        Some(c"newinstance,ptmxmode=0666,mode=620,gid=5"),
    )?;
    mount_own("dev/shm", "tmpfs", common, Some(c"mode=1777,size=64m"))?;
    mount_own("dev/mqueue", "mqueue", common, None)?;
    mount_own("run", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(c"mode=755,size=64m"))?;
    // Where the host's own sysfs is covered, the kernel refuses a new one; programs do without it.
    let _ = mount_own("sys", "sysfs", common | MountFlags::RDONLY, None);
    Ok(())
}

fn mount_own(at: &str, kind: &str, flags: MountFlags, data: Option<&std::ffi::CStr>) -> Result<(), SysError> {
    mount(kind, at, kind, flags, data).step(|| format!("mount {kind} at /{at}"))
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
