//! Whether the ledger still lies where it was opened, and putting it back.
//!
//! SQLite goes on with the files that it has open when their names are gone. The next daemon would find an empty home, and end
//! every sandbox as one that nobody knows.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::{LedgerError, Store, room, schema};

/// What SQLite calls the write-ahead log of a ledger, after that.
const LOG: &str = "-wal";
/// What SQLite keeps beside the file of a ledger.
const BESIDE: [&str; 2] = [LOG, "-shm"];

/// Which files a ledger was opened with: device and inode of its own and of its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place([Option<(u64, u64)>; 2]);

impl Place {
    /// What lies at the path of a ledger now.
    pub(super) fn of(path: &Path) -> Self {
        let identity = |path: &Path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
        Self([identity(path), identity(&log_of(path))])
    }
}

impl Store {
    /// Whether what lies at the ledger's path is what is written to.
    pub(crate) fn is_in_place(&self) -> bool {
        *self.lock_place() == Place::of(&self.path)
    }

    /// Writes all that the ledger holds to where it should be. What lies there instead is set aside.
    pub(crate) fn put_back(&self) -> Result<(), LedgerError> {
        let (path, fail) = (self.path.as_path(), |step| self.fail(step));
        // Held throughout, so that nothing is written to what is left behind.
        let mut connection = self.connection();
        let draft = draft(path)?;
        let copy = draft.to_string_lossy();
        connection.execute("VACUUM INTO ?1", [&copy]).map_err(fail("copy it to where it was"))?;
        let [ours, _] = self.lock_place().0;
        let [there, _] = Place::of(path).0;
        let moved = if there.is_some() && there != ours {
            set_aside(path, "replaced").map(drop)
        } else {
            BESIDE.iter().try_for_each(|suffix| unless_gone(fs::remove_file(beside(path, suffix))))
        };
        // Closing the last of the old connections would remove the log of the new ones, which has the same name.
        self.checkpoint
            .leave_log()
            .and_then(|()| leave_log(&connection))
            .map_err(fail("leave its log alone"))?;
        moved.and_then(|()| fs::rename(&draft, path)).map_err(|error| refused(path, &error))?;
        let fresh = schema::open(path)?;
        self.checkpoint.reopen(path)?;
        room::reserve(path);
        *connection = fresh;
        *self.lock_place() = Place::of(path);
        Ok(())
    }
}

/// Keeps the end of a connection from touching the log.
pub(super) fn leave_log(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map(drop)
}

/// An empty file for a new ledger beside the one at `path`.
pub(super) fn draft(path: &Path) -> Result<PathBuf, LedgerError> {
    let draft = beside(path, ".draft");
    for file in [&draft, &log_of(&draft), &beside(&draft, "-shm")] {
        unless_gone(fs::remove_file(file)).map_err(|error| refused(path, &error))?;
    }
    schema::make_private(&draft)?;
    Ok(draft)
}

/// Renames a ledger with what belongs to it; says what it is called now.
pub(super) fn set_aside(path: &Path, why: &str) -> io::Result<PathBuf> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let aside = beside(path, &format!(".{why}-{}", now.as_millis()));
    fs::rename(path, &aside)?;
    for suffix in BESIDE {
        unless_gone(fs::rename(beside(path, suffix), beside(&aside, suffix)))?;
    }
    Ok(aside)
}

pub(super) fn refused(path: &Path, error: &io::Error) -> LedgerError {
    LedgerError::Open { path: path.to_owned(), detail: error.to_string() }
}

/// The write-ahead log of the ledger at `path`.
pub(super) fn log_of(path: &Path) -> PathBuf {
    beside(path, LOG)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn unless_gone(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}
