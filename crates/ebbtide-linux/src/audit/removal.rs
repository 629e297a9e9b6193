//! Taking away what only the kernel holds: a mount in somebody's mount namespace, a loop device, a subvolume.
//!
//! Each takes a thing that a walk has found, and nothing but that: what has another name by now is left.

#![expect(unsafe_code, reason = "to leave the other threads' root directory alone")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::thread;

use rustix::mount::{UnmountFlags, unmount};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

use super::procfs::{link, namespace, proc_path};
use super::{Found, Kind};
use crate::disk;

/// Takes away a mount, a namespace that a mount keeps, a loop device or a subvolume of the disk pool.
///
/// What somebody still uses goes when its last user does.
///
/// # Errors
/// When it is of another kind, cannot be reached any more ([`io::ErrorKind::NotFound`] where it is gone), or the
/// kernel refuses.
pub fn remove(found: &Found) -> io::Result<()> {
    match (found.kind, found.pid) {
        (Kind::Mount | Kind::NetworkNamespace, Some(pid)) => match found.name.rsplit_once(" in mnt:") {
            Some((point, number)) => unmount_in(pid, &format!("mnt:{number}"), point),
            None => Err(not_that()),
        },
        (Kind::LoopDevice, _) => disk::detach(Path::new(&found.name)),
        (Kind::Quota, Some(pid)) => match found.detail.strip_prefix("subvolume in ") {
            // Through the root directory of the same process as before; should it have gone, so has the way.
            Some(pool) if Path::new(pool).starts_with(proc_path(pid, "root")) => {
                disk::destroy_in(Path::new(pool), &found.name)
            }
            _ => Err(not_that()),
        },
        _ => Err(not_that()),
    }
}

fn not_that() -> io::Error {
    io::Error::other("only the command below takes it away")
}

/// Unmounts what is mounted last at `point`, in the mount namespace `space` that process `pid` was in.
fn unmount_in(pid: u32, space: &str, point: &str) -> io::Result<()> {
    let opened = File::open(proc_path(pid, "ns/mnt"))?;
    // By the descriptor, which stays what it is whatever becomes of the process.
    let name = link(Path::new(&format!("/proc/self/fd/{}", opened.as_raw_fd())));
    if name.as_deref() != Some(space) {
        return Err(io::ErrorKind::NotFound.into());
    }
    if namespace(std::process::id(), "mnt").as_deref() == Some(space) {
        return Ok(unmount(point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?);
    }
    let point = point.to_owned();
    // A thread of its own, which ends with what it did: it never comes back from where it goes.
    let there = thread::Builder::new().spawn(move || {
        // SAFETY: the flag takes no memory and no descriptors from anybody: this thread alone gets a root and a working
        // directory of its own, without which the kernel would refuse the next step.
        unsafe { unshare_unsafe(UnshareFlags::FS) }?;
        move_into_link_name_space(opened.as_fd(), Some(LinkNameSpaceType::Mount))?;
        unmount(point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
    })?;
    match there.join() {
        Ok(result) => Ok(result?),
        Err(_) => Err(io::Error::other("the thread that was to do it has ended early")),
    }
}
