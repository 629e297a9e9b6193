//! The log of a main command, in memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::{DriverError, LogBefore, LogMark, LogRecord, LogStream, MainLog};

/// The records of one sandbox. They outlive it.
#[derive(Debug)]
pub(super) struct Log {
    kept: Mutex<Kept>,
    changes: watch::Sender<()>,
}

#[derive(Debug)]
struct Kept {
    records: Vec<LogRecord>,
    end: LogMark,
}

impl Default for Log {
    fn default() -> Self {
        let end = LogMark::first(SystemTime::UNIX_EPOCH);
        Self { kept: Mutex::new(Kept { records: Vec::new(), end }), changes: watch::Sender::new(()) }
    }
}

impl Log {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn append(&self, stream: LogStream, data: Vec<u8>) {
        if data.is_empty() {
            return;
        }
        let mut kept = self.kept();
        // The wall clock may be set back; marks only grow.
        let time = SystemTime::now().max(kept.end.time);
        let mark = LogMark { time, ..kept.end };
        kept.end = mark.after(&data, time);
        kept.records.push(LogRecord { mark, stream, data });
        drop(kept);
        self.changes.send_replace(());
    }

    /// Drops the oldest records, as a log does that has come to its bound.
    pub(super) fn drop_oldest(&self, records: usize) {
        let mut kept = self.kept();
        let count = records.min(kept.records.len());
        kept.records.drain(..count);
    }
}

/// A reader of a log.
pub(super) struct Reader {
    log: Arc<Log>,
    /// The offset of the next record.
    offset: u64,
    changes: watch::Receiver<()>,
}

impl Reader {
    pub(super) fn new(log: Arc<Log>) -> Self {
        let changes = log.changes.subscribe();
        Self { log, offset: 0, changes }
    }
}

#[async_trait]
impl MainLog for Reader {
    async fn seek(&mut self, before: LogBefore) -> Result<(), DriverError> {
        let kept = self.log.kept();
        let beyond = kept.records.partition_point(|record| before(&record.mark));
        self.offset = kept.records.get(beyond.saturating_sub(1)).map_or(0, |record| record.mark.offset);
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<LogRecord>, DriverError> {
        self.changes.mark_unchanged();
        let kept = self.log.kept();
        let at = kept.records.partition_point(|record| record.mark.offset < self.offset);
        let record = kept.records.get(at).cloned();
        drop(kept);
        if let Some(record) = &record {
            self.offset = record.end().offset;
        }
        Ok(record)
    }

    async fn changed(&mut self) -> Result<(), DriverError> {
        if self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}
