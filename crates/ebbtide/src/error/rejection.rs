//! What the daemon says when it refuses.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use ebbtide_model::ErrorReason;
use tonic::Code;
use tonic_types::StatusExt as _;

/// The metadata that carries the id of a request.
const REQUEST_ID: &str = "x-request-id";

/// A call that the daemon refused, or that was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The status code of the call.
    pub code: Code,
    /// The machine-readable reason, e.g. `CWSANDBOX_SANDBOX_NOT_FOUND`; `None` where none came with it.
    pub reason: Option<String>,
    /// Whether the reason is one of the protocol's own, and not of something in between.
    pub trusted: bool,
    /// What goes with the reason, e.g. `filepath`.
    pub metadata: BTreeMap<String, String>,
    /// When it makes sense to try again, if it does.
    pub retry_delay: Option<Duration>,
    /// The fields that were refused.
    pub fields: Vec<FieldViolation>,
    /// The words.
    pub message: String,
    /// What the daemon's log calls the request, to find it there.
    pub request_id: Option<String>,
}

/// One refused field of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// The field.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

impl Rejection {
    /// Whether it is for this reason, said by one who may say so.
    pub(crate) fn is(&self, reason: ErrorReason) -> bool {
        self.trusted && self.reason.as_deref() == Some(reason.as_str())
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() {
            write!(f, "the daemon answered {:?}", self.code)
        } else {
            f.write_str(&self.message)
        }
    }
}

impl std::error::Error for Rejection {}

impl From<tonic::Status> for Rejection {
    fn from(status: tonic::Status) -> Self {
        let details = status.get_error_details();
        let fields = details.bad_request().map_or_else(Vec::new, |bad| {
            bad.field_violations
                .iter()
                .map(|violation| FieldViolation {
                    field: violation.field.clone(),
                    description: violation.description.clone(),
                })
                .collect()
        });
        let info = details.error_info();
        Self {
            code: status.code(),
            reason: info.map(|info| info.reason.clone()).filter(|reason| !reason.is_empty()),
            trusted: info.is_some_and(|info| info.domain == ebbtide_proto::ERROR_DOMAIN),
            metadata: info.map(|info| info.metadata.clone().into_iter().collect()).unwrap_or_default(),
            retry_delay: details.retry_info().and_then(|retry| retry.retry_delay),
            fields,
            message: status.message().to_owned(),
            request_id: status.metadata().get(REQUEST_ID).and_then(|id| Some(id.to_str().ok()?.to_owned())),
        }
    }
}
