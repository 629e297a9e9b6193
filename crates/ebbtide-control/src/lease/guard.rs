//! What a sandbox's own init is told to end it by, besides its lifetime, should nobody be left who can.

use std::sync::Arc;

use ebbtide_driver::{DeadMansSwitch, DriverError};
use ebbtide_model::{Holder, Limits, OrphanReason, Ownership, SandboxRecord};
use tracing::warn;

use super::watch::{attend, lifetime};
use crate::engine::Engine;
use crate::lifecycle::{Backoff, must_write};
use crate::sandbox::Sandbox;
use crate::{ControlError, keep};

/// The switch of a sandbox that is made now.
pub(crate) fn switch(record: &SandboxRecord, limits: &Limits) -> DeadMansSwitch {
    match record.ownership.holder() {
        Some(by) => of_holder(by, record, limits),
        None => DeadMansSwitch::Off,
    }
}

/// The switch that a sandbox that runs is to have; `None` where it keeps the one that it has: that of a process which
/// has ended counts already, and of a kept one is decided elsewhere.
fn replacement(record: &SandboxRecord, limits: &Limits) -> Option<DeadMansSwitch> {
    match &record.ownership {
        Ownership::Unowned | Ownership::Detached => Some(DeadMansSwitch::Off),
        Ownership::Owned { by, .. } => Some(of_holder(by, record, limits)),
        Ownership::Orphaned { by, .. } if by.process.is_none() => Some(of_holder(by, record, limits)),
        Ownership::Orphaned { .. } | Ownership::Kept { .. } => None,
    }
}

fn of_holder(by: &Holder, record: &SandboxRecord, limits: &Limits) -> DeadMansSwitch {
    let grace = keep::switch_grace(record);
    match by.process {
        Some(process) => DeadMansSwitch::Process { process, grace },
        None => DeadMansSwitch::Daemon { grace: grace.max(limits.daemon_grace) },
    }
}

/// Gives a sandbox that runs the switch of whoever stands for it now. Of several at once the last does it, for all.
///
/// # Errors
/// [`DriverError::NotRunning`] where its end has begun.
pub(crate) async fn renew(engine: &Engine, sandbox: &Sandbox) -> Result<(), ControlError> {
    let _changing = sandbox.changing.lock().await;
    renew_held(engine, sandbox).await
}

/// As [`renew`], by one who holds [`Sandbox::changing`].
pub(super) async fn renew_held(engine: &Engine, sandbox: &Sandbox) -> Result<(), ControlError> {
    tell(engine, sandbox, |record| replacement(record, &engine.config.limits)).await
}

/// Gives a sandbox that runs the switch that `choose` names of its record as it is then.
pub(super) async fn with(
    engine: &Engine,
    sandbox: &Sandbox,
    choose: impl FnOnce(&SandboxRecord) -> Option<DeadMansSwitch>,
) -> Result<(), ControlError> {
    let _changing = sandbox.changing.lock().await;
    tell(engine, sandbox, choose).await
}

async fn tell(
    engine: &Engine,
    sandbox: &Sandbox,
    choose: impl FnOnce(&SandboxRecord) -> Option<DeadMansSwitch>,
) -> Result<(), ControlError> {
    match sandbox.peek(choose) {
        Some(switch) => engine.ask("guard a sandbox", engine.driver.guard(&sandbox.id, switch)).await,
        None => Ok(()),
    }
}

/// As [`renew`], until the driver takes it or there is nothing left to guard.
pub(crate) async fn renew_for_sure(engine: &Engine, sandbox: &Sandbox) {
    let (mut backoff, mut changes) = (Backoff::new(&engine.config.timing), sandbox.changes());
    let is_alive = |record: &SandboxRecord| record.state.is_alive();
    while sandbox.peek(is_alive) {
        match renew(engine, sandbox).await {
            Ok(()) => return,
            Err(ControlError::Driver(DriverError::NotRunning(_) | DriverError::NotFound(_))) => return,
            Err(error) => warn!(sandbox = %sandbox.id, %error, "cannot guard it; trying again"),
        }
        tokio::select! {
            biased;
            _ = changes.wait_for(|record| !is_alive(record)) => return,
            () = backoff.wait(&sandbox.retry) => {}
        }
    }
}

/// A sandbox that was just made with `made`: who stands for it may have changed while it was. Not waited for: an init that
/// cannot be told at once would keep its life's task from hearing of its end.
pub(crate) fn made(engine: &Arc<Engine>, sandbox: &Arc<Sandbox>, made: DeadMansSwitch) {
    let changed =
        sandbox.peek(|record| replacement(record, &engine.config.limits).is_some_and(|now| now != made));
    if changed {
        let (engine_, sandbox) = (Arc::clone(engine), Arc::clone(sandbox));
        engine.tasks.spawn(async move { renew_for_sure(&engine_, &sandbox).await });
    }
}

/// A daemon takes up a sandbox that was there before it. `runs` says that it has an init that can be told something.
pub(crate) fn taken_up(engine: &Arc<Engine>, sandbox: &Arc<Sandbox>, runs: bool) {
    let (engine_, sandbox) = (Arc::clone(engine), Arc::clone(sandbox));
    engine.tasks.spawn(async move {
        let engine = engine_;
        must_write(&engine, &sandbox, "renew its grace", || renew_grace(&engine, &sandbox)).await;
        attend(&engine, &sandbox);
        if runs {
            renew_for_sure(&engine, &sandbox).await;
        }
        if sandbox.peek(|record| record.spec.max_lifetime.is_none()) {
            lifetime(&engine, &sandbox).await;
        }
    });
}

/// An owner elsewhere could not come back while there was nobody to come back to: its grace begins anew.
pub(super) fn renew_grace(engine: &Engine, sandbox: &Sandbox) -> Result<(), crate::LedgerError> {
    let renew = |record: &mut SandboxRecord| {
        if let Ownership::Orphaned { by, why: OrphanReason::ConnectionLost, until, .. } =
            &mut record.ownership
            && by.process.is_none()
        {
            *until = engine.time.now() + record.policy.orphan_grace;
        }
    };
    sandbox.change(&engine.store, renew).map(drop)
}
