//! Moving what the write-ahead log holds into the ledger proper, off the way of every request.
//!
//! That is the only thing in the ledger's life that waits for the disk: some 20 ms each time. SQLite would do it in
//! the commit that fills the log, and one sandbox in sixty would pay for the rest. Here a second connection does it
//! on a thread for blocking work; a checkpoint of the kind PASSIVE holds up neither writers nor readers.
//!
//! Where something was forgotten that nobody is to read any more, the log is emptied too (TRUNCATE), since it would hold
//! that until it is written over. That holds up writers for as long as it takes.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use tokio::sync::Notify;

use super::{LedgerError, place, schema};

/// Commits between two checkpoints; a log of some 5 MB.
const COMMITS: u64 = 200;

pub(super) struct Checkpoint {
    connection: Mutex<Connection>,
    must_empty: AtomicBool,
    due: Notify,
}

impl Checkpoint {
    pub(super) fn open(path: &Path) -> Result<Self, LedgerError> {
        Ok(Self {
            connection: Mutex::new(schema::reopen(path)?),
            must_empty: AtomicBool::new(false),
            due: Notify::new(),
        })
    }

    /// Keeps its end from touching the log.
    pub(super) fn leave_log(&self) -> Result<(), rusqlite::Error> {
        place::leave_log(&self.lock())
    }

    /// Goes on with the ledger that is at `path` now.
    pub(super) fn reopen(&self, path: &Path) -> Result<(), LedgerError> {
        *self.lock() = schema::reopen(path)?;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called after every commit.
    pub(super) fn committed(&self, commits: u64) {
        if commits.is_multiple_of(COMMITS) {
            self.due.notify_one();
        }
    }

    /// Called after a commit that forgets what nobody is to read any more.
    pub(super) fn forgotten(&self) {
        self.must_empty.store(true, Ordering::Release);
        self.due.notify_one();
    }

    /// Waits until a checkpoint is worth it.
    pub(super) async fn due(&self) {
        self.due.notified().await;
    }

    /// Does it. Blocks on the disk.
    pub(super) fn run(&self) -> Result<(), rusqlite::Error> {
        let connection = self.lock();
        if !self.must_empty.swap(false, Ordering::AcqRel) {
            return connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        }
        let busy = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0));
        if !matches!(busy, Ok(false)) {
            // With the next checkpoint then.
            self.must_empty.store(true, Ordering::Release);
        }
        busy.map(drop)
    }
}

/// Whether the ledger at `path` has a log that a daemon has left behind.
pub(super) fn holds_any(path: &Path) -> bool {
    std::fs::metadata(place::log_of(path)).is_ok_and(|log| log.len() > 0)
}
