//! Directories of slots and sandboxes in the run directory, and the logs of main commands.

use super::procfs::entries;
use super::slots::Slots;
use super::{AuditError, AuditScope, Found, Kind, Owner};

pub(super) fn list(scope: &AuditScope, slots: &Slots) -> Result<Vec<Found>, AuditError> {
    let mut found: Vec<Found> = slots
        .directories
        .iter()
        .map(|(name, slot)| {
            let path = scope.run_dir.join("s").join(name);
            Found::new(Kind::Directory, path.to_string_lossy(), Slots::owner_of_directory(name), slot)
        })
        .collect();
    let logs = scope.state_dir.join("logs");
    for name in entries(&logs)? {
        // A sandbox's log is `ID.log`, and a suffix more once it has been rotated.
        let owner = match name.split_once(".log") {
            Some((sandbox, _)) => Owner::Sandbox { sandbox: sandbox.to_owned() },
            None => Owner::Nobody,
        };
        found.push(Found::new(Kind::Log, logs.join(&name).to_string_lossy(), owner, ""));
    }
    Ok(found)
}
