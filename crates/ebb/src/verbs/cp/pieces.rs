//! Between a thread that packs or unpacks, which blocks, and the connection, which does not: a bounded queue of pieces.

use std::io::{self, Read, Write};

use ebbtide::proto::bytes::Bytes;
use tokio::sync::mpsc;

/// How many pieces may wait.
const QUEUE: usize = 4;

/// Where a thread writes to.
pub(super) struct Outlet(mpsc::Sender<Bytes>);

/// Where a thread reads from. The end of the queue is the end of file.
pub(super) struct Inlet {
    pieces: mpsc::Receiver<Bytes>,
    current: Bytes,
}

/// A queue that a thread fills.
pub(super) fn outlet() -> (Outlet, mpsc::Receiver<Bytes>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Outlet(sender), receiver)
}

/// A queue that a thread empties.
pub(super) fn inlet() -> (mpsc::Sender<Bytes>, Inlet) {
    let (sender, pieces) = mpsc::channel(QUEUE);
    (sender, Inlet { pieces, current: Bytes::new() })
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.blocking_send(Bytes::copy_from_slice(bytes)).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Inlet {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.current = piece,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.current.len());
        buffer[..length].copy_from_slice(&self.current.split_to(length));
        Ok(length)
    }
}
