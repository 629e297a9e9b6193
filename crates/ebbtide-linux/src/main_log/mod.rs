//! The log of a main command's output: a file that init writes, so that it depends on no reader, and that the daemon
//! reads.
//!
//! A record is `time (nanoseconds since the epoch, u64) · offset (u64) · lines (u64) · length (u32) · stream (u8: 1
//! stdout, 2 stderr, 3 note; and 128 where a line begins)`, little-endian, and the bytes. Each block of the file
//! begins with a record and no record crosses its end, so that a reader finds its place by halving, and so that the
//! oldest blocks can be given back to the file system: they then read as zeros, which no record begins with.
//!
//! Only the last record can be incomplete, because whatever is in the file before its end is written.

mod file;
mod reader;
#[cfg(test)]
mod tests;
mod watch;
mod writer;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ebbtide_driver::{LogMark, LogRecord, LogStream};

pub(crate) use reader::open;
pub(crate) use watch::LogWatches;
pub(crate) use writer::LogWriter;

/// The size of a block.
const BLOCK: u64 = 64 << 10;
/// The size of what comes before a record's bytes.
const HEADER: usize = 29;
/// Set in the stream's byte where a line begins.
const BEGINS_LINE: u8 = 0x80;

/// What comes before the bytes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    mark: LogMark,
    stream: LogStream,
    length: usize,
}

impl Header {
    fn encode(&self) -> [u8; HEADER] {
        let time = self.mark.time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        let stream = match self.stream {
            LogStream::Stdout => 1,
            LogStream::Stderr => 2,
            LogStream::Note => 3,
        };
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&time.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.mark.offset.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.mark.lines.to_le_bytes());
        bytes[24..28].copy_from_slice(&(self.length as u32).to_le_bytes());
        bytes[28] = stream | if self.mark.begins_line { BEGINS_LINE } else { 0 };
        bytes
    }

    /// The header at the beginning of `bytes`; `None` if there is none.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (header, _) = bytes.split_first_chunk::<HEADER>()?;
        let number = |at: usize| header[at..].first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        let stream = match header[28] & !BEGINS_LINE {
            1 => LogStream::Stdout,
            2 => LogStream::Stderr,
            3 => LogStream::Note,
            _ => return None,
        };
        let length = header[24..].first_chunk().map(|bytes| u32::from_le_bytes(*bytes) as usize)?;
        if length == 0 || length > BLOCK as usize - HEADER {
            return None;
        }
        let mark = LogMark {
            time: UNIX_EPOCH + Duration::from_nanos(number(0)?),
            offset: number(8)?,
            lines: number(16)?,
            begins_line: header[28] & BEGINS_LINE != 0,
        };
        Some(Self { mark, stream, length })
    }
}

/// The record at the beginning of `bytes`, if it is there completely.
fn record(bytes: &[u8]) -> Option<LogRecord> {
    let Header { mark, stream, length } = Header::decode(bytes)?;
    let data = bytes.get(HEADER..HEADER + length)?.to_vec();
    Some(LogRecord { mark, stream, data })
}

/// Where the block that holds `position` begins.
fn block_of(position: u64) -> u64 {
    position - position % BLOCK
}

/// Now, but not before `earlier`: the wall clock may be set back, and marks only grow.
fn now_or(earlier: SystemTime) -> SystemTime {
    SystemTime::now().max(earlier)
}
