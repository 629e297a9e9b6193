//! The master of a command's terminal, as its init passed it out.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ebbtide_driver::{DriverError, WindowSize};
use rustix::fs::{FileType, fstat, makedev};
use rustix::io::ioctl_fionbio;
use rustix::termios::{SpecialCodeIndex, Winsize, tcgetattr, tcsetwinsize};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncWrite, Interest};

/// The device number of every master.
const MASTER: (u32, u32) = (5, 2);
/// Ctrl-D, for a terminal that has no end-of-file character at the moment.
const END_OF_FILE: u8 = 0x04;

/// A terminal's other side. It is hung up when the last handle goes.
pub(super) struct Terminal(AsyncFd<OwnedFd>);

impl Terminal {
    /// Takes over what an init, whose word counts for nothing, says is the master of a terminal.
    #[expect(unsafe_code, reason = "tokio asks its callers to vouch for the descriptor")]
    pub(super) fn adopt(fd: OwnedFd) -> Result<Self, DriverError> {
        let not_promised =
            |error: io::Error| DriverError::Protocol(format!("not the terminal that was promised: {error}"));
        let stat = fstat(&fd).map_err(|errno| not_promised(errno.into()))?;
        let is_device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
        if !is_device || stat.st_rdev != makedev(MASTER.0, MASTER.1) {
            return Err(not_promised(io::Error::other("it is no master")));
        }
        ioctl_fionbio(&fd, true).map_err(|errno| not_promised(errno.into()))?;
        // SAFETY: the descriptor is owned by the AsyncFd, so it is open for as long as it is registered.
        let registered = unsafe { AsyncFd::register(fd) };
        Ok(Self(registered.map_err(|error| not_promised(error.into()))?))
    }

    /// Waits until there is something to read, or every process has closed the terminal.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.0.readable().await.map(drop)
    }

    /// Reads what is there; an error once every process has closed the terminal.
    pub(super) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_io(Interest::READABLE, |fd| Ok(rustix::io::read(fd, &mut *buffer)?))
    }

    pub(super) fn resize(&self, size: WindowSize) -> rustix::io::Result<()> {
        let WindowSize { columns, rows } = size.or_usual();
        tcsetwinsize(&self.0, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })
    }

    fn end_of_file(&self) -> u8 {
        let settings = tcgetattr(&self.0);
        match settings.map(|settings| settings.special_codes[SpecialCodeIndex::VEOF]) {
            Ok(code) if code != 0 => code,
            _ => END_OF_FILE,
        }
    }

    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_write_ready(cx))?;
            if let Ok(written) = ready.try_io(|fd| Ok(rustix::io::write(fd, bytes)?)) {
                return Poll::Ready(written);
            }
        }
    }
}

impl AsFd for Terminal {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What the caller types.
pub(super) struct Keyboard {
    terminal: Arc<Terminal>,
    /// Whether the last that was typed stands in an unfinished line: an end of file there only hands it over.
    within_line: bool,
    /// How often the end of file is still to be typed.
    rest: Option<usize>,
}

impl Keyboard {
    pub(super) fn new(terminal: Arc<Terminal>) -> Self {
        Self { terminal, within_line: false, rest: None }
    }
}

impl AsyncWrite for Keyboard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(self.terminal.poll_write(cx, bytes))?;
        if let Some(last) = bytes[..written].last() {
            self.within_line = !matches!(last, b'\r' | b'\n' | &END_OF_FILE);
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let code = self.terminal.end_of_file();
        let mut rest = self.rest.unwrap_or(1 + usize::from(self.within_line));
        while rest > 0 {
            self.rest = Some(rest);
            rest -= ready!(self.terminal.poll_write(cx, &[code, code][..rest]))?;
        }
        (self.rest, self.within_line) = (None, false);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use rustix::pty::{OpenptFlags, openpt};

    use super::*;

    /// A hostile init may send anything.
    #[tokio::test]
    async fn nothing_but_a_master_is_taken_for_a_terminal() {
        let (pipe, _write) = rustix::pipe::pipe().unwrap();
        let null = std::fs::File::options().read(true).write(true).open("/dev/null").unwrap();
        let file = tempfile::tempfile().unwrap();
        let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        for other in [pipe, null.into(), file.into(), socket.into()] {
            assert!(matches!(Terminal::adopt(other), Err(DriverError::Protocol(_))));
        }
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        assert!(Terminal::adopt(master).is_ok());
    }
}
