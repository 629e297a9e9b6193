//! A sandbox that is to stay when its main command ends.

use std::time::Duration;

use ebbtide_model::{Command, ExitStatus, SandboxId};

use super::context::{Context, Failure, ensure, ensure_eq, sh, words};
use super::owner::{Owner, by, guard};
use super::scripts;
use crate::{AtMainEnd, DeadMansSwitch, DriverError, EndCause, EndReport, MainEnded, Phase, SandboxPlan};

/// How long one stays at first that is to end by itself.
const BRIEFLY: Duration = Duration::from_secs(1);
/// What clocks may differ by.
const SLACK: Duration = Duration::from_millis(100);

fn staying(context: &Context<'_>, main: Command, at_most: Duration) -> SandboxPlan {
    SandboxPlan { at_main_end: AtMainEnd::Stay { if_failed: true, at_most }, ..context.plan(main) }
}

async fn main_ended(context: &Context<'_>, id: &SandboxId) -> Result<EndReport, Failure> {
    Ok(context.soon("main_ended", context.driver()?.main_ended(id)).await?.report)
}

pub(super) async fn one_that_stays_outlives_its_main_command(context: &Context<'_>) -> Result<(), Failure> {
    let failing = sh(scripts::FAIL_WHEN_MARKED, &[]);
    let plan = staying(context, failing, Duration::from_secs(60));
    context.create(&plan).await?;
    let mut exec = context.exec(&plan.id, sh(scripts::TELL_PID, &[]), false).await?;
    let pid = context.line(&mut exec).await?;
    context.run(&plan.id, sh(scripts::MARK, &[])).await?;
    let ended = main_ended(context, &plan.id).await?;
    ensure_eq("report", (ended.cause, ended.exit), (EndCause::MainExited, Some(ExitStatus::Code(7))))?;
    ensure_eq("end of an exec", context.finish(&mut exec).await?.status, ExitStatus::Signal(9))?;
    ensure(!context.holds(&plan.id, scripts::IS_ALIVE, &pid).await?, || format!("process {pid} is alive"))?;
    ensure_eq("phase", context.phase(&plan.id).await?, Some(Phase::Running))?;
    ensure(context.holds(&plan.id, scripts::IS_MARKED, "").await?, || "its file is gone".to_owned())?;
    context.reconnect().await?;
    ensure_eq("what a later daemon is told", main_ended(context, &plan.id).await?, ended)?;
    context.stop(&plan.id, Duration::from_secs(60)).await?;
    let report = context.ended(&plan.id).await?;
    ensure_eq("end", (report.cause, report.exit), (EndCause::Stopped, Some(ExitStatus::Code(7))))?;
    match context.bounded("main_ended after the end", context.driver()?.main_ended(&plan.id)).await? {
        Err(DriverError::NotRunning(_)) => Ok(()),
        other => Err(Failure::Broken(format!("main_ended after the end is answered with {other:?}"))),
    }
}

pub(super) async fn success_ends_one_that_stays_if_it_fails(context: &Context<'_>) -> Result<(), Failure> {
    let plan = staying(context, words(&["true"]), Duration::from_secs(60));
    context.create(&plan).await?;
    let driver = context.driver()?;
    let waiting = context.bounded("main_ended", driver.main_ended(&plan.id));
    let (report, waited) = tokio::join!(context.ended(&plan.id), waiting);
    let report = report?;
    ensure_eq("report", (report.cause, report.exit), (EndCause::MainExited, Some(ExitStatus::Code(0))))?;
    match waited? {
        Err(DriverError::NotRunning(_)) => Ok(()),
        other => Err(Failure::Broken(format!("main_ended is answered with {other:?}"))),
    }
}

/// Nobody may be there who decides what is to become of it.
pub(super) async fn one_that_stays_ends_by_itself(context: &Context<'_>) -> Result<(), Failure> {
    let plan = staying(context, sh(scripts::EXIT_7, &[]), BRIEFLY);
    context.create(&plan).await?;
    let ended = main_ended(context, &plan.id).await?;
    tokio::time::sleep(BRIEFLY / 2).await;
    context.reconnect().await?;
    let MainEnded { ago, .. } = context.soon("main_ended", context.driver()?.main_ended(&plan.id)).await?;
    ensure(ago + SLACK >= BRIEFLY / 2 && ago < BRIEFLY * 2, || format!("it ended {ago:?} ago"))?;
    let report = context.ended(&plan.id).await?;
    ensure_eq("report", (report.cause, report.exit), (EndCause::MainExited, Some(ExitStatus::Code(7))))?;
    let stayed = report.at.duration_since(ended.at).unwrap_or_default();
    ensure(stayed + SLACK >= BRIEFLY, || format!("it stayed for {stayed:?} instead of {BRIEFLY:?}"))
}

pub(super) async fn guarded_it_stays_as_long_as_its_switch_lets_it(
    context: &Context<'_>,
) -> Result<(), Failure> {
    let plan = staying(context, sh(scripts::EXIT_7, &[]), BRIEFLY);
    context.create(&plan).await?;
    main_ended(context, &plan.id).await?;
    guard(context, &plan.id, DeadMansSwitch::Daemon { grace: BRIEFLY / 5 }).await?;
    tokio::time::sleep(BRIEFLY * 3 / 2).await;
    ensure_eq("phase", context.phase(&plan.id).await?, Some(Phase::Running))?;
    context.reconnect().await?;
    ensure_eq("cause", context.ended(&plan.id).await?.cause, EndCause::DaemonGone)
}

pub(super) async fn what_would_have_ended_it_ends_one_that_stays(
    context: &Context<'_>,
) -> Result<(), Failure> {
    let (owner, long) = (Owner::start()?, Duration::from_secs(60));
    let expiring = SandboxPlan { lifetime: BRIEFLY, ..staying(context, sh(scripts::EXIT_7, &[]), long) };
    let owned = SandboxPlan {
        switch: by(owner.process, BRIEFLY / 5),
        ..staying(context, sh(scripts::EXIT_7, &[]), long)
    };
    context.create(&expiring).await?;
    context.create(&owned).await?;
    main_ended(context, &owned.id).await?;
    drop(owner);
    ensure_eq("cause", context.ended(&expiring.id).await?.cause, EndCause::LifetimeExpired)?;
    ensure_eq("cause without its owner", context.ended(&owned.id).await?.cause, EndCause::OwnerGone)
}

pub(super) async fn how_its_main_command_ended_outlives_its_init(
    context: &Context<'_>,
) -> Result<(), Failure> {
    let plan = staying(context, sh(scripts::EXIT_7, &[]), Duration::from_secs(60));
    context.create(&plan).await?;
    let ended = main_ended(context, &plan.id).await?;
    if !context.harness.kill_init(&plan.id).await {
        return Err(Failure::Skipped("the harness cannot kill an init".to_owned()));
    }
    ensure_eq("report", context.ended(&plan.id).await?, ended)
}
