//! What can go wrong in a driver.

use std::io;

use ebbtide_model::SandboxId;
use thiserror::Error;

use crate::FileError;

/// Why a driver could not do what it was asked to.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DriverError {
    /// No such sandbox.
    #[error("sandbox {0} does not exist here")]
    NotFound(SandboxId),
    /// The sandbox is there but nothing can be run in it any more, or not yet.
    #[error("sandbox {0} is not running")]
    NotRunning(SandboxId),
    /// The sandbox is paused, so nothing can be run in it.
    #[error("sandbox {0} is paused; resume it first")]
    Paused(SandboxId),
    /// The image's name is not known.
    #[error("image {image:?} is not known here; {help}")]
    UnknownImage {
        /// The name.
        image: String,
        /// What to do.
        help: String,
    },
    /// A part of the image is not there any more.
    #[error("the image is not here any more: {missing} is gone; pull or load it again")]
    ImageGone {
        /// What is missing.
        missing: String,
    },
    /// The user, or the group, that commands are to run as is not known in the sandbox.
    #[error(
        "user {user:?} is not known in the sandbox; use a number, or a name of its /etc/passwd and /etc/group"
    )]
    UnknownUser {
        /// The user as asked for.
        user: String,
    },
    /// The program of a command does not exist in the sandbox.
    #[error("{program:?}: command not found in the sandbox; check the name and the sandbox's PATH")]
    CommandNotFound {
        /// The program as asked for.
        program: String,
    },
    /// The program of a command exists and cannot be executed.
    #[error("{program:?}: cannot be executed in the sandbox ({cause}); check its mode and format")]
    CommandNotExecutable {
        /// The program as asked for.
        program: String,
        /// The kernel's answer.
        cause: io::Error,
    },
    /// The command's working directory cannot be entered.
    #[error("working directory {path:?} cannot be entered in the sandbox ({cause})")]
    WorkingDirectory {
        /// The directory as asked for.
        path: String,
        /// The kernel's answer.
        cause: io::Error,
    },
    /// A path in the sandbox does not lead where it should, or cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The host has no room for it at the moment.
    #[error(
        "no room for another sandbox: {what}; stop sandboxes that are no longer needed (ebb list) or make room"
    )]
    NoRoom {
        /// What is used up.
        what: String,
    },
    /// More is asked for than the host could ever give.
    #[error("{what} is more than this host has: asked for {asked}, there are {available}")]
    AboveCeiling {
        /// The resource.
        what: &'static str,
        /// What was asked for.
        asked: u64,
        /// What there is.
        available: u64,
    },
    /// The host lacks something that is needed.
    #[error("this host cannot run sandboxes: {missing}; {help}")]
    Unsupported {
        /// What is missing.
        missing: String,
        /// What to do.
        help: String,
    },
    /// The driver's helper cannot be reached; trying again may help.
    #[error("the sandbox runtime cannot be reached: {0}; try again, and run `ebb doctor` if it stays so")]
    Unavailable(String),
    /// The other side of an internal protocol said something that it must not say.
    #[error("unexpected answer from the sandbox runtime: {0}")]
    Protocol(String),
    /// A step failed in the kernel.
    #[error("{step}: {source}")]
    Io {
        /// What was being done, and to what.
        step: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

impl DriverError {
    /// An [`DriverError::Io`] for a failed step.
    pub fn io(step: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Io { step: step.into(), source: source.into() }
    }
}
