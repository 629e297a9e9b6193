//! A stream that another thread makes, in large pieces.

use std::io::{self, BufRead, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use sha2::{Digest as _, Sha256};

use crate::Digest;

/// Small enough to stay in a processor's cache on the way from one thread to the other.
const CHUNK: usize = 256 * 1024;
/// How far the maker may be ahead.
const AHEAD: usize = 8;

/// The maker's end.
pub(super) struct Maker {
    to: SyncSender<io::Result<Vec<u8>>>,
    used: Receiver<Vec<u8>>,
}

/// The taker's end. What it has taken, it has hashed: the maker decompresses, which is as much work again.
pub(super) struct Chunks {
    from: Receiver<io::Result<Vec<u8>>>,
    used: Sender<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
    hasher: Sha256,
}

/// Both ends.
pub(super) fn chunks() -> (Maker, Chunks) {
    let (to, from) = sync_channel(AHEAD);
    let (give_back, used) = channel();
    let chunks = Chunks { from, used: give_back, chunk: Vec::new(), at: 0, hasher: Sha256::new() };
    (Maker { to, used }, chunks)
}

impl Maker {
    /// Passes on all of `from`, or the error that it ends with. Ends early when nobody takes it any more, or it is given up.
    pub(super) fn pass(self, from: io::Result<impl Read>, given_up: &AtomicBool) {
        let mut from = match from {
            Ok(from) => from,
            Err(error) => return drop(self.to.send(Err(error))),
        };
        loop {
            let mut chunk = self.used.try_recv().unwrap_or_default();
            chunk.resize(CHUNK, 0);
            let (filled, mut failed) = fill(&mut from, &mut chunk);
            if given_up.load(Ordering::Relaxed) {
                failed = Some(io::Error::other("it was given up"));
            }
            chunk.truncate(filled);
            let is_last = filled < CHUNK;
            if !chunk.is_empty() && self.to.send(Ok(chunk)).is_err() {
                return;
            }
            if let Some(error) = failed {
                return drop(self.to.send(Err(error)));
            }
            if is_last {
                return;
            }
        }
    }
}

/// Fills the buffer as far as the stream goes.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> (usize, Option<io::Error>) {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (filled, Some(error)),
        }
    }
    (filled, None)
}

impl Chunks {
    /// The digest of all that came.
    pub(super) fn digest(self) -> Digest {
        Digest::from_hasher(self.hasher)
    }
}

impl BufRead for Chunks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.chunk.len() {
            let Ok(next) = self.from.recv() else { return Ok(&[]) };
            let used = std::mem::replace(&mut self.chunk, next?);
            self.at = 0;
            self.hasher.update(&self.chunk);
            let _ = self.used.send(used);
        }
        Ok(&self.chunk[self.at..])
    }

    fn consume(&mut self, bytes: usize) {
        self.at = (self.at + bytes).min(self.chunk.len());
    }
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut there = self.fill_buf()?;
        let read = there.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}
