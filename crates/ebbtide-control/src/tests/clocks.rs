//! Clocks that a test sets.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::time::moved;
use crate::{Clocks, KernelClocks};

/// The kernel's clocks, and by how much a test has set the one that people read and has let the machine sleep.
pub(crate) struct SetClocks {
    set: AtomicI64,
    slept: AtomicU64,
    jumps: watch::Sender<()>,
}

impl SetClocks {
    pub(crate) fn new() -> Self {
        Self { set: AtomicI64::new(0), slept: AtomicU64::new(0), jumps: watch::Sender::new(()) }
    }

    /// Sets the wall clock so many hours forward, or back, as somebody would while a daemon runs.
    pub(crate) fn set(&self, hours: i64) {
        self.set_unnoticed(hours);
        self.jumps.send_replace(());
    }

    /// The same while no daemon runs.
    pub(crate) fn set_unnoticed(&self, hours: i64) {
        self.set.fetch_add(hours * 3_600_000, Ordering::SeqCst);
    }

    /// The machine has slept: the boot clock went on, and the wall clock with it; the monotonic one has stood still.
    pub(crate) fn sleep(&self, time: Duration) {
        self.slept.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
        self.jumps.send_replace(());
    }

    fn slept(&self) -> Duration {
        Duration::from_millis(self.slept.load(Ordering::SeqCst))
    }
}

#[async_trait]
impl Clocks for SetClocks {
    fn wall(&self) -> SystemTime {
        moved(KernelClocks.wall() + self.slept(), self.set.load(Ordering::SeqCst))
    }

    fn since_boot(&self) -> Duration {
        KernelClocks.since_boot() + self.slept()
    }

    async fn watch(&self, jumped: &(dyn Fn() + Send + Sync)) -> std::io::Result<()> {
        let mut jumps = self.jumps.subscribe();
        loop {
            jumped();
            if jumps.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
