//! Identifiers of sandboxes.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use serde::{Deserialize, Deserializer, Serialize};
use ulid::Ulid;

use crate::Invalid;

/// The id of a sandbox: 26 lower-case characters that sort by the time of creation (milliseconds).
///
/// Only the canonical form parses, so an id is safe as a file, cgroup or host name.
///
/// ```
/// use ebbtide_model::SandboxId;
/// let id = SandboxId::generate();
/// assert_eq!(id.as_str().parse::<SandboxId>().unwrap(), id);
/// assert!("../etc".parse::<SandboxId>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct SandboxId(String);

impl SandboxId {
    /// A new id for this moment.
    pub fn generate() -> Self {
        Self::of(Ulid::generate())
    }

    /// A new id for another moment.
    pub fn generate_at(at: SystemTime) -> Self {
        Self::of(Ulid::from_datetime(at))
    }

    fn of(ulid: Ulid) -> Self {
        Self(ulid.to_string().to_ascii_lowercase())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// When the id was made, in milliseconds since the Unix epoch.
    pub fn created_ms(&self) -> u64 {
        Ulid::from_string(&self.0).map_or(0, |ulid| ulid.timestamp_ms())
    }
}

impl FromStr for SandboxId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let canonical = Ulid::from_string(text).ok().map(|ulid| ulid.to_string().to_ascii_lowercase());
        match canonical {
            Some(canonical) if canonical == text => Ok(Self(canonical)),
            _ => {
                Err(Invalid::new("sandbox_id", "is not the id of a sandbox", "26 characters of 0-9 and a-z"))
            }
        }
    }
}

impl fmt::Display for SandboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for SandboxId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for SandboxId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time() {
        let first = SandboxId::generate();
        while SandboxId::generate().created_ms() == first.created_ms() {}
        assert!(SandboxId::generate() > first);
    }

    #[test]
    fn only_the_canonical_form_parses() {
        let id = SandboxId::generate();
        for bad in
            ["", "x", "..", &id.as_str().to_uppercase(), &format!("{id}0"), &id.as_str()[1..], "a/b", "\0"]
        {
            assert!(bad.parse::<SandboxId>().is_err(), "{bad:?}");
        }
    }
}
