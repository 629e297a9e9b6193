//! The owner: its death ends a sandbox after the grace, unless another takes its place, and nothing else does.

use std::io::Read as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, SystemTime};

use ebbtide_model::{OwnerProcess, ProcessStat, SandboxId};

use super::context::{Context, Failure, ensure, ensure_eq, words};
use crate::{DeadMansSwitch, DriverError, EndCause, Phase, SandboxPlan};

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

/// A child may hold open everything that its parent had.
pub(super) async fn forked_child_is_not_taken_for_the_owner(context: &Context<'_>) -> Result<(), Failure> {
    // The child waits for the end of what this test holds open.
    let mut owner = Owner::run(&["sh", "-c", "exec 3<&0; cat <&3 & echo forked; wait"])?;
    owner.has_written("forked")?;
    let plan = owned(context, owner.process, GRACE / 5);
    context.create(&plan).await?;
    ensure_eq("phase", context.phase(&plan.id).await?, Some(Phase::Running))?;
    let _until_the_end = owner.die();
    ensure_eq("cause", context.ended(&plan.id).await?.cause, EndCause::OwnerGone)
}

pub(super) async fn another_owner_ends_the_grace(context: &Context<'_>) -> Result<(), Failure> {
    let (first, second) = (Owner::start()?, Owner::start()?);
    let plan = owned(context, first.process, GRACE);
    context.create(&plan).await?;
    drop(first);
    tokio::time::sleep(GRACE / 5).await;
    guard(context, &plan.id, by(second.process, GRACE / 5)).await?;
    tokio::time::sleep(GRACE * 3 / 2).await;
    ensure_eq("phase long after its first owner", context.phase(&plan.id).await?, Some(Phase::Running))?;
    drop(second);
    ensure_eq("cause", context.ended(&plan.id).await?.cause, EndCause::OwnerGone)
}

pub(super) async fn switched_off_it_outlives_its_owner(context: &Context<'_>) -> Result<(), Failure> {
    let owner = Owner::start()?;
    let plan = owned(context, owner.process, GRACE / 2);
    context.create(&plan).await?;
    drop(owner);
    guard(context, &plan.id, DeadMansSwitch::Off).await?;
    tokio::time::sleep(GRACE).await;
    ensure_eq("phase long after its owner", context.phase(&plan.id).await?, Some(Phase::Running))
}

pub(super) async fn guard_comes_too_late_for_the_end(context: &Context<'_>) -> Result<(), Failure> {
    let id = context.sandbox(words(&["true"])).await?;
    context.ended(&id).await?;
    let guarding = context.bounded("guard", context.driver()?.guard(&id, DeadMansSwitch::Off)).await?;
    ensure(matches!(guarding, Err(DriverError::NotRunning(_))), || {
        format!("guard after the end is answered with {guarding:?}")
    })
}

pub(super) async fn guard(
    context: &Context<'_>,
    id: &SandboxId,
    switch: DeadMansSwitch,
) -> Result<(), Failure> {
    context.soon("guard", context.driver()?.guard(id, switch)).await
}

pub(super) fn by(process: OwnerProcess, grace: Duration) -> DeadMansSwitch {
    DeadMansSwitch::Process { process, grace }
}

pub(super) fn owned(context: &Context<'_>, process: OwnerProcess, grace: Duration) -> SandboxPlan {
    SandboxPlan { switch: by(process, grace), ..context.plan(words(&["sleep", "300"])) }
}
/// A process of this machine that owns a sandbox; it dies when it is dropped.
pub(super) struct Owner {
    child: Child,
    pub(super) process: OwnerProcess,
}

fn broken(error: impl std::fmt::Display) -> Failure {
    Failure::Broken(format!("starting an owner: {error}"))
}

impl Owner {
    pub(super) fn start() -> Result<Self, Failure> {
        Self::run(&["sleep", "60"])
    }

    fn run(argv: &[&str]) -> Result<Self, Failure> {
        let child = Command::new(argv[0])
            .args(&argv[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(broken)?;
        let process = OwnerProcess { pid: child.id(), start_time: 0 };
        let mut owner = Self { child, process };
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid)).map_err(broken)?;
        let stat = ProcessStat::parse(&stat).ok_or_else(|| broken("no start time"))?;
        owner.process.start_time = stat.start_time;
        Ok(owner)
    }

    /// Reads these first words of what it writes.
    fn has_written(&mut self, words: &str) -> Result<(), Failure> {
        let mut read = vec![0; words.len()];
        let output = self.child.stdout.as_mut().ok_or_else(|| broken("no output"))?;
        output.read_exact(&mut read).map_err(broken)?;
        ensure(read == words.as_bytes(), || format!("the owner wrote {read:?}"))
    }

    /// Kills it; answers what its children may still read from.
    fn die(mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // It is this process's child and not reaped yet, so its id cannot be another's.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
