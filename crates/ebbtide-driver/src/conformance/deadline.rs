//! The lifetime: it ends a sandbox by itself, and in time.

use std::time::{Duration, SystemTime};

use super::context::{Context, Failure, ensure, ensure_eq, words};
use crate::{EndCause, Phase};

const LIFETIME: Duration = Duration::from_secs(1);
/// What clocks may differ by.
const SLACK: Duration = Duration::from_millis(100);

pub(super) async fn deadline_fires_unwatched(context: &Context<'_>) -> Result<(), Failure> {
    let mut plan = context.plan(words(&["sleep", "300"]));
    plan.lifetime = LIFETIME;
    context.create(&plan).await?;
    // Nobody waits for the end: looking at the list is all that happens.
    context
        .eventually("the deadline fires", || async {
            Ok(context.phase(&plan.id).await? == Some(Phase::Ended))
        })
        .await?;
    ensure_eq("cause", context.ended(&plan.id).await?.cause, EndCause::LifetimeExpired)
}

pub(super) async fn deadline_does_not_fire_early(context: &Context<'_>) -> Result<(), Failure> {
    let mut plan = context.plan(words(&["sleep", "300"]));
    plan.lifetime = LIFETIME;
    let start = SystemTime::now();
    context.create(&plan).await?;
    let report = context.ended(&plan.id).await?;
    ensure_eq("cause", report.cause, EndCause::LifetimeExpired)?;
    let lived = report.at.duration_since(start).unwrap_or_default();
    ensure(lived + SLACK >= LIFETIME, || format!("it lived {lived:?} of {LIFETIME:?}"))?;
    let now = SystemTime::now();
    ensure(report.at <= now + SLACK, || format!("it ended at {:?}, and now is {now:?}", report.at))
}
