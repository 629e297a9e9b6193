//! What the ledger holds, for readers beside a live daemon (`ebb doctor`).

use std::path::Path;

use ebbtide_model::SandboxRecord;

use crate::LedgerError;
use crate::store;

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
