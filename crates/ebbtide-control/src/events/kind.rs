//! What is told: what happened, to which sandbox, and what a reader wants of it.

use std::sync::Arc;
use std::time::SystemTime;

use ebbtide_model::{OrphanReason, PauseReason, Principal, SandboxId, TerminationReason};

use crate::Outcome;

/// Something that happened to a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// The wish for it is on record.
    Created,
    /// Its image is being made ready; the message says how far that is.
    Preparing,
    /// Commands can be run in it.
    Running,
    /// Its end has begun.
    Stopping(TerminationReason),
    /// It has ended, and everything that it held is released.
    Stopped {
        /// Why.
        reason: TerminationReason,
        /// The exit code of its main command.
        exit_code: Option<i32>,
    },
    /// It never ran, or how it ended cannot be known; everything that it held is released.
    Failed(TerminationReason),
    /// It is frozen.
    Paused(PauseReason),
    /// It goes on.
    Resumed,
    /// Its owner is gone.
    Orphaned(OrphanReason),
    /// Somebody stands for it from now on, as the message says.
    Adopted,
    /// A clean-up has spared it; the message says why.
    Kept,
    /// A daemon found it in another state than the ledger said, and did this about it.
    Reconciled(Outcome),
}

impl EventKind {
    /// The stable text form, without what belongs to the kind.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Preparing => "preparing",
            Self::Running => "running",
            Self::Stopping(_) => "stopping",
            Self::Stopped { .. } => "stopped",
            Self::Failed(_) => "failed",
            Self::Paused(_) => "paused",
            Self::Resumed => "resumed",
            Self::Orphaned(_) => "orphaned",
            Self::Adopted => "adopted",
            Self::Kept => "kept",
            Self::Reconciled(_) => "reconciled",
        }
    }

    /// Why, as one stable word; empty where there is no other cause than the kind itself.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Created | Self::Preparing | Self::Running | Self::Resumed | Self::Adopted | Self::Kept => {
                ""
            }
            Self::Stopping(reason) | Self::Stopped { reason, .. } | Self::Failed(reason) => reason.as_str(),
            Self::Paused(reason) => reason.as_str(),
            Self::Orphaned(reason) => reason.as_str(),
            Self::Reconciled(outcome) => outcome.as_str(),
        }
    }

    /// The exit code of the main command, where the event tells one.
    pub fn exit_code(self) -> Option<i32> {
        match self {
            Self::Stopped { exit_code, .. } => exit_code,
            _ => None,
        }
    }
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxEvent {
    /// Its place among the events of its principal; the next one's is one more.
    pub sequence: u64,
    /// When it happened.
    pub at: SystemTime,
    /// The sandbox that it happened to.
    pub sandbox: SandboxId,
    /// Whose sandbox that is.
    pub principal: Principal,
    /// The sandbox's tags.
    pub tags: Arc<[String]>,
    /// What happened.
    pub kind: EventKind,
    /// Words for a person; may be empty.
    pub message: String,
}

/// What a reader is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventItem {
    /// The next event.
    Event(Arc<SandboxEvent>),
    /// Events that are not kept any more would have come here: this many, or `None` where that cannot be known
    /// because they were of an earlier daemon.
    Missed(Option<u64>),
}

/// Which events a reader wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only those after this number; 0 for all that are kept.
    pub since: u64,
    /// Only those of this sandbox.
    pub sandbox: Option<SandboxId>,
    /// Only those of sandboxes with all of these tags.
    pub tags: Vec<String>,
}

impl EventFilter {
    pub(super) fn wants(&self, event: &SandboxEvent) -> bool {
        self.sandbox.as_ref().is_none_or(|wanted| *wanted == event.sandbox)
            && self.tags.iter().all(|tag| event.tags.contains(tag))
    }
}
