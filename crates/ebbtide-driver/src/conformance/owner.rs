//! The owner: its death ends a sandbox after the grace, and nothing else does.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use ebbtide_model::OwnerProcess;

use super::context::{Context, Failure, ensure, ensure_eq, words};
use crate::{DeadMansSwitch, EndCause, Phase, SandboxPlan};

const GRACE: Duration = Duration::from_secs(1);
/// What clocks may differ by.
const SLACK: Duration = Duration::from_millis(100);

pub(super) async fn owners_death_ends_it_after_the_grace(context: &Context<'_>) -> Result<(), Failure> {
    let owner = Owner::start()?;
    let plan = owned(context, owner.process, GRACE);
    context.create(&plan).await?;
    let died = SystemTime::now();
    drop(owner);
    let report = context.ended(&plan.id).await?;
    ensure_eq("cause", report.cause, EndCause::OwnerGone)?;
    let lived = report.at.duration_since(died).unwrap_or_default();
    ensure(lived + SLACK >= GRACE, || format!("it outlived its owner by {lived:?} instead of {GRACE:?}"))
}

pub(super) async fn living_owner_keeps_it(context: &Context<'_>) -> Result<(), Failure> {
    let owner = Owner::start()?;
    let plan = owned(context, owner.process, Duration::ZERO);
    context.create(&plan).await?;
    tokio::time::sleep(GRACE / 2).await;
    ensure_eq("phase", context.phase(&plan.id).await?, Some(Phase::Running))?;
    context.reconnect().await?;
    tokio::time::sleep(GRACE / 5).await;
    ensure_eq("phase after a reconnect", context.phase(&plan.id).await?, Some(Phase::Running))
}

/// Dead before the create, or its id taken by a later process.
pub(super) async fn dead_owner_is_not_taken_for_alive(context: &Context<'_>) -> Result<(), Failure> {
    let dead = Owner::start()?.process;
    let living = Owner::start()?;
    let earlier = OwnerProcess { start_time: living.process.start_time - 1, ..living.process };
    for owner in [dead, earlier] {
        let plan = owned(context, owner, Duration::from_millis(200));
        context.create(&plan).await?;
        ensure_eq("cause", context.ended(&plan.id).await?.cause, EndCause::OwnerGone)?;
    }
    Ok(())
}

fn owned(context: &Context<'_>, process: OwnerProcess, grace: Duration) -> SandboxPlan {
    let switch = DeadMansSwitch::Process { process, grace };
    SandboxPlan { switch, ..context.plan(words(&["sleep", "300"])) }
}

/// A process of this machine that owns a sandbox; it dies when it is dropped.
struct Owner {
    child: Child,
    process: OwnerProcess,
}

impl Owner {
    fn start() -> Result<Self, Failure> {
        let broken = |error: &dyn std::fmt::Display| Failure::Broken(format!("starting an owner: {error}"));
        let child = Command::new("sleep")
            .arg("60")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| broken(&error))?;
        let process = OwnerProcess { pid: child.id(), start_time: 0 };
        let mut owner = Self { child, process };
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", process.pid)).map_err(|error| broken(&error))?;
        // The name before the last parenthesis may hold anything; the start time is field 22.
        let start_time = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_ascii_whitespace().nth(19));
        owner.process.start_time =
            start_time.and_then(|field| field.parse().ok()).ok_or_else(|| broken(&"no start time"))?;
        Ok(owner)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // It is this process's child and not reaped yet, so its id cannot be another's.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
