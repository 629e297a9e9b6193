//! The connections that are open, so that a forked child can let go of them.
//!
//! A fork gives the child a copy of every descriptor. Its copy of a connection keeps that open after the parent has
//! gone, and the other side would take the parent for alive. The child must close it and nothing more: shutting it
//! down would end the parent's.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt as _;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::ProcessLocal;

/// This process's connections: the number of the descriptor of each, and of the socket.
static OPEN: ProcessLocal<Mutex<BTreeMap<RawFd, u64>>> = ProcessLocal::new();

/// The connections to daemons that a process which was forked has from its parent, for it to close before it makes its
/// own. None of them is in use in the child; what drove them is not there.
pub fn inherited_sockets() -> Vec<RawFd> {
    // Locked for good where another thread of the parent was just opening or closing one. Its copies stay open then,
    // which costs no more than that the end of the parent is seen later.
    let open = OPEN.inherited().and_then(|open| open.try_lock().ok());
    // Whoever has closed everything may have given the number to something else.
    let same = |(number, socket): (&RawFd, &u64)| {
        let found = std::fs::metadata(format!("/proc/self/fd/{number}"));
        found.is_ok_and(|found| found.ino() == *socket).then_some(*number)
    };
    open.map(|open| open.iter().filter_map(same).collect()).unwrap_or_default()
}

fn open() -> MutexGuard<'static, BTreeMap<RawFd, u64>> {
    OPEN.get().lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection that is in the list for as long as it is open.
#[derive(Debug)]
pub(crate) struct Listed<S: AsRawFd>(S);

impl<S: AsRawFd + AsFd> Listed<S> {
    pub(crate) fn new(socket: S) -> Self {
        // The kernel does not refuse that for what is open.
        let about = rustix::fs::fstat(&socket);
        open().insert(socket.as_raw_fd(), about.map_or(0, |about| about.st_ino));
        Self(socket)
    }
}

impl<S: AsRawFd> Drop for Listed<S> {
    fn drop(&mut self) {
        // Before it is closed and the number is another's.
        open().remove(&self.0.as_raw_fd());
    }
}

impl<S: AsRawFd + AsyncRead + Unpin> AsyncRead for Listed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsRawFd + AsyncWrite + Unpin> AsyncWrite for Listed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_listed_for_as_long_as_it_is_open() {
        let listed = |number| open().contains_key(&number);
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let number = one.as_raw_fd();
        let one = Listed::new(one);
        assert!(listed(number));
        drop(one);
        assert!(!listed(number));
        assert!(inherited_sockets().is_empty(), "this process has made its own");
    }
}
