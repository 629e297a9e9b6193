//! How a sandbox ended and what became of what it held.

use std::time::{Duration, SystemTime};

use ebbtide_model::{ExitStatus, Receipt, SandboxId};
use serde::{Deserialize, Serialize};

/// What ended a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndCause {
    /// The main command ended by itself.
    MainExited,
    /// [`crate::Driver::stop`] or [`crate::Driver::destroy`] was called.
    Stopped,
    /// Its lifetime was over.
    LifetimeExpired,
    /// Its owner died and the grace period was over.
    OwnerGone,
    /// No driver had attended to it for the grace of [`crate::DeadMansSwitch::Daemon`].
    DaemonGone,
    /// The kernel killed its main command for want of memory.
    OutOfMemory,
    /// Its init was killed from outside, before its main command had ended.
    InitKilled,
    /// Its host was being shut down.
    HostShutdown,
}

/// How a sandbox ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndReport {
    /// What ended it.
    pub cause: EndCause,
    /// How its main command ended; `None` if it had none or it cannot be known.
    pub exit: Option<ExitStatus>,
    /// When it ended.
    pub at: SystemTime,
}

/// How the main command of a sandbox that stays ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MainEnded {
    /// As the report of the sandbox's end would have said it.
    pub report: EndReport,
    /// How long ago that was, by a clock that nobody sets.
    pub ago: Duration,
}

/// What a destroy did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DestroyOutcome {
    /// It was there and is gone now. The report is missing only if it was never started.
    Destroyed {
        /// What was released.
        receipt: Receipt,
        /// How it had ended.
        report: Option<EndReport>,
    },
    /// It was not there.
    AlreadyGone,
}

/// How far a sandbox that exists has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Made, but its main command has not been started: a create was cut off.
    Made,
    /// Commands can be run in it.
    Running,
    /// Its processes are frozen by [`crate::Driver::pause`]. Its deadlines hold.
    Paused,
    /// Its end has begun (a stop with grace, say) or is over; [`crate::Driver::ended`] tells.
    Ended,
}

/// A sandbox that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Existing {
    /// Its id.
    pub id: SandboxId,
    /// How far it has come.
    pub phase: Phase,
}
