//! Destroys, and the shutdown of everything.

use std::collections::BTreeSet;
use std::time::Duration;

use ebbtide_model::ExitStatus;

use super::context::{Context, Failure, ensure, ensure_eq, sh, words};
use super::scripts;
use crate::{DestroyOutcome, EndCause, EndReport, ExecEvent};

pub(super) async fn second_destroy_finds_it_gone(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.sandbox(words(&["sleep", "300"])).await?;
    let report = destroyed(context.destroy(&id).await?)?;
    let found = (report.cause, report.exit);
    ensure_eq("report", found, (EndCause::Stopped, Some(ExitStatus::Signal(9))))?;
    ensure_eq("phase", context.phase(&id).await?, None)?;
    ensure_eq("second destroy", context.destroy(&id).await?, DestroyOutcome::AlreadyGone)?;
    context.reconnect().await?;
    ensure_eq("a later daemon's destroy", context.destroy(&id).await?, DestroyOutcome::AlreadyGone)
}

pub(super) async fn concurrent_destroys_agree(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.idle().await?;
    let destroy = || context.destroy(&id);
    let (first, second, third) = tokio::join!(destroy(), destroy(), destroy());
    let outcomes = [first?, second?, third?];
    ensure(outcomes.iter().any(|outcome| *outcome != DestroyOutcome::AlreadyGone), || {
        "each of them found it gone".to_owned()
    })
}

pub(super) async fn destroy_ends_running_execs(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.idle().await?;
    let mut execs = Vec::new();
    for (command, stdin) in
        [(words(&["cat"]), true), (words(&["sleep", "300"]), false), (sh(scripts::COUNT, &[]), false)]
    {
        execs.push(context.exec(&id, command, stdin).await?);
    }
    destroyed(context.destroy(&id).await?)?;
    for exec in &mut execs {
        let over = async { while !matches!(exec.events.next().await, Err(_) | Ok(ExecEvent::Exit(_))) {} };
        context.bounded("the end of an exec after destroy", over).await?;
    }
    Ok(())
}

pub(super) async fn destroy_does_not_wait_for_a_grace(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.ready(scripts::IGNORES_TERM).await?;
    context.stop(&id, Duration::from_secs(200)).await?;
    let report = destroyed(context.destroy(&id).await?)?;
    let found = (report.cause, report.exit);
    ensure_eq("report", found, (EndCause::Stopped, Some(ExitStatus::Signal(9))))
}

pub(super) async fn destroy_hands_over_the_report(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.sandbox(sh(scripts::EXIT_7, &[])).await?;
    let report = context.ended(&id).await?;
    ensure_eq("report of destroy", destroyed(context.destroy(&id).await?)?, report)
}

pub(super) async fn receipt_tells_what_was_released_and_how(context: &Context<'_>) -> Result<(), Failure> {
    let running = context.sandbox(words(&["sleep", "300"])).await?;
    let ended = context.sandbox(words(&["true"])).await?;
    context.ended(&ended).await?;
    for id in [running, ended] {
        let DestroyOutcome::Destroyed { receipt, .. } = context.destroy(&id).await? else {
            return Err(Failure::Broken("it was gone before its destroy".to_owned()));
        };
        let once = |names: Vec<&String>| {
            names.len() == names.iter().collect::<BTreeSet<_>>().len() && !names.is_empty()
        };
        let whole = once(receipt.released.iter().map(|(kind, _)| kind).collect())
            && once(receipt.steps.iter().map(|(step, _)| step).collect())
            && receipt.released.iter().all(|(_, count)| *count > 0);
        ensure(whole, || format!("the receipt is {receipt:?}"))?;
    }
    Ok(())
}

pub(super) async fn shutdown_leaves_nothing(context: &Context<'_>) -> Result<(), Failure> {
    let (running, ended) = (context.idle().await?, context.sandbox(words(&["true"])).await?);
    context.ended(&ended).await?;
    let _exec = context.exec(&running, words(&["sleep", "300"]), false).await?;
    context.soon("shutdown", context.driver()?.shutdown()).await?;
    context.reconnect().await?;
    let existing = context.soon("list", context.driver()?.list()).await?;
    ensure(existing.is_empty(), || format!("there after a shutdown: {existing:?}"))
}

fn destroyed(outcome: DestroyOutcome) -> Result<EndReport, Failure> {
    match outcome {
        DestroyOutcome::Destroyed { report: Some(report), .. } => Ok(report),
        other => Err(Failure::Broken(format!("destroy is answered with {other:?}"))),
    }
}
