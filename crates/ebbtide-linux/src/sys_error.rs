//! The error of everything that talks to the kernel here: which step failed, and what the kernel said.
//!
//! The launcher and init are far from any terminal, so an error must still make sense when it is read in the
//! daemon's log: a step names the thing it was about ("mount the disk pool on /run/..."), not the system call alone.

use std::io;

/// A step that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {source}")]
pub struct SysError {
    /// What was being done, and to what.
    pub step: String,
    /// The kernel's answer.
    pub source: io::Error,
}

impl SysError {
    /// An error for `step`, from any kind of system error.
    pub fn new(step: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self { step: step.into(), source: source.into() }
    }

    /// The error number, when the kernel gave one.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }
}

/// Names the step that a system result belongs to.
pub(crate) trait Step<T> {
    /// The closure runs only on failure, so the paths that succeed allocate nothing.
    fn step<S: Into<String>>(self, name: impl FnOnce() -> S) -> Result<T, SysError>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step<S: Into<String>>(self, name: impl FnOnce() -> S) -> Result<T, SysError> {
        self.map_err(|source| SysError::new(name(), source))
    }
}
