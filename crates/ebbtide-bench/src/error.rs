//! What can go wrong while measuring.

use std::io;

use thiserror::Error;

/// Why there are no numbers.
#[derive(Debug, Error)]
pub(crate) enum Error {
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("`{command}` ended with {status} while it was measured: {stderr}")]
    Peer { command: String, status: i32, stderr: String },
    #[error("the helper that starts the other programs ended")]
    HelperGone,
    #[error("ebbtide: {0}")]
    Ebbtide(#[from] ebbtide::Error),
    #[error("ebbtide's home: {0}")]
    Home(#[from] ebbtide::HomeError),
    #[error("`true` in a sandbox did not answer with exit code 0 but with {0}")]
    Exec(String),
    #[error("{0} is not what was expected")]
    Unexpected(String),
    #[error("interrupted")]
    Interrupted,
    #[error("something was left behind: {0}")]
    Leftovers(String),
}

impl Error {
    /// A failed step.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
