//! A sandbox whose owner is elsewhere: it lives as long as a driver attends to it, and a grace longer.

use std::time::{Duration, SystemTime};

use super::context::{Context, Failure, ensure, ensure_eq, words};
use super::owner::guard;
use crate::{DeadMansSwitch, EndCause, Phase, SandboxPlan};

const GRACE: Duration = Duration::from_secs(1);
/// What clocks may differ by.
const SLACK: Duration = Duration::from_millis(100);

fn attended(context: &Context<'_>, grace: Duration) -> SandboxPlan {
    SandboxPlan { switch: DeadMansSwitch::Daemon { grace }, ..context.plan(words(&["sleep", "300"])) }
}

pub(super) async fn attended_to_it_lives(context: &Context<'_>) -> Result<(), Failure> {
    let plan = attended(context, GRACE / 5);
    context.create(&plan).await?;
    let id = context.sandbox(words(&["sleep", "300"])).await?;
    guard(context, &id, plan.switch).await?;
    tokio::time::sleep(GRACE).await;
    ensure_eq("phase", context.phase(&plan.id).await?, Some(Phase::Running))?;
    ensure_eq("phase of the one guarded later", context.phase(&id).await?, Some(Phase::Running))
}

pub(super) async fn unattended_it_ends_after_the_grace(context: &Context<'_>) -> Result<(), Failure> {
    let plan = attended(context, GRACE);
    context.create(&plan).await?;
    let left = SystemTime::now();
    // The driver that takes up its place knows nothing of it.
    context.reconnect().await?;
    let report = context.ended(&plan.id).await?;
    ensure_eq("cause", report.cause, EndCause::DaemonGone)?;
    let lived = report.at.duration_since(left).unwrap_or_default();
    ensure(lived + SLACK >= GRACE, || format!("it lived on for {lived:?} instead of {GRACE:?}"))
}

pub(super) async fn attended_to_again_it_lives_on(context: &Context<'_>) -> Result<(), Failure> {
    let plan = attended(context, GRACE);
    let resumed = attended(context, GRACE);
    context.create(&plan).await?;
    context.create(&resumed).await?;
    context.reconnect_after(tokio::time::sleep(GRACE / 5)).await?;
    guard(context, &plan.id, plan.switch).await?;
    context.create(&resumed).await?;
    tokio::time::sleep(GRACE * 3 / 2).await;
    ensure_eq("phase of the one guarded again", context.phase(&plan.id).await?, Some(Phase::Running))?;
    ensure_eq("phase of the one created again", context.phase(&resumed.id).await?, Some(Phase::Running))
}
