//! Which time it is: for what is recorded, for what is shown, for what is waited for.
//!
//! What is recorded is *ledger time*: the boot clock, which nobody sets and which goes on while the machine sleeps, plus
//! the moment of the boot as the wall clock had it when the daemon began. So no deadline moves when the wall clock is
//! set, neither under a daemon nor between two of them. Shown is the same moment by the wall clock as it is set now.
//!
//! Graces, and the time without use, are waited for on the clock that stops while the machine sleeps
//! ([`tokio::time::Instant`]): nobody can come back to a machine that sleeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ebbtide_model::SandboxRecord;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::Clocks;
use crate::store::{from_millis, millis};

/// No timer needs more, and the arithmetic of instants stays safe.
pub(crate) const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// A smaller difference between the clocks, in milliseconds, is none: they are not read in one instant.
pub(crate) const SMALLEST: i64 = 1000;

/// The time of one daemon.
pub(crate) struct Time {
    clocks: Arc<dyn Clocks>,
    boot_id: String,
    /// When the machine was started, in ledger time.
    epoch: SystemTime,
    /// How far the wall clock is ahead of ledger time, in milliseconds. Told anew after each jump.
    ahead: watch::Sender<i64>,
    /// The most that it ever was.
    most_ahead: AtomicI64,
}

impl Time {
    /// Ledger time in which the machine was started at `epoch`.
    pub(crate) fn new(clocks: Arc<dyn Clocks>, boot_id: &str, epoch: SystemTime) -> Self {
        Self {
            clocks,
            boot_id: boot_id.to_owned(),
            epoch,
            ahead: watch::Sender::new(0),
            most_ahead: AtomicI64::new(0),
        }
    }

    /// This moment, in ledger time and whole milliseconds, so that a record equals the same record read back.
    pub(crate) fn now(&self) -> SystemTime {
        from_millis(millis(self.epoch + self.clocks.since_boot()))
    }

    /// When `at` is, by the clock that stops while the machine sleeps, should it not sleep until then.
    pub(crate) fn instant(&self, at: SystemTime) -> Instant {
        let now = Instant::now();
        match at.duration_since(self.now()) {
            Ok(ahead) => now + ahead.min(LONGEST),
            Err(past) => now.checked_sub(past.duration()).unwrap_or(now),
        }
    }

    /// The reverse of [`Self::instant`].
    pub(crate) fn of_instant(&self, at: Instant) -> SystemTime {
        let now = Instant::now();
        self.now() + at.saturating_duration_since(now) - now.saturating_duration_since(at)
    }

    /// How much of the time until `at` is left.
    pub(crate) fn left(&self, at: SystemTime) -> Duration {
        at.duration_since(self.now()).unwrap_or_default()
    }

    /// Waits until `at`; the time in which the machine sleeps counts.
    pub(crate) async fn until(&self, at: SystemTime) {
        let mut jumps = self.ahead.subscribe();
        loop {
            let left = self.left(at);
            if left.is_zero() {
                return;
            }
            // The sender is our own, so this can only be a jump.
            let _ = timeout(left.min(LONGEST), jumps.changed()).await;
        }
    }

    /// When `at` is, by the wall clock as it is set now.
    pub(crate) fn shown(&self, at: SystemTime) -> SystemTime {
        moved(at, *self.ahead.borrow())
    }

    /// A record with its times by the wall clock as it is set now. Those of an earlier boot are what they were then.
    pub(crate) fn shown_record(&self, record: SandboxRecord) -> SandboxRecord {
        match *self.ahead.borrow() {
            0 => record,
            _ if record.boot_id != self.boot_id => record,
            ahead => record.with_times(|at| moved(at, ahead)),
        }
    }

    /// This moment as an event tells it: by the wall clock, but as if that had never been set back, since the times of
    /// events do not go back.
    pub(crate) fn of_event(&self) -> SystemTime {
        moved(self.now(), self.most_ahead.load(Ordering::Relaxed))
    }

    /// When the machine was started, by the wall clock as it is set now.
    pub(crate) fn shown_epoch(&self) -> SystemTime {
        self.shown(self.epoch)
    }

    /// Looks after the wall clock and whoever waits, whenever there was a jump, and then calls `looked` where the wall
    /// clock was set. Goes on until the clocks cannot be watched.
    pub(crate) async fn watch(&self, looked: &(dyn Fn() + Send + Sync)) -> std::io::Result<()> {
        let jumped = || {
            if self.look() {
                looked();
            }
        };
        self.clocks.watch(&jumped).await
    }

    /// Takes note of how the wall clock is set, and wakes everybody who waits; whether it was set.
    fn look(&self) -> bool {
        let ahead = millis(self.clocks.wall()) - millis(self.now());
        let was = *self.ahead.borrow();
        let is_set = (ahead - was).abs() >= SMALLEST;
        let ahead = if is_set { ahead } else { was };
        self.most_ahead.fetch_max(ahead, Ordering::Relaxed);
        self.ahead.send_replace(ahead);
        is_set
    }
}

/// When the machine was started, by the wall clock as it is set now.
pub(crate) fn epoch(clocks: &dyn Clocks) -> SystemTime {
    clocks.wall().checked_sub(clocks.since_boot()).unwrap_or(UNIX_EPOCH)
}

/// `at`, by so many milliseconds later, or earlier.
pub(crate) fn moved(at: SystemTime, by: i64) -> SystemTime {
    let distance = Duration::from_millis(by.unsigned_abs());
    let moved = if by < 0 { at.checked_sub(distance) } else { at.checked_add(distance) };
    moved.unwrap_or(UNIX_EPOCH)
}
