//! What the ledger holds, for readers beside a live daemon, and a damaged one mended where there is none (`ebb doctor`).

use std::path::Path;

use ebbtide_model::SandboxRecord;

use crate::LedgerError;
use crate::store;
pub use crate::store::Repaired;

/// Reads every record, oldest first, without writing and beside the daemon that does. A ledger that does not exist
/// holds none.
///
/// What a live daemon knows can be ahead of it: that a sandbox runs is written some 50 ms later. The image that a
/// sandbox was made of is left out, and so is all that an earlier daemon would not have written.
///
/// # Errors
/// When it cannot be read, is damaged, or was written by a newer version.
pub fn read_only(path: &Path) -> Result<Vec<SandboxRecord>, LedgerError> {
    if path.try_exists().is_ok_and(|exists| !exists) {
        return Ok(Vec::new());
    }
    store::read_all(path)
}

/// Whether a ledger is damaged. One that does not exist is not.
///
/// # Errors
/// When that cannot be found out.
pub fn is_damaged(path: &Path) -> Result<bool, LedgerError> {
    match read_only(path) {
        Ok(_) => Ok(false),
        Err(LedgerError::Corrupt { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Sets a damaged ledger aside and puts a new one in its place with all that can be read of it. No daemon may run.
///
/// # Errors
/// When the new one cannot be written. The old one is then where it was.
pub fn repair(path: &Path) -> Result<Repaired, LedgerError> {
    store::repair(path)
}
