//! Why control refused or failed, each error with the reason that a client recognizes it by.

use std::time::SystemTime;

use ebbtide_driver::{DriverError, FileErrorKind};
use ebbtide_model::{ErrorReason, Holder, Invalid, PauseReason, SandboxId, State};
use thiserror::Error;

use crate::LedgerError;

/// Why a call of [`crate::Control`] failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ControlError {
    /// No sandbox of the caller's has this id. A malformed id, and one of somebody else's, are answered alike.
    #[error("no sandbox {id:?}; `ebb list --show-terminated` shows those that are known")]
    NotFound {
        /// The id as asked for.
        id: String,
    },
    /// Nothing can be run in the sandbox.
    #[error("sandbox {id} is {state}, not running; create another one")]
    NotRunning {
        /// The sandbox.
        id: SandboxId,
        /// The state it is in.
        state: State,
    },
    /// Nothing can be run in the sandbox until it is resumed.
    #[error("sandbox {id} is {}; `ebb resume {id}` lets it go on", frozen(*why))]
    Paused {
        /// The sandbox.
        id: SandboxId,
        /// Why it is frozen.
        why: PauseReason,
    },
    /// What a plan names has changed.
    #[error(
        "the plan is stale: what it was made for has changed, and now names {count} sandboxes; make a new one"
    )]
    PlanStale {
        /// How many sandboxes the same filter names now.
        count: usize,
    },
    /// The sandbox could not be made, so nothing can be run in it.
    #[error("sandbox {id} could not be made: {message}")]
    NotMade {
        /// The sandbox.
        id: SandboxId,
        /// What went wrong.
        message: String,
    },
    /// Somebody who lives owns the sandbox.
    #[error("sandbox {id} is owned by {by}; it can be adopted once that has ended or let it go")]
    Owned {
        /// The sandbox.
        id: SandboxId,
        /// Who owns it.
        by: Holder,
        /// Since when, if that is known.
        since: Option<SystemTime>,
    },
    /// A lease's token is forged, of another caller, released, or its owner was away for too long.
    #[error("the lease is not known or is over; open another one")]
    LeaseInvalid,
    /// The caller opens leases and lets none go.
    #[error("there are {most} leases already, which is the most; end the processes that hold them")]
    TooManyLeases {
        /// How many are allowed.
        most: usize,
    },
    /// The kernel gave no random bytes.
    #[error("no random bytes for a token: {0}")]
    NoRandomness(String),
    /// The request id was used before, for something else.
    #[error(
        "request id {request_id:?} was used before with another spec; use a new request id for a new sandbox"
    )]
    RequestIdConflict {
        /// The request id.
        request_id: String,
    },
    /// A field of the request is out of range.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// More is asked for than the machine has in all.
    #[error("{field}: {asked} is more than this machine has; accepted: at most {available}")]
    AboveCapacity {
        /// The field, as in [`Invalid`].
        field: String,
        /// What was asked for.
        asked: String,
        /// What there is.
        available: String,
    },
    /// The daemon is on its way out.
    #[error("the daemon is shutting down; try again, a new one is started on first use")]
    ShuttingDown,
    /// A shutdown could not end everything in time.
    #[error("{count} sandboxes had not ended when the time for it was over; run `ebb shutdown` again")]
    Unfinished {
        /// How many are left.
        count: usize,
    },
    /// The driver took longer than any healthy one does.
    #[error("the sandbox runtime did not {what} within {seconds} s; run `ebb doctor`")]
    DriverTimeout {
        /// What it was asked to do.
        what: &'static str,
        /// How long it had.
        seconds: u64,
    },
    /// The driver failed.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl ControlError {
    /// The reason that travels with the error.
    pub fn reason(&self) -> ErrorReason {
        match self {
            Self::NotFound { .. } => ErrorReason::SandboxNotFound,
            Self::NotRunning { .. } | Self::NotMade { .. } => ErrorReason::SandboxNotRunning,
            Self::PlanStale { .. } => ErrorReason::PlanStale,
            Self::Paused { .. } => ErrorReason::SandboxPaused,
            Self::Owned { .. } => ErrorReason::SandboxOwned,
            Self::LeaseInvalid => ErrorReason::LeaseInvalid,
            Self::TooManyLeases { .. } => ErrorReason::CapacityExhausted,
            Self::NoRandomness(_) => ErrorReason::Internal,
            Self::RequestIdConflict { .. } => ErrorReason::RequestIdConflict,
            Self::Invalid(_) => ErrorReason::InvalidRequest,
            Self::AboveCapacity { .. } => ErrorReason::ResourceCeilingExceeded,
            Self::ShuttingDown | Self::DriverTimeout { .. } => ErrorReason::BackendUnavailable,
            Self::Unfinished { .. } => ErrorReason::Internal,
            Self::Driver(error) => driver_reason(error),
            Self::Ledger(error) => ledger_reason(error),
        }
    }
}

fn frozen(why: PauseReason) -> &'static str {
    match why {
        PauseReason::Asked => "paused",
        PauseReason::Idle => "paused because it was idle",
        PauseReason::Kept => "kept after a clean-up, and paused",
    }
}

fn driver_reason(error: &DriverError) -> ErrorReason {
    match error {
        DriverError::NotFound(_) => ErrorReason::SandboxNotFound,
        DriverError::NotRunning(_) => ErrorReason::SandboxNotRunning,
        DriverError::Paused(_) => ErrorReason::SandboxPaused,
        DriverError::UnknownImage { .. }
        | DriverError::ImageGone { .. }
        | DriverError::UnknownUser { .. }
        | DriverError::CommandNotFound { .. }
        | DriverError::CommandNotExecutable { .. }
        | DriverError::WorkingDirectory { .. } => ErrorReason::InvalidRequest,
        DriverError::File(error) => file_reason(&error.kind),
        DriverError::NoRoom { .. } => ErrorReason::CapacityExhausted,
        DriverError::AboveCeiling { .. } => ErrorReason::ResourceCeilingExceeded,
        DriverError::Unsupported { .. } | DriverError::Unavailable(_) => ErrorReason::BackendUnavailable,
        _ => ErrorReason::Internal,
    }
}

fn file_reason(kind: &FileErrorKind) -> ErrorReason {
    match kind {
        FileErrorKind::NotFound => ErrorReason::FileNotFound,
        FileErrorKind::IsDirectory => ErrorReason::FileIsDirectory,
        FileErrorKind::PermissionDenied | FileErrorKind::ReadOnly => ErrorReason::FilePermissionDenied,
        FileErrorKind::TooLarge { .. } => ErrorReason::FileTooLarge,
        FileErrorKind::Truncated { .. } => ErrorReason::FileTruncated,
        _ => ErrorReason::FileIoFailed,
    }
}

fn ledger_reason(error: &LedgerError) -> ErrorReason {
    match error {
        LedgerError::Full { .. } => ErrorReason::CapacityExhausted,
        LedgerError::Busy { .. } => ErrorReason::BackendUnavailable,
        _ => ErrorReason::Internal,
    }
}
