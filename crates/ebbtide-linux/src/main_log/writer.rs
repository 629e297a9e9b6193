//! Init's side. A log is bounded: its oldest blocks are given back to the file system as new ones come. Where that
//! cannot be done, or the disk is full, output is read all the same, so that the command never blocks, and the log
//! says how much of it is missing as soon as it can.

use std::fs::File;
use std::io;
use std::io::IoSlice;
use std::time::UNIX_EPOCH;

use ebbtide_driver::{LogMark, LogStream};
use rustix::fs::{FallocateFlags, fallocate, ftruncate};
use rustix::io::pwritev;

use super::{BLOCK, HEADER, Header, block_of, now_or};

/// How much of the file is kept.
pub(super) const BOUND: u64 = 16 << 20;
/// How much is given back at once.
pub(super) const STEP: u64 = 1 << 20;

/// Writes a log.
pub(crate) struct LogWriter {
    file: Option<File>,
    /// Where the oldest record lies, and where the next one goes.
    oldest: u64,
    position: u64,
    /// The mark of the next record.
    mark: LogMark,
    /// Bytes that were not kept since the last record.
    lost: u64,
}

impl LogWriter {
    /// A new log. What an earlier attempt to start the sandbox may have left in the file goes.
    pub(crate) fn new(file: Option<File>) -> Self {
        let file = file.filter(|file| ftruncate(file, 0).is_ok());
        Self { file, oldest: 0, position: 0, mark: LogMark::first(UNIX_EPOCH), lost: 0 }
    }

    /// Keeps a chunk, or counts what the disk does not let in.
    pub(crate) fn append(&mut self, stream: LogStream, bytes: &[u8]) {
        self.say_what_is_lost();
        let kept = if self.lost > 0 { 0 } else { self.write(stream, bytes) };
        self.lost += (bytes.len() - kept) as u64;
    }

    /// Says how much was not kept.
    pub(crate) fn finish(&mut self) {
        self.say_what_is_lost();
    }

    fn say_what_is_lost(&mut self) {
        if self.lost > 0 {
            let separator = if self.mark.begins_line { "" } else { "\n" };
            let note = format!("{separator}[ebbtide: {} bytes of output could not be kept]\n", self.lost);
            if self.write(LogStream::Note, note.as_bytes()) == note.len() {
                self.lost = 0;
            }
        }
    }

    /// Writes as much as goes, in records that fit their blocks; answers how much that is.
    fn write(&mut self, stream: LogStream, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = (BLOCK - self.position % BLOCK) as usize;
            if room <= HEADER {
                self.position = block_of(self.position) + BLOCK;
                continue;
            }
            let (piece, beyond) = rest.split_at(rest.len().min(room - HEADER));
            if self.make_room().and_then(|()| self.record(stream, piece)).is_err() {
                break;
            }
            rest = beyond;
        }
        bytes.len() - rest.len()
    }

    /// Gives the oldest blocks back where the next one would be one too many.
    fn make_room(&mut self) -> io::Result<()> {
        let Some(file) = &self.file else { return Err(io::ErrorKind::NotFound.into()) };
        if self.position + BLOCK - self.oldest > BOUND {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(file, flags, self.oldest, STEP)?;
            self.oldest += STEP;
        }
        Ok(())
    }

    fn record(&mut self, stream: LogStream, bytes: &[u8]) -> io::Result<()> {
        let Some(file) = &self.file else { return Err(io::ErrorKind::NotFound.into()) };
        let mark = LogMark { time: now_or(self.mark.time), ..self.mark };
        let header = Header { mark, stream, length: bytes.len() }.encode();
        let written = pwritev(file, &[IoSlice::new(&header), IoSlice::new(bytes)], self.position);
        if written != Ok(HEADER + bytes.len()) {
            // A reader trusts what is before the end of the file.
            ftruncate(file, self.position)?;
            return Err(written.err().map_or(io::ErrorKind::WriteZero.into(), io::Error::from));
        }
        self.position += (HEADER + bytes.len()) as u64;
        self.mark = mark.after(bytes, mark.time);
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn replace_file(&mut self, file: Option<File>) -> Option<File> {
        std::mem::replace(&mut self.file, file)
    }
}
