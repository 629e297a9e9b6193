//! What a key looks like, and what is kept of it.
//!
//! `ebb_ID_SECRET`: the beginning is for people and for programs that look for secrets in texts, the id is what
//! lists and logs show, the secret is 260 random bits. Only the SHA-256 of the whole is kept. Passwords need a
//! slow hash because they can be guessed; nobody guesses that many bits, however fast each try is, and a slow hash
//! on every request would let strangers keep the processor busy.

use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

const PREFIX: &str = "ebb_";
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const ID_LETTERS: usize = 8;
const SECRET_LETTERS: usize = 52;

/// The SHA-256 of a key.
#[derive(Clone, Copy)]
pub(super) struct Digest([u8; 32]);

impl Digest {
    pub(super) fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// Whether they are the same; takes as long for any two.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    pub(super) fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest")
    }
}

/// A new id.
pub(super) fn new_id() -> Result<String, getrandom::Error> {
    random(ID_LETTERS)
}

/// A new key with this id.
pub(super) fn new_key(id: &str) -> Result<String, getrandom::Error> {
    Ok(format!("{PREFIX}{id}_{}", random(SECRET_LETTERS)?))
}

/// The id of a key of our own making.
pub(super) fn id_of(key: &str) -> Option<&str> {
    key.strip_prefix(PREFIX)?.split_once('_').map(|(id, _)| id)
}

fn random(letters: usize) -> Result<String, getrandom::Error> {
    let mut bytes = vec![0; letters];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_id_and_no_two_are_alike() {
        let id = new_id().unwrap();
        let [first, second] = [new_key(&id).unwrap(), new_key(&id).unwrap()];
        assert_ne!(first, second);
        assert_eq!(id_of(&first), Some(id.as_str()));
        assert_eq!(first.len(), 4 + 8 + 1 + 52);
        for other in ["", "ebb_", "ebb_abc", "sk_abc_def"] {
            assert_eq!(id_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_digest_is_read_back_and_nothing_else_is_one() {
        let digest = Digest::of("key");
        assert!(Digest::from_hex(&digest.to_hex()).unwrap().is(&digest));
        assert!(!Digest::of("kez").is(&digest));
        for text in ["", "00", &"g".repeat(64), &"+1".repeat(32), &"0".repeat(65)] {
            assert!(Digest::from_hex(text).is_none(), "{text}");
        }
    }
}
