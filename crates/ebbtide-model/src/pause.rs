//! Why a sandbox is frozen.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a sandbox is frozen, which decides what makes it go on. The text form is stable: it is stored, and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseReason {
    /// Somebody asked for it: it goes on when somebody asks for that.
    Asked,
    /// It was idle: it goes on as soon as it is used.
    Idle,
    /// A clean-up has spared it: it goes on when somebody asks for that.
    Kept,
}

impl PauseReason {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::Asked, Self::Idle, Self::Kept];

    /// The stable text form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Idle => "idle",
            Self::Kept => "kept",
        }
    }
}

impl fmt::Display for PauseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
