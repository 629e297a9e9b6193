//! The packet protocol on a tokio socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::unix::AsyncFd;

use crate::protocol::{self, PacketError};

pub(super) struct Packets(AsyncFd<OwnedFd>);

impl Packets {
    /// Connects to a listening socket; never waits.
    pub(super) fn connect(path: &Path) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        connect(&socket, &SocketAddrUnix::new(path)?)?;
        Self::register(socket)
    }

    /// Takes over a descriptor that was passed on, which must be such a socket.
    pub(super) fn adopt(socket: OwnedFd) -> io::Result<Self> {
        if rustix::net::sockopt::socket_type(&socket)? != SocketType::SEQPACKET {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        rustix::io::ioctl_fionbio(&socket, true)?;
        Self::register(socket)
    }

    #[expect(unsafe_code, reason = "tokio asks its callers to vouch for the descriptor")]
    fn register(socket: OwnedFd) -> io::Result<Self> {
        // SAFETY: the socket is owned by the AsyncFd, so it is open for as long as it is registered.
        Ok(Self(unsafe { AsyncFd::register(socket) }?))
    }

    pub(super) async fn send<T: Serialize>(
        &self,
        message: &T,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), PacketError> {
        loop {
            match protocol::send(self.0.as_fd(), message, fds) {
                Err(error) if error.is_would_block() => self.0.writable().await?.clear_ready(),
                result => return result,
            }
        }
    }

    /// Safe to drop at the await: a packet is taken whole or not at all.
    pub(super) async fn receive<T: DeserializeOwned>(&self) -> Result<(T, Vec<OwnedFd>), PacketError> {
        loop {
            let mut ready = self.0.readable().await?;
            match protocol::receive(self.0.as_fd()) {
                Err(error) if error.is_would_block() => ready.clear_ready(),
                result => return result,
            }
        }
    }
}
