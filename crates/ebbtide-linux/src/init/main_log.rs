//! The log of the main command's output, written by init so that it depends on no reader.
//!
//! A record is `time (nanoseconds since the epoch, u64) · offset (bytes of output before it, u64) · stream (u8: 1
//! stdout, 2 stderr) · length (u32)`, little-endian, and the bytes. The log is bounded: what goes beyond is
//! read, so that the command never blocks, and counted in a last record of stream 0, whose bytes are that count.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::time::{SystemTime, UNIX_EPOCH};

/// The most bytes of output that are kept.
const BOUND: u64 = 16 << 20;

/// Where a chunk of output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout = 1,
    Stderr = 2,
}

pub(super) struct MainLog {
    file: Option<File>,
    written: u64,
    dropped: u64,
}

impl MainLog {
    pub(super) fn new(file: Option<File>) -> Self {
        Self { file, written: 0, dropped: 0 }
    }

    /// Keeps a chunk, or counts it where the bound or the disk does not let it in.
    pub(super) fn append(&mut self, stream: Stream, bytes: &[u8]) {
        let fits = self.dropped == 0 && self.written + bytes.len() as u64 <= BOUND;
        if fits && self.record(stream as u8, bytes).is_ok() {
            self.written += bytes.len() as u64;
        } else {
            self.dropped += bytes.len() as u64;
        }
    }

    /// Says how much was not kept.
    pub(super) fn finish(&mut self) {
        if self.dropped > 0 {
            let _ = self.record(0, &self.dropped.to_le_bytes());
        }
    }

    fn record(&mut self, stream: u8, bytes: &[u8]) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        let mut header = [0; 21];
        header[..8].copy_from_slice(&time.to_le_bytes());
        header[8..16].copy_from_slice(&self.written.to_le_bytes());
        header[16] = stream;
        header[17..].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        let written = file.write_vectored(&[IoSlice::new(&header), IoSlice::new(bytes)])?;
        if written == header.len() + bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Vec<(u64, u8, Vec<u8>)> {
        let mut records = Vec::new();
        let mut rest = bytes;
        while let Some((header, tail)) = rest.split_at_checked(21) {
            let length = u32::from_le_bytes(header[17..].try_into().unwrap()) as usize;
            records.push((
                u64::from_le_bytes(header[8..16].try_into().unwrap()),
                header[16],
                tail[..length].to_vec(),
            ));
            rest = &tail[length..];
        }
        records
    }

    #[test]
    fn records_carry_their_offset_and_the_bound_holds() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let mut log = MainLog::new(Some(path.reopen().unwrap()));
        log.append(Stream::Stdout, b"one");
        log.append(Stream::Stderr, b"three");
        for _ in 0..20 {
            log.append(Stream::Stdout, &[7; 1 << 20]);
        }
        log.append(Stream::Stdout, b"x");
        log.finish();
        let records = read(&std::fs::read(path.path()).unwrap());
        assert_eq!(records[0], (0, 1, b"one".to_vec()));
        assert_eq!(records[1], (3, 2, b"three".to_vec()));
        assert_eq!(records.last().unwrap().1, 0);
        let dropped = u64::from_le_bytes(records.last().unwrap().2.clone().try_into().unwrap());
        let kept: usize = records[..records.len() - 1].iter().map(|record| record.2.len()).sum();
        assert_eq!(kept as u64 + dropped, 8 + (20 << 20) + 1);
        assert!(kept as u64 <= BOUND);
    }
}
