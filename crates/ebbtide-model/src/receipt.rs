//! What the end of a sandbox released.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What the end of a sandbox released.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The kinds of what was released, each with how many.
    pub released: Vec<(String, u32)>,
    /// The bytes of disk that it gave back.
    #[serde(default)]
    pub bytes: u64,
    /// The steps of the release, each with how long it took.
    #[serde(default)]
    pub steps: Vec<(String, Duration)>,
    /// How long all of it took.
    pub took: Duration,
    /// What could not be released. Must be nothing.
    pub left: Vec<Leftover>,
}

/// Something that exists and should not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Leftover {
    /// Its kind, e.g. `cgroup`.
    pub kind: String,
    /// Its name, e.g. a path.
    pub name: String,
}
