//! The leases that are known, and who of their owners is there.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ebbtide_model::{Holder, LeaseId, OrphanReason, OwnerProcess, Principal};
use tokio::time::Instant;

use super::TokenDigest;
use crate::LedgerError;
use crate::store::{LeaseRow, Store};

/// Whether the owner of a lease is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// A local process that lives, or an owner elsewhere whose stream is open. Of two streams with one token the later
    /// one counts, whose number this is.
    Here { hold: u64 },
    /// Gone, and how; an owner elsewhere may come back.
    Away { since: Instant, why: OrphanReason },
}

#[derive(Debug, Clone)]
struct Lease {
    principal: Principal,
    token: TokenDigest,
    holder: Holder,
    presence: Presence,
}

/// The leases that are known, and the processes whose end is waited for.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    known: Mutex<BTreeMap<LeaseId, Lease>>,
    pub(super) watched: Mutex<HashSet<OwnerProcess>>,
}

impl Leases {
    /// Those that the ledger holds. A local process that lives is there; an owner elsewhere has yet to come back. What was
    /// opened before the machine was started is over.
    pub(crate) fn open(store: &Store, boot_id: &str) -> Result<Self, LedgerError> {
        let since = Instant::now();
        let (rows, over): (Vec<_>, Vec<_>) =
            store.leases()?.into_iter().partition(|row| row.boot_id == boot_id);
        store.forget_leases(&over.into_iter().map(|row| row.id).collect::<Vec<_>>())?;
        let known = rows.into_iter().map(|row| {
            let presence = match row.holder.process {
                Some(_) => Presence::Here { hold: 0 },
                None => Presence::Away { since, why: OrphanReason::ConnectionLost },
            };
            let LeaseRow { id, principal, token, holder, boot_id: _ } = row;
            (id, Lease { principal, token, holder, presence })
        });
        Ok(Self { known: Mutex::new(known.collect()), watched: Mutex::default() })
    }

    /// Adds one whose owner is there.
    pub(super) fn add(&self, row: LeaseRow) {
        let LeaseRow { id, principal, token, holder, boot_id: _ } = row;
        self.known().insert(id, Lease { principal, token, holder, presence: Presence::Here { hold: 0 } });
    }

    /// The lease of `principal` that `token` proves, with its holder.
    pub(crate) fn by_token(&self, principal: &Principal, token: &str) -> Option<(Holder, Presence)> {
        let digest = TokenDigest::of(token);
        let known = self.known();
        // All of the caller's are compared, so that the time tells nothing of where one stands.
        let matching = known.values().filter(|lease| lease.principal == *principal);
        matching.fold(None, |found, lease| {
            if lease.token.is(&digest) { Some((lease.holder.clone(), lease.presence)) } else { found }
        })
    }

    /// How its owner went, of a lease whose owner is not there. An unknown one was let go.
    pub(super) fn gone(&self, id: &LeaseId) -> Option<OrphanReason> {
        match self.known().get(id).map(|lease| lease.presence) {
            Some(Presence::Here { .. }) => None,
            Some(Presence::Away { why, .. }) => Some(why),
            None => Some(OrphanReason::Released),
        }
    }

    /// Its owner is there again, on a stream of its own; the number of that.
    pub(super) fn hold(&self, id: &LeaseId, hold: u64) -> bool {
        let mut known = self.known();
        let lease = known.get_mut(id);
        lease.map(|lease| lease.presence = Presence::Here { hold }).is_some()
    }

    /// The stream `hold` is over. Whether it was the one that counts, of an owner who is known by nothing else.
    pub(super) fn lose(&self, id: &LeaseId, hold: u64) -> bool {
        let mut known = self.known();
        let Some(lease) = known.get_mut(id) else { return false };
        let counts = lease.holder.process.is_none() && lease.presence == Presence::Here { hold };
        if counts {
            let (since, why) = (Instant::now(), OrphanReason::ConnectionLost);
            lease.presence = Presence::Away { since, why };
        }
        counts
    }

    /// A process has ended: none of its leases can be used for what is to live.
    pub(super) fn process_ended(&self, process: OwnerProcess) {
        let away = Presence::Away { since: Instant::now(), why: OrphanReason::ProcessEnded };
        for lease in self.known().values_mut().filter(|lease| lease.holder.process == Some(process)) {
            lease.presence = away;
        }
    }

    /// Takes leases out.
    pub(super) fn remove(&self, ids: &[LeaseId]) {
        let mut known = self.known();
        for id in ids {
            known.remove(id);
        }
    }

    /// Those whose owner has been away for longer than `bound`, but not those that are `needed`.
    pub(super) fn over(&self, bound: Duration, needed: &HashSet<LeaseId>) -> Vec<LeaseId> {
        let is_over = |presence: Presence| match presence {
            Presence::Here { .. } => false,
            Presence::Away { since, .. } => since.elapsed() >= bound,
        };
        let known = self.known();
        let over = known.iter().filter(|(id, lease)| is_over(lease.presence) && !needed.contains(*id));
        over.map(|(id, _)| id.clone()).collect()
    }

    pub(super) fn count_of(&self, principal: &Principal) -> usize {
        self.known().values().filter(|lease| lease.principal == *principal).count()
    }

    /// How many have their owner.
    pub(crate) fn held(&self) -> usize {
        self.known().values().filter(|lease| matches!(lease.presence, Presence::Here { .. })).count()
    }

    /// The local processes that hold leases.
    pub(super) fn processes(&self) -> Vec<OwnerProcess> {
        self.known().values().filter_map(|lease| lease.holder.process).collect()
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<LeaseId, Lease>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
