//! Reconcile: what the ledger says against what the driver has, at start and every minute.
//!
//! The ledger is always ahead of the driver where a sandbox begins (the intent comes before anything is made) and
//! behind it where one ends (the tombstone comes after everything is released). So every difference has one
//! meaning, and each is answered by an [`Outcome`] with a name. A sandbox whose life a task of this daemon goes
//! through is left to that task, except for one thing that it cannot see: that a running sandbox has vanished.
//!
//! The driver is asked first and the ledger after it: an id that the driver had and the ledger then does not know as
//! live can only be a leftover, and that is asked again right before it is removed. Bounded in rows and time; what
//! is left over is taken up by the next pass.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ebbtide_driver::{DestroyOutcome, Phase};
use ebbtide_model::{PauseReason, SandboxId, State, TerminationReason};
use tokio::time::Instant;
use tracing::{Instrument as _, Span, error_span, info, warn};

use crate::engine::Engine;
use crate::events::EventKind;
use crate::lease;
use crate::lifecycle::Begin;
use crate::sandbox::{Ending, Sandbox};
use crate::{ControlError, LedgerError, pause};

/// Unknown sandboxes that one pass destroys, at most, and the time it gives to that.
const ROWS: usize = 512;
const BUDGET: Duration = Duration::from_secs(5);

/// What was done about one sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A task of this daemon goes through its life; nothing to do.
    InHand,
    /// Its create had been cut off and goes on, under the same id.
    Resumed,
    /// It runs, and this daemon watches it from now on.
    Adopted,
    /// It is frozen and its record said that it runs, or the other way round: the record now says what is.
    Corrected,
    /// It ended while no daemon looked, and is finished with its own report.
    Finished,
    /// Its ending had been cut off and goes on.
    EndingResumed,
    /// It was running and is gone without a word: FAILED.
    Lost,
    /// The machine was restarted under it: FAILED.
    HostRestarted,
    /// The ledger does not know it, or knows that it has ended: destroyed.
    Destroyed,
    /// As [`Outcome::Destroyed`], but somebody was faster.
    AlreadyGone,
    /// It could not be dealt with; the next pass tries again.
    RetryLater,
    /// The pass was out of rows or time; the next one comes soon.
    Deferred,
}

impl Outcome {
    /// The stable text form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InHand => "in_hand",
            Self::Resumed => "resumed",
            Self::Adopted => "adopted",
            Self::Corrected => "corrected",
            Self::Finished => "finished",
            Self::EndingResumed => "ending_resumed",
            Self::Lost => "lost",
            Self::HostRestarted => "host_restarted",
            Self::Destroyed => "destroyed",
            Self::AlreadyGone => "already_gone",
            Self::RetryLater => "retry_later",
            Self::Deferred => "deferred",
        }
    }
}

/// One sandbox, and what was done about it.
pub type Reconciled = (SandboxId, Outcome);

/// Whether the next pass should come soon.
pub(crate) fn is_unfinished(reconciled: &[Reconciled]) -> bool {
    reconciled.iter().any(|(_, outcome)| *outcome == Outcome::Deferred)
}

/// Compares once.
pub(crate) async fn pass(engine: &Arc<Engine>) -> Result<Vec<Reconciled>, ControlError> {
    let _one_at_a_time = engine.reconciling.lock().await;
    let running = engine.select(|record| record.state.is_alive());
    let existing: BTreeMap<SandboxId, Phase> = engine
        .ask("list its sandboxes", engine.driver.list())
        .await?
        .into_iter()
        .map(|existing| (existing.id, existing.phase))
        .collect();
    let mut reconciled = Vec::new();
    for sandbox in engine.select(|record| !record.state.is_terminal()) {
        let phase = existing.get(&sandbox.id).copied();
        let was_running = running.iter().any(|running| Arc::ptr_eq(running, &sandbox));
        let outcome = about(&sandbox.id).in_scope(|| {
            let outcome = if sandbox.is_driven() {
                in_hand(engine, &sandbox, phase.is_none() && was_running)
            } else {
                take_up(engine, &sandbox, phase)
            };
            outcome.unwrap_or_else(|error| {
                warn!(%error, "reconcile; trying again with the next pass");
                Outcome::RetryLater
            })
        });
        let outcome = match outcome {
            Outcome::InHand if is_at_odds(sandbox.state(), phase) => {
                thawed_or_frozen(engine, &sandbox).instrument(about(&sandbox.id)).await
            }
            outcome => outcome,
        };
        reconciled.push((sandbox.id.clone(), outcome));
    }
    let deadline = Instant::now() + BUDGET;
    let unknown = existing.into_keys().filter(|id| !engine.live().contains_key(id)).collect::<Vec<_>>();
    for (row, id) in unknown.into_iter().enumerate() {
        let outcome = if row < ROWS && Instant::now() < deadline {
            destroy_unknown(engine, &id).instrument(about(&id)).await?
        } else {
            Outcome::Deferred
        };
        reconciled.push((id, outcome));
    }
    Ok(reconciled)
}

/// A sandbox that a task goes through its life with. `vanished`: it ran before the driver was asked, and the driver
/// does not have it.
fn in_hand(engine: &Engine, sandbox: &Sandbox, vanished: bool) -> Result<Outcome, LedgerError> {
    sandbox.retry.notify_waiters();
    if vanished && sandbox.state().is_alive() {
        sandbox.begin_ending(&engine.store, &lost())?;
        tell(sandbox, Outcome::Lost);
        return Ok(Outcome::Lost);
    }
    Ok(Outcome::InHand)
}

/// Whether it may be that a sandbox is frozen and its record says that it runs, or the other way round.
fn is_at_odds(state: State, phase: Option<Phase>) -> bool {
    matches!((state, phase), (State::Running, Some(Phase::Paused)) | (State::Paused, Some(Phase::Running)))
}

/// Gives one that is at odds with its record the state that it is in.
async fn thawed_or_frozen(engine: &Engine, sandbox: &Sandbox) -> Outcome {
    match pause::correct(engine, sandbox).await {
        Ok(true) => {
            tell(sandbox, Outcome::Corrected);
            Outcome::Corrected
        }
        Ok(false) => Outcome::InHand,
        Err(error) => {
            warn!(%error, "cannot say whether it is frozen; trying again with the next pass");
            Outcome::RetryLater
        }
    }
}

/// A sandbox that nobody goes through its life with: a daemon before this one did.
fn take_up(
    engine: &Arc<Engine>,
    sandbox: &Arc<Sandbox>,
    phase: Option<Phase>,
) -> Result<Outcome, LedgerError> {
    let record = sandbox.record();
    let (outcome, begin) = if record.boot_id != engine.config.boot_id {
        let idle = record.idles();
        if record.state != State::Terminating {
            sandbox.begin_ending(&engine.store, &Ending::new(TerminationReason::HostRestarted))?;
        } else if record.exit_code.is_none() && !idle {
            sandbox.overrule(TerminationReason::HostRestarted);
        }
        (Outcome::HostRestarted, Begin::End)
    } else {
        match (record.state, phase) {
            (State::Pending | State::Creating, None | Some(Phase::Made)) => {
                (Outcome::Resumed, Begin::Create { resumed: true })
            }
            (State::Pending | State::Creating, Some(Phase::Running | Phase::Paused | Phase::Ended)) => {
                sandbox.claimed();
                // The mark that would say when was not written yet, so that was within moments of its creation.
                sandbox.started(record.created_at);
                engine.mark_soon(sandbox);
                freeze_as(engine, sandbox, phase)?;
                (adopted(phase), Begin::Watch)
            }
            (State::Running | State::Paused, Some(Phase::Running | Phase::Paused | Phase::Ended)) => {
                freeze_as(engine, sandbox, phase)?;
                (adopted(phase), Begin::Watch)
            }
            // It has run, so its main command must not be started a second time.
            (State::Running | State::Paused, None | Some(Phase::Made)) => {
                sandbox.begin_ending(&engine.store, &lost())?;
                (Outcome::Lost, Begin::End)
            }
            (State::Terminating, _) => (Outcome::EndingResumed, Begin::End),
            (State::Completed | State::Failed, _) => return Ok(Outcome::InHand),
        }
    };
    // Before its life goes on, so that what happens next is told next.
    tell(sandbox, outcome);
    engine.drive(sandbox, begin);
    if begin != Begin::End {
        lease::taken_up(engine, sandbox, begin == Begin::Watch);
    }
    Ok(outcome)
}

/// Whether it is frozen follows from what the driver has; why, from the record.
fn freeze_as(engine: &Engine, sandbox: &Sandbox, phase: Option<Phase>) -> Result<(), LedgerError> {
    let why = sandbox.peek(|record| record.paused).unwrap_or(PauseReason::Asked);
    match phase {
        Some(Phase::Paused) => sandbox.paused(&engine.store, why).map(drop),
        Some(Phase::Running) => sandbox.resumed(&engine.store).map(drop),
        _ => Ok(()),
    }
}

fn tell(sandbox: &Sandbox, outcome: Outcome) {
    info!(outcome = outcome.as_str(), "reconciled");
    sandbox.tell(EventKind::Reconciled(outcome), "");
}

/// The span of what is logged about one sandbox.
fn about(id: &SandboxId) -> Span {
    error_span!(parent: None, "reconcile", sandbox = %id)
}

fn adopted(phase: Option<Phase>) -> Outcome {
    if phase == Some(Phase::Ended) { Outcome::Finished } else { Outcome::Adopted }
}

fn lost() -> Ending {
    Ending::new(TerminationReason::Reconciled)
        .with_message("it was running and is gone, with whatever would say how it ended")
}

/// Something that the driver has and the ledger does not know as live.
async fn destroy_unknown(engine: &Engine, id: &SandboxId) -> Result<Outcome, ControlError> {
    // Asked again at the moment of removal.
    if engine.live().contains_key(id) {
        return Ok(Outcome::InHand);
    }
    let record = engine.store.get(id)?;
    if record.as_ref().is_some_and(|record| !record.state.is_terminal()) {
        // Nothing of ours comes to this: what the ledger holds as live is in memory too.
        return Ok(Outcome::RetryLater);
    }
    match engine.ask("destroy a sandbox", engine.driver.destroy(id)).await {
        Ok(DestroyOutcome::Destroyed { receipt, .. }) => {
            engine.metrics.released(&receipt);
            warn!("destroyed a sandbox that the ledger does not know as live");
            // Whose it was is known only where its record is still kept.
            let kind = EventKind::Reconciled(Outcome::Destroyed);
            match record {
                Some(record) => {
                    engine.feeds.of(&record.principal).publish(id, &record.spec.tags.into(), kind, "")
                }
                None => engine.metrics.happened(kind),
            }
            Ok(Outcome::Destroyed)
        }
        Ok(DestroyOutcome::AlreadyGone) => Ok(Outcome::AlreadyGone),
        Err(error) => {
            warn!(%error, "cannot destroy a sandbox that the ledger does not know as live");
            Ok(Outcome::RetryLater)
        }
    }
}
