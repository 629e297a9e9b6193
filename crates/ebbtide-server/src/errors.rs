//! Errors as gRPC statuses: each with a `google.rpc.ErrorInfo` that says why in a word a program can use.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use ebbtide_control::ControlError;
use ebbtide_driver::{DriverError, FileError, FileErrorKind};
use ebbtide_model::{ErrorReason, Holder, Invalid, SandboxId};
use ebbtide_proto::{CreateFields, ERROR_DOMAIN, MAX_MESSAGE_BYTES, RUNNER_ID, Refusal, timestamp};
use prost_types::Timestamp;
use tonic::codegen::http::{HeaderMap, Response};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// A status travels in headers, which clients bound.
const MAX_TEXT_BYTES: usize = 1024;
/// When a client may try again what could not be done for the moment.
const RETRY_DELAY: Duration = Duration::from_millis(500);

pub(crate) fn control(error: ControlError) -> Status {
    match error {
        ControlError::Invalid(refused) => invalid(refused),
        ControlError::Driver(DriverError::File(error)) => file(error, ""),
        ControlError::AboveCapacity { ref field, .. } => {
            status(error.reason(), &error.to_string(), Some(field))
        }
        ControlError::Owned { ref id, ref by, since } => owned(&error, id, by, since),
        error => status(error.reason(), &error.to_string(), None),
    }
}

/// Clients say who it is, and since when.
fn owned(error: &ControlError, id: &SandboxId, by: &Holder, since: Option<SystemTime>) -> Status {
    let mut metadata = vec![("sandbox_id", id.to_string()), ("owner", shortened(&by.to_string()))];
    let mut message = shortened(&error.to_string());
    if let Some(since) = since {
        let since = Timestamp { nanos: 0, ..timestamp(since) }.to_string();
        message = format!("{message} (owned since {since})");
        metadata.push(("owned_since", since));
    }
    let metadata: HashMap<_, _> = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let details = ErrorDetails::with_error_info(error.reason().as_str(), ERROR_DOMAIN, metadata);
    Status::with_error_details(code(error.reason()), message, details)
}

/// As [`control`]; a refused field is named as the caller of a create wrote it.
pub(crate) fn create(error: ControlError, fields: CreateFields) -> Status {
    control(match error {
        ControlError::Invalid(refused) => fields.located(refused).into(),
        ControlError::AboveCapacity { field, asked, available } => {
            ControlError::AboveCapacity { field: fields.locate(&field), asked, available }
        }
        error => error,
    })
}

/// As [`control`]; an error about a file names what was to be done with it.
pub(crate) fn file_operation(error: ControlError, operation: &str) -> Status {
    match error {
        ControlError::Driver(DriverError::File(error)) => file(error, operation),
        error => control(error),
    }
}

/// The public client asks for the path, and goes by the sizes when it chooses another way for a large file.
fn file(error: FileError, operation: &str) -> Status {
    let mut metadata = vec![("filepath", shortened(&error.path))];
    if !operation.is_empty() {
        metadata.push(("operation", operation.to_owned()));
    }
    if let FileErrorKind::TooLarge { size, max } = &error.kind {
        metadata.push(("max_size_bytes", max.to_string()));
        metadata.extend(size.map(|size| ("size_bytes", size.to_string())));
    }
    let reason = ControlError::Driver(DriverError::File(error.clone())).reason();
    let message = shortened(&error.to_string());
    let metadata: HashMap<_, _> = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let details = ErrorDetails::with_error_info(reason.as_str(), ERROR_DOMAIN, metadata);
    Status::with_error_details(code(reason), message, details)
}

pub(crate) fn driver(error: DriverError) -> Status {
    control(error.into())
}

pub(crate) fn invalid(refused: Invalid) -> Status {
    refusal(refused.into())
}

pub(crate) fn refusal(refused: Refusal) -> Status {
    status(refused.reason(), &refused.to_string(), Some(refused.field()))
}

pub(crate) fn internal(message: &str) -> Status {
    status(ErrorReason::Internal, message, None)
}

pub(crate) fn no_runner(id: &str) -> Status {
    let message = format!("no runner {id:?}; this daemon is {RUNNER_ID:?}");
    status(ErrorReason::RunnerNotFound, &message, None)
}

pub(crate) fn ending() -> Status {
    control(ControlError::ShuttingDown)
}

pub(crate) fn permission_denied(message: &str) -> Status {
    status(ErrorReason::PermissionDenied, message, None)
}

pub(crate) fn unauthenticated(message: &str) -> Status {
    status(ErrorReason::Unauthenticated, message, None)
}

pub(crate) fn command_timeout() -> Status {
    status(ErrorReason::CommandTimeout, "the call's deadline is over; the command was ended", None)
}

fn code(reason: ErrorReason) -> Code {
    match reason {
        ErrorReason::SandboxNotFound | ErrorReason::RunnerNotFound => Code::NotFound,
        ErrorReason::InvalidRequest | ErrorReason::ResourceCeilingExceeded => Code::InvalidArgument,
        ErrorReason::RequestIdConflict => Code::AlreadyExists,
        ErrorReason::NotImplemented | ErrorReason::SnapshotNotSupported => Code::Unimplemented,
        ErrorReason::CapacityExhausted => Code::ResourceExhausted,
        ErrorReason::BackendUnavailable => Code::Unavailable,
        ErrorReason::SandboxNotRunning
        | ErrorReason::SandboxPaused
        | ErrorReason::SandboxOwned
        | ErrorReason::PlanStale => Code::FailedPrecondition,
        ErrorReason::LeaseInvalid => Code::PermissionDenied,
        ErrorReason::ReceiptUnavailable => Code::NotFound,
        ErrorReason::CommandTimeout => Code::DeadlineExceeded,
        ErrorReason::FileNotFound => Code::NotFound,
        ErrorReason::FileTooLarge => Code::ResourceExhausted,
        ErrorReason::FileTruncated => Code::DataLoss,
        ErrorReason::FileIsDirectory | ErrorReason::FileIoFailed => Code::FailedPrecondition,
        ErrorReason::FilePermissionDenied | ErrorReason::PermissionDenied => Code::PermissionDenied,
        ErrorReason::Unauthenticated => Code::Unauthenticated,
        ErrorReason::Internal => Code::Internal,
    }
}

fn status(reason: ErrorReason, message: &str, field: Option<&str>) -> Status {
    with_code(code(reason), reason, message, field)
}

fn with_code(code: Code, reason: ErrorReason, message: &str, field: Option<&str>) -> Status {
    let message = shortened(message);
    let mut details = ErrorDetails::with_error_info(reason.as_str(), ERROR_DOMAIN, []);
    if let Some(field) = field {
        details.add_bad_request_violation(shortened(field), message.clone());
    }
    if reason == ErrorReason::BackendUnavailable {
        details.set_retry_info(Some(RETRY_DELAY));
    }
    Status::with_error_details(code, message, details)
}

/// The longest beginning of `text` that fits. What a caller sent may be part of it, at any length.
fn shortened(text: &str) -> String {
    if text.len() <= MAX_TEXT_BYTES {
        return text.to_owned();
    }
    let end = (0..=MAX_TEXT_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    format!("{}...", &text[..end])
}

/// Gives a status that tonic made, not we, its details. All of them are about a request that it could not read.
pub(crate) fn typed(status: Status) -> Status {
    if !status.details().is_empty() {
        return status;
    }
    let refused = ErrorReason::InvalidRequest;
    match status.code() {
        // The public client knows a message that is too large by these words.
        Code::OutOfRange => with_code(
            Code::ResourceExhausted,
            refused,
            &format!("message larger than max ({MAX_MESSAGE_BYTES} bytes); send it in parts"),
            None,
        ),
        Code::Internal | Code::InvalidArgument => with_code(
            Code::InvalidArgument,
            refused,
            &format!("unreadable request: {}", status.message()),
            None,
        ),
        _ => status,
    }
}

/// The answer to a method that is not built, by the last part of its path. Methods about snapshots have a reason of
/// their own, in whichever service they are.
pub(crate) fn unimplemented(method: &str) -> Status {
    if method.contains("FileSystemSnapshot") {
        return status(ErrorReason::SnapshotNotSupported, "this version of Ebbtide has no snapshots", None);
    }
    status(ErrorReason::NotImplemented, "this version of Ebbtide does not have this method", None)
}

/// As [`typed`], for the answer of `method` that is nothing but a status.
pub(crate) fn typed_response<B>(mut response: Response<B>, method: &str) -> Response<B> {
    if response.headers().contains_key(Status::GRPC_STATUS)
        && let Some(status) = Status::from_header_map(response.headers())
        && status.code() != Code::Ok
        && status.details().is_empty()
    {
        let mut headers = HeaderMap::new();
        let typed = match status.code() {
            Code::Unimplemented => unimplemented(method),
            _ => typed(status),
        };
        if typed.add_header(&mut headers).is_ok() {
            response.headers_mut().extend(headers);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_code_and_is_trusted() {
        for reason in ErrorReason::ALL {
            let status = status(reason, "m", None);
            assert_ne!(status.code(), Code::Ok);
            let info = status.get_details_error_info().unwrap();
            assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason.as_str(), "cwsandbox.com"));
        }
    }

    #[test]
    fn a_refused_field_is_a_violation() {
        let status = invalid(Invalid::new("spec.tags", "is bad", "good ones"));
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, "spec.tags");
    }

    #[test]
    fn methods_of_services_that_are_not_built_have_the_reason_that_clients_know() {
        for (method, reason) in [
            ("GetFileSystemSnapshotBucketConfig", ErrorReason::SnapshotNotSupported),
            ("UpdateFileSystemSnapshotBucketConfig", ErrorReason::SnapshotNotSupported),
            ("CreateVolume", ErrorReason::NotImplemented),
            ("CreateSandboxTemplate", ErrorReason::NotImplemented),
            ("CreateSecretStore", ErrorReason::NotImplemented),
            ("", ErrorReason::NotImplemented),
        ] {
            let status = unimplemented(method);
            assert_eq!(status.code(), Code::Unimplemented);
            assert_eq!(status.get_details_error_info().unwrap().reason, reason.as_str(), "{method}");
        }
    }

    #[test]
    fn what_can_be_tried_again_says_when() {
        assert!(ending().get_details_retry_info().unwrap().retry_delay.is_some());
        assert!(internal("x").get_details_retry_info().is_none());
    }

    #[test]
    fn text_that_a_caller_sent_does_not_burst_the_headers() {
        let status = control(ControlError::NotFound { id: "é".repeat(1 << 20) });
        assert!(status.message().len() < 2 * MAX_TEXT_BYTES);
        assert!(status.details().len() < 4 * MAX_TEXT_BYTES);
    }
}
