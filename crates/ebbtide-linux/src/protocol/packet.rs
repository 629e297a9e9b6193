//! One message and its descriptors as a sequenced packet.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, MemfdFlags, fstat, memfd_create};
use rustix::io::{pread, pwrite};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// The version of every message between daemon, launcher and init. Raised when one changes its meaning.
const VERSION: u16 = 5;
/// What fits a packet whatever the host's socket buffers are; more travels in a memory file.
const MAX_INLINE: usize = 32 * 1024;
/// The largest message. A request's arguments and environment are far below it.
const MAX_MESSAGE: u64 = 4 * 1024 * 1024;
/// The most descriptors of one message.
const MAX_FDS: usize = 8;

const INLINE: u8 = 0;
const IN_MEMORY_FILE: u8 = 1;

/// Why a packet could not be read or sent.
#[derive(Debug, Error)]
pub(crate) enum PacketError {
    /// The other side has closed the connection.
    #[error("the other side has closed the connection")]
    Closed,
    /// The other side speaks another version.
    #[error(
        "the other side speaks version {0} of the protocol, this one {VERSION}; run `ebb shutdown` once and try again"
    )]
    Version(u16),
    /// The bytes are no message.
    #[error("the other side sent something that is no message")]
    Malformed,
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
}

impl PacketError {
    pub(crate) fn is_would_block(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl From<rustix::io::Errno> for PacketError {
    fn from(errno: rustix::io::Errno) -> Self {
        match errno {
            rustix::io::Errno::CONNRESET | rustix::io::Errno::PIPE | rustix::io::Errno::NOTCONN => {
                Self::Closed
            }
            errno => Self::Io(errno.into()),
        }
    }
}

/// Sends one message with its descriptors.
pub(crate) fn send<T: Serialize>(
    socket: impl AsFd,
    message: &T,
    fds: &[BorrowedFd<'_>],
) -> Result<(), PacketError> {
    let mut packet = Vec::with_capacity(256);
    packet.extend_from_slice(&VERSION.to_le_bytes());
    packet.push(INLINE);
    let packet = postcard::to_extend(message, packet).map_err(|_| PacketError::Malformed)?;
    if packet.len() <= MAX_INLINE {
        return send_packet(socket, &packet, fds);
    }
    let body = &packet[3..];
    if body.len() as u64 > MAX_MESSAGE {
        return Err(PacketError::Malformed);
    }
    let file = memfd_create(c"ebb-message", MemfdFlags::CLOEXEC)?;
    let mut offset = 0;
    while offset < body.len() {
        offset += pwrite(&file, &body[offset..], offset as u64)?;
    }
    let mut all = vec![file.as_fd()];
    all.extend_from_slice(fds);
    let mut head = VERSION.to_le_bytes().to_vec();
    head.push(IN_MEMORY_FILE);
    send_packet(socket, &head, &all)
}

fn send_packet(socket: impl AsFd, packet: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), PacketError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(PacketError::Malformed);
    }
    loop {
        match sendmsg(&socket, &[IoSlice::new(packet)], &mut control, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Receives one message with its descriptors.
pub(crate) fn receive<T: DeserializeOwned>(socket: impl AsFd) -> Result<(T, Vec<OwnedFd>), PacketError> {
    let mut buffer = [0; MAX_INLINE + 3];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let length = loop {
        let mut slices = [IoSliceMut::new(&mut buffer)];
        match recvmsg(&socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(message) => break message.bytes,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    if length == 0 {
        return Err(PacketError::Closed);
    }
    let mut fds: Vec<OwnedFd> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    let Some((head, body)) = buffer[..length].split_at_checked(3) else { return Err(PacketError::Malformed) };
    let version = u16::from_le_bytes([head[0], head[1]]);
    if version != VERSION {
        return Err(PacketError::Version(version));
    }
    let message = match head[2] {
        INLINE => postcard::from_bytes(body),
        IN_MEMORY_FILE if !fds.is_empty() => postcard::from_bytes(&read_memory_file(&fds.remove(0))?),
        _ => return Err(PacketError::Malformed),
    };
    Ok((message.map_err(|_| PacketError::Malformed)?, fds))
}

fn read_memory_file(file: &OwnedFd) -> Result<Vec<u8>, PacketError> {
    let stat = fstat(file)?;
    let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || size > MAX_MESSAGE {
        return Err(PacketError::Malformed);
    }
    let mut body = vec![0; size as usize];
    let mut offset = 0;
    while offset < body.len() {
        match pread(file, &mut body[offset..], offset as u64)? {
            0 => return Err(PacketError::Malformed),
            read => offset += read,
        }
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
    }

    #[test]
    fn small_and_large_messages_and_descriptors_arrive() {
        let (left, right) = pair();
        for size in [0, 10, MAX_INLINE - 5, MAX_INLINE, 1 << 20] {
            let text = "x".repeat(size);
            send(&left, &text, &[left.as_fd(), right.as_fd()]).unwrap();
            let (received, fds) = receive::<String>(&right).unwrap();
            assert_eq!((received == text, fds.len()), (true, 2), "{size}");
        }
    }

    #[test]
    fn what_is_no_message_is_an_error_of_its_own_kind() {
        let (left, right) = pair();
        let raw = |bytes: &[u8]| {
            rustix::net::send(&left, bytes, SendFlags::empty()).unwrap();
            receive::<String>(&right).unwrap_err()
        };
        assert!(matches!(raw(&[1]), PacketError::Malformed));
        assert!(matches!(raw(&[9, 0, 0]), PacketError::Version(9)));
        assert!(matches!(raw(&[VERSION as u8, 0, 0, 200]), PacketError::Malformed));
        assert!(matches!(raw(&[VERSION as u8, 0, 1]), PacketError::Malformed));
        assert!(matches!(raw(&[VERSION as u8, 0, 7]), PacketError::Malformed));
        drop(left);
        assert!(matches!(receive::<String>(&right), Err(PacketError::Closed)));
    }
}
