//! Where a sandbox is in its life, as its clients see it.

use std::fmt;

use ebbtide_proto::coreweave::sandbox::v1 as wire;

/// Where a sandbox is in its life.
///
/// ```
/// use ebbtide::SandboxState;
///
/// assert!(SandboxState::Completed.is_terminal() && !SandboxState::Terminating.is_terminal());
/// assert_eq!(SandboxState::Running.to_string(), "running");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SandboxState {
    /// Accepted and recorded; nothing is made yet.
    Pending,
    /// Being made.
    Creating,
    /// Made, and not yet ready.
    Preparing,
    /// Commands can be run in it.
    Running,
    /// Frozen; nothing in it runs.
    Paused,
    /// Being taken apart.
    Terminating,
    /// Ended after it had run; every resource is released.
    Completed,
    /// Never ran, or its exit code cannot be known; every resource is released.
    Failed,
    /// Ended from outside. Ebbtide's own daemon says `Completed` with a reason instead.
    Terminated,
    /// A state that this version does not know; nothing is expected to follow it.
    Unknown,
}

impl SandboxState {
    /// Every state that has a name.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Creating,
        Self::Preparing,
        Self::Running,
        Self::Paused,
        Self::Terminating,
        Self::Completed,
        Self::Failed,
        Self::Terminated,
    ];

    /// Whether nothing can happen to it any more.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Terminated | Self::Unknown)
    }

    /// Whether it is still being made.
    pub fn is_starting(self) -> bool {
        matches!(self, Self::Pending | Self::Creating | Self::Preparing)
    }

    /// The stable text form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Creating => "creating",
            Self::Preparing => "preparing",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Terminating => "terminating",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Terminated => "terminated",
            Self::Unknown => "unknown",
        }
    }

    pub(crate) fn to_message(self) -> wire::State {
        match self {
            Self::Pending => wire::State::Pending,
            Self::Creating => wire::State::Creating,
            Self::Preparing => wire::State::Preparing,
            Self::Running => wire::State::Running,
            Self::Paused => wire::State::Paused,
            Self::Terminating => wire::State::Terminating,
            Self::Completed => wire::State::Completed,
            Self::Failed => wire::State::Failed,
            Self::Terminated => wire::State::Terminated,
            Self::Unknown => wire::State::Unspecified,
        }
    }

    pub(crate) fn from_message(state: wire::State) -> Self {
        Self::ALL.into_iter().find(|known| known.to_message() == state).unwrap_or(Self::Unknown)
    }
}

impl fmt::Display for SandboxState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_survives_the_wire() {
        for state in SandboxState::ALL {
            assert_eq!(SandboxState::from_message(state.to_message()), state);
        }
        assert!(SandboxState::from_message(wire::State::Unspecified).is_terminal());
    }
}
