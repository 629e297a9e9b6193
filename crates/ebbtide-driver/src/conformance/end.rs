//! How a sandbox ends, and what is told of it.

use std::time::Duration;

use ebbtide_model::ExitStatus;

use super::context::{Context, Failure, ensure, ensure_eq, sh, words};
use super::scripts;
use crate::{DriverError, EndCause, Phase};

pub(super) async fn exit_code_of_the_main_command_is_reported(context: &Context<'_>) -> Result<(), Failure> {
    for (main, code) in [(sh(scripts::EXIT_7, &[]), 7), (words(&["true"]), 0), (words(&["false"]), 1)] {
        let id = context.sandbox(main).await?;
        let report = context.ended(&id).await?;
        let found = (report.cause, report.exit);
        ensure_eq("report", found, (EndCause::MainExited, Some(ExitStatus::Code(code))))?;
    }
    Ok(())
}

pub(super) async fn signal_of_the_main_command_is_reported(context: &Context<'_>) -> Result<(), Failure> {
    for (script, signal) in [(scripts::KILL_ITSELF, 9), (scripts::TERMINATE_ITSELF, 15)] {
        let id = context.sandbox(sh(script, &[])).await?;
        let report = context.ended(&id).await?;
        let found = (report.cause, report.exit);
        ensure_eq("report", found, (EndCause::MainExited, Some(ExitStatus::Signal(signal))))?;
        ensure_eq("exit code", report.exit.map(ExitStatus::code), Some(128 + i32::from(signal)))?;
    }
    Ok(())
}

pub(super) async fn report_is_repeated_until_destroy(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.sandbox(sh(scripts::EXIT_9_LATER, &[])).await?;
    let (first, second) = tokio::join!(context.ended(&id), context.ended(&id));
    let report = first?;
    ensure_eq("what a second waiter gets", second?, report)?;
    ensure_eq("what a later call gets", context.ended(&id).await?, report)?;
    context.reconnect().await?;
    ensure_eq("what a later daemon gets", context.ended(&id).await?, report)?;
    context.destroy(&id).await?;
    match context.bounded("ended after destroy", context.driver()?.ended(&id)).await? {
        Err(DriverError::NotFound(_)) => Ok(()),
        other => Err(Failure::Broken(format!("ended after destroy is answered with {other:?}"))),
    }
}

/// The waiter may get the report or be told that the sandbox is gone; it must not wait for ever.
pub(super) async fn waiting_ends_with_destroy(context: &Context<'_>) -> Result<(), Failure> {
    let (id, driver) = (context.idle().await?, context.driver()?);
    let waiting = context.bounded("a wait during a destroy", driver.ended(&id));
    let (waited, destroyed) = tokio::join!(waiting, context.destroy(&id));
    destroyed?;
    match waited? {
        Ok(report) => ensure_eq("cause", report.cause, EndCause::Stopped),
        Err(DriverError::NotFound(_)) => Ok(()),
        Err(error) => Err(Failure::Broken(format!("a wait during a destroy ends with {error:?}"))),
    }
}

pub(super) async fn killed_init_is_reported(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.sandbox(words(&["sleep", "300"])).await?;
    let mut exec = context.exec(&id, words(&["sleep", "300"]), false).await?;
    if !context.harness.kill_init(&id).await {
        return Err(Failure::Skipped("the harness cannot kill an init".to_owned()));
    }
    let report = context.ended(&id).await?;
    ensure_eq("report", (report.cause, report.exit), (EndCause::InitKilled, None))?;
    // Whatever it says, it must not leave its caller waiting.
    let over = async { while !matches!(exec.events.next().await, Err(_) | Ok(crate::ExecEvent::Exit(_))) {} };
    context.bounded("the end of an exec whose init was killed", over).await?;
    ensure(context.phase(&id).await?.is_some(), || "it is gone before its destroy".to_owned())
}

pub(super) async fn want_of_memory_is_told(context: &Context<'_>) -> Result<(), Failure> {
    let mut plan = context.plan(words(scripts::USE_UP_MEMORY));
    plan.resources.memory_bytes = 32 << 20;
    context.create(&plan).await?;
    let report = context.ended(&plan.id).await?;
    ensure_eq("report", (report.cause, report.exit), (EndCause::OutOfMemory, Some(ExitStatus::Signal(9))))?;
    let id = context.sandbox(sh(scripts::KILL_ITSELF, &[])).await?;
    ensure_eq("cause of another kill", context.ended(&id).await?.cause, EndCause::MainExited)
}

pub(super) async fn sandbox_is_kept_without_its_processes(context: &Context<'_>) -> Result<(), Failure> {
    for paused in [false, true] {
        let id = context.ready(scripts::IGNORES_TERM).await?;
        let mut exec = context.exec(&id, sh(scripts::TELL_PID, &[]), false).await?;
        let pid = context.line(&mut exec).await?;
        let driver = context.driver()?;
        if paused {
            context.soon("pause", driver.pause(&id)).await?;
        }
        context.soon("end_processes", driver.end_processes(&id)).await?;
        ensure_eq("phase", context.phase(&id).await?, Some(Phase::Running))?;
        ensure(!context.holds(&id, scripts::IS_ALIVE, &pid).await?, || format!("process {pid} is alive"))?;
        ensure_eq("end of the exec", context.finish(&mut exec).await?.status, ExitStatus::Signal(9))?;
        let there = context.run(&id, sh(scripts::AWAIT_READY, &[])).await?.status;
        ensure_eq("looking for its file", there, ExitStatus::Code(0))?;
        context.stop(&id, Duration::ZERO).await?;
        let report = context.ended(&id).await?;
        ensure_eq("report", (report.cause, report.exit), (EndCause::Stopped, Some(ExitStatus::Signal(9))))?;
    }
    Ok(())
}
