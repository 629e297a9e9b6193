//! What will end a sandbox, or change what it is, although nobody asks for it: as data, for whoever wants to know.

use std::time::SystemTime;

use ebbtide_model::{OnIdle, Ownership, SandboxRecord, State};

use crate::keep::{self, CleanUp, Verdict};

/// Which deadline it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadlineKind {
    /// Its lifetime.
    Lifetime,
    /// The time after its owner's end in which it can be adopted.
    OrphanGrace,
    /// The time for which it is kept.
    Keep,
    /// The time for which it may be idle.
    Idle,
    /// The time that its processes have after SIGTERM.
    StopGrace,
}

impl DeadlineKind {
    /// The stable text form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lifetime => "lifetime",
            Self::OrphanGrace => "orphan_grace",
            Self::Keep => "keep",
            Self::Idle => "idle",
            Self::StopGrace => "stop_grace",
        }
    }
}

/// What happens then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It ends.
    Stop,
    /// It is frozen.
    Pause,
    /// It is kept, with a deadline of its own.
    Keep,
    /// Whatever still runs in it is killed.
    Kill,
}

impl Then {
    /// The stable text form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::Keep => "keep",
            Self::Kill => "kill",
        }
    }
}

/// One deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// Which.
    pub kind: DeadlineKind,
    /// When.
    pub at: SystemTime,
    /// What happens then.
    pub then: Then,
}

/// The deadlines of a record, the first to come first. `idle_at`: when it is idle for long enough, if nobody uses it.
/// `kill_at`: when the grace of its stop is over.
pub(crate) fn of(record: &SandboxRecord, idle_at: Option<SystemTime>, kill_at: SystemTime) -> Vec<Deadline> {
    let deadline = |kind, at, then| Deadline { kind, at, then };
    if record.state.is_terminal() {
        return Vec::new();
    }
    if record.state == State::Terminating {
        return vec![deadline(DeadlineKind::StopGrace, kill_at, Then::Kill)];
    }
    let or_keep = |clean_up, at| match keep::decide(record, clean_up, at) {
        Verdict::End => Then::Stop,
        Verdict::Keep { .. } => Then::Keep,
    };
    let mut deadlines = vec![deadline(DeadlineKind::Lifetime, record.deadline, Then::Stop)];
    match record.ownership {
        Ownership::Orphaned { until, .. } => {
            deadlines.push(deadline(DeadlineKind::OrphanGrace, until, or_keep(CleanUp::OwnerGone, until)));
        }
        Ownership::Kept { until, .. } => deadlines.push(deadline(DeadlineKind::Keep, until, Then::Stop)),
        _ => {}
    }
    if let Some(at) = idle_at {
        let then = match record.policy.on_idle {
            OnIdle::Pause => Then::Pause,
            OnIdle::Stop => or_keep(CleanUp::Idle, at),
        };
        deadlines.push(deadline(DeadlineKind::Idle, at, then));
    }
    deadlines.sort_by_key(|deadline| deadline.at);
    deadlines
}
