//! Logs with one fault.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use async_trait::async_trait;
use ebbtide_driver::{DriverError, LogBefore, LogMark, LogRecord, LogStream, MainLog};

use crate::fault::Fault;

/// `execs`: how many have been run; `read`: how many bytes have been read, by anybody.
pub(crate) fn log(
    inner: Box<dyn MainLog>,
    fault: Fault,
    execs: u64,
    read: Arc<AtomicU64>,
) -> Box<dyn MainLog> {
    Box::new(FaultyLog { inner, fault, execs, read, records: 0, end: None })
}

struct FaultyLog {
    inner: Box<dyn MainLog>,
    fault: Fault,
    execs: u64,
    read: Arc<AtomicU64>,
    records: usize,
    /// Where the log ends, as far as it has been read.
    end: Option<LogMark>,
}

#[async_trait]
impl MainLog for FaultyLog {
    async fn seek(&mut self, before: LogBefore) -> Result<(), DriverError> {
        match self.fault {
            Fault::SeekIgnored => Ok(()),
            _ => self.inner.seek(before).await,
        }
    }

    async fn next(&mut self) -> Result<Option<LogRecord>, DriverError> {
        let Some(mut record) = self.inner.next().await? else {
            let added = self.end.take().filter(|_| self.fault == Fault::ExecOutputInTheLog && self.execs > 0);
            let data = b"started\n".to_vec();
            return Ok(added.map(|mark| LogRecord { mark, stream: LogStream::Stdout, data }));
        };
        self.records += 1;
        self.end = Some(record.end());
        match self.fault {
            Fault::LogStreamsMixed => record.stream = LogStream::Stdout,
            Fault::LogTimesLost => record.mark.time = SystemTime::UNIX_EPOCH,
            Fault::LogRecordLost if self.records == 3 => return self.next().await,
            Fault::LogReadersShareAPlace => {
                if record.mark.offset < self.read.load(Ordering::SeqCst) {
                    return self.next().await;
                }
                self.read.store(record.end().offset, Ordering::SeqCst);
            }
            _ => {}
        }
        Ok(Some(record))
    }

    async fn changed(&mut self) -> Result<(), DriverError> {
        match self.fault {
            Fault::LogReaderNotWoken => std::future::pending().await,
            _ => self.inner.changed().await,
        }
    }
}
