//! The grace of an orphan, and whether there was anybody to come back to for all of it.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::time::Time;

/// A daemon that runs notices within this that a time has come.
const PROMPT: Duration = Duration::from_secs(3);

/// A grace that runs, on the clock that stops while the machine sleeps.
pub(super) struct Grace {
    /// When it is over.
    pub(super) due: Instant,
    since: Instant,
    since_ledger: SystemTime,
}

impl Grace {
    /// One of which so much is `left` from now on.
    pub(super) fn begin(time: &Time, left: Duration) -> Self {
        let since = Instant::now();
        Self { due: since + left, since, since_ledger: time.now() }
    }

    /// Whether the machine has slept meanwhile, or the daemon was stopped when it was over. Asked as soon as it is over.
    pub(super) fn was_interrupted(&self, time: &Time) -> bool {
        let passed = time.now().duration_since(self.since_ledger).unwrap_or_default();
        let slept = passed.saturating_sub(self.since.elapsed());
        slept > PROMPT || self.due.elapsed() > PROMPT
    }
}
