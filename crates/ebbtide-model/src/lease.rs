//! Who holds sandboxes: an owner over a lease, a local process, or both.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Invalid, OwnerProcess};

/// The request header that carries a lease's token: what a call makes or adopts belongs to that lease.
pub const LEASE_HEADER: &str = "ebbtide-lease";
/// The request header of a stop that nobody asked for by name, for what it is: [`STOP_FOR_SESSION`],
/// [`STOP_FOR_SCOPE`] or [`STOP_FOR_FAILURE`]. The sandbox's keep policy is asked then.
pub const STOP_FOR_HEADER: &str = "ebbtide-stop-for";
/// The value of [`STOP_FOR_HEADER`] where a session that closes stops its sandboxes.
pub const STOP_FOR_SESSION: &str = "session";
/// The value of [`STOP_FOR_HEADER`] where the block, the last handle or the program that had a sandbox ends.
pub const STOP_FOR_SCOPE: &str = "scope";
/// The value of [`STOP_FOR_HEADER`] where what a sandbox was made for has failed.
pub const STOP_FOR_FAILURE: &str = "failure";

const PREFIX: &str = "lease-";

/// The public name of a lease. It proves nothing: what proves is the lease's token.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LeaseId(String);

impl LeaseId {
    /// A new one, unlike any other.
    pub fn generate() -> Self {
        Self(format!("{PREFIX}{}", crate::SandboxId::generate()))
    }

    /// The text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LeaseId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.strip_prefix(PREFIX).map(str::parse::<crate::SandboxId>) {
            Some(Ok(_)) => Ok(Self(text.to_owned())),
            _ => Err(Invalid::new("lease_id", format!("{text:?} is no lease"), "the id of a lease")),
        }
    }
}

impl TryFrom<String> for LeaseId {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<LeaseId> for String {
    fn from(id: LeaseId) -> Self {
        id.0
    }
}

/// Who holds a sandbox: whose end makes an orphan of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The lease that it is bound to; `None` for a local process that holds none.
    pub lease: Option<LeaseId>,
    /// The local process; `None` for an owner elsewhere, who is known by the lease's stream alone.
    pub process: Option<OwnerProcess>,
    /// Words for a person: the program, and where it runs. May be empty.
    pub label: String,
}

impl Holder {
    /// A local process without a lease.
    pub fn process(process: OwnerProcess) -> Self {
        Self { lease: None, process: Some(process), label: String::new() }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.process, self.label.is_empty(), &self.lease) {
            (Some(process), true, _) => write!(f, "process {}", process.pid),
            (Some(process), false, _) => write!(f, "process {} ({})", process.pid, self.label),
            (None, false, _) => f.write_str(&self.label),
            (None, true, Some(lease)) => write!(f, "{lease}"),
            (None, true, None) => f.write_str("somebody"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_read_back_as_it_was_written() {
        let id = LeaseId::generate();
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "lease-", "x", "lease-../x"] {
            assert!(text.parse::<LeaseId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_holder_is_named_by_what_is_known_of_it() {
        let process = Holder::process(OwnerProcess { pid: 7, start_time: 1 });
        assert_eq!(process.to_string(), "process 7");
        assert_eq!(Holder { label: "python3".into(), ..process.clone() }.to_string(), "process 7 (python3)");
        assert_eq!(Holder { process: None, label: "a at b".into(), lease: None }.to_string(), "a at b");
    }
}
