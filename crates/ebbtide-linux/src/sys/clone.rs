//! `clone3` used as a fork into new namespaces and a cgroup.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Which namespaces the child gets of its own, and whether the parent waits for its exec.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CloneFlags(u64);

impl CloneFlags {
    /// Every namespace but the cgroup one, which each payload process takes for itself, and the network one, which
    /// takes longer than all others together: the init makes it while the launcher goes on.
    pub(crate) const SANDBOX: Self = Self(
        (libc::CLONE_NEWUSER
            | libc::CLONE_NEWNS
            | libc::CLONE_NEWPID
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWUTS) as u64,
    );
    /// A plain copy that the parent does not wait for.
    pub(crate) const NONE: Self = Self(0);
    /// The parent goes on once the child has called exec or has ended.
    pub(crate) const WAIT_FOR_EXEC: Self = Self(libc::CLONE_VFORK as u64);
}

/// Which side of the clone this is.
pub(crate) enum Cloned {
    /// The new process.
    Child,
    /// The process that called, with the child's pid and a descriptor of it.
    Parent { pid: i32, pidfd: OwnedFd },
}

/// `struct clone_args` of the kernel.
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Forks into the namespaces of `flags` and, on cgroup v2, straight into the cgroup of `cgroup`: no write of a
/// pid, which would wait out a grace period of the kernel.
///
/// The memory is copied as by `fork`. Only to be called by a process with a single thread, so that the child
/// may go on running ordinary code.
pub(crate) fn clone(flags: CloneFlags, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    let mut pidfd: i32 = -1;
    let mut args = CloneArgs {
        flags: flags.0 | libc::CLONE_PIDFD as u64,
        pidfd: std::ptr::from_mut(&mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        // CLONE_INTO_CGROUP, which does not fit the type of libc's constant.
        args.flags |= 0x2_0000_0000;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: the arguments are a valid clone_args that outlives the call; without CLONE_VM and with no stack
    // given the child continues here on a copy of the memory, as after fork; the callers are single-threaded,
    // so that no lock of another thread can be held in the copy.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        pid => {
            // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent { pid: pid as i32, pidfd })
        }
    }
}

/// Gives the calling process, which has a single thread, namespaces of its own.
pub(crate) fn unshare(flags: i32) -> io::Result<()> {
    // SAFETY: takes a number only; the namespaces of a single-threaded process are nobody else's.
    if unsafe { libc::unshare(flags) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
