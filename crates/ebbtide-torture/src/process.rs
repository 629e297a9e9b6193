//! Children, and everybody who becomes one.
//!
//! The suite is a subreaper: a helper of the target whose parent dies becomes its child, so that descent tells what
//! is the target's from what belongs to whoever else uses the machine. As process 1 would, it reaps all of them.

use std::collections::BTreeMap;
use std::io;
use std::process::Command;
use std::sync::{Condvar, Mutex, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};

/// How children have ended, by process id: as a shell's exit code.
static ENDED: Mutex<BTreeMap<u32, i32>> = Mutex::new(BTreeMap::new());
/// Somebody was started, or has ended.
static CHANGED: Condvar = Condvar::new();

/// Makes this process the reaper of its descendants.
pub(crate) fn adopt_all() -> io::Result<()> {
    static ONCE: Once = Once::new();
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    ONCE.call_once(|| {
        thread::spawn(|| {
            loop {
                reap();
            }
        });
    });
    Ok(())
}

fn reap() {
    match rustix::process::wait(WaitOptions::empty()) {
        Ok(Some((pid, status))) => {
            let code = status.exit_status().or_else(|| Some(128 + status.terminating_signal()?));
            let mut ended = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
            ended.insert(pid.as_raw_nonzero().get().unsigned_abs(), code.unwrap_or_default());
            CHANGED.notify_all();
        }
        Ok(None) | Err(Errno::INTR) => {}
        // No children: until one is started. One that is adopted comes from one that was started.
        Err(_) => {
            let ended = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
            drop(CHANGED.wait_timeout(ended, Duration::from_millis(100)));
        }
    }
}

/// A process that was started here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Started {
    /// Its id, which is its own until [`Started::ended_within`] has seen its end.
    pub(crate) pid: u32,
}

/// Starts a program.
pub(crate) fn start(command: &mut Command) -> io::Result<Started> {
    // Held, so that the end of one with this id that was before it is forgotten, and its own is not.
    let mut ended = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
    let pid = command.spawn()?.id();
    ended.remove(&pid);
    CHANGED.notify_all();
    Ok(Started { pid })
}

impl Started {
    /// Its exit code, if it ends within `limit`.
    pub(crate) fn ended_within(self, limit: Duration) -> Option<i32> {
        let deadline = Instant::now() + limit;
        let mut ended = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(code) = ended.get(&self.pid) {
                return Some(*code);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            ended = CHANGED.wait_timeout(ended, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Sends it a signal, unless it has ended.
    pub(crate) fn signal(self, signal: Signal) {
        if self.ended_within(Duration::ZERO).is_none() {
            kill(self.pid, signal);
        }
    }
}

/// Sends a signal to a process; that it is gone is no error.
pub(crate) fn kill(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Sends a signal to a process group.
pub(crate) fn kill_group(group: u32, signal: Signal) {
    if let Some(group) = i32::try_from(group).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, signal);
    }
}
