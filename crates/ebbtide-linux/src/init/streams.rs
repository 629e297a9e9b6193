//! What a command reads and writes: the ends that it gets, and the ends that are passed on.
//!
//! All of it is made here, inside the sandbox's user namespace, so that it belongs to the payload: it can open its
//! pipes again by `/dev/stdout`, and its terminal by name.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, open};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{InputModes, OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use crate::protocol::TerminalSize;

/// Of the sandbox's own devpts, which nothing inside can unmount or cover.
const PTMX: &str = "/dev/pts/ptmx";

/// The command's ends.
pub(super) struct Inside {
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    /// Whether they are a terminal, which is to be the one of the command's session.
    pub(super) terminal: bool,
}

/// The other ends of a command's pipes.
pub(super) struct Pipes {
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

impl Pipes {
    /// Makes the pipes of a command; without `stdin` it reads an empty one.
    pub(super) fn make(stdin: bool) -> io::Result<(Inside, Self)> {
        let (stdin_read, stdin) = if stdin {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
            (read, Some(write))
        } else {
            (open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?, None)
        };
        let (stdout, stdout_write) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stderr, stderr_write) = pipe_with(PipeFlags::CLOEXEC)?;
        let inside =
            Inside { stdin: stdin_read, stdout: stdout_write, stderr: stderr_write, terminal: false };
        Ok((inside, Self { stdin, stdout, stderr }))
    }
}

/// Makes a terminal; answers its master beside the command's ends.
pub(super) fn make_terminal(size: TerminalSize) -> io::Result<(Inside, OwnedFd)> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = open(PTMX, flags | OFlags::NOFOLLOW, Mode::empty())?;
    unlockpt(&master)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let stdin = ioctl_tiocgptpeer(&master, flags)?;
    let TerminalSize { columns, rows } = size;
    tcsetwinsize(&stdin, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
    // Erasing takes a whole character with it.
    let mut settings = tcgetattr(&stdin)?;
    settings.input_modes |= InputModes::IUTF8;
    tcsetattr(&stdin, OptionalActions::Now, &settings)?;
    let (stdout, stderr) = (stdin.try_clone()?, stdin.try_clone()?);
    Ok((Inside { stdin, stdout, stderr, terminal: true }, master))
}
