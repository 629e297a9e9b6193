//! Running a command in the payload's cgroup with nothing that it should not have.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use super::identity::Identity;
use super::streams::Inside;
use crate::capabilities;
use crate::protocol::{SpawnError, SpawnStage};
use crate::seccomp::Filter;
use crate::sys::{self, CloneFlags, Cloned};

/// What every command is run in.
pub(super) struct Cage {
    pub(super) payload: OwnedFd,
    pub(super) self_attach: Vec<OwnedFd>,
    pub(super) filter: Arc<Filter>,
    /// Who commands run as; root until the request says otherwise.
    pub(super) identity: Identity,
}

/// A command with everything resolved.
pub(super) struct Spawn<'a> {
    pub(super) argv: &'a [String],
    pub(super) env: &'a BTreeMap<String, String>,
    pub(super) working_dir: &'a str,
}

impl Cage {
    /// Runs a command with these streams; answers its process once it has been executed.
    pub(super) fn spawn(&self, command: &Spawn<'_>, streams: &Inside) -> Result<i32, SpawnError> {
        let prepared = at(SpawnStage::Prepare, Prepared::new(command))?;
        self.identity.own(streams);
        let (report, report_write) = at(SpawnStage::Prepare, pipe_with(PipeFlags::CLOEXEC))?;
        match sys::clone(CloneFlags::WAIT_FOR_EXEC, Some(self.payload.as_fd())) {
            Err(error) => Err(failed(SpawnStage::Cgroup, &error)),
            Ok(Cloned::Child) => {
                let Err(error) = self.become_payload(&prepared, streams, &report_write);
                let mut bytes = [0; 5];
                bytes[0] = error.stage as u8;
                bytes[1..].copy_from_slice(&error.errno.to_le_bytes());
                let _ = rustix::io::write(&report_write, &bytes);
                std::process::exit(127)
            }
            Ok(Cloned::Parent { pid, .. }) => {
                drop(report_write);
                match read_report(report) {
                    None => Ok(pid),
                    Some(error) => Err(error),
                }
            }
        }
    }

    /// The child's way to its program. What init holds is closed before any path of the request is looked up, since a
    /// path can lead through a descriptor (`/proc/self/fd/N`), and init's lead out of the root. The exec closes `report`.
    fn become_payload(
        &self,
        prepared: &Prepared,
        streams: &Inside,
        report: &OwnedFd,
    ) -> Result<Infallible, SpawnError> {
        for file in &self.self_attach {
            at(SpawnStage::Cgroup, rustix::io::write(file, b"0"))?;
        }
        at(SpawnStage::Cgroup, sys::unshare(libc::CLONE_NEWCGROUP))?;
        at(SpawnStage::Prepare, rustix::process::setsid())?;
        if streams.terminal {
            at(SpawnStage::Prepare, rustix::process::ioctl_tiocsctty(&streams.stdin))?;
        }
        at(SpawnStage::Prepare, dup2_stdin(&streams.stdin))?;
        at(SpawnStage::Prepare, dup2_stdout(&streams.stdout))?;
        at(SpawnStage::Prepare, dup2_stderr(&streams.stderr))?;
        at(SpawnStage::Prepare, sys::close_all_but(&[report.as_raw_fd()]))?;
        at(SpawnStage::WorkingDirectory, enter(&prepared.working_dir))?;
        sys::unblock_signals();
        at(SpawnStage::Confine, capabilities::drop_to(capabilities::PAYLOAD).map_err(|error| error.source))?;
        // The working directory was entered before: an image may have one that its user cannot enter.
        at(SpawnStage::Confine, self.identity.assume())?;
        at(SpawnStage::Confine, self.filter.install())?;
        Err(prepared.exec())
    }
}

/// Enters a working directory, through no door of the kernel.
pub(super) fn enter(directory: &CStr) -> rustix::io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::process::fchdir(openat2(CWD, directory, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)?)
}

/// A command's strings as the kernel wants them, made before the clone.
struct Prepared {
    programs: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
    working_dir: CString,
}

impl Prepared {
    fn new(command: &Spawn<'_>) -> io::Result<Self> {
        let c_string = |text: String| CString::new(text).map_err(io::Error::from);
        let program = command.argv.first().ok_or(io::ErrorKind::InvalidInput)?;
        let programs = if program.contains('/') {
            vec![c_string(program.clone())?]
        } else {
            let path = command.env.get("PATH").map_or("", String::as_str);
            path.split(':')
                .map(|dir| c_string(format!("{}/{program}", if dir.is_empty() { "." } else { dir })))
                .collect::<Result<_, _>>()?
        };
        Ok(Self {
            programs,
            argv: command.argv.iter().map(|argument| c_string(argument.clone())).collect::<Result<_, _>>()?,
            env: command
                .env
                .iter()
                .map(|(key, value)| c_string(format!("{key}={value}")))
                .collect::<Result<_, _>>()?,
            working_dir: c_string(command.working_dir.to_owned())?,
        })
    }

    /// Tries each candidate as a shell does: one that exists and cannot be executed is told over one that is absent.
    fn exec(&self) -> SpawnError {
        let mut refused = None;
        for program in &self.programs {
            let error = sys::execve(program, &self.argv, &self.env);
            match error.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR) => {}
                Some(libc::EACCES) => refused = Some(failed(SpawnStage::Exec, &error)),
                _ => return failed(SpawnStage::Exec, &error),
            }
        }
        refused.unwrap_or(SpawnError { stage: SpawnStage::Lookup, errno: libc::ENOENT })
    }
}

pub(super) fn at<T, E: Into<io::Error>>(stage: SpawnStage, result: Result<T, E>) -> Result<T, SpawnError> {
    result.map_err(|error| failed(stage, &error.into()))
}

fn failed(stage: SpawnStage, error: &io::Error) -> SpawnError {
    SpawnError { stage, errno: error.raw_os_error().unwrap_or(libc::EINVAL) }
}

/// What the child said before its end; nothing if its exec closed the pipe.
fn read_report(report: OwnedFd) -> Option<SpawnError> {
    let mut bytes = [0; 5];
    std::fs::File::from(report).read_exact(&mut bytes).ok()?;
    let stage = [
        SpawnStage::Prepare,
        SpawnStage::Cgroup,
        SpawnStage::Confine,
        SpawnStage::WorkingDirectory,
        SpawnStage::Lookup,
        SpawnStage::Exec,
    ]
    .into_iter()
    .find(|stage| *stage as u8 == bytes[0])?;
    Some(SpawnError { stage, errno: i32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]) })
}
