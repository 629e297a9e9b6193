//! Taking a sandbox over that nobody stands for, and letting go of one.
//!
//! What is recorded comes first and what init is told after it: a crash in between leaves a record that says who owns
//! the sandbox, and the next daemon tells its init.

use std::sync::Arc;
use std::time::SystemTime;

use ebbtide_driver::DriverError;
use ebbtide_model::{Holder, OwnerProcess, Ownership, Principal, SandboxRecord, State};
use tokio::sync::MutexGuard;
use tracing::info;

use super::guard;
use super::registry::Presence;
use super::watch::{attend, can_be_owned};
use crate::engine::{Engine, Found};
use crate::failpoint::fail_point;
use crate::sandbox::Sandbox;
use crate::work::not_running;
use crate::{ControlError, LedgerError};

/// Who takes a sandbox over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Adopter {
    /// The owner of the lease that this token proves.
    Lease(String),
    /// A local process, which the caller may name.
    Process(OwnerProcess),
    /// Nobody: it is let go, so that its lifetime alone ends it.
    Nobody,
}

/// What came of looking at a sandbox that somebody wants.
enum Taken {
    Yes,
    Ended,
    By(Holder, Option<SystemTime>),
}

pub(super) async fn adopt(
    engine: &Arc<Engine>,
    principal: &Principal,
    id: &str,
    adopter: &Adopter,
) -> Result<SandboxRecord, ControlError> {
    let found = engine.find(principal, id)?;
    let holder = match adopter {
        Adopter::Nobody => None,
        Adopter::Process(process) => Some(Holder::process(*process)),
        Adopter::Lease(token) => match engine.leases.by_token(principal, token) {
            Some((holder, Presence::Here { .. })) => Some(holder),
            _ => return Err(ControlError::LeaseInvalid),
        },
    };
    let Found::Live(sandbox) = found else { return Err(not_running(&found.record())) };
    let changing = sandbox.changing.lock().await;
    let (record, taken) = take(engine, &sandbox, holder.as_ref())?;
    match taken {
        Taken::Yes => {}
        Taken::Ended => return Err(not_running(&record)),
        Taken::By(by, since) => {
            let since = since.map(|since| engine.time.shown(since));
            return Err(ControlError::Owned { id: record.id, by, since });
        }
    }
    info!(sandbox = %sandbox.id, ownership = %record.ownership, "adopted");
    fail_point!("adopt.guard.before");
    let guarded = settle(engine, &sandbox, &record, changing).await;
    fail_point!("adopt.guard.after");
    guarded
}

/// Records who stands for it from now on, if nobody who lives does.
fn take(
    engine: &Engine,
    sandbox: &Sandbox,
    holder: Option<&Holder>,
) -> Result<(SandboxRecord, Taken), LedgerError> {
    let mut taken = Taken::Ended;
    fail_point!("adopt.intent.before");
    let record = sandbox.change(&engine.store, |record| {
        if !can_be_owned(record.state) {
            return;
        }
        taken = Taken::Yes;
        match (&record.ownership, holder) {
            (Ownership::Owned { by, .. }, Some(holder)) if is_same(by, holder) => {}
            (Ownership::Owned { by, since, .. }, _) => taken = Taken::By(by.clone(), *since),
            (_, Some(holder)) => {
                let (by, since) = (holder.clone(), Some(engine.time.now()));
                record.ownership = Ownership::Owned { by, adopted: true, since };
            }
            (_, None) => let_go(record, engine),
        }
    })?;
    fail_point!("adopt.intent.after");
    Ok((record, taken))
}

pub(super) async fn detach(
    engine: &Arc<Engine>,
    principal: &Principal,
    id: &str,
) -> Result<SandboxRecord, ControlError> {
    let sandbox = match engine.find(principal, id)? {
        Found::Live(sandbox) => sandbox,
        Found::Ended(record) => return Err(not_running(&record)),
    };
    let changing = sandbox.changing.lock().await;
    fail_point!("detach.intent.before");
    let record = sandbox.change(&engine.store, |record| {
        if can_be_owned(record.state) && record.ownership != Ownership::Detached {
            let_go(record, engine);
        }
    })?;
    fail_point!("detach.intent.after");
    if !can_be_owned(record.state) {
        return Err(not_running(&record));
    }
    info!(sandbox = %sandbox.id, "detached");
    fail_point!("detach.guard.before");
    let guarded = settle(engine, &sandbox, &record, changing).await;
    fail_point!("detach.guard.after");
    guarded
}

/// From now on its lifetime alone ends it: its own, or that of one which never had an owner.
fn let_go(record: &mut SandboxRecord, engine: &Engine) {
    record.ownership = Ownership::Detached;
    if record.spec.max_lifetime.is_none() {
        record.deadline = record.deadline.min(engine.time.now() + engine.config.limits.unowned_lifetime);
    }
}

/// Whether they are the same owner: one process by whichever of its leases, or one lease.
fn is_same(one: &Holder, other: &Holder) -> bool {
    match (one.process, other.process) {
        (Some(one), Some(other)) => one == other,
        (None, None) => one.lease == other.lease,
        _ => false,
    }
}

/// Watches over the new owner, and has init know of it. A sandbox that is still being made is told when it is made.
async fn settle(
    engine: &Arc<Engine>,
    sandbox: &Arc<Sandbox>,
    record: &SandboxRecord,
    changing: MutexGuard<'_, ()>,
) -> Result<SandboxRecord, ControlError> {
    attend(engine, sandbox);
    if !record.state.is_alive() {
        return Ok(sandbox.record());
    }
    let guarded = guard::renew_held(engine, sandbox).await;
    drop(changing);
    match guarded {
        Ok(()) => Ok(sandbox.record()),
        Err(ControlError::Driver(DriverError::NotRunning(_) | DriverError::NotFound(_))) => {
            let mut record = sandbox.record();
            if can_be_owned(record.state) {
                record.state = State::Terminating;
            }
            Err(not_running(&record))
        }
        Err(error) => {
            // It is on record, so it will be done; only the caller cannot be told so now.
            let (engine_, sandbox) = (Arc::clone(engine), Arc::clone(sandbox));
            engine.tasks.spawn(async move { guard::renew_for_sure(&engine_, &sandbox).await });
            Err(error)
        }
    }
}
