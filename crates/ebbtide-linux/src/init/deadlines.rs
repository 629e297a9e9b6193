//! The clocks that end a sandbox whatever becomes of everybody else.
//!
//! The lifetime runs on the boot-time clock, so that a suspended machine does not stretch it; graces run on the
//! monotonic clock, so that neither a suspend nor a change of the wall clock shortens them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::sys_error::{Step, SysError};

/// A timer that is readable once its time has come.
pub(super) struct Timer(OwnedFd);

impl Timer {
    pub(super) fn lifetime() -> Result<Self, SysError> {
        Self::new(TimerfdClockId::Boottime)
    }

    pub(super) fn grace() -> Result<Self, SysError> {
        Self::new(TimerfdClockId::Monotonic)
    }

    fn new(clock: TimerfdClockId) -> Result<Self, SysError> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        timerfd_create(clock, flags).map(Self).step(|| "make a timer".to_owned())
    }

    /// Fires once after `time`.
    pub(super) fn set(&self, time: Duration) {
        let time = time.max(Duration::from_nanos(1));
        let value = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) };
        let spec = Itimerspec { it_interval: Timespec::default(), it_value: value };
        let _ = timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &spec);
    }

    /// Sets the timer to the earliest of some instants.
    pub(super) fn set_to_earliest(&self, instants: impl Iterator<Item = Instant>) {
        if let Some(next) = instants.min() {
            self.set(next.saturating_duration_since(Instant::now()));
        }
    }

    /// Takes note that it has fired.
    pub(super) fn clear(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
