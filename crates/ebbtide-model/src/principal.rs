//! Who asks.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Invalid;

/// Who a request comes from and whom a record belongs to. *Own* means: the same principal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Principal {
    /// A user of this machine, known by the credentials of the Unix socket's peer.
    Uid(u32),
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(uid) => write!(f, "uid:{uid}"),
        }
    }
}

impl FromStr for Principal {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        text.strip_prefix("uid:")
            .and_then(|uid| uid.parse().ok())
            .map(Self::Uid)
            .ok_or_else(|| Invalid::new("principal", format!("cannot be read from {text:?}"), "uid:NUMBER"))
    }
}
