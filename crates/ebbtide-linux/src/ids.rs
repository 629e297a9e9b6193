//! Ranges of user ids, claimed machine-wide.
//!
//! A range belongs to whoever holds the lock on its file. The init inherits the lock, so that the range stays
//! taken as long as a process could run with its ids, whatever becomes of the launcher.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::sys_error::{Step, SysError};

/// Ids of one sandbox: enough for every id that a common image uses.
pub(crate) const RANGE: u32 = 65_536;
/// The first id; above the ranges that other container managers take by default.
const FIRST: u32 = 0x7000_0000;
const COUNT: u32 = 32_768;

/// A claimed range. The claim ends when every process that holds the file has let go of it.
#[derive(Debug)]
pub(crate) struct IdRange {
    index: u32,
    path: PathBuf,
    lock: Option<File>,
}

impl IdRange {
    /// Claims a free range; `mark` says in the file whose it is.
    pub(crate) fn claim(dir: &Path, mark: &str) -> Result<Self, SysError> {
        fs::create_dir_all(dir).step(|| format!("make the directory {}", dir.display()))?;
        let start = first_try();
        for index in (0..COUNT).map(|step| (start + step) % COUNT) {
            let path = dir.join(index.to_string());
            if let Some(lock) =
                try_lock(&path).step(|| format!("claim the user ids of {}", path.display()))?
            {
                let claim = Self { index, path, lock: Some(lock) };
                claim.sign(mark).step(|| format!("sign {}", claim.path.display()))?;
                return Ok(claim);
            }
        }
        Err(SysError::new("claim user ids: every range is taken", io::Error::from_raw_os_error(libc::EAGAIN)))
    }

    /// The claim of a sandbox that an earlier launcher made; its init holds the lock.
    pub(crate) fn adopt(dir: &Path, index: u32) -> Self {
        Self { index, path: dir.join(index.to_string()), lock: None }
    }

    /// Removes the claims that nobody holds any more: of this home, and those whose launcher died before it could
    /// sign them.
    pub(crate) fn sweep(dir: &Path, home_id: &str) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let swept = fs::read_to_string(entry.path()).is_ok_and(|mark| {
                mark.split(' ').next().is_some_and(|home| home == home_id || home.is_empty())
            });
            if swept && let Ok(Some(_lock)) = try_lock(&entry.path()) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Says in the file whose the range is.
    pub(crate) fn sign(&self, mark: &str) -> io::Result<()> {
        let Some(file) = self.lock.as_ref() else { return Ok(()) };
        file.write_all_at(mark.as_bytes(), 0)?;
        file.set_len(mark.len() as u64)
    }

    /// The number of the range.
    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// The first id of the range: root of the sandbox.
    pub(crate) fn base(&self) -> u32 {
        FIRST + self.index * RANGE
    }

    /// The lock, for the init to inherit.
    pub(crate) fn lock(&self) -> Option<&File> {
        self.lock.as_ref()
    }

    /// Ends the claim. The name goes before the lock, so that whoever locks the file next sees that it is dead.
    pub(crate) fn release(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

/// The number of the range that an id of the host is in.
pub(crate) fn index_of(id: u32) -> Option<u32> {
    Some(id.checked_sub(FIRST)? / RANGE).filter(|index| *index < COUNT)
}

/// Claims start at different places, so that launchers seldom try the same range.
fn first_try() -> u32 {
    let id = ebbtide_model::SandboxId::generate();
    id.as_str().bytes().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte))) % COUNT
}

fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    }
    // Between open and lock its holder may have released it: then this lock guards a name that is gone.
    let same = fs::metadata(path).is_ok_and(|now| file.metadata().is_ok_and(|ours| now.ino() == ours.ino()));
    Ok(same.then_some(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_claims_never_share_a_range_and_a_released_one_is_free_again() {
        let dir = tempfile::tempdir().unwrap();
        let claims: Vec<_> = (0..50).map(|_| IdRange::claim(dir.path(), "test").unwrap()).collect();
        let mut bases: Vec<_> = claims.iter().map(IdRange::base).collect();
        bases.sort_unstable();
        bases.dedup();
        assert_eq!(bases.len(), 50);
        assert!(claims.iter().all(|claim| index_of(claim.base() + RANGE - 1) == Some(claim.index())));
        assert!(bases.iter().all(|base| *base >= FIRST && base.checked_add(RANGE).is_some()));
        for claim in claims {
            claim.release().unwrap();
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_sweep_takes_what_nobody_holds_and_leaves_what_is_anothers() {
        let dir = tempfile::tempdir().unwrap();
        let held = IdRange::claim(dir.path(), "ours slot-held").unwrap();
        for (name, mark) in [("50001", "ours slot-x"), ("50002", ""), ("50003", "theirs slot-x")] {
            fs::write(dir.path().join(name), mark).unwrap();
        }
        let unsigned = try_lock(&dir.path().join("50004")).unwrap();
        IdRange::sweep(dir.path(), "ours");
        let mut left: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let mut expected = vec![held.index().to_string(), "50003".to_owned(), "50004".to_owned()];
        expected.sort();
        assert_eq!(left, expected);
        drop(unsigned);
    }

    #[test]
    fn a_claim_outlives_the_handle_while_its_lock_is_inherited() {
        let dir = tempfile::tempdir().unwrap();
        let claim = IdRange::claim(dir.path(), "test").unwrap();
        let inherited = claim.lock().unwrap().try_clone().unwrap();
        let path = claim.path.clone();
        drop(claim);
        assert!(try_lock(&path).unwrap().is_none());
        drop(inherited);
        assert!(try_lock(&path).unwrap().is_some());
    }
}
