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

/// The slots whose claims are held by one of these processes.
pub(super) fn slots_of_launchers(scope: &AuditScope, launchers: &[u32]) -> Result<Vec<String>, AuditError> {
    let directory = directory(scope);
    let mut slots = Vec::new();
    for name in entries(&directory)? {
        let path = directory.join(&name);
        let Some(content) = text(&path) else { continue };
        if let Some((home, slot)) = content.split_once(' ')
            && home == scope.home_id
            && lock_holder(&path).is_some_and(|holder| launchers.contains(&holder))
        {
            slots.push(slot.trim_end().to_owned());
        }
    }
    Ok(slots)
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
pub(super) fn is_locked(path: &Path) -> bool {
    lock_holder(path).is_some()
}

/// The process that took the `flock` on the file; others may have inherited it.
///
/// Read from the kernel's list of locks and not tried, since trying would refuse the lock to somebody who asks
/// for it at that moment.
fn lock_holder(path: &Path) -> Option<u32> {
    let metadata = path.metadata().ok()?;
    let device = metadata.dev();
    let id =
        format!("{:02x}:{:02x}:{}", rustix::fs::major(device), rustix::fs::minor(device), metadata.ino());
    let locks = text(Path::new("/proc/locks")).unwrap_or_default();
    // `1: FLOCK  ADVISORY  WRITE 1234 fe:00:4711 0 EOF`
    locks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find_map(|words| match words[..] {
        [_, "FLOCK", _, _, holder, file, ..] if file == id => holder.parse().ok(),
        _ => None,
    })
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
