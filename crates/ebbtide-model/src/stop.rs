//! How a sandbox is to be stopped.

use std::time::Duration;

use crate::{Invalid, Limits};

/// How a sandbox is to be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopOptions {
    /// How long the processes have after SIGTERM before SIGKILL; zero kills at once.
    pub grace: Duration,
}

impl StopOptions {
    /// Kill at once.
    pub const NOW: Self = Self { grace: Duration::ZERO };

    /// Reads the grace period of a request, in seconds.
    ///
    /// # Errors
    /// When it is negative or above the limit.
    pub fn from_seconds(seconds: i32, limits: &Limits) -> Result<Self, Invalid> {
        u64::try_from(seconds)
            .ok()
            .map(Duration::from_secs)
            .filter(|grace| *grace <= limits.max_stop_grace)
            .map(|grace| Self { grace })
            .ok_or_else(|| {
                Invalid::new(
                    "grace_period_seconds",
                    format!("{seconds} is out of range"),
                    format!("0 to {}", limits.max_stop_grace.as_secs()),
                )
            })
    }
}
