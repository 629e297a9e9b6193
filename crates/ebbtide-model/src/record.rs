//! What is known of one sandbox.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::{OwnerProcess, Principal, SandboxId, SandboxSpec, State, TerminationReason};

/// How the main command of a sandbox ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    /// It returned this code, 0 to 255.
    Code(u8),
    /// It was ended by this signal.
    Signal(u8),
}

impl ExitStatus {
    /// The exit code as a shell reports it: the code, or 128 plus the signal.
    ///
    /// ```
    /// assert_eq!(ebbtide_model::ExitStatus::Signal(9).code(), 137);
    /// ```
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => i32::from(code),
            Self::Signal(signal) => 128 + i32::from(signal),
        }
    }
}

/// The ledger's record of one sandbox: what was asked for, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SandboxRecord {
    /// The id.
    pub id: SandboxId,
    /// Whom it belongs to.
    pub principal: Principal,
    /// What was asked for.
    pub spec: SandboxSpec,
    /// The process whose death ends it, if it has one.
    pub owner: Option<OwnerProcess>,
    /// Where it is in its life.
    pub state: State,
    /// Why it ended, or why it is ending. `None` while nothing ends it.
    pub reason: Option<TerminationReason>,
    /// Words for a person beside the reason, e.g. the error of a failed create. May be empty.
    pub message: String,
    /// The exit code of the main command, set only when it is known.
    pub exit_code: Option<i32>,
    /// When the create was accepted.
    pub created_at: SystemTime,
    /// When it began to run.
    pub started_at: Option<SystemTime>,
    /// When the last of its resources was released.
    pub ended_at: Option<SystemTime>,
    /// When its lifetime is over.
    pub deadline: SystemTime,
    /// The boot of the machine that it was made in (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// The caller's id of the create request, empty if it gave none.
    pub request_id: String,
}
