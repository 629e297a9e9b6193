//! What a driver finds when it comes back: everything, as it was.

use std::time::Duration;

use ebbtide_model::ExitStatus;

use super::context::{Context, Failure, ensure, ensure_eq, sh, words};
use super::scripts;
use crate::{EndCause, Phase};

pub(super) async fn running_sandbox_is_adopted(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.ready(scripts::HANDLES_TERM).await?;
    context.run(&id, sh(scripts::MARK, &[])).await?;
    context.reconnect().await?;
    ensure_eq("phase", context.phase(&id).await?, Some(Phase::Running))?;
    ensure(context.holds(&id, scripts::IS_MARKED, "").await?, || "its files were lost".to_owned())?;
    context.stop(&id, Duration::from_secs(200)).await?;
    let report = context.ended(&id).await?;
    ensure_eq("report", (report.cause, report.exit), (EndCause::Stopped, Some(ExitStatus::Code(5))))
}

pub(super) async fn end_without_a_daemon_is_reported(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.sandbox(sh(scripts::EXIT_9_LATER, &[])).await?;
    context.reconnect_after(tokio::time::sleep(Duration::from_millis(700))).await?;
    let report = context.ended(&id).await?;
    ensure_eq("report", (report.cause, report.exit), (EndCause::MainExited, Some(ExitStatus::Code(9))))
}

pub(super) async fn deadline_survives_a_reconnect(context: &Context<'_>) -> Result<(), Failure> {
    let mut plan = context.plan(words(&["sleep", "300"]));
    plan.lifetime = Duration::from_secs(1);
    context.create(&plan).await?;
    context.reconnect().await?;
    ensure_eq("cause", context.ended(&plan.id).await?.cause, EndCause::LifetimeExpired)
}
