//! How inits hear of the launcher's death.

use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, pipe_with};

/// A pipe that nothing is ever written to: its reading end is at its end once this process has ended.
pub(super) struct Pulse {
    /// For every init.
    pub(super) read: OwnedFd,
    /// Held for life, by nobody else.
    _write: OwnedFd,
}

impl Pulse {
    pub(super) fn make() -> rustix::io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        Ok(Self { read, _write: write })
    }
}
