//! Starting helpers: clones that work on files with the rights of the payload, and execute nothing.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use super::spawn::{Cage, enter};
use crate::capabilities;
use crate::helper::{self, Channels};
use crate::protocol::{FileAction, FileTask};
use crate::sys::{self, CloneFlags, Cloned};

/// What a helper's pipe holds, if the kernel gives that much.
const PIPE_BYTES: usize = 256 * 1024;

/// A helper that runs, with the daemon's ends.
pub(super) struct Helper {
    pub(super) pid: i32,
    pub(super) control: OwnedFd,
    pub(super) content: OwnedFd,
}

impl Cage {
    /// Starts a helper; returns at once.
    pub(super) fn help(&self, task: FileTask, working_dir: &str) -> io::Result<Helper> {
        let (control, its_control) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        let _ = fcntl_setpipe_size(&write, PIPE_BYTES);
        let (content, its_content) = match task.action {
            FileAction::Read | FileAction::Pack => (read, write),
            FileAction::Write(_) | FileAction::Unpack => (write, read),
        };
        match sys::clone(CloneFlags::NONE, Some(self.payload.as_fd()))? {
            Cloned::Parent { pid, .. } => Ok(Helper { pid, control, content }),
            Cloned::Child => {
                let channels = Channels { control: its_control, content: File::from(its_content) };
                let work = AssertUnwindSafe(|| self.become_helper(task, working_dir, channels));
                // Neither a panic nor a return may lead back into the loop of the init that this is a copy of.
                std::process::exit(match catch_unwind(work) {
                    Ok(Ok(())) => 0,
                    Ok(Err(_)) | Err(_) => 70,
                })
            }
        }
    }

    /// As a command before its exec, but that every descriptor is closed by hand: there is no exec that would do it.
    fn become_helper(&self, task: FileTask, working_dir: &str, channels: Channels) -> io::Result<()> {
        for file in &self.self_attach {
            rustix::io::write(file, b"0")?;
        }
        sys::unshare(libc::CLONE_NEWCGROUP)?;
        rustix::process::setsid()?;
        let _ = rustix::thread::set_name(c"ebb-helper");
        sys::close_all_but(&[channels.control.as_raw_fd(), channels.content.as_raw_fd()])?;
        // Where the directory is gone, absolute paths still lead somewhere.
        let _ = CString::new(working_dir).map(|directory| enter(&directory));
        sys::reset_signal_actions();
        sys::unblock_signals();
        capabilities::drop_to(capabilities::PAYLOAD).map_err(|error| error.source)?;
        self.identity.assume()?;
        self.filter.install()?;
        helper::run(task, channels);
        Ok(())
    }
}
