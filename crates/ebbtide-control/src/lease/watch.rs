//! Noticing that an owner is gone, and what comes of it: an orphan, its grace, and its clean-up.
//!
//! Everything here is repeated until the ledger takes it, in tasks of the engine's own, and looks again at the moment
//! of each change: an owner who has come back, or another one who has taken the sandbox over, is never overruled.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ebbtide_driver::DeadMansSwitch;
use ebbtide_model::{
    Holder, LeaseId, OrphanReason, OwnerProcess, Ownership, SandboxRecord, State, TerminationReason,
};
use tokio::time::{sleep, sleep_until};
use tracing::{info, warn};

use super::grace::Grace;
use super::guard;
use crate::engine::Engine;
use crate::lifecycle::{Backoff, must_end, must_write};
use crate::sandbox::{Ending, Sandbox};
use crate::{LedgerError, keep};

/// How long before the end of an orphan's grace its clean-up is taken over from its init.
const TAKE_OVER: Duration = Duration::from_secs(5);
/// How long an orphan whose clean-up was taken over lives on without a daemon.
const TAKEN_OVER: Duration = Duration::from_secs(30);
/// How long after its own moment a lifetime is ended by the daemon that init should have ended.
const LATE: Duration = Duration::from_secs(1);
/// Between two looks at an orphan whose time has come and that is still there.
const AGAIN: Duration = Duration::from_secs(1);

/// Who is gone.
#[derive(Debug, Clone)]
pub(super) enum Gone {
    /// A local process: for good.
    Process(OwnerProcess),
    /// Whoever held this lease. They may come back.
    Lease(LeaseId, OrphanReason),
}

impl Gone {
    fn why(&self) -> OrphanReason {
        match self {
            Self::Process(_) => OrphanReason::ProcessEnded,
            Self::Lease(_, why) => *why,
        }
    }

    fn is(&self, holder: &Holder) -> bool {
        match self {
            Self::Process(process) => holder.process == Some(*process),
            Self::Lease(id, _) => holder.lease.as_ref() == Some(id),
        }
    }

    /// Whether they have come back meanwhile.
    fn is_back(&self, engine: &Engine) -> bool {
        match self {
            Self::Process(_) => false,
            Self::Lease(id, _) => engine.leases.gone(id).is_none(),
        }
    }
}

/// Waits for the end of every local process that holds a lease.
pub(crate) fn begin(engine: &Arc<Engine>) {
    for owner in engine.leases.processes() {
        process(engine, owner);
    }
}

/// Watches over a sandbox's ownership as it is now. Called after every change of it, and when a daemon takes it up.
pub(crate) fn attend(engine: &Arc<Engine>, sandbox: &Arc<Sandbox>) {
    let ownership = sandbox.peek(|record| record.ownership.clone());
    match &ownership {
        Ownership::Owned { by, .. } => match (by.process, &by.lease) {
            (Some(owner), _) => process(engine, owner),
            // One whose owner went while it was being made.
            (None, Some(lease)) => {
                if let Some(why) = engine.leases.gone(lease) {
                    orphan(engine, sandbox, Gone::Lease(lease.clone(), why));
                }
            }
            (None, None) => {}
        },
        Ownership::Orphaned { until, .. } => {
            let grace = Grace::begin(&engine.time, engine.time.left(*until));
            let (engine_, sandbox) = (Arc::clone(engine), Arc::clone(sandbox));
            engine.tasks.spawn(async move { clean_up(&engine_, &sandbox, ownership, grace).await });
        }
        Ownership::Detached => {
            let (engine_, sandbox) = (Arc::clone(engine), Arc::clone(sandbox));
            engine.tasks.spawn(async move { lifetime(&engine_, &sandbox).await });
        }
        Ownership::Unowned | Ownership::Kept { .. } => {}
    }
}

/// Waits for the end of a process, once for all that it owns, and then makes orphans of it.
pub(super) fn process(engine: &Arc<Engine>, owner: OwnerProcess) {
    let mut watched = engine.leases.watched.lock().unwrap_or_else(PoisonError::into_inner);
    if !watched.insert(owner) {
        return;
    }
    drop(watched);
    let engine_ = Arc::clone(engine);
    engine.tasks.spawn(async move {
        let engine = engine_;
        let mut backoff = Backoff::new(&engine.config.timing);
        while let Err(error) = engine.config.owners.ended(owner).await {
            warn!(pid = owner.pid, %error, "cannot watch an owner; trying again");
            backoff.pause().await;
        }
        info!(pid = owner.pid, "an owner has ended");
        engine.leases.process_ended(owner);
        // Before the look at what it owned: what comes to be owned by it from now on is watched anew.
        engine.leases.watched.lock().unwrap_or_else(PoisonError::into_inner).remove(&owner);
        orphan_all(&engine, Gone::Process(owner));
    });
}

/// Makes orphans of everything that somebody owned who is gone.
pub(super) fn orphan_all(engine: &Arc<Engine>, gone: Gone) {
    let is_theirs = |record: &SandboxRecord| match &record.ownership {
        Ownership::Owned { by, .. } => gone.is(by),
        _ => false,
    };
    for sandbox in engine.select(is_theirs) {
        orphan(engine, &sandbox, gone.clone());
    }
}

/// Makes an orphan of a sandbox, unless its owner is back or it has another one by then.
fn orphan(engine: &Arc<Engine>, sandbox: &Arc<Sandbox>, gone: Gone) {
    let (engine_, sandbox) = (Arc::clone(engine), Arc::clone(sandbox));
    engine.tasks.spawn(async move {
        let engine = engine_;
        must_write(&engine, &sandbox, "record that its owner is gone", || {
            make_orphan(&engine, &sandbox, &gone)
        })
        .await;
        if sandbox.peek(|record| record.ownership.is_orphaned()) {
            attend(&engine, &sandbox);
        }
    });
}

fn make_orphan(engine: &Engine, sandbox: &Sandbox, gone: &Gone) -> Result<(), LedgerError> {
    let change = |record: &mut SandboxRecord| {
        let Ownership::Owned { by, adopted, .. } = &record.ownership else { return };
        if !can_be_owned(record.state) || !gone.is(by) || gone.is_back(engine) {
            return;
        }
        let since = engine.time.now();
        record.ownership = Ownership::Orphaned {
            by: by.clone(),
            adopted: *adopted,
            why: gone.why(),
            since,
            until: since + record.policy.orphan_grace,
        };
    };
    sandbox.change(&engine.store, change).map(drop)
}

/// Whether it still matters who owns a sandbox in this state.
pub(super) fn can_be_owned(state: State) -> bool {
    !state.is_terminal() && state != State::Terminating
}

/// Waits until the grace of an orphan is over, and has it cleaned up then; ends early where it is adopted.
async fn clean_up(engine: &Arc<Engine>, sandbox: &Arc<Sandbox>, orphaned: Ownership, grace: Grace) {
    let due = grace.due;
    let is_another = |record: &SandboxRecord| record.ownership != orphaned || !can_be_owned(record.state);
    let mut changes = sandbox.changes();
    let whole = sandbox.peek(|record| record.policy.orphan_grace);
    tokio::select! {
        biased;
        _ = changes.wait_for(is_another) => return,
        () = sleep_until(due.checked_sub(TAKE_OVER.min(whole / 2)).unwrap_or(due)) => {}
    }
    // From here on the daemon decides: it knows whether somebody uses the sandbox, and whether it is to be kept.
    if orphaned.holder().is_some_and(|by| by.process.is_some()) {
        let _ = guard::with(engine, sandbox, |record| {
            (record.ownership == orphaned).then_some(DeadMansSwitch::Daemon { grace: TAKEN_OVER })
        })
        .await;
    }
    tokio::select! {
        biased;
        _ = changes.wait_for(is_another) => return,
        () = sleep_until(due) => {}
    }
    if grace.was_interrupted(&engine.time) {
        info!(sandbox = %sandbox.id, "nobody could have come back to it; its grace begins anew if its owner still can");
        let renew = || guard::renew_grace(engine, sandbox);
        must_write(engine, sandbox, "renew its grace", renew).await;
        if sandbox.peek(is_another) {
            return attend(engine, sandbox);
        }
    }
    while !sandbox.peek(is_another) {
        if matches!(sandbox.state(), State::Pending | State::Creating) {
            end_unmade(engine, sandbox, &orphaned).await;
        } else {
            keep::at_owner_end(engine, sandbox).await;
        }
        tokio::select! {
            biased;
            _ = changes.wait_for(is_another) => return,
            () = sleep(AGAIN) => {}
        }
    }
}

/// Ends an orphan that is not made yet: nothing of it could be kept.
async fn end_unmade(engine: &Engine, sandbox: &Sandbox, orphaned: &Ownership) {
    let _changing = sandbox.changing.lock().await;
    if sandbox.peek(|record| record.ownership == *orphaned) {
        must_end(engine, sandbox, &Ending::new(TerminationReason::OwnerGone));
    }
}

/// Ends a sandbox whose lifetime was shortened when it was let go: its init holds the longer one.
pub(super) async fn lifetime(engine: &Arc<Engine>, sandbox: &Arc<Sandbox>) {
    let deadline = sandbox.peek(|record| record.deadline);
    let is_over = |record: &SandboxRecord| record.deadline != deadline || !can_be_owned(record.state);
    let mut changes = sandbox.changes();
    tokio::select! {
        biased;
        _ = changes.wait_for(is_over) => return,
        () = engine.time.until(deadline + LATE) => {}
    }
    must_end(engine, sandbox, &Ending::new(TerminationReason::LifetimeExpired));
}
