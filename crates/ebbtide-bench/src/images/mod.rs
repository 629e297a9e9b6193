//! What images cost: to bring one here, and to start a sandbox from one.

mod layout;
mod pull;
mod registry;
mod report;
mod start;

use std::path::Path;

pub(crate) use report::tables;

use crate::Error;
use pull::Pulls;
use start::Starts;

/// How often each is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rounds {
    /// Pulls by each contender.
    pub(crate) pulls: usize,
    /// Turns of each image.
    pub(crate) starts: usize,
    /// Starts in a turn.
    pub(crate) block: usize,
}

/// What was measured.
pub(crate) struct Images {
    rounds: Rounds,
    pulls: Pulls,
    /// With no sandbox made ahead, then as it is by default.
    starts: Vec<Starts>,
}

/// Measures both. All of it is gone when this returns.
pub(crate) async fn measure(ebb: &Path, rounds: Rounds) -> Result<Images, Error> {
    let pulls = pull::measure(ebb, rounds.pulls)?;
    let mut starts = Vec::new();
    for pools in [false, true] {
        starts.push(start::measure(ebb, rounds, pools).await?);
    }
    Ok(Images { rounds, pulls, starts })
}

/// A directory on a disk, as a home usually is; /tmp may be memory.
fn place() -> Result<tempfile::TempDir, Error> {
    tempfile::Builder::new()
        .prefix("ebbtide-bench-")
        .tempdir_in("/var/tmp")
        .map_err(Error::io("making a directory in /var/tmp"))
}
