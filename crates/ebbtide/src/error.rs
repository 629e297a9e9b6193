//! What can go wrong between a program and its daemon.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::{HomeError, RemoteError};

/// Why a call did not succeed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The home cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The daemon that `EBBTIDE_URL` names cannot be reached.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// No daemon serves the home, and none was to be started.
    #[error("no daemon serves the home {}", state_dir.display())]
    NoDaemon {
        /// The home.
        state_dir: PathBuf,
    },
    /// Somebody else listens on the daemon's socket.
    #[error("{} belongs to user {owner}, not to you; set EBBTIDE_HOME to a home of your own", path.display())]
    ForeignSocket {
        /// The socket.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// The socket is there and the kernel does not let us use it.
    #[error("cannot reach the daemon at {}: {source}", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// No `ebb` to start a daemon with.
    #[error(
        "cannot start the daemon: no `ebb` in EBBTIDE_BIN, beside this program or in PATH; install it or set EBBTIDE_BIN"
    )]
    NoExecutable,
    /// The daemon did not come up.
    #[error("the daemon did not start: {said}\nits log is {}", log.display())]
    StartFailed {
        /// What it said.
        said: String,
        /// Its log.
        log: PathBuf,
    },
    /// Nobody answered in time.
    #[error("no answer from the daemon of {} within {} s; its log is {}", state_dir.display(), waited.as_secs(), log.display())]
    TimedOut {
        /// The home.
        state_dir: PathBuf,
        /// Its daemon's log.
        log: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// The daemon speaks another version of the protocol.
    #[error(
        "the daemon (version {version}, process {pid}) speaks protocol {theirs}, this program {ours}; end it with the `ebb` that started it (ebb shutdown), then try again"
    )]
    Incompatible {
        /// The daemon's version.
        version: String,
        /// Its process.
        pid: u32,
        /// Its protocol version.
        theirs: u32,
        /// Ours.
        ours: u32,
    },
    /// The daemon that answers on the home's socket serves another home.
    #[error(
        "the daemon (process {pid}) serves the home {found}, not {expected}; stop that process and try again"
    )]
    OtherHome {
        /// Its process.
        pid: u32,
        /// The id of its home.
        found: String,
        /// The id of ours.
        expected: String,
    },
    /// The connection broke, so that it is not known what became of the call.
    #[error("the connection to the daemon broke off ({0}); it may have been ended")]
    Disconnected(String),
    /// The daemon refused or failed.
    #[error(transparent)]
    Rejected(#[from] Box<Rejection>),
    /// The daemon said something that the protocol does not allow.
    #[error("unexpected answer from the daemon: {0}; is it of the same version? (ebb shutdown ends it)")]
    Protocol(String),
}

/// A call that the daemon refused, or that was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The status code of the call.
    pub code: Code,
    /// The machine-readable reason, e.g. `CWSANDBOX_SANDBOX_NOT_FOUND`; `None` where none came with it.
    pub reason: Option<String>,
    /// The fields that were refused.
    pub fields: Vec<FieldViolation>,
    /// The words.
    pub message: String,
}

/// One refused field of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// The field.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
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
        Self {
            code: status.code(),
            reason: details.error_info().map(|info| info.reason.clone()),
            fields,
            message: status.message().to_owned(),
        }
    }
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        let rejection = Rejection::from(status);
        // Whatever the daemon itself says comes with a reason.
        let broken =
            matches!(rejection.code, Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled);
        if broken && rejection.reason.is_none() {
            return Self::Disconnected(rejection.message);
        }
        Self::Rejected(Box::new(rejection))
    }
}

impl Error {
    /// What the daemon said, if it was the daemon that refused.
    pub fn rejection(&self) -> Option<&Rejection> {
        match self {
            Self::Rejected(rejection) => Some(rejection),
            _ => None,
        }
    }

    /// Whether the daemon knows no such sandbox.
    pub fn is_not_found(&self) -> bool {
        self.rejection().is_some_and(|rejection| rejection.code == Code::NotFound)
    }

    /// Whether the connection broke, so that it is not known what became of the call.
    pub fn is_disconnect(&self) -> bool {
        matches!(self, Self::Disconnected(_))
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    #[test]
    fn reason_and_fields_survive_the_wire() {
        let mut details = ErrorDetails::new();
        details
            .set_error_info("CWSANDBOX_INVALID_REQUEST", "cwsandbox.com", [])
            .add_bad_request_violation("spec.tags", "are too many");
        let status = tonic::Status::with_error_details(Code::InvalidArgument, "no", details);
        let error = Error::from(status);
        let rejection = error.rejection().unwrap();
        assert_eq!(rejection.reason.as_deref(), Some("CWSANDBOX_INVALID_REQUEST"));
        assert_eq!(rejection.fields[0].field, "spec.tags");
        assert!(!error.is_not_found() && !error.is_disconnect());
    }

    #[test]
    fn a_broken_connection_is_told_from_a_refusal() {
        assert!(Error::from(tonic::Status::unavailable("broken pipe")).is_disconnect());
        let details = ErrorDetails::with_error_info("CWSANDBOX_BACKEND_UNAVAILABLE", "cwsandbox.com", []);
        let refused = tonic::Status::with_error_details(Code::Unavailable, "no", details);
        assert!(!Error::from(refused).is_disconnect());
    }
}
