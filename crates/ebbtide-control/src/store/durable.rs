//! Handing on to the disk what was committed, off the way of every request.
//!
//! A commit is a write to the page cache: it outlives this process, and not the machine, which would hand it on half a minute
//! later. To wait for the disk in each commit would cost more than the rest of a create. Here it happens a moment after
//! the commits, once for all that came meanwhile; so what a machine that loses power forgets is a moment, too.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use super::place;

pub(super) struct Durable {
    /// The write-ahead log.
    log: PathBuf,
    due: Notify,
    /// How many commits are on the disk for certain.
    commits: AtomicU64,
}

impl Durable {
    pub(super) fn of(ledger: &Path) -> Self {
        Self { log: place::log_of(ledger), due: Notify::new(), commits: AtomicU64::new(0) }
    }

    /// Called after every commit.
    pub(super) fn committed(&self) {
        self.due.notify_one();
    }

    /// Waits until there is something to hand on.
    pub(super) async fn due(&self) {
        self.due.notified().await;
    }

    /// Hands on what the log holds, which are `commits` or more. Blocks on the disk.
    pub(super) fn run(&self, commits: u64) -> io::Result<()> {
        // Any descriptor of a file flushes all of it. What is in the ledger proper was flushed on its way there.
        match File::open(&self.log).and_then(|log| log.sync_data()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => {
                self.commits.fetch_max(commits, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    #[cfg(test)]
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}
