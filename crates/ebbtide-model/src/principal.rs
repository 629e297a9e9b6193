//! Who asks.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Invalid;

const MAX_ORGANISATION_BYTES: usize = 64;

/// Who a request comes from and whom a record belongs to. *Own* means: the same principal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Principal {
    /// A user of this machine, known by the credentials of the Unix socket's peer.
    Uid(u32),
    /// The organisation of the API key that came with a request over the network.
    Organisation(String),
}

impl Principal {
    /// The organisation called `name`.
    ///
    /// # Errors
    /// When that is no name: it is part of file formats and log lines.
    pub fn organisation(name: &str) -> Result<Self, Invalid> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if name.is_empty() || name.len() > MAX_ORGANISATION_BYTES || !name.bytes().all(plain) {
            let accepted = format!("1 to {MAX_ORGANISATION_BYTES} letters, digits, '.', '_' or '-'");
            return Err(Invalid::new("organization", format!("{name:?} is not a name"), accepted));
        }
        Ok(Self::Organisation(name.to_owned()))
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(uid) => write!(f, "uid:{uid}"),
            Self::Organisation(name) => write!(f, "org:{name}"),
        }
    }
}

impl FromStr for Principal {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let read = match text.split_once(':') {
            Some(("uid", uid)) => uid.parse().ok().map(Self::Uid),
            Some(("org", name)) => Self::organisation(name).ok(),
            _ => None,
        };
        read.ok_or_else(|| {
            Invalid::new("principal", format!("cannot be read from {text:?}"), "uid:NUMBER or org:NAME")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_is_read_back_as_it_was_written() {
        for principal in [Principal::Uid(1000), Principal::organisation("a.B-c_9").unwrap()] {
            assert_eq!(principal.to_string().parse(), Ok(principal));
        }
    }

    #[test]
    fn what_is_no_principal_is_refused() {
        for text in ["", "uid:", "uid:-1", "org:", "org:a b", "org:a:b", "key:1", "1000"] {
            assert!(text.parse::<Principal>().is_err(), "{text:?}");
        }
        assert!(Principal::organisation(&"x".repeat(65)).is_err());
    }
}
