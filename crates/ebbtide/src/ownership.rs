//! Who stands for a sandbox, and taking that over.

use std::fmt;
use std::time::SystemTime;

use ebbtide_model::OwnerProcess;
use ebbtide_proto::ebbtide::v1 as own;

use crate::lease::LeaseToken;
use crate::{Client, Description, Error};

/// Whether somebody stands for a sandbox, beside its state of life.
///
/// ```
/// use ebbtide::OwnershipKind;
///
/// assert_eq!(OwnershipKind::Orphaned.to_string(), "orphaned");
/// assert!(OwnershipKind::Kept.is_adoptable() && !OwnershipKind::Owned.is_adoptable());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OwnershipKind {
    /// Nobody ever did: its lifetime ends it.
    Unowned,
    /// Nobody does, as was asked for: its lifetime ends it.
    Detached,
    /// Somebody does; whose end makes an orphan of it.
    Owned,
    /// Its owner is gone. It can be adopted until its time is over.
    Orphaned,
    /// Its owner is gone or it was to be cleaned up, and its keep policy has spared it.
    Kept,
    /// Something that this version does not know.
    Unknown,
}

impl OwnershipKind {
    /// Every kind that has a name.
    pub const ALL: [Self; 5] = [Self::Unowned, Self::Detached, Self::Owned, Self::Orphaned, Self::Kept];

    /// The stable text form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unowned => "unowned",
            Self::Detached => "detached",
            Self::Owned => "owned",
            Self::Orphaned => "orphaned",
            Self::Kept => "kept",
            Self::Unknown => "unknown",
        }
    }

    /// Whether anybody may take it over: it has no living owner.
    pub fn is_adoptable(self) -> bool {
        matches!(self, Self::Unowned | Self::Detached | Self::Orphaned | Self::Kept)
    }

    pub(crate) fn to_message(self) -> own::OwnershipKind {
        match self {
            Self::Unowned => own::OwnershipKind::Unowned,
            Self::Detached => own::OwnershipKind::Detached,
            Self::Owned => own::OwnershipKind::Owned,
            Self::Orphaned => own::OwnershipKind::Orphaned,
            Self::Kept => own::OwnershipKind::Kept,
            Self::Unknown => own::OwnershipKind::Unspecified,
        }
    }

    fn from_message(kind: own::OwnershipKind) -> Self {
        Self::ALL.into_iter().find(|known| known.to_message() == kind).unwrap_or(Self::Unknown)
    }
}

impl fmt::Display for OwnershipKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who owns a sandbox, or did last.
///
/// ```
/// use ebbtide::{Holder, OwnerProcess};
///
/// let process = Some(OwnerProcess { pid: 7, start_time: 1 });
/// let holder = Holder { process, label: "python3".into(), ..Holder::default() };
/// assert_eq!(holder.to_string(), "process 7 (python3)");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holder {
    /// The public name of its lease; `None` for a local process that holds none.
    pub lease_id: Option<String>,
    /// The local process; `None` for an owner elsewhere.
    pub process: Option<OwnerProcess>,
    /// Words for a person; may be empty.
    pub label: String,
    /// Whether it is this process, by its lease.
    pub mine: bool,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.process, self.label.as_str(), &self.lease_id) {
            (Some(process), "", _) => write!(f, "process {}", process.pid),
            (Some(process), label, _) => write!(f, "process {} ({label})", process.pid),
            (None, "", Some(lease)) => f.write_str(lease),
            (None, "", None) => f.write_str("somebody"),
            (None, label, _) => f.write_str(label),
        }
    }
}

/// Who stands for a sandbox, besides the principal it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ownership {
    /// Whether somebody does.
    pub kind: OwnershipKind,
    /// Who, or who did last.
    pub holder: Option<Holder>,
    /// Of one that is owned, orphaned or kept: since when; of one that is owned `None` where that is not known.
    pub since: Option<SystemTime>,
    /// Of one that is orphaned or kept: until when it can be adopted.
    pub until: Option<SystemTime>,
    /// Of one that is orphaned: `process_ended`, `connection_lost` or `released`. Of one that is kept: why, in words.
    pub reason: Option<String>,
}

impl From<own::Ownership> for Ownership {
    fn from(message: own::Ownership) -> Self {
        let time = |at: Option<_>| at.and_then(|at| SystemTime::try_from(at).ok());
        Self {
            kind: OwnershipKind::from_message(message.kind()),
            holder: message.holder.map(Holder::from),
            since: time(message.since),
            until: time(message.until),
            reason: Some(message.reason).filter(|reason| !reason.is_empty()),
        }
    }
}

impl From<own::Holder> for Holder {
    fn from(message: own::Holder) -> Self {
        let own::Holder { lease_id, process, label, mine } = message;
        let process = process.map(|own::Process { pid, start_time }| OwnerProcess { pid, start_time });
        Self { lease_id: Some(lease_id).filter(|id| !id.is_empty()), process, label, mine }
    }
}

/// Who is to own a sandbox that is adopted.
///
/// ```no_run
/// # async fn example(client: ebbtide::Client, id: &str) -> Result<(), ebbtide::Error> {
/// use ebbtide::{Adopter, owner};
///
/// let us = owner(std::process::id()).map_err(|_| ebbtide::Error::NotStarted)?;
/// client.adopt(id, Adopter::Process(us)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adopter {
    /// A process of this machine: its end makes an orphan of the sandbox.
    Process(OwnerProcess),
    /// Nobody: it is taken over and let go, its lifetime ends it.
    Nobody,
}

impl Client {
    /// Takes over a sandbox that nobody stands for. Of two who try, one wins.
    ///
    /// # Errors
    /// [`Error::Owned`] with who has it, or when the call fails.
    pub async fn adopt(&self, id: &str, adopter: Adopter) -> Result<Description, Error> {
        use own::adopt_request::Owner;
        let owner = match adopter {
            Adopter::Process(OwnerProcess { pid, start_time }) => {
                Owner::Process(own::Process { pid, start_time })
            }
            Adopter::Nobody => Owner::Nobody(own::Nobody {}),
        };
        self.adopt_for(id, Some(owner), None).await
    }

    pub(crate) async fn adopt_for(
        &self,
        id: &str,
        owner: Option<own::adopt_request::Owner>,
        lease: Option<&LeaseToken>,
    ) -> Result<Description, Error> {
        let request = own::AdoptRequest { sandbox_id: id.to_owned(), owner };
        let request = LeaseToken::put_on(lease, request);
        Ok(self.leases.clone().adopt(request).await?.into_inner().into())
    }

    /// Lets go of a sandbox: its lifetime ends it, nobody's end does any more.
    ///
    /// # Errors
    /// When the call fails.
    pub async fn detach(&self, id: &str) -> Result<Description, Error> {
        self.detach_as(id, None).await
    }

    pub(crate) async fn detach_as(&self, id: &str, lease: Option<&LeaseToken>) -> Result<Description, Error> {
        let request = LeaseToken::put_on(lease, own::DetachRequest { sandbox_id: id.to_owned() });
        Ok(self.leases.clone().detach(request).await?.into_inner().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_the_wire() {
        for kind in OwnershipKind::ALL {
            assert_eq!(OwnershipKind::from_message(kind.to_message()), kind);
        }
        let later = own::Ownership { kind: 99, ..Default::default() };
        assert_eq!(Ownership::from(later).kind, OwnershipKind::Unknown);
    }

    #[test]
    fn a_holder_is_named_by_what_is_known_of_it() {
        let process = Some(OwnerProcess { pid: 7, start_time: 1 });
        let names = [
            (Holder { process, ..Holder::default() }, "process 7"),
            (Holder { label: "worker at build-3".into(), ..Holder::default() }, "worker at build-3"),
            (Holder { lease_id: Some("lease-x".into()), ..Holder::default() }, "lease-x"),
            (Holder::default(), "somebody"),
        ];
        for (holder, name) in names {
            assert_eq!(holder.to_string(), name);
        }
    }
}
