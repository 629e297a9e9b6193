//! What can go wrong between a program and its sandboxes.
//!
//! [`Error`] says what happened, [`ErrorKind`] which class of failure that is. A program that wants to act on a
//! failure asks for the kind: it is the same whether this crate or the daemon noticed.

mod kind;
mod rejection;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ebbtide_model::{ErrorReason, Invalid};
use thiserror::Error;
use tonic::Code;

pub use kind::ErrorKind;
pub use rejection::{FieldViolation, Rejection};

use crate::{CommandOutput, HomeError, RemoteError, SandboxState};

/// Why a call did not succeed.
#[derive(Debug, Clone, Error)]
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
        source: Arc<std::io::Error>,
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
    /// A call was not answered in time, so that it is not known what became of it.
    #[error("no answer from the daemon within {} s", limit.as_secs_f64())]
    NoAnswer {
        /// How long was waited.
        limit: Duration,
    },
    /// The daemon refused or failed.
    #[error(transparent)]
    Rejected(#[from] Box<Rejection>),
    /// Somebody who lives owns the sandbox, so it cannot be adopted.
    #[error(transparent)]
    Owned(Box<Owned>),
    /// There is no receipt: the sandbox has not ended, or nobody saw what its end released.
    #[error("there is no receipt of sandbox {id}: {why}")]
    NoReceipt {
        /// The sandbox.
        id: String,
        /// Why.
        why: &'static str,
    },
    /// The daemon said something that the protocol does not allow.
    #[error("unexpected answer from the daemon: {0}; is it of the same version? (ebb shutdown ends it)")]
    Protocol(String),
    /// An argument was refused before anything was sent.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The sandbox could not be made, or how it ended cannot be known.
    #[error("sandbox {id} failed: {reason}")]
    SandboxFailed {
        /// The sandbox.
        id: String,
        /// Why, as its status says.
        reason: String,
    },
    /// The sandbox was ended by somebody.
    #[error("sandbox {id} was ended: {reason}")]
    SandboxTerminated {
        /// The sandbox.
        id: String,
        /// Why, as its status says.
        reason: String,
    },
    /// The sandbox does not run, so nothing can be done in it.
    #[error("sandbox {id} is {state}; make a new one")]
    NotRunning {
        /// The sandbox.
        id: String,
        /// Its state.
        state: SandboxState,
    },
    /// The sandbox was never started, and what was asked for needs one that was.
    #[error("this sandbox was never started; start it first")]
    NotStarted,
    /// The sandbox was stopped before it was started, so it cannot be started any more.
    #[error("this sandbox was stopped before it was started; make a new one")]
    Cancelled,
    /// Something about a sandbox did not happen in time. It goes on.
    #[error("{what} took longer than {} s", limit.as_secs_f64())]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long was waited.
        limit: Duration,
    },
    /// A command took longer than its caller allowed; it was ended.
    #[error("the command {command:?} took longer than {} s and was ended", limit.as_secs_f64())]
    CommandTimeout {
        /// Program and arguments.
        command: Vec<String>,
        /// How long it might take.
        limit: Duration,
    },
    /// A command could not be run to its end.
    #[error("{message}")]
    Command {
        /// The machine-readable cause, e.g. `COMMAND_NOT_FOUND`.
        code: String,
        /// The words.
        message: String,
    },
    /// A command that was to be checked returned another exit code than 0.
    #[error("the command {:?} returned {}{}", .0.command, .0.exit_code, last_words(.0))]
    CommandFailed(Box<CommandOutput>),
    /// The command's handle gave it up.
    #[error("the command was given up by its caller")]
    CommandCancelled,
    /// A command does not take input any more: it has ended, or its input was closed.
    #[error("the command takes no more input")]
    InputClosed,
    /// A command wrote more than was to be kept; what was kept can still be read.
    #[error("more than {limit} bytes of output were not read; read both streams, or allow for more")]
    OutputTooLarge {
        /// How many bytes of one stream are kept.
        limit: usize,
    },
    /// The session was closed.
    #[error("the session is closed; make a new one")]
    SessionClosed,
    /// Some sandboxes of a session could not be stopped.
    #[error("{} of the session's sandboxes could not be stopped: {}", failures.len(), listed(failures))]
    CloseFailed {
        /// Which, and why.
        failures: Vec<(String, Self)>,
    },
    /// The calling process was forked from the one that made the handle, which alone can use it.
    #[error(
        "this handle belongs to process {owner}, from which this one was forked; look the sandbox up by its id"
    )]
    Forked {
        /// The process that made it.
        owner: u32,
    },
    /// A call that blocks was made on the thread that would have to do its work.
    #[error("a blocking call cannot be made on the thread of this crate; use the asynchronous one")]
    BlockingInside,
    /// The kernel refused something that has to do with this process alone.
    #[error("cannot {step}: {source}")]
    Io {
        /// What was being done.
        step: String,
        /// The kernel's answer.
        #[source]
        source: Arc<std::io::Error>,
    },
}

/// Who owns a sandbox that somebody else wanted to adopt.
#[derive(Debug, Clone, Error)]
#[error("{rejection}")]
pub struct Owned {
    /// The sandbox.
    pub id: String,
    /// Who owns it, in words.
    pub by: String,
    /// Since when, if that is known.
    pub since: Option<SystemTime>,
    /// What the daemon said.
    pub rejection: Rejection,
}

/// The end of what a failed command said, which mostly says why.
fn last_words(output: &CommandOutput) -> String {
    let said = output.stderr_text();
    said.lines()
        .rfind(|line| !line.trim().is_empty())
        .map(|line| format!(": {line:.200}"))
        .unwrap_or_default()
}

fn listed(failures: &[(String, Error)]) -> String {
    let all: Vec<_> = failures.iter().map(|(id, error)| format!("{id} ({error})")).collect();
    all.join(", ")
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
        if rejection.is(ErrorReason::SandboxOwned) {
            let said = |key: &str| rejection.metadata.get(key).cloned().unwrap_or_default();
            let since = said("owned_since").parse::<prost_types::Timestamp>().ok();
            let since = since.and_then(|since| SystemTime::try_from(since).ok());
            let (id, by) = (said("sandbox_id"), said("owner"));
            return Self::Owned(Box::new(Owned { id, by, since, rejection }));
        }
        Self::Rejected(Box::new(rejection))
    }
}

impl Error {
    pub(crate) fn io(step: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io { step: step.into(), source: Arc::new(source) }
    }

    /// What the daemon said, if it was the daemon that refused.
    pub fn rejection(&self) -> Option<&Rejection> {
        match self {
            Self::Rejected(rejection) => Some(rejection),
            Self::Owned(owned) => Some(&owned.rejection),
            _ => None,
        }
    }

    /// The class of this failure.
    pub fn kind(&self) -> ErrorKind {
        kind::of(self)
    }

    /// The machine-readable reason that the other side gave, or the code of a command that was not run.
    ///
    /// ```
    /// let error = ebbtide::Error::Command { code: "COMMAND_NOT_FOUND".into(), message: "no such program".into() };
    /// assert_eq!(error.reason(), Some("COMMAND_NOT_FOUND"));
    /// ```
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::NoReceipt { .. } => Some(ErrorReason::ReceiptUnavailable.as_str()),
            Self::Command { code, .. } => Some(code.as_str()).filter(|code| !code.is_empty()),
            other => other.rejection()?.reason.as_deref(),
        }
    }

    /// What the other side sent with the reason, by this key.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        Some(self.rejection()?.metadata.get(key)?.as_str())
    }

    /// The fields that were refused.
    pub fn fields(&self) -> Vec<FieldViolation> {
        match self {
            Self::Invalid(refused) => {
                let description = format!("{}; accepted: {}", refused.problem, refused.accepted);
                vec![FieldViolation { field: refused.field.clone(), description }]
            }
            other => other.rejection().map(|rejection| rejection.fields.clone()).unwrap_or_default(),
        }
    }

    /// When it makes sense to try again, if the other side said so.
    pub fn retry_delay(&self) -> Option<Duration> {
        self.rejection()?.retry_delay
    }

    /// What the daemon's log calls the request that failed.
    pub fn request_id(&self) -> Option<&str> {
        self.rejection()?.request_id.as_deref()
    }

    /// The file of a sandbox that this is about.
    pub fn file_path(&self) -> Option<&str> {
        self.metadata("filepath")
    }

    /// Whether the daemon knows no such sandbox.
    pub fn is_not_found(&self) -> bool {
        self.kind() == ErrorKind::NotFound
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
