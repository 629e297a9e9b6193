//! Whether a clean-up that nobody asked for by name spares a sandbox: one decision, in one place.
//!
//! It is asked before each such clean-up. An explicit stop is none, and neither is a lifetime: nothing outlives that.
//! What is kept has a deadline of its own, says in every listing why it was kept, and can be adopted, resumed and stopped
//! until then. Where its policy could spare a sandbox when its main command ends, init waits for the decision: of such a
//! one the files are kept, and nothing runs in it any more.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ebbtide_driver::clean_up::preserve;
use ebbtide_driver::{AtMainEnd, DeadMansSwitch, DriverError, MainEnded};
use ebbtide_model::{
    ExitStatus, Holder, Keep, KeepAs, Limits, MainEnd, Ownership, Policy, SandboxRecord, TerminationReason,
};

use crate::engine::Engine;
use crate::failpoint::fail_point;
use crate::sandbox::{Ending, Sandbox};
use crate::store::{from_millis, millis};
use crate::{ControlError, lifecycle};

/// A clean-up that nobody asked for by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CleanUp {
    /// Its owner is gone, and so is the grace.
    OwnerGone,
    /// Nobody has used it for as long as it may be idle.
    Idle,
    /// The session that it was in was closed.
    Session,
    /// The part of a program that it was made for is over.
    Scope,
    /// What it was made for has failed.
    Failure,
    /// Its main command has ended.
    MainEnded(MainEnd),
}

impl CleanUp {
    /// As what it is recorded where it spares nothing.
    pub(crate) fn reason(self) -> TerminationReason {
        match self {
            Self::OwnerGone => TerminationReason::OwnerGone,
            Self::Idle => TerminationReason::Idle,
            Self::Session => TerminationReason::SessionClosed,
            Self::Scope | Self::Failure => TerminationReason::Stopped,
            Self::MainEnded(end) => end.reason,
        }
    }

    fn words(self) -> String {
        let words = match self {
            Self::OwnerGone => "its owner is gone",
            Self::Idle => "nobody has used it",
            Self::Session => "its session was closed",
            Self::Scope => "what it was made for is over",
            Self::Failure => "what it was made for has failed",
            Self::MainEnded(MainEnd { exit_code: 0, .. }) => "its main command has ended",
            Self::MainEnded(MainEnd { reason: TerminationReason::OutOfMemory, .. }) => {
                "its main command was killed for want of memory"
            }
            Self::MainEnded(MainEnd { exit_code, .. }) => {
                return format!("its main command failed with {exit_code}");
            }
        };
        words.to_owned()
    }

    /// How the main command ended, where that is what it is about.
    fn main_end(self) -> Option<MainEnd> {
        match self {
            Self::MainEnded(end) => Some(end),
            _ => None,
        }
    }
}

/// What becomes of a sandbox that is to be cleaned up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It ends.
    End,
    /// It is spared.
    Keep {
        /// Why, for a person.
        why: String,
        /// What of it is kept.
        what: KeepAs,
        /// When it ends after all.
        until: SystemTime,
    },
}

/// The decision, at `now`.
pub(crate) fn decide(record: &SandboxRecord, clean_up: CleanUp, now: SystemTime) -> Verdict {
    let policy = &record.policy;
    let until = match (&record.ownership, clean_up) {
        (Ownership::Kept { until, .. }, _) => *until,
        // A daemon that comes later decides as one that was there.
        (_, CleanUp::MainEnded(end)) => end.at + policy.keep_for,
        _ => now + policy.keep_for,
    };
    let until = until.min(record.deadline);
    let there_is_something = record.state.is_alive();
    if !there_is_something || until <= now || !spares(policy, &record.ownership, clean_up) {
        return Verdict::End;
    }
    let why = format!("{} (keep = {})", clean_up.words(), policy.keep);
    let runs = clean_up.main_end().or(record.main_end).is_none();
    Verdict::Keep { why, what: if runs { policy.keep_as } else { KeepAs::Files }, until }
}

fn spares(policy: &Policy, ownership: &Ownership, clean_up: CleanUp) -> bool {
    match policy.keep {
        Keep::Never => false,
        Keep::Always => true,
        // Who has stopped it, or has left it idle, has not failed.
        Keep::OnFailure => match clean_up {
            CleanUp::MainEnded(end) => end.exit_code != 0,
            _ => matches!(clean_up, CleanUp::OwnerGone | CleanUp::Failure),
        },
        // Idleness is nobody's clean-up, so it cannot be that of somebody who has adopted it.
        Keep::Attached => clean_up != CleanUp::Idle && ownership.is_adopted(),
    }
}

/// How long a sandbox's own init waits after its owner's death before it acts for itself. Where the sandbox would be
/// spared that decision is a daemon's, so init waits for as long as it would be kept; if no daemon comes back, it ends.
pub(crate) fn switch_grace(record: &SandboxRecord) -> Duration {
    let policy = &record.policy;
    let spared = spares(policy, &record.ownership, CleanUp::OwnerGone);
    policy.orphan_grace + if spared { policy.keep_for } else { Duration::ZERO }
}

/// What init does when the main command of a sandbox ends: where that might be spared it waits for a daemon, and if none
/// comes for as long as it would be kept, it ends.
pub(crate) fn main_end_wish(record: &SandboxRecord) -> AtMainEnd {
    let at_most = record.policy.keep_for;
    match record.policy.keep {
        Keep::Never => AtMainEnd::End,
        Keep::OnFailure => AtMainEnd::Stay { if_failed: true, at_most },
        Keep::Always | Keep::Attached => AtMainEnd::Stay { if_failed: false, at_most },
    }
}

/// Whether a daemon is to decide what becomes of the sandbox when its main command ends.
pub(crate) fn awaits_main_end(record: &SandboxRecord) -> bool {
    record.main_end.is_none() && main_end_wish(record) != AtMainEnd::End
}

/// For how much longer than others a record is kept that says how a main command failed.
pub(crate) fn record_longer(record: &SandboxRecord, exit_code: Option<i32>, limits: &Limits) -> Duration {
    let by_itself =
        matches!(record.reason, Some(TerminationReason::MainExited | TerminationReason::OutOfMemory));
    let failed = by_itself && exit_code.is_some_and(|code| code != 0);
    match record.policy.keep {
        // Whose files were kept has had its time.
        _ if record.main_end.is_some() => Duration::ZERO,
        Keep::OnFailure | Keep::Always if failed => record.policy.keep_for.saturating_sub(limits.retention),
        _ => Duration::ZERO,
    }
}

/// Cleans a sandbox up, or keeps it; answers with what it is then. `by` is who asked, in words.
pub(crate) async fn clean_up(
    engine: &Engine,
    sandbox: &Sandbox,
    clean_up: CleanUp,
    ending: Ending,
) -> Result<SandboxRecord, ControlError> {
    let _changing = sandbox.changing.lock().await;
    clean_up_held(engine, sandbox, clean_up, ending).await
}

/// As [`clean_up`], by one who holds [`Sandbox::changing`].
pub(crate) async fn clean_up_held(
    engine: &Engine,
    sandbox: &Sandbox,
    clean_up: CleanUp,
    ending: Ending,
) -> Result<SandboxRecord, ControlError> {
    if sandbox.peek(|record| record.ownership.is_kept()) && clean_up != CleanUp::OwnerGone {
        // A session that is closed twice, say.
        return Ok(sandbox.record());
    }
    decided(engine, sandbox, clean_up, &ending).await
}

/// Does what is decided.
async fn decided(
    engine: &Engine,
    sandbox: &Sandbox,
    clean_up: CleanUp,
    ending: &Ending,
) -> Result<SandboxRecord, ControlError> {
    let since = engine.time.now();
    match sandbox.peek(|record| decide(record, clean_up, since)) {
        Verdict::End => {
            lifecycle::end(engine, sandbox, ending).await?;
            Ok(sandbox.record())
        }
        Verdict::Keep { why, what, until } => {
            let kept = |by| Ownership::Kept { by, why, since, until };
            keep(engine, sandbox, what, until, clean_up.main_end(), kept).await
        }
    }
}

/// The main command has ended, as is told, of a sandbox whose init waits for what is to become of it. Answers whether
/// it is kept; if not, its end is recorded.
pub(crate) async fn at_main_end(
    engine: &Engine,
    sandbox: &Sandbox,
    reason: TerminationReason,
    ended: &MainEnded,
) -> Result<bool, ControlError> {
    let _changing = sandbox.changing.lock().await;
    let exit_code = ended.report.exit.map(ExitStatus::code);
    let now = engine.time.now();
    let at = from_millis(millis(now.checked_sub(ended.ago).unwrap_or(now)));
    // It is told in whole milliseconds, and so did not end before it began.
    let at = sandbox.peek(|record| record.started_at).map_or(at, |started| at.max(started));
    let clean_up = CleanUp::MainEnded(MainEnd { reason, exit_code: exit_code.unwrap_or_default(), at });
    let ending = Ending { exit_code, ..Ending::new(reason) };
    let record = decided(engine, sandbox, clean_up, &ending).await?;
    Ok(record.main_end.is_some())
}

/// The driver first: should the daemon die in between, the next one comes to the same decision and does it again.
async fn keep(
    engine: &Engine,
    sandbox: &Sandbox,
    what: KeepAs,
    until: SystemTime,
    main_end: Option<MainEnd>,
    kept: impl FnOnce(Option<Holder>) -> Ownership,
) -> Result<SandboxRecord, ControlError> {
    fail_point!("keep.driver.before");
    let left = engine.time.left(until);
    // If no daemon is there for as long as it is to be kept, it ends by itself.
    let switch = DeadMansSwitch::Daemon { grace: left.max(engine.config.limits.daemon_grace) };
    let preserve = preserve(engine.driver.as_ref(), &sandbox.id, what, switch);
    if !engine.ask("keep a sandbox", preserve).await? {
        return Err(ControlError::NotRunning { id: sandbox.id.clone(), state: sandbox.state() });
    }
    fail_point!("keep.driver.after");
    let record = sandbox.keep(&engine.store, what, main_end, kept)?;
    fail_point!("keep.record.after");
    tracing::info!(%what, "kept");
    Ok(record)
}

/// The grace of an orphan is over: ends it or keeps it, once nobody uses it any more. Without effect if somebody has
/// adopted it meanwhile. What fails is said, and left to whoever called to repeat.
pub(crate) async fn at_owner_end(engine: &Arc<Engine>, sandbox: &Arc<Sandbox>) {
    let orphaned = sandbox.peek(|record| record.ownership.clone());
    let is_due = |record: &SandboxRecord| record.state.is_alive() && record.ownership == orphaned;
    let (mut uses, mut changes) = (sandbox.uses.subscribe(), sandbox.changes());
    tokio::select! {
        biased;
        _ = changes.wait_for(|record| !is_due(record)) => return,
        _ = uses.wait_for(|uses| uses.active == 0) => {}
    }
    let _changing = sandbox.changing.lock().await;
    if !orphaned.is_orphaned() || !sandbox.peek(is_due) {
        return;
    }
    // No words: its ownership tells who went, and init, which may be faster, has none either.
    let ending = Ending::new(TerminationReason::OwnerGone);
    match clean_up_held(engine, sandbox, CleanUp::OwnerGone, ending).await {
        // It ends by itself: whoever watches it hears why.
        Ok(_) | Err(ControlError::NotRunning { .. } | ControlError::Driver(DriverError::NotRunning(_))) => {}
        Err(error) => {
            tracing::warn!(sandbox = %sandbox.id, %error, "cannot deal with the end of its owner; trying again");
        }
    }
}

/// Waits until a sandbox that is kept is to end; for ever if it is not kept.
pub(crate) async fn expired(sandbox: &Sandbox) {
    let mut changes = sandbox.changes();
    loop {
        let until = match &changes.borrow_and_update().ownership {
            Ownership::Kept { until, .. } => Some(*until),
            _ => None,
        };
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { std::future::pending().await },
            () = sandbox.time.until(until.unwrap_or(UNIX_EPOCH)), if until.is_some() => return,
        }
    }
}

/// How one ends that was kept for as long as it was to be.
pub(crate) fn expiry(sandbox: &Arc<Sandbox>) -> Ending {
    Ending::new(TerminationReason::KeepExpired)
        .with_message(sandbox.peek(|record| record.ownership.to_string()))
}
