//! Leases: whose end makes an orphan of a sandbox, and who takes an orphan over.
//!
//! An owner is a local process, known by the kernel, or somebody elsewhere, known by a stream that is open; the latter can
//! come back with the lease's token. Whoever goes leaves orphans, which can be adopted until their grace is over and are
//! then cleaned up. Each change of owner is durable before it is shown, and init is told after that.
//!
//! [`hold`] opens, resumes and loses leases; [`watch`] notices who is gone and what comes of it; [`adopt`] takes over and
//! lets go; [`guard`] has init know.

mod adopt;
mod grace;
mod guard;
mod hold;
mod registry;
mod token;
mod watch;

use ebbtide_model::{Holder, OwnerProcess, Principal, SandboxRecord};

pub use adopt::Adopter;
pub(crate) use guard::{made, switch, taken_up};
pub use hold::HeldLease;
#[cfg(test)]
pub(crate) use hold::MAX_LEASES;
pub(crate) use hold::forget_over;
pub(crate) use registry::{Leases, Presence};
pub use token::LeaseToken;
pub(crate) use token::TokenDigest;
pub(crate) use watch::{attend, begin};

use crate::{Control, ControlError};

impl Control {
    /// Opens a lease for a local process, or for whoever holds what this answers.
    ///
    /// # Errors
    /// When the label is out of bounds, the caller has too many leases, or the ledger fails.
    pub fn open_lease(
        &self,
        principal: &Principal,
        process: Option<OwnerProcess>,
        label: &str,
    ) -> Result<HeldLease, ControlError> {
        hold::open(self.engine(), principal, process, label)
    }

    /// Holds a lease again: its owner elsewhere has come back. What it had lost meanwhile has its owner again, as far as
    /// it still lives and nobody else has adopted it.
    ///
    /// # Errors
    /// When the token is not known: forged, of another caller, released, or away for too long.
    pub async fn resume_lease(
        &self,
        principal: &Principal,
        process: Option<OwnerProcess>,
        token: &str,
    ) -> Result<HeldLease, ControlError> {
        hold::resume(self.engine(), principal, process, token).await
    }

    /// Who holds the lease that `token` proves; `None` where none of the caller's does.
    pub fn holder(&self, principal: &Principal, token: &str) -> Option<Holder> {
        self.engine().leases.by_token(principal, token).map(|(holder, _)| holder)
    }

    /// Takes over a sandbox of the caller's that nobody stands for. One's own is no error.
    ///
    /// # Errors
    /// [`ControlError::Owned`] where somebody who lives owns it; when the lease is not valid, the sandbox does not run,
    /// or its init cannot be told.
    pub async fn adopt(
        &self,
        principal: &Principal,
        id: &str,
        adopter: &Adopter,
    ) -> Result<SandboxRecord, ControlError> {
        adopt::adopt(self.engine(), principal, id, adopter).await.map(|record| self.shown(record))
    }

    /// Lets go of a sandbox of the caller's: nobody's end makes an orphan of it any more, its lifetime ends it. Where it
    /// has none of its own, that is at most the one of a sandbox without an owner, from now on.
    ///
    /// # Errors
    /// When the sandbox does not run, or its init cannot be told.
    pub async fn detach(&self, principal: &Principal, id: &str) -> Result<SandboxRecord, ControlError> {
        adopt::detach(self.engine(), principal, id).await.map(|record| self.shown(record))
    }
}
