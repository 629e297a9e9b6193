//! Stops: who is asked, how long is waited, and what is told of it.

use std::time::{Duration, Instant};

use ebbtide_model::ExitStatus;

use super::context::{Context, Failure, ensure, ensure_eq, sh, words};
use super::scripts;
use crate::{EndCause, Phase};

/// A grace that no check waits out.
const LONG: Duration = Duration::from_secs(200);
const SHORT: Duration = Duration::from_secs(1);
/// What clocks may differ by.
const SLACK: Duration = Duration::from_millis(100);

const KILLED: (EndCause, Option<ExitStatus>) = (EndCause::Stopped, Some(ExitStatus::Signal(9)));

pub(super) async fn stop_lets_a_handler_finish(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.ready(scripts::HANDLES_TERM).await?;
    context.stop(&id, LONG).await?;
    let report = context.ended(&id).await?;
    ensure_eq("report", (report.cause, report.exit), (EndCause::Stopped, Some(ExitStatus::Code(5))))
}

pub(super) async fn stop_escalates_after_the_grace(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.ready(scripts::IGNORES_TERM).await?;
    let start = Instant::now();
    context.stop(&id, SHORT).await?;
    let report = context.ended(&id).await?;
    ensure_eq("report", (report.cause, report.exit), KILLED)?;
    ensure(start.elapsed() + SLACK >= SHORT, || format!("killed after {:?}", start.elapsed()))
}

pub(super) async fn stop_without_grace_kills_at_once(context: &Context<'_>) -> Result<(), Failure> {
    for script in [scripts::IGNORES_TERM, scripts::HANDLES_TERM] {
        let id = context.ready(script).await?;
        context.stop(&id, Duration::ZERO).await?;
        let report = context.ended(&id).await?;
        ensure_eq("report", (report.cause, report.exit), KILLED)?;
    }
    Ok(())
}

pub(super) async fn stop_asks_execs_too(context: &Context<'_>) -> Result<(), Failure> {
    // A main command that stays, so that the exec is not ended along with it.
    let id = context.ready(scripts::IGNORES_TERM).await?;
    let mut exec = context.exec(&id, sh(scripts::HANDLES_SIGNALS, &[]), false).await?;
    ensure_eq("first line", context.line(&mut exec).await?.as_str(), "ready")?;
    context.stop(&id, LONG).await?;
    let status = context.finish(&mut exec).await?.status;
    ensure_eq("end of the exec", status, ExitStatus::Code(8))
}

pub(super) async fn main_command_is_ended_by_its_own_signal(context: &Context<'_>) -> Result<(), Failure> {
    let mut plan = context.plan(sh(scripts::HANDLES_USR1, &[]));
    plan.stop_signal = Some(libc::SIGUSR1);
    context.create(&plan).await?;
    context.run(&plan.id, sh(scripts::AWAIT_READY, &[])).await?;
    let mut exec = context.exec(&plan.id, sh(scripts::HANDLES_SIGNALS, &[]), false).await?;
    ensure_eq("first line", context.line(&mut exec).await?.as_str(), "ready")?;
    context.stop(&plan.id, LONG).await?;
    let status = context.finish(&mut exec).await?.status;
    ensure_eq("end of another command, by SIGTERM", status, ExitStatus::Code(8))?;
    let report = context.ended(&plan.id).await?;
    ensure_eq("report", (report.cause, report.exit), (EndCause::Stopped, Some(ExitStatus::Code(6))))
}

/// The commonest sandbox has no main command: nothing in it could use the grace.
pub(super) async fn stop_of_an_idle_sandbox_does_not_wait(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.idle().await?;
    context.stop(&id, LONG).await?;
    let report = context.ended(&id).await?;
    ensure_eq("report", (report.cause, report.exit), (EndCause::Stopped, None))
}

pub(super) async fn second_stop_shortens_the_grace(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.ready(scripts::IGNORES_TERM).await?;
    context.stop(&id, LONG).await?;
    context.stop(&id, Duration::ZERO).await?;
    let report = context.ended(&id).await?;
    ensure_eq("report", (report.cause, report.exit), KILLED)
}

pub(super) async fn stop_after_the_end_changes_nothing(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.sandbox(words(&["true"])).await?;
    let report = context.ended(&id).await?;
    context.stop(&id, SHORT).await?;
    ensure_eq("report", context.ended(&id).await?, report)
}

pub(super) async fn phase_tells_that_the_end_has_begun(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.ready(scripts::IGNORES_TERM).await?;
    ensure_eq("phase before the stop", context.phase(&id).await?, Some(Phase::Running))?;
    context.stop(&id, LONG).await?;
    context
        .eventually("the phase is Ended during the grace", || async {
            Ok(context.phase(&id).await? == Some(Phase::Ended))
        })
        .await
}
