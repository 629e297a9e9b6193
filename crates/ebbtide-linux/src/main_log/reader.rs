//! A log as the driver hands it out: read while it is written, and after its end.
//!
//! Reads are done on a thread for blocking calls: a log may lie on a slow disk.

use std::fs::File;
use std::io;
use std::path::Path;

use async_trait::async_trait;
use ebbtide_driver::{DriverError, LogBefore, LogRecord, MainLog};

use super::file::LogFile;
use super::watch::{LogWatches, Watch};
use super::{HEADER, record};

/// The log at `path`; an empty one if there is none.
pub(crate) fn open(path: &Path, watches: &LogWatches) -> Result<Box<dyn MainLog>, DriverError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Box::new(NoLog)),
        Err(error) => return Err(DriverError::io(format!("open the log {}", path.display()), error)),
    };
    Ok(match watches.watch(path)? {
        Some(watch) => Box::new(OpenLog { file: LogFile::new(file), position: 0, read: Vec::new(), watch }),
        None => Box::new(NoLog),
    })
}

/// A log that is being read.
struct OpenLog {
    file: LogFile,
    /// Where the next record is looked for in the file.
    position: u64,
    /// What was read from there on, up to the end of its block.
    read: Vec<u8>,
    watch: Watch,
}

impl OpenLog {
    /// Does `work` with the file where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&LogFile) -> io::Result<T> + Send + 'static,
    ) -> Result<T, DriverError> {
        let file = self.file.clone();
        let done = tokio::task::spawn_blocking(move || work(&file)).await.map_err(io::Error::other);
        done.and_then(|done| done).map_err(|error| DriverError::io("read the log of a main command", error))
    }
}

#[async_trait]
impl MainLog for OpenLog {
    async fn seek(&mut self, before: LogBefore) -> Result<(), DriverError> {
        self.read.clear();
        self.position = self.blocking(move |file| file.seek(&*before)).await?;
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<LogRecord>, DriverError> {
        self.watch.mark_unchanged();
        let mut found = record(&self.read);
        if found.is_none() {
            let position = self.position;
            (self.position, self.read) = self.blocking(move |file| file.read(position)).await?;
            found = record(&self.read);
        }
        if let Some(record) = &found {
            let size = HEADER + record.data.len();
            self.position += size as u64;
            self.read.drain(..size);
        }
        Ok(found)
    }

    async fn changed(&mut self) -> Result<(), DriverError> {
        self.watch.changed().await
    }
}

/// The log of a sandbox that has none.
struct NoLog;

#[async_trait]
impl MainLog for NoLog {
    async fn seek(&mut self, _: LogBefore) -> Result<(), DriverError> {
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<LogRecord>, DriverError> {
        Ok(None)
    }

    async fn changed(&mut self) -> Result<(), DriverError> {
        std::future::pending().await
    }
}
