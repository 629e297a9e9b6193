//! `mount_setattr`, which rustix does not offer yet.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Maps the owners of the files below a detached mount through the user namespace `userns`.
pub(crate) fn idmap(mount: BorrowedFd<'_>, userns: BorrowedFd<'_>) -> io::Result<()> {
    set(mount, libc::MOUNT_ATTR_IDMAP, userns.as_raw_fd() as u64)
}

/// Makes a detached mount read-only, and set-user-id bits below it mean nothing.
pub(crate) fn make_read_only(mount: BorrowedFd<'_>) -> io::Result<()> {
    set(mount, libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID, 0)
}

fn set(mount: BorrowedFd<'_>, attr_set: u64, userns_fd: u64) -> io::Result<()> {
    let attr = libc::mount_attr { attr_set, attr_clr: 0, propagation: 0, userns_fd };
    // SAFETY: an empty path with AT_EMPTY_PATH names the descriptor itself; `attr` outlives the call and its
    // size is given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
