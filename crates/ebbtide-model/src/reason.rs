//! Why a sandbox ended.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a sandbox ended. The text form is stable: it is stored, and shown as `state_reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TerminationReason {
    /// The main command ended by itself.
    MainExited,
    /// A client asked for it.
    Stopped,
    /// A client ended a set of sandboxes at once.
    Purged,
    /// Its lifetime was over.
    LifetimeExpired,
    /// The process that owned it died and the grace period was over.
    OwnerGone,
    /// Its init was killed from outside, or the kernel ended it for want of memory.
    InitKilled,
    /// It could not be made.
    CreateFailed,
    /// The machine was restarted under it.
    HostRestarted,
    /// Its record said that it runs, the kernel said that it does not.
    Reconciled,
    /// The daemon and everything of its home was shut down.
    Shutdown,
}

impl TerminationReason {
    /// Every reason.
    pub const ALL: [Self; 10] = [
        Self::MainExited,
        Self::Stopped,
        Self::Purged,
        Self::LifetimeExpired,
        Self::OwnerGone,
        Self::InitKilled,
        Self::CreateFailed,
        Self::HostRestarted,
        Self::Reconciled,
        Self::Shutdown,
    ];

    /// The stable text form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MainExited => "main_exited",
            Self::Stopped => "stopped",
            Self::Purged => "purged",
            Self::LifetimeExpired => "lifetime_expired",
            Self::OwnerGone => "owner_gone",
            Self::InitKilled => "init_killed",
            Self::CreateFailed => "create_failed",
            Self::HostRestarted => "host_restarted",
            Self::Reconciled => "reconciled",
            Self::Shutdown => "shutdown",
        }
    }
}

impl fmt::Display for TerminationReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
