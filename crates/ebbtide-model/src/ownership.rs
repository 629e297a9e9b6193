//! Whether somebody stands for a sandbox: beside its state of life, a state of ownership.

use std::fmt;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::{Holder, Invalid};

/// Who stands for a sandbox, besides the principal it belongs to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Ownership {
    /// Nobody ever did: its lifetime ends it.
    #[default]
    Unowned,
    /// Nobody does, as was asked for: its lifetime ends it.
    Detached,
    /// Somebody does; whose end makes an orphan of it.
    Owned {
        /// Who.
        by: Holder,
        /// Whether they have taken it over, rather than made it.
        #[serde(default)]
        adopted: bool,
        /// Since when, without a break; `None` where an earlier version has recorded it.
        #[serde(default)]
        since: Option<SystemTime>,
    },
    /// Its owner is gone. It can be adopted until its time is over.
    Orphaned {
        /// Who it was.
        by: Holder,
        /// Whether they had taken it over, rather than made it.
        #[serde(default)]
        adopted: bool,
        /// How the owner went.
        why: OrphanReason,
        /// Since when.
        since: SystemTime,
        /// When it is dealt with as its keep policy says.
        until: SystemTime,
    },
    /// Its owner is gone or it was to be cleaned up, and its keep policy has spared it. It can be adopted until its
    /// time is over.
    Kept {
        /// Who its owner was, if it had one.
        by: Option<Holder>,
        /// Why it was kept, for a person.
        why: String,
        /// Since when.
        since: SystemTime,
        /// When it ends.
        until: SystemTime,
    },
}

impl Ownership {
    /// As it is when `by` has made it.
    pub fn made_by(by: Holder, since: SystemTime) -> Self {
        Self::Owned { by, adopted: false, since: Some(since) }
    }

    /// The stable name of the kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unowned => "unowned",
            Self::Detached => "detached",
            Self::Owned { .. } => "owned",
            Self::Orphaned { .. } => "orphaned",
            Self::Kept { .. } => "kept",
        }
    }

    /// Who stands for it, or did last.
    pub fn holder(&self) -> Option<&Holder> {
        match self {
            Self::Owned { by, .. } | Self::Orphaned { by, .. } => Some(by),
            Self::Kept { by, .. } => by.as_ref(),
            Self::Unowned | Self::Detached => None,
        }
    }

    /// The same with each time as `changed` has it.
    pub fn with_times(mut self, changed: impl Fn(SystemTime) -> SystemTime) -> Self {
        match &mut self {
            Self::Orphaned { since, until, .. } | Self::Kept { since, until, .. } => {
                (*since, *until) = (changed(*since), changed(*until));
            }
            Self::Owned { since, .. } => *since = since.map(changed),
            Self::Unowned | Self::Detached => {}
        }
        self
    }

    /// Whether anybody may take it over: it has no living owner.
    pub fn is_adoptable(&self) -> bool {
        !matches!(self, Self::Owned { .. })
    }

    /// Whether it was taken over, rather than made, by who stands for it or did last.
    pub fn is_adopted(&self) -> bool {
        matches!(self, Self::Owned { adopted: true, .. } | Self::Orphaned { adopted: true, .. })
    }

    /// Whether a clean-up has spared it.
    pub fn is_kept(&self) -> bool {
        matches!(self, Self::Kept { .. })
    }

    /// Whether its owner is gone.
    pub fn is_orphaned(&self) -> bool {
        matches!(self, Self::Orphaned { .. })
    }
}

impl fmt::Display for Ownership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owned { by, .. } => write!(f, "owned by {by}"),
            Self::Orphaned { by, why, .. } => write!(f, "orphaned: {by} {why}"),
            Self::Kept { why, .. } => write!(f, "kept: {why}"),
            Self::Unowned | Self::Detached => f.write_str(self.kind()),
        }
    }
}

/// How an owner went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrphanReason {
    /// The process has ended, by whatever cause.
    ProcessEnded,
    /// The connection of an owner elsewhere was lost, and has not come back so far.
    ConnectionLost,
    /// The owner has given the lease up.
    Released,
}

impl OrphanReason {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::ProcessEnded, Self::ConnectionLost, Self::Released];

    /// The stable text form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ProcessEnded => "process_ended",
            Self::ConnectionLost => "connection_lost",
            Self::Released => "released",
        }
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// When there is no such reason.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text).ok_or_else(|| {
            Invalid::new("reason", format!("{text:?} is none"), "process_ended, connection_lost or released")
        })
    }
}

/// As the end of a sentence whose subject is the owner.
impl fmt::Display for OrphanReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ProcessEnded => "has ended",
            Self::ConnectionLost => "has lost its connection",
            Self::Released => "has let it go",
        })
    }
}
