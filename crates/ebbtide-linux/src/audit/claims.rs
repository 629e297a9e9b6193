//! Claims of user-id ranges: lock files that every home of the machine shares, each naming home and slot.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::procfs::{entries, text};
use super::slots::Slots;
use super::{AuditError, AuditScope, Found, Kind, Owner};

pub(super) fn list(scope: &AuditScope, slots: &Slots) -> Result<Vec<Found>, AuditError> {
    let directory = directory(scope);
    let mut found = Vec::new();
    for name in entries(&directory)? {
        let path = directory.join(&name);
        let Some(content) = text(&path) else { continue };
        let mut words = content.split_whitespace();
        if words.next() != Some(scope.home_id.as_str()) {
            continue;
        }
        let owner = words.next().map_or(Owner::Nobody, |slot| slots.owner(slot));
        let detail = if is_locked(&path) { "locked" } else { "not locked" };
        found.push(Found::new(Kind::IdClaim, path.to_string_lossy(), owner, detail));
    }
    Ok(found)
}

/// The home that claims the range with this number.
pub(super) fn home_of(scope: &AuditScope, claim: u32) -> Option<String> {
    let content = text(&directory(scope).join(claim.to_string()))?;
    content.split_whitespace().next().map(str::to_owned)
}

/// The claims of every home are in one place, beside the run directories.
fn directory(scope: &AuditScope) -> PathBuf {
    scope.run_dir.with_file_name("ids")
}

/// Whether anybody holds a `flock` on the file.
///
/// Read from the kernel's list of locks and not tried, since trying would refuse the lock to somebody who asks
/// for it at that moment.
pub(super) fn is_locked(path: &Path) -> bool {
    let Ok(metadata) = path.metadata() else { return false };
    let device = metadata.dev();
    let id =
        format!("{:02x}:{:02x}:{}", rustix::fs::major(device), rustix::fs::minor(device), metadata.ino());
    text(Path::new("/proc/locks"))
        .unwrap_or_default()
        .lines()
        .filter(|line| line.contains(" FLOCK "))
        .any(|line| line.split_whitespace().any(|word| word == id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_seen_while_it_is_held() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(!is_locked(file.path()));
        rustix::fs::flock(file.as_file(), rustix::fs::FlockOperation::LockExclusive).unwrap();
        assert!(is_locked(file.path()));
    }
}
