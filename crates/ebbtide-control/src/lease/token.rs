//! What proves a lease: 256 random bits, of which only the SHA-256 is kept.
//!
//! Who reads the ledger thus cannot use what it holds. Nobody guesses that many bits, so no slow hash is needed.

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

const BYTES: usize = 32;

/// The token of a lease. Its text is told to the owner alone.
#[derive(Clone, PartialEq, Eq)]
pub struct LeaseToken(String);

impl LeaseToken {
    pub(super) fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; BYTES];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// One that its owner has told.
    pub(super) fn told(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The text, which is a secret.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseToken")
    }
}

/// What is kept of a token.
#[derive(Clone, Copy)]
pub(crate) struct TokenDigest([u8; BYTES]);

impl TokenDigest {
    pub(super) fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// Whether they are the same; takes as long for any two.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    pub(crate) fn bytes(&self) -> &[u8; BYTES] {
        &self.0
    }

    pub(crate) fn from_bytes(bytes: [u8; BYTES]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_tokens_are_alike_and_none_is_shown_by_accident() {
        let [first, second] = [LeaseToken::generate().unwrap(), LeaseToken::generate().unwrap()];
        assert_ne!(first, second);
        assert_eq!(first.expose().len(), 64);
        assert_eq!(format!("{first:?}"), "LeaseToken");
        assert!(TokenDigest::of(first.expose()).is(&TokenDigest::of(first.expose())));
        assert!(!TokenDigest::of(first.expose()).is(&TokenDigest::of(second.expose())));
    }
}
