//! Why a request was refused, and the reasons by which a client recognizes an error.

use thiserror::Error;

/// A value that was refused at the boundary, before anything was made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{field}: {problem}; accepted: {accepted}")]
pub struct Invalid {
    /// The field as the caller wrote it, e.g. `spec.max_lifetime_seconds`.
    pub field: String,
    /// What is wrong with the value.
    pub problem: String,
    /// The accepted range or form.
    pub accepted: String,
}

impl Invalid {
    /// Builds a refusal of `field`.
    pub fn new(field: impl Into<String>, problem: impl Into<String>, accepted: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into(), accepted: accepted.into() }
    }

    /// The same refusal with `prefix.` before the field, for values nested in a message.
    #[must_use]
    pub fn within(mut self, prefix: &str) -> Self {
        self.field =
            if self.field.is_empty() { prefix.to_owned() } else { format!("{prefix}.{}", self.field) };
        self
    }
}

/// The machine-readable reason that travels with an error (`google.rpc.ErrorInfo.reason`).
///
/// The names are those that the public client of the wire protocol knows, and ours for what it does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorReason {
    /// No sandbox has this id, or its record has been forgotten.
    SandboxNotFound,
    /// A field of the request is out of range or malformed.
    InvalidRequest,
    /// The same `request_id` was used with a different body.
    RequestIdConflict,
    /// The protocol has it, this version of Ebbtide does not.
    NotImplemented,
    /// The protocol has snapshots, this version of Ebbtide does not.
    SnapshotNotSupported,
    /// No runner has this id.
    RunnerNotFound,
    /// The host has no room (disk, user-id ranges, memory) for another sandbox.
    CapacityExhausted,
    /// More is asked for than this host could ever give.
    ResourceCeilingExceeded,
    /// The runtime behind the daemon cannot be reached at the moment.
    BackendUnavailable,
    /// The sandbox is not running, so nothing can be run in it.
    SandboxNotRunning,
    /// The sandbox is frozen, so nothing can be run in it until it is resumed.
    SandboxPaused,
    /// Somebody who lives owns the sandbox, so it cannot be adopted.
    SandboxOwned,
    /// The lease's token is not known: forged, of another caller, or given up long ago.
    LeaseInvalid,
    /// What a plan was made for has changed since.
    PlanStale,
    /// There was a receipt and it is not kept any more, or there is none yet.
    ReceiptUnavailable,
    /// The command took longer than the caller allowed.
    CommandTimeout,
    /// A path in the sandbox leads to nothing.
    FileNotFound,
    /// A path in the sandbox leads to a directory where a file is wanted.
    FileIsDirectory,
    /// The sandbox's own rights do not allow what is asked for with a path in it.
    FilePermissionDenied,
    /// A file holds more than one message can.
    FileTooLarge,
    /// A file held less than was announced.
    FileTruncated,
    /// A path in the sandbox cannot be read or written for another reason.
    FileIoFailed,
    /// The caller may not do this.
    PermissionDenied,
    /// The caller has not shown who they are: no API key, or one that is not known.
    Unauthenticated,
    /// A defect of Ebbtide.
    Internal,
}

impl ErrorReason {
    /// Every reason.
    pub const ALL: [Self; 25] = [
        Self::SandboxNotFound,
        Self::InvalidRequest,
        Self::RequestIdConflict,
        Self::NotImplemented,
        Self::SnapshotNotSupported,
        Self::RunnerNotFound,
        Self::CapacityExhausted,
        Self::ResourceCeilingExceeded,
        Self::BackendUnavailable,
        Self::SandboxNotRunning,
        Self::SandboxPaused,
        Self::SandboxOwned,
        Self::LeaseInvalid,
        Self::PlanStale,
        Self::ReceiptUnavailable,
        Self::CommandTimeout,
        Self::FileNotFound,
        Self::FileIsDirectory,
        Self::FilePermissionDenied,
        Self::FileTooLarge,
        Self::FileTruncated,
        Self::FileIoFailed,
        Self::PermissionDenied,
        Self::Unauthenticated,
        Self::Internal,
    ];

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SandboxNotFound => "CWSANDBOX_SANDBOX_NOT_FOUND",
            Self::InvalidRequest => "CWSANDBOX_INVALID_REQUEST",
            Self::RequestIdConflict => "CWSANDBOX_REQUEST_ID_CONFLICT",
            Self::NotImplemented => "CWSANDBOX_NOT_IMPLEMENTED",
            Self::SnapshotNotSupported => "CWSANDBOX_FSS_NOT_SUPPORTED",
            Self::RunnerNotFound => "CWSANDBOX_RUNNER_NOT_FOUND",
            Self::CapacityExhausted => "CWSANDBOX_RUNNER_CAPACITY_EXHAUSTED",
            Self::ResourceCeilingExceeded => "CWSANDBOX_RESOURCE_CEILING_EXCEEDED",
            Self::BackendUnavailable => "CWSANDBOX_BACKEND_UNAVAILABLE",
            Self::SandboxNotRunning => "CWSANDBOX_SANDBOX_NOT_RUNNING",
            Self::SandboxPaused => "EBBTIDE_SANDBOX_PAUSED",
            Self::SandboxOwned => "EBBTIDE_SANDBOX_OWNED",
            Self::LeaseInvalid => "EBBTIDE_LEASE_INVALID",
            Self::PlanStale => "EBBTIDE_PLAN_STALE",
            Self::ReceiptUnavailable => "EBBTIDE_RECEIPT_UNAVAILABLE",
            Self::CommandTimeout => "CWSANDBOX_COMMAND_TIMEOUT",
            Self::FileNotFound => "CWSANDBOX_FILE_NOT_FOUND",
            Self::FileIsDirectory => "CWSANDBOX_FILE_IS_DIRECTORY",
            Self::FilePermissionDenied => "CWSANDBOX_FILE_PERMISSION_DENIED",
            Self::FileTooLarge => "CWSANDBOX_FILE_TOO_LARGE",
            Self::FileTruncated => "CWSANDBOX_FILE_TRUNCATED",
            Self::FileIoFailed => "CWSANDBOX_FILE_IO_FAILED",
            Self::PermissionDenied => "CWSANDBOX_PERMISSION_DENIED",
            Self::Unauthenticated => "CWSANDBOX_UNAUTHENTICATED",
            Self::Internal => "CWSANDBOX_INTERNAL",
        }
    }
}
