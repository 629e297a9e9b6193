//! Why a message was not accepted.

use ebbtide_model::{ErrorReason, Invalid};
use thiserror::Error;

/// Why a message was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// A value is malformed or out of range.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The protocol has it, this version does not.
    #[error("{field}: {what} not supported by this version of Ebbtide; leave it out")]
    NotImplemented {
        /// The field as the caller wrote it.
        field: String,
        /// What is not supported, with its verb, e.g. `volumes are`.
        what: &'static str,
    },
    /// Snapshots, or what is good for nothing without them.
    #[error("{field}: {what} not supported by this version of Ebbtide, which has no snapshots; leave it out")]
    Snapshots {
        /// The field as the caller wrote it.
        field: String,
        /// What is not supported, with its verb.
        what: &'static str,
    },
}

impl Refusal {
    /// Refuses `field`, e.g. `spec.volumes`, because `what`, e.g. `volumes are`, cannot be done yet.
    pub fn not_implemented(field: impl Into<String>, what: &'static str) -> Self {
        Self::NotImplemented { field: field.into(), what }
    }

    /// Refuses `field` because `what`, e.g. `scratch volumes are`, needs snapshots.
    pub fn snapshots(field: impl Into<String>, what: &'static str) -> Self {
        Self::Snapshots { field: field.into(), what }
    }

    /// The reason on the wire.
    pub fn reason(&self) -> ErrorReason {
        match self {
            Self::Invalid(_) => ErrorReason::InvalidRequest,
            Self::NotImplemented { .. } => ErrorReason::NotImplemented,
            Self::Snapshots { .. } => ErrorReason::SnapshotNotSupported,
        }
    }

    /// The field that was refused.
    pub fn field(&self) -> &str {
        match self {
            Self::Invalid(invalid) => &invalid.field,
            Self::NotImplemented { field, .. } | Self::Snapshots { field, .. } => field,
        }
    }
}

/// Refuses `field` unless it `is_unset`.
pub(crate) fn unless(is_unset: bool, field: &str, what: &'static str) -> Result<(), Refusal> {
    if is_unset { Ok(()) } else { Err(Refusal::not_implemented(field, what)) }
}
