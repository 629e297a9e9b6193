//! Signals as a descriptor, for single-threaded event loops.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A descriptor that is readable while one of its signals is pending.
pub(crate) struct SignalFd(OwnedFd);

impl SignalFd {
    /// Blocks `signals` for the process and receives them here.
    pub(crate) fn new(signals: &[i32]) -> io::Result<Self> {
        let set = signal_set(signals);
        // SAFETY: both sets are valid; only this thread's mask is changed.
        if unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: -1 asks for a new descriptor; the set is valid.
        let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The next pending signal, if there is one.
    pub(crate) fn next(&self) -> Option<i32> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the buffer has the size that is given; a full read fills all of it.
        let read = unsafe { libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), size) };
        if read != size as isize {
            return None;
        }
        // SAFETY: the read above filled the whole structure.
        Some(unsafe { info.assume_init() }.ssi_signo as i32)
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Signals every process that the caller may signal but itself and process 1. Only for process 1 of a pid
/// namespace, where that is the namespace.
pub(crate) fn kill_all(signal: i32) {
    if std::process::id() == 1 {
        // SAFETY: takes numbers only; elsewhere it would reach the whole host, hence the check.
        unsafe { libc::kill(-1, signal) };
    }
}

/// Sends a signal, by its number, to one process of the caller's pid namespace; one that has ended is no error.
pub(crate) fn kill(pid: i32, signal: i32) {
    // What is not above 1 would be a group, everybody, or the init that calls.
    if pid > 1 {
        // SAFETY: takes numbers only.
        unsafe { libc::kill(pid, signal) };
    }
}

/// Gives every signal its default action, as a program expects to be started; what is ignored stays so over an exec.
pub(crate) fn reset_signal_actions() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: resets to the default action; the numbers that cannot be changed only answer with an error.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Gives every signal that is ignored its default action. But SIGPIPE: Rust itself has that ignored, and a write tells.
pub(crate) fn heed_ignored_signals() {
    for signal in (1..=libc::SIGRTMAX()).filter(|signal| *signal != libc::SIGPIPE) {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: only asks for the action, into memory of that type; all zeros is a valid one where it fails.
        let ignored = unsafe {
            libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) == 0
                && action.assume_init().sa_sigaction == libc::SIG_IGN
        };
        if ignored {
            // SAFETY: resets to the default action.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
}

/// Sends the process SIGALRM after this many seconds; never with 0.
pub(crate) fn alarm(seconds: u32) {
    // SAFETY: takes a number only.
    unsafe { libc::alarm(seconds) };
}

/// Unblocks every signal.
pub(crate) fn unblock_signals() {
    let set = signal_set(&[]);
    // SAFETY: the set is valid; only this thread's mask is changed.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) };
}

fn signal_set(signals: &[i32]) -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initializes the whole set; sigaddset gets signal numbers of the caller's own.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), *signal);
        }
        set.assume_init()
    }
}
