//! Finding and reading records in a log's file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use ebbtide_driver::LogMark;

use super::{BLOCK, HEADER, Header, block_of};

/// A log's file. Its oldest blocks can vanish at any moment, and read as zeros then.
#[derive(Clone)]
pub(super) struct LogFile(Arc<File>);

impl LogFile {
    pub(super) fn new(file: File) -> Self {
        Self(Arc::new(file))
    }

    /// The header at `position`.
    fn header(&self, position: u64) -> io::Result<Option<Header>> {
        let mut bytes = [0; HEADER];
        let read = read_at(&self.0, &mut bytes, position)?;
        Ok(Header::decode(&bytes[..read]))
    }

    /// What lies between `position` and the end of its block, with where that is: further on where there is nothing
    /// any more. Empty if nothing is there yet.
    pub(super) fn read(&self, mut position: u64) -> io::Result<(u64, Vec<u8>)> {
        loop {
            // Asked for before it is read, so that what is missing in a block that is not the last stays missing.
            let length = self.0.metadata()?.len();
            let block = block_of(position);
            let mut bytes = vec![0; (block + BLOCK - position) as usize];
            let read = read_at(&self.0, &mut bytes, position)?;
            bytes.truncate(read);
            // One that vanishes does so from its beginning on, so if that is still there, so was all of it.
            let is_whole = self.header(block)?.is_some();
            if is_whole && Header::decode(&bytes).is_some() {
                return Ok((position, bytes));
            }
            let next = if is_whole { block + BLOCK } else { self.first_block(block)? };
            if next <= position || next >= length {
                return Ok((position, Vec::new()));
            }
            position = next;
        }
    }

    /// Where the oldest block begins, from the block at `from` on; the end of the file if there is none.
    fn first_block(&self, from: u64) -> io::Result<u64> {
        let end = self.0.metadata()?.len().div_ceil(BLOCK);
        Ok(BLOCK * first(from / BLOCK, end, |block| Ok(self.header(block * BLOCK)?.is_some()))?)
    }

    /// Where the last record lies that `before` says yes to, or the oldest.
    pub(super) fn seek(&self, before: &dyn Fn(&LogMark) -> bool) -> io::Result<u64> {
        let oldest = self.first_block(0)?;
        let end = self.0.metadata()?.len().div_ceil(BLOCK);
        let beyond = first(oldest / BLOCK, end, |block| {
            let header = self.header(block * BLOCK)?;
            Ok(header.is_none_or(|header| !before(&header.mark)))
        })?;
        let block = beyond.saturating_sub(1).max(oldest / BLOCK) * BLOCK;
        let (start, bytes) = self.read(block)?;
        let (mut position, mut found) = (start, start);
        let mut rest = &bytes[..];
        while let Some(header) = Header::decode(rest)
            && let Some(beyond) = rest.get(HEADER + header.length..)
            && before(&header.mark)
        {
            found = position;
            position += (rest.len() - beyond.len()) as u64;
            rest = beyond;
        }
        Ok(found)
    }
}

/// The first number of `from..to` that `is` says yes to, and `to` if none: it says no to a beginning of them.
fn first(mut from: u64, mut to: u64, is: impl Fn(u64) -> io::Result<bool>) -> io::Result<u64> {
    while from < to {
        let middle = from + (to - from) / 2;
        if is(middle)? { to = middle } else { from = middle + 1 }
    }
    Ok(from)
}

/// Reads until `bytes` is full or the file ends.
fn read_at(file: &File, bytes: &mut [u8], position: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], position + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}
