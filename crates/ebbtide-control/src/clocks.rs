//! The clocks of the machine: the one that people read, and the one that nobody sets.

use std::io;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use rustix::io::Errno;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use tokio::net::unix::pipe::Receiver;

/// A moment that the timer of [`KernelClocks::watch`] is set to and that never comes: the year 2242.
const NEVER: i64 = 1 << 33;

/// The clocks that an engine goes by.
#[async_trait]
pub trait Clocks: Send + Sync {
    /// What people read. It may be set to any time, at any moment.
    fn wall(&self) -> SystemTime;

    /// How long ago the machine was started. Nobody sets it, and it goes on while the machine sleeps.
    fn since_boot(&self) -> Duration;

    /// Calls `jumped` once at the beginning and then whenever the wall clock has been set or the machine has woken up.
    /// Goes on for ever.
    ///
    /// # Errors
    /// When that cannot be heard of.
    async fn watch(&self, jumped: &(dyn Fn() + Send + Sync)) -> io::Result<()>;
}

/// The kernel's.
#[derive(Debug, Clone, Copy, Default)]
pub struct KernelClocks;

#[async_trait]
impl Clocks for KernelClocks {
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn since_boot(&self) -> Duration {
        let time = clock_gettime(ClockId::Boottime);
        Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
    }

    async fn watch(&self, jumped: &(dyn Fn() + Send + Sync)) -> io::Result<()> {
        let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        // The kernel cancels a timer like this when the wall clock makes a jump, which a wake-up is one of.
        let never = Timespec { tv_sec: NEVER, tv_nsec: 0 };
        let never = Itimerspec { it_interval: Timespec::default(), it_value: never };
        timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET, &never)?;
        // No pipe, but read like one.
        let timer = Receiver::from_owned_fd_unchecked(timer)?;
        jumped();
        loop {
            timer.readable().await?;
            match timer.try_read(&mut [0; 8]) {
                Err(error) if error.raw_os_error() == Some(Errno::CANCELED.raw_os_error()) => jumped(),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_clock_goes_on() {
        let before = KernelClocks.since_boot();
        std::thread::sleep(Duration::from_millis(5));
        let passed = KernelClocks.since_boot() - before;
        assert!(passed >= Duration::from_millis(5) && passed < Duration::from_secs(60), "{passed:?}");
    }

    #[tokio::test]
    async fn a_clock_that_nobody_sets_is_looked_at_once() {
        let looks = std::sync::atomic::AtomicUsize::new(0);
        let jumped = || {
            looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        };
        let watched = KernelClocks.watch(&jumped);
        assert!(tokio::time::timeout(Duration::from_millis(100), watched).await.is_err());
        assert_eq!(looks.into_inner(), 1);
    }
}
