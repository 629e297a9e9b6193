//! Descriptors that a clone inherits and must not keep.

use std::io;
use std::os::fd::RawFd;

/// Closes every descriptor but 0, 1, 2 and those of `keep`.
///
/// For a clone that goes on to leave by exec or exit, or owns nothing besides `keep` yet.
pub(crate) fn close_all_but(keep: &[RawFd]) -> io::Result<()> {
    let mut keep: Vec<u32> = keep.iter().map(|fd| *fd as u32).filter(|fd| *fd > 2).collect();
    keep.sort_unstable();
    keep.dedup();
    let mut first = 3;
    for fd in keep {
        if fd > first {
            close_range(first, fd - 1)?;
        }
        first = fd + 1;
    }
    close_range(first, u32::MAX)
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: takes numbers only. A closed descriptor that some object still owns would be closed twice; the
    // callers are clones that leave every such object behind without dropping it, and a process that owns none
    // yet.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
