//! The output of a main command, as its readers see it.
//!
//! A log is a sequence of records, each with a [`LogMark`] that says where it stands: when, after how many bytes,
//! after how many lines. Marks only grow, so any place in a log is found by halving ([`MainLog::seek`]), however
//! long it is. A log is bounded: its oldest records may be gone, and the marks of the others stay what they were.

use std::time::SystemTime;

use async_trait::async_trait;

use crate::DriverError;

/// Where a record came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    /// The command's standard output.
    Stdout,
    /// The command's standard error.
    Stderr,
    /// The runtime itself, about the log: that something could not be kept, say.
    Note,
}

/// Where a record stands in its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogMark {
    /// When its bytes came, by the wall clock.
    pub time: SystemTime,
    /// How many bytes came before it.
    pub offset: u64,
    /// How many of them were newlines.
    pub lines: u64,
    /// Whether a line begins here.
    pub begins_line: bool,
}

impl LogMark {
    /// The mark of a log's first record.
    pub fn first(time: SystemTime) -> Self {
        Self { time, offset: 0, lines: 0, begins_line: true }
    }

    /// The mark of what follows `data`, which stands here.
    #[must_use]
    pub fn after(&self, data: &[u8], time: SystemTime) -> Self {
        Self {
            time,
            offset: self.offset + data.len() as u64,
            lines: self.lines + data.iter().filter(|byte| **byte == b'\n').count() as u64,
            begins_line: data.last().map_or(self.begins_line, |last| *last == b'\n'),
        }
    }
}

/// A piece of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Where it stands.
    pub mark: LogMark,
    /// Where it came from.
    pub stream: LogStream,
    /// The bytes; never none.
    pub data: Vec<u8>,
}

impl LogRecord {
    /// The mark of whatever follows.
    pub fn end(&self) -> LogMark {
        self.mark.after(&self.data, self.mark.time)
    }
}

/// Whether a record comes before the place that is looked for.
pub type LogBefore = Box<dyn Fn(&LogMark) -> bool + Send>;

/// Reads the log of one sandbox, also after its end, until [`crate::Driver::forget`]. Begins with the oldest record.
#[async_trait]
pub trait MainLog: Send {
    /// Goes to the last record that `before` says yes to, or to the oldest if it says yes to none. `before` must say
    /// yes to a beginning of the log and no to the rest, as in [`slice::partition_point`].
    async fn seek(&mut self, before: LogBefore) -> Result<(), DriverError>;

    /// The next record; `None` if there is no further one now. One whose mark does not follow the record before it
    /// tells that those between have been dropped.
    async fn next(&mut self) -> Result<Option<LogRecord>, DriverError>;

    /// Waits, without bound, until there may be more than [`MainLog::next`] has found. Does not tell when the
    /// command has ended. Safe to drop at any await.
    async fn changed(&mut self) -> Result<(), DriverError>;
}
