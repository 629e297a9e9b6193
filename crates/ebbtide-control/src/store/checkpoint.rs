//! Moving what the write-ahead log holds into the ledger proper, off the way of every request.
//!
//! That is the only thing in the ledger's life that waits for the disk: some 20 ms each time. SQLite would do it in
//! the commit that fills the log, and one sandbox in sixty would pay for the rest. Here a second connection does it
//! on a thread for blocking work; a checkpoint of the kind PASSIVE holds up neither writers nor readers.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Notify;

use super::{LedgerError, schema};

/// Commits between two checkpoints; a log of some 5 MB.
const COMMITS: u64 = 200;

pub(super) struct Checkpoint {
    connection: Mutex<Connection>,
    due: Notify,
}

impl Checkpoint {
    pub(super) fn open(path: &Path) -> Result<Self, LedgerError> {
        Ok(Self { connection: Mutex::new(schema::reopen(path)?), due: Notify::new() })
    }

    /// Called after every commit.
    pub(super) fn committed(&self, commits: u64) {
        if commits.is_multiple_of(COMMITS) {
            self.due.notify_one();
        }
    }

    /// Waits until a checkpoint is worth it.
    pub(super) async fn due(&self) {
        self.due.notified().await;
    }

    /// Does it. Blocks on the disk.
    pub(super) fn run(&self) -> Result<(), rusqlite::Error> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
    }
}
