//! The connections that are open, so that a forked child can let go of them.
//!
//! A fork gives the child a copy of every descriptor. Its copy of a connection keeps that open after the parent has
//! gone, and the other side would take the parent for alive. The child must close it and nothing more: shutting it
//! down would end the parent's.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::ProcessLocal;

/// The numbers of this process's connections.
static OPEN: ProcessLocal<Mutex<BTreeSet<RawFd>>> = ProcessLocal::new();

/// The connections to daemons that a process which was just forked has from its parent, for it to close before it does
/// anything else. None of them is in use in the child; what drove them is not there.
pub fn inherited_sockets() -> Vec<RawFd> {
    // Locked for good where another thread of the parent was just opening or closing one. Its copies stay open then,
    // which costs no more than that the end of the parent is seen later.
    let open = OPEN.inherited().and_then(|open| open.try_lock().ok());
    open.map(|open| open.iter().copied().collect()).unwrap_or_default()
}

fn change(edit: impl FnOnce(&mut BTreeSet<RawFd>) -> bool) {
    edit(&mut OPEN.get().lock().unwrap_or_else(PoisonError::into_inner));
}

/// A connection that is in the list for as long as it is open.
#[derive(Debug)]
pub(crate) struct Listed<S: AsRawFd>(S);

impl<S: AsRawFd> Listed<S> {
    pub(crate) fn new(socket: S) -> Self {
        let number = socket.as_raw_fd();
        change(|open| open.insert(number));
        Self(socket)
    }
}

impl<S: AsRawFd> Drop for Listed<S> {
    fn drop(&mut self) {
        // Before it is closed and the number is another's.
        let number = self.0.as_raw_fd();
        change(|open| open.remove(&number));
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
        let listed = |number| OPEN.get().lock().unwrap().contains(&number);
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let number = one.as_raw_fd();
        let one = Listed::new(one);
        assert!(listed(number));
        drop(one);
        assert!(!listed(number));
        assert!(inherited_sockets().is_empty(), "this process has made its own");
    }
}
