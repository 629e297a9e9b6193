//! The classes of failure.

use tonic::Code;

use super::{Error, Rejection};

/// The class of a failure, for a program that acts on it.
///
/// ```
/// use ebbtide::{Error, ErrorKind};
///
/// let error = Error::NotStarted;
/// assert_eq!(error.kind(), ErrorKind::NotRunning);
/// assert!(!error.kind().is_transient());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such sandbox, or it was forgotten.
    NotFound,
    /// The sandbox does not run: it was never started, or has ended.
    NotRunning,
    /// The sandbox is frozen: nothing can be run in it until it is resumed.
    Paused,
    /// Somebody who lives owns the sandbox.
    Owned,
    /// The daemon does not know this process's lease.
    LeaseInvalid,
    /// What a plan was made for has changed since: make a new one.
    Stale,
    /// There is no receipt of this end.
    NoReceipt,
    /// The sandbox could not be made, or broke.
    Failed,
    /// The sandbox was ended by somebody.
    Terminated,
    /// Something was not over in time; it goes on.
    Timeout,
    /// A command was not over in time; it was ended.
    CommandTimeout,
    /// A call was not answered in time.
    RequestTimeout,
    /// Nobody can answer at the moment, or the connection broke. Trying again may help.
    Unavailable,
    /// There is no room for it at the moment.
    ResourceExhausted,
    /// An argument was refused; [`Error::fields`] says which.
    Validation,
    /// The caller may not do this, or nobody knows who asks.
    Authentication,
    /// A file of a sandbox could not be read or written; [`Error::file_path`] says which.
    File,
    /// A command could not be run, was cut off, or returned another code than 0 although it was checked.
    Execution,
    /// A command wrote more than was kept.
    OutputTruncated,
    /// The other side does not have this.
    Unsupported,
    /// The same request id was used for something else.
    Conflict,
    /// The session was closed, or could not stop all that it had.
    Session,
    /// There is no daemon, and none could be started.
    Daemon,
    /// The other side broke the protocol.
    Protocol,
    /// Anything else.
    Other,
}

impl ErrorKind {
    /// Whether the same call may well succeed a little later.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Unavailable | Self::RequestTimeout | Self::ResourceExhausted)
    }
}

pub(super) fn of(error: &Error) -> ErrorKind {
    match error {
        Error::Rejected(rejection) => of_rejection(rejection),
        Error::Home(_)
        | Error::Remote(_)
        | Error::NoDaemon { .. }
        | Error::ForeignSocket { .. }
        | Error::Unreachable { .. }
        | Error::NoExecutable
        | Error::StartFailed { .. }
        | Error::TimedOut { .. }
        | Error::Incompatible { .. }
        | Error::OtherHome { .. } => ErrorKind::Daemon,
        Error::Disconnected(_) => ErrorKind::Unavailable,
        Error::NoAnswer { .. } => ErrorKind::RequestTimeout,
        Error::Owned(_) => ErrorKind::Owned,
        Error::NoReceipt { .. } => ErrorKind::NoReceipt,
        Error::Protocol(_) => ErrorKind::Protocol,
        Error::Invalid(_) => ErrorKind::Validation,
        Error::SandboxFailed { .. } => ErrorKind::Failed,
        Error::SandboxTerminated { .. } => ErrorKind::Terminated,
        Error::NotRunning { .. } | Error::NotStarted | Error::Cancelled => ErrorKind::NotRunning,
        Error::Timeout { .. } => ErrorKind::Timeout,
        Error::CommandTimeout { .. } => ErrorKind::CommandTimeout,
        Error::Command { .. } | Error::CommandFailed(_) | Error::CommandCancelled | Error::InputClosed => {
            ErrorKind::Execution
        }
        Error::OutputTooLarge { .. } => ErrorKind::OutputTruncated,
        Error::SessionClosed | Error::CloseFailed { .. } => ErrorKind::Session,
        Error::Forked { .. } | Error::BlockingInside | Error::Io { .. } => ErrorKind::Other,
    }
}

/// The reason decides where it is known, the code elsewhere.
fn of_rejection(rejection: &Rejection) -> ErrorKind {
    let reason = rejection.reason.as_deref().filter(|_| rejection.trusted).unwrap_or_default();
    match reason {
        "CWSANDBOX_SANDBOX_NOT_FOUND" | "CWSANDBOX_RUNNER_NOT_FOUND" => return ErrorKind::NotFound,
        "CWSANDBOX_SANDBOX_NOT_RUNNING" => return ErrorKind::NotRunning,
        "EBBTIDE_SANDBOX_PAUSED" => return ErrorKind::Paused,
        "EBBTIDE_SANDBOX_OWNED" => return ErrorKind::Owned,
        "EBBTIDE_LEASE_INVALID" => return ErrorKind::LeaseInvalid,
        "EBBTIDE_PLAN_STALE" => return ErrorKind::Stale,
        "EBBTIDE_RECEIPT_UNAVAILABLE" => return ErrorKind::NoReceipt,
        "CWSANDBOX_COMMAND_TIMEOUT" => return ErrorKind::CommandTimeout,
        "CWSANDBOX_NOT_IMPLEMENTED" | "CWSANDBOX_FSS_NOT_SUPPORTED" => return ErrorKind::Unsupported,
        "CWSANDBOX_RESOURCE_CEILING_EXCEEDED" => return ErrorKind::Validation,
        "CWSANDBOX_RUNNER_CAPACITY_EXHAUSTED" => return ErrorKind::ResourceExhausted,
        "CWSANDBOX_PERMISSION_DENIED" | "CWSANDBOX_UNAUTHENTICATED" => return ErrorKind::Authentication,
        "CWSANDBOX_REQUEST_ID_CONFLICT" => return ErrorKind::Conflict,
        "CWSANDBOX_RUNNER_UNAVAILABLE"
        | "CWSANDBOX_BACKEND_UNAVAILABLE"
        | "CWSANDBOX_RUNNER_SHARD_RETIRING" => return ErrorKind::Unavailable,
        _ if reason.starts_with("CWSANDBOX_FILE_") => return ErrorKind::File,
        _ => {}
    }
    match rejection.code {
        Code::NotFound => ErrorKind::NotFound,
        Code::Cancelled => ErrorKind::NotRunning,
        Code::DeadlineExceeded => ErrorKind::RequestTimeout,
        Code::Unavailable => ErrorKind::Unavailable,
        Code::ResourceExhausted => ErrorKind::ResourceExhausted,
        Code::InvalidArgument => ErrorKind::Validation,
        Code::Unauthenticated | Code::PermissionDenied => ErrorKind::Authentication,
        Code::Unimplemented => ErrorKind::Unsupported,
        _ => ErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use ebbtide_model::ErrorReason;
    use tonic::Status;
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    fn kind(code: Code, reason: &str, domain: &str) -> ErrorKind {
        let details = ErrorDetails::with_error_info(reason, domain, []);
        Error::from(Status::with_error_details(code, "m", details)).kind()
    }

    #[test]
    fn a_trusted_reason_decides_over_the_code() {
        let domain = ebbtide_proto::ERROR_DOMAIN;
        assert_eq!(kind(Code::NotFound, "CWSANDBOX_FILE_NOT_FOUND", domain), ErrorKind::File);
        assert_eq!(kind(Code::NotFound, "CWSANDBOX_FILE_NOT_FOUND", "elsewhere"), ErrorKind::NotFound);
        assert_eq!(
            kind(Code::DeadlineExceeded, "CWSANDBOX_COMMAND_TIMEOUT", domain),
            ErrorKind::CommandTimeout
        );
        assert_eq!(kind(Code::Unavailable, "X", domain), ErrorKind::Unavailable);
    }

    #[test]
    fn no_refusal_of_the_daemon_is_left_without_a_class() {
        for reason in ErrorReason::ALL {
            // What is meant by these two is in the code and in the words.
            if !matches!(reason, ErrorReason::Internal | ErrorReason::InvalidRequest) {
                let kind = kind(Code::Internal, reason.as_str(), ebbtide_proto::ERROR_DOMAIN);
                assert_ne!(kind, ErrorKind::Other, "{reason:?}");
            }
        }
    }
}
