//! The bounds that requests are held to.

use std::time::Duration;

/// The bounds of one daemon. The defaults hold unless the configuration says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The longest lifetime a request may ask for, and what a sandbox with an owner gets by default.
    pub max_lifetime: Duration,
    /// The lifetime of a sandbox that has no owner and names no lifetime of its own.
    pub unowned_lifetime: Duration,
    /// How long a sandbox lives on after its owner has died.
    pub owner_grace: Duration,
    /// How long a sandbox is kept that its keep policy spares, unless it says so itself.
    pub keep_for: Duration,
    /// How long a sandbox of an owner elsewhere lives on when no daemon runs that could hear of the owner.
    pub daemon_grace: Duration,
    /// The longest grace period a stop may ask for.
    pub max_stop_grace: Duration,
    /// How long the record of an ended sandbox stays readable.
    pub retention: Duration,
    /// The most bytes of one command's arguments and environment together.
    pub max_command_bytes: usize,
    /// The most tags of one sandbox.
    pub max_tags: usize,
    /// The most bytes of one tag, annotation key or name.
    pub max_name_bytes: usize,
    /// The most bytes of one annotation value.
    pub max_annotation_bytes: usize,
    /// The most mounted files of one sandbox.
    pub max_mounted_files: usize,
    /// The most bytes of all mounted files of one sandbox together.
    pub max_mounted_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_lifetime: Duration::from_secs(24 * 3600),
            unowned_lifetime: Duration::from_secs(3600),
            owner_grace: Duration::from_secs(60),
            keep_for: Duration::from_secs(3600),
            daemon_grace: Duration::from_secs(15 * 60),
            max_stop_grace: Duration::from_secs(300),
            retention: Duration::from_secs(3600),
            max_command_bytes: 1024 * 1024,
            max_tags: 64,
            max_name_bytes: 256,
            max_annotation_bytes: 16 * 1024,
            max_mounted_files: 64,
            max_mounted_bytes: 8 * 1024 * 1024,
        }
    }
}
