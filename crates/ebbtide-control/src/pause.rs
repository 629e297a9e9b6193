//! Pause and resume: everything in a sandbox is frozen and goes on where it was.
//!
//! What holds a sandbox's deadlines is never frozen, so a paused one ends as any other does. The driver comes first and
//! the record after it: which of the two a sandbox is follows from what the driver has, and the record adds why.

use ebbtide_driver::Phase;
use ebbtide_model::{PauseReason, SandboxRecord, State};
use tokio::time::Instant;

use crate::ControlError;
use crate::engine::Engine;
use crate::failpoint::fail_point;
use crate::metrics::Step;
use crate::sandbox::Sandbox;

/// Freezes it. One that is frozen already stays so, from now on for the reason that lasts longer of the two.
pub(crate) async fn pause(
    engine: &Engine,
    sandbox: &Sandbox,
    why: PauseReason,
) -> Result<SandboxRecord, ControlError> {
    let _changing = sandbox.changing.lock().await;
    freeze(engine, sandbox, why).await
}

/// As [`pause`], by one who holds [`Sandbox::changing`].
pub(crate) async fn freeze(
    engine: &Engine,
    sandbox: &Sandbox,
    why: PauseReason,
) -> Result<SandboxRecord, ControlError> {
    match sandbox.state() {
        State::Running => {}
        State::Paused => {
            let lasts = |record: &mut SandboxRecord| {
                if why != PauseReason::Idle && record.state == State::Paused {
                    record.paused = Some(why);
                }
            };
            return Ok(sandbox.change(&engine.store, lasts)?);
        }
        state => return Err(ControlError::NotRunning { id: sandbox.id.clone(), state }),
    }
    let begun = Instant::now();
    fail_point!("pause.driver.before");
    engine.ask("pause a sandbox", engine.driver.pause(&sandbox.id)).await?;
    fail_point!("pause.driver.after");
    match sandbox.paused(&engine.store, why) {
        Ok(record) => {
            engine.metrics.took(Step::Pause, begun);
            fail_point!("pause.record.after");
            Ok(record)
        }
        Err(error) => {
            // As it was; should that fail too, the next reconcile finds the two at odds.
            let _ = engine.ask("resume a sandbox", engine.driver.resume(&sandbox.id)).await;
            Err(error.into())
        }
    }
}

/// Lets it go on. One that runs is left alone.
pub(crate) async fn resume(engine: &Engine, sandbox: &Sandbox) -> Result<SandboxRecord, ControlError> {
    let _changing = sandbox.changing.lock().await;
    thaw(engine, sandbox).await
}

/// As [`resume`], by one who holds [`Sandbox::changing`].
pub(crate) async fn thaw(engine: &Engine, sandbox: &Sandbox) -> Result<SandboxRecord, ControlError> {
    match sandbox.state() {
        State::Paused => {}
        State::Running => return Ok(sandbox.record()),
        state => return Err(ControlError::NotRunning { id: sandbox.id.clone(), state }),
    }
    let begun = Instant::now();
    fail_point!("resume.driver.before");
    engine.ask("resume a sandbox", engine.driver.resume(&sandbox.id)).await?;
    fail_point!("resume.driver.after");
    let record = sandbox.resumed(&engine.store)?;
    engine.metrics.took(Step::Resume, begun);
    Ok(record)
}

/// Lets it go on if it was frozen only until somebody would use it, which is now.
pub(crate) async fn wake(engine: &Engine, sandbox: &Sandbox) -> Result<(), ControlError> {
    let may_rest = |record: &SandboxRecord| {
        record.paused == Some(PauseReason::Idle)
            || (record.policy.idle_timeout.is_some() && record.paused.is_none())
    };
    if !sandbox.peek(may_rest) {
        return Ok(());
    }
    // Waits for one that is being frozen for its idleness at this very moment, too.
    let _changing = sandbox.changing.lock().await;
    if sandbox.peek(|record| record.paused == Some(PauseReason::Idle)) {
        thaw(engine, sandbox).await?;
    }
    Ok(())
}

/// Brings the record in line with what the driver has, which is asked again with all changes held off.
pub(crate) async fn correct(engine: &Engine, sandbox: &Sandbox) -> Result<bool, ControlError> {
    let _changing = sandbox.changing.lock().await;
    let existing = engine.ask("list its sandboxes", engine.driver.list()).await?;
    let phase =
        existing.into_iter().find(|existing| existing.id == sandbox.id).map(|existing| existing.phase);
    match (phase, sandbox.state()) {
        (Some(Phase::Paused), State::Running) => {
            sandbox.paused(&engine.store, PauseReason::Asked)?;
        }
        (Some(Phase::Running), State::Paused) => {
            sandbox.resumed(&engine.store)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}
