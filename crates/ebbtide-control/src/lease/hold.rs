//! Opening, resuming and losing a lease.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ebbtide_model::{Holder, Invalid, LeaseId, OrphanReason, OwnerProcess, Ownership, Principal};
use tracing::{info, warn};

use super::registry::Presence;
use super::watch::can_be_owned;
use super::{LeaseToken, TokenDigest, watch};
use crate::ControlError;
use crate::engine::Engine;
use crate::store::LeaseRow;

/// The longest label of a lease.
const MAX_LABEL_BYTES: usize = 256;
/// The most leases of one principal.
pub(crate) const MAX_LEASES: usize = 4096;

static HOLDS: AtomicU64 = AtomicU64::new(1);

/// A lease, held for as long as this is not dropped: the stream that its owner holds it by. A local owner is known by
/// its process, and loses nothing when this goes.
pub struct HeldLease {
    engine: Arc<Engine>,
    holder: Holder,
    id: LeaseId,
    token: LeaseToken,
    hold: u64,
    is_over: bool,
}

impl std::fmt::Debug for HeldLease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("HeldLease").field(&self.id).finish()
    }
}

impl HeldLease {
    /// Its public name.
    pub fn id(&self) -> &LeaseId {
        &self.id
    }

    /// What proves it.
    pub fn token(&self) -> &LeaseToken {
        &self.token
    }

    /// Whether its owner is known by the kernel, as a process of this machine.
    pub fn is_local(&self) -> bool {
        self.holder.process.is_some()
    }

    /// How long an owner elsewhere may be away.
    pub fn grace(&self) -> Duration {
        self.engine.config.limits.owner_grace
    }

    /// The owner lets all of it go: what it owned is orphaned, and the token proves nothing any more.
    pub fn release(mut self) {
        self.is_over = true;
        self.engine.leases.remove(std::slice::from_ref(&self.id));
        if let Err(error) = self.engine.store.forget_leases(std::slice::from_ref(&self.id)) {
            // The next sweep tries again; the row proves nothing that anybody is told of.
            warn!(lease = %self.id, %error, "cannot forget a lease");
        }
        info!(lease = %self.id, "released");
        let gone = watch::Gone::Lease(self.id.clone(), OrphanReason::Released);
        watch::orphan_all(&self.engine, gone);
    }

    /// The daemon goes, not the owner: it is left as it is, for the next daemon.
    pub fn leave(mut self) {
        self.is_over = true;
    }

    fn new(engine: &Arc<Engine>, holder: Holder, id: LeaseId, token: LeaseToken, hold: u64) -> Self {
        Self { engine: Arc::clone(engine), holder, id, token, hold, is_over: false }
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        if !self.is_over && self.engine.leases.lose(&self.id, self.hold) {
            info!(lease = %self.id, "its owner has lost the connection");
            let gone = watch::Gone::Lease(self.id.clone(), OrphanReason::ConnectionLost);
            watch::orphan_all(&self.engine, gone);
        }
    }
}

/// A new lease, of a local process or of whoever holds the stream.
pub(super) fn open(
    engine: &Arc<Engine>,
    principal: &Principal,
    process: Option<OwnerProcess>,
    label: &str,
) -> Result<HeldLease, ControlError> {
    if engine.is_shutting_down() {
        return Err(ControlError::ShuttingDown);
    }
    if label.len() > MAX_LABEL_BYTES || label.chars().any(char::is_control) {
        let accepted = format!("at most {MAX_LABEL_BYTES} bytes without control characters");
        return Err(Invalid::new("label", "is too long or holds control characters", accepted).into());
    }
    if engine.leases.count_of(principal) >= MAX_LEASES {
        forget_over(engine)?;
        if engine.leases.count_of(principal) >= MAX_LEASES {
            return Err(ControlError::TooManyLeases { most: MAX_LEASES });
        }
    }
    let token = LeaseToken::generate().map_err(|error| ControlError::NoRandomness(error.to_string()))?;
    let id = LeaseId::generate();
    let holder = Holder { lease: Some(id.clone()), process, label: label.to_owned() };
    let row = LeaseRow {
        id: id.clone(),
        principal: principal.clone(),
        token: TokenDigest::of(token.expose()),
        boot_id: engine.config.boot_id.clone(),
        holder: holder.clone(),
    };
    engine.store.record_lease(&row)?;
    engine.leases.add(row);
    info!(lease = %id, %holder, "opened");
    if let Some(process) = process {
        watch::process(engine, process);
    }
    Ok(HeldLease::new(engine, holder, id, token, 0))
}

/// The lease that `token` proves, held again: by its owner elsewhere who comes back, or once more by its local process.
pub(super) async fn resume(
    engine: &Arc<Engine>,
    principal: &Principal,
    process: Option<OwnerProcess>,
    token: &str,
) -> Result<HeldLease, ControlError> {
    if engine.is_shutting_down() {
        return Err(ControlError::ShuttingDown);
    }
    // What came too late is forgotten now, not with the next sweep.
    forget_over(engine)?;
    let (holder, presence) = engine.leases.by_token(principal, token).ok_or(ControlError::LeaseInvalid)?;
    let is_local = holder.process.is_some();
    if is_local && (holder.process != process || !matches!(presence, Presence::Here { .. })) {
        return Err(ControlError::LeaseInvalid);
    }
    let id = holder.lease.clone().ok_or(ControlError::LeaseInvalid)?;
    let hold = HOLDS.fetch_add(1, Ordering::Relaxed);
    if !engine.leases.hold(&id, hold) {
        return Err(ControlError::LeaseInvalid);
    }
    let held = HeldLease::new(engine, holder, id, LeaseToken::told(token), hold);
    if !is_local {
        own_again(engine, &held).await?;
        info!(lease = %held.id, "its owner has come back");
    }
    Ok(held)
}

/// What had lost its connection to this owner has its owner again.
async fn own_again(engine: &Engine, held: &HeldLease) -> Result<(), ControlError> {
    let is_theirs = |ownership: &Ownership| {
        matches!(ownership, Ownership::Orphaned { by, why: OrphanReason::ConnectionLost, .. }
            if by.lease.as_ref() == Some(&held.id))
    };
    for sandbox in engine.select(|record| is_theirs(&record.ownership)) {
        // Whoever cleans it up at this moment has either done so or hears that it has its owner.
        let _changing = sandbox.changing.lock().await;
        sandbox.change(&engine.store, |record| {
            if !can_be_owned(record.state) || !is_theirs(&record.ownership) {
                return;
            }
            if let Ownership::Orphaned { by, adopted, .. } = record.ownership.clone() {
                record.ownership = Ownership::Owned { by, adopted, since: Some(engine.time.now()) };
            }
        })?;
    }
    Ok(())
}

/// Forgets the leases whose owners have been away for longer than they may be, and that nothing refers to any more.
pub(crate) fn forget_over(engine: &Engine) -> Result<(), ControlError> {
    let bound = engine.config.limits.owner_grace;
    if engine.leases.over(bound, &HashSet::new()).is_empty() {
        return Ok(());
    }
    let needed = engine
        .live()
        .values()
        .filter_map(|sandbox| sandbox.peek(|record| record.ownership.holder()?.lease.clone()))
        .collect();
    let over = engine.leases.over(bound, &needed);
    // The row first: one that stays is known to the next daemon, and forgotten by it.
    engine.store.forget_leases(&over)?;
    engine.leases.remove(&over);
    Ok(())
}
