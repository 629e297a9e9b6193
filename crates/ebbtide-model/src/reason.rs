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
    /// The session that it was in was closed.
    SessionClosed,
    /// A client ended a set of sandboxes at once.
    Purged,
    /// Its lifetime was over.
    LifetimeExpired,
    /// The process that owned it died and the grace period was over.
    OwnerGone,
    /// It had been idle for as long as it may be.
    Idle,
    /// It had been kept after its owner's end for as long as that was asked for.
    KeepExpired,
    /// Its owner is elsewhere, and no daemon that could hear of it has run for too long.
    DaemonGone,
    /// Its main command was killed for want of memory.
    OutOfMemory,
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
    pub const ALL: [Self; 15] = [
        Self::MainExited,
        Self::Stopped,
        Self::SessionClosed,
        Self::Purged,
        Self::LifetimeExpired,
        Self::OwnerGone,
        Self::Idle,
        Self::KeepExpired,
        Self::DaemonGone,
        Self::OutOfMemory,
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
            Self::SessionClosed => "session_closed",
            Self::Purged => "purged",
            Self::LifetimeExpired => "lifetime_expired",
            Self::OwnerGone => "owner_gone",
            Self::Idle => "idle",
            Self::KeepExpired => "keep_expired",
            Self::DaemonGone => "daemon_gone",
            Self::OutOfMemory => "out_of_memory",
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
