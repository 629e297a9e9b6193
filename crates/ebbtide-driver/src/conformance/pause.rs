//! Pausing: nothing in the sandbox goes on, everything that ends it does.

use std::time::Duration;

use ebbtide_model::{ExitStatus, SandboxId};

use tokio::time::{Instant, timeout_at};

use super::context::{Context, Failure, ensure, ensure_eq, sh, words};
use super::owner::{Owner, owned};
use super::scripts;
use crate::{DestroyOutcome, DriverError, EndCause, ExecEvent, Phase, WriteOptions};

/// A grace that no check waits out.
const LONG: Duration = Duration::from_secs(200);
/// How long nothing has to happen.
const STILL: Duration = Duration::from_millis(400);

const KILLED: Option<ExitStatus> = Some(ExitStatus::Signal(9));

async fn pause(context: &Context<'_>, id: &SandboxId) -> Result<(), Failure> {
    context.soon("pause", context.driver()?.pause(id)).await?;
    ensure_eq("phase after a pause", context.phase(id).await?, Some(Phase::Paused))
}

async fn resume(context: &Context<'_>, id: &SandboxId) -> Result<(), Failure> {
    context.soon("resume", context.driver()?.resume(id)).await?;
    ensure_eq("phase after a resume", context.phase(id).await?, Some(Phase::Running))
}

pub(super) async fn paused_commands_wait_and_go_on(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.idle().await?;
    let mut exec = context.exec(&id, sh(scripts::TICK, &[]), false).await?;
    context.line(&mut exec).await?;
    pause(context, &id).await?;
    pause(context, &id).await?;
    // What was on its way comes all the same.
    let until = Instant::now() + STILL / 2;
    while let Ok(event) = timeout_at(until, exec.events.next()).await {
        ensure(matches!(event, Ok(ExecEvent::Stdout(_))), || format!("a paused command: {event:?}"))?;
    }
    let event = timeout_at(Instant::now() + STILL, exec.events.next()).await;
    ensure(event.is_err(), || format!("a paused command goes on: {event:?}"))?;
    resume(context, &id).await?;
    resume(context, &id).await?;
    context.line(&mut exec).await.map(drop)
}

pub(super) async fn nothing_is_started_in_a_paused_sandbox(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.idle().await?;
    pause(context, &id).await?;
    let refused = context.refused(&id, words(&["true"])).await?;
    ensure(matches!(refused, DriverError::Paused(_)), || format!("exec while paused: {refused:?}"))?;
    let (driver, path) = (context.driver()?, "/tmp/file");
    let read = context.bounded("read", driver.open_read(&id, path)).await?.map(drop);
    let write = driver.open_write(&id, path, WriteOptions::default());
    let write = context.bounded("write", write).await?.map(drop);
    for (what, result) in [("read", read), ("write", write)] {
        ensure(matches!(result, Err(DriverError::Paused(_))), || format!("{what} while paused: {result:?}"))?;
    }
    resume(context, &id).await?;
    ensure_eq("after the resume", context.run(&id, words(&["true"])).await?.status, ExitStatus::Code(0))
}

pub(super) async fn pause_outlives_the_daemon(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.sandbox(words(&["sleep", "300"])).await?;
    pause(context, &id).await?;
    context.reconnect().await?;
    ensure_eq("phase", context.phase(&id).await?, Some(Phase::Paused))?;
    resume(context, &id).await?;
    ensure_eq("after the resume", context.run(&id, words(&["true"])).await?.status, ExitStatus::Code(0))
}

pub(super) async fn pause_comes_too_late_for_the_end(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.sandbox(words(&["true"])).await?;
    context.ended(&id).await?;
    let driver = context.driver()?;
    for (what, result) in [("pause", driver.pause(&id).await), ("resume", driver.resume(&id).await)] {
        ensure(matches!(result, Err(DriverError::NotRunning(_))), || {
            format!("{what} after the end is answered with {result:?}")
        })?;
    }
    Ok(())
}

pub(super) async fn deadline_fires_while_paused(context: &Context<'_>) -> Result<(), Failure> {
    let mut plan = context.plan(words(&["sleep", "300"]));
    plan.lifetime = Duration::from_secs(1);
    context.create(&plan).await?;
    pause(context, &plan.id).await?;
    let report = context.ended(&plan.id).await?;
    ensure_eq("report", (report.cause, report.exit), (EndCause::LifetimeExpired, KILLED))
}

pub(super) async fn owners_death_ends_a_paused_sandbox(context: &Context<'_>) -> Result<(), Failure> {
    let owner = Owner::start()?;
    let plan = owned(context, owner.process, Duration::from_millis(200));
    context.create(&plan).await?;
    pause(context, &plan.id).await?;
    drop(owner);
    let report = context.ended(&plan.id).await?;
    ensure_eq("report", (report.cause, report.exit), (EndCause::OwnerGone, KILLED))
}

/// A command that cannot run could not tidy up either.
pub(super) async fn stop_resumes_what_is_paused(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.ready(scripts::HANDLES_TERM).await?;
    pause(context, &id).await?;
    context.stop(&id, LONG).await?;
    let report = context.ended(&id).await?;
    ensure_eq("report", (report.cause, report.exit), (EndCause::Stopped, Some(ExitStatus::Code(5))))
}

pub(super) async fn stop_without_grace_kills_what_is_paused(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.ready(scripts::HANDLES_TERM).await?;
    pause(context, &id).await?;
    context.stop(&id, Duration::ZERO).await?;
    let report = context.ended(&id).await?;
    ensure_eq("report", (report.cause, report.exit), (EndCause::Stopped, KILLED))
}

pub(super) async fn destroy_ends_a_paused_sandbox(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.ready(scripts::HANDLES_TERM).await?;
    let mut exec = context.exec(&id, words(&["sleep", "300"]), false).await?;
    pause(context, &id).await?;
    match context.destroy(&id).await? {
        DestroyOutcome::Destroyed { report: Some(report), .. } => {
            ensure_eq("report", (report.cause, report.exit), (EndCause::Stopped, KILLED))?;
        }
        other => return Err(Failure::Broken(format!("destroy is answered with {other:?}"))),
    }
    let over = async { while !matches!(exec.events.next().await, Err(_) | Ok(ExecEvent::Exit(_))) {} };
    context.bounded("the end of an exec after destroy", over).await
}
