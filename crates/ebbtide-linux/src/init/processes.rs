//! All processes of the sandbox, whoever has started them.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::BorrowedFd;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getsid, waitid};

use crate::sys;

/// Whether no process but init is left.
pub(super) fn none_left() -> bool {
    // Looks without taking the exit status of one that has just ended.
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    matches!(waitid(WaitId::All, options), Err(Errno::CHILD))
}

/// How many there are beside init, by the payload's cgroup.
pub(super) fn count(cgroup: BorrowedFd<'_>) -> u32 {
    if none_left() {
        return 0;
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let mut pids = String::new();
    let _ = openat(cgroup, "cgroup.procs", flags, Mode::empty())
        .map(|file| File::from(file).read_to_string(&mut pids));
    pids.lines().count() as u32
}

/// Every process of the namespace but init and those of a session.
pub(super) fn others_than_session(session: i32) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_other = |pid: &i32| {
        let of = getsid(Pid::from_raw(*pid)).map(|of| of.as_raw_nonzero().get());
        *pid > 1 && of != Ok(session)
    };
    pids.filter(is_other).collect()
}

/// Signals every process of the namespace but init.
pub(super) fn kill_everybody(signal: Signal) {
    sys::kill_all(signal.as_raw());
}
