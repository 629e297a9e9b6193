//! Whether a clean-up that nobody asked for by name spares a sandbox: one decision, in one place.
//!
//! It is asked before each such clean-up. An explicit stop is none, and neither is a lifetime: nothing outlives that.
//! What is kept has a deadline of its own, says in every listing why it was kept, and can be adopted, resumed and stopped
//! until then. A sandbox whose main command has ended cannot be kept, since all of it ends with its init; what its
//! policy can still save is the record, with log and receipt.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ebbtide_driver::clean_up::preserve;
use ebbtide_driver::{DeadMansSwitch, DriverError};
use ebbtide_model::{
    Holder, Keep, KeepAs, Limits, Ownership, Policy, SandboxRecord, State, TerminationReason,
};

use crate::engine::Engine;
use crate::failpoint::fail_point;
use crate::sandbox::{Ending, Sandbox};
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
}

impl CleanUp {
    /// As what it is recorded where it spares nothing.
    pub(crate) fn reason(self) -> TerminationReason {
        match self {
            Self::OwnerGone => TerminationReason::OwnerGone,
            Self::Idle => TerminationReason::Idle,
            Self::Session => TerminationReason::SessionClosed,
            Self::Scope => TerminationReason::Stopped,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::OwnerGone => "its owner is gone",
            Self::Idle => "nobody has used it",
            Self::Session => "its session was closed",
            Self::Scope => "what it was made for is over",
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
    let until = record.deadline.min(now + policy.keep_for);
    let there_is_something = matches!(record.state, State::Running | State::Paused);
    if !there_is_something || until <= now || !spares(policy, &record.ownership, clean_up) {
        return Verdict::End;
    }
    let why = format!("{} (keep = {})", clean_up.words(), policy.keep);
    Verdict::Keep { why, what: policy.keep_as, until }
}

fn spares(policy: &Policy, ownership: &Ownership, clean_up: CleanUp) -> bool {
    match policy.keep {
        Keep::Never => false,
        Keep::Always => true,
        // Who has stopped it, or has left it idle, has not failed.
        Keep::OnFailure => clean_up == CleanUp::OwnerGone,
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

/// For how much longer than others a record is kept that says how a main command failed.
pub(crate) fn record_longer(record: &SandboxRecord, exit_code: Option<i32>, limits: &Limits) -> Duration {
    let by_itself =
        matches!(record.reason, Some(TerminationReason::MainExited | TerminationReason::OutOfMemory));
    let failed = by_itself && exit_code.is_some_and(|code| code != 0);
    match record.policy.keep {
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
    let since = engine.time.now();
    match sandbox.peek(|record| decide(record, clean_up, since)) {
        Verdict::End => {
            lifecycle::end(engine, sandbox, &ending).await?;
            Ok(sandbox.record())
        }
        Verdict::Keep { why, what, until } => {
            let kept = |by| Ownership::Kept { by, why, since, until };
            keep(engine, sandbox, what, until, kept).await
        }
    }
}

/// The driver first: should the daemon die in between, the next one comes to the same decision and does it again.
async fn keep(
    engine: &Engine,
    sandbox: &Sandbox,
    what: KeepAs,
    until: SystemTime,
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
    let record = sandbox.keep(&engine.store, what, kept)?;
    fail_point!("keep.record.after");
    tracing::info!(%what, "kept");
    Ok(record)
}

/// The grace of an orphan is over: ends it or keeps it, once nobody uses it any more. Without effect if somebody has
/// adopted it meanwhile. What fails is said, and left to whoever called to repeat.
pub(crate) async fn at_owner_end(engine: &Arc<Engine>, sandbox: &Arc<Sandbox>) {
    let orphaned = sandbox.peek(|record| record.ownership.clone());
    let is_due = |record: &SandboxRecord| {
        matches!(record.state, State::Running | State::Paused) && record.ownership == orphaned
    };
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
