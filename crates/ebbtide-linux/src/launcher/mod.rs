//! The launcher: makes and removes everything that sandboxes are made of, and is the parent of their inits.
//!
//! One thread, so that its clones may go on as inits; no request data, so that a clone inherits no secret. It
//! outlives the daemon and ends when it holds no sandbox and no daemon is connected.

mod adopt;
mod arguments;
mod claims;
mod disk_class;
mod factory;
mod namespace;
mod pulse;
mod roots;
mod server;
mod set_up;
mod slots;
mod teardown;

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};

use crate::cgroup;
use crate::protocol::{self, Ceiling, FromLauncher, Refusal, ToLauncher};
use crate::root::RootError;
use crate::sys_error::{Step, SysError};
pub(crate) use arguments::Arguments;
use server::Launcher;

/// Runs the launcher until it has nothing left to do. Its standard input is the listening socket.
///
/// To be called before the process has a second thread.
pub fn launcher_main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::parse(arguments) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("ebb internal-launcher: {problem}; it is started by `ebb serve` only");
            return ExitCode::from(2);
        }
    };
    let listener = match take_listener() {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("ebb internal-launcher: {error}");
            return ExitCode::FAILURE;
        }
    };
    let home_id = arguments.home_id.clone();
    // Held for life, so that two launchers never work on one home.
    let lock = lock_home(&arguments);
    let launcher = lock.and_then(|lock| Ok((lock, Launcher::set_up(arguments)?)));
    match launcher {
        Ok((_lock, mut launcher)) => match launcher.serve(listener) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("ebb internal-launcher: {error}");
                ExitCode::FAILURE
            }
        },
        Err(refusal) => {
            eprintln!("ebb internal-launcher: cannot be set up: {refusal:?}");
            // Before the daemon hears of it: it removes the cgroup on its way out, and could not with us inside.
            cgroup::leave_own_cgroup(&home_id);
            tell_broken(&listener, refusal);
            ExitCode::FAILURE
        }
    }
}

/// The socket that came as standard input, which becomes the null device.
fn take_listener() -> Result<OwnedFd, SysError> {
    let listener = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3).step(|| "take the listening socket")?;
    let null = std::fs::File::options().read(true).write(true).open("/dev/null").step(|| "open /dev/null")?;
    rustix::stdio::dup2_stdin(&null).step(|| "close standard input")?;
    rustix::stdio::dup2_stdout(&null).step(|| "close standard output")?;
    Ok(listener)
}

fn lock_home(arguments: &Arguments) -> Result<std::fs::File, Refusal> {
    let path = arguments.run_dir.join("launcher.lock");
    let step = || format!("lock {}", path.display());
    let file = std::fs::File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.step(step).map_err(|error| failed(&error))?;
    // One that is about to end holds it for a moment longer.
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5))
            }
            Err(Errno::WOULDBLOCK) => {
                return Err(Refusal::Unsupported {
                    missing: format!("another launcher works on this home and holds {}", path.display()),
                    help: "run `ebb shutdown`, or end that process".to_owned(),
                });
            }
            Err(errno) => return Err(failed(&SysError::new(step(), errno))),
        }
    }
}

/// Tells the daemon that waits why there is no launcher.
fn tell_broken(listener: &OwnedFd, refusal: Refusal) {
    if !readable_within(listener, 10) {
        return;
    }
    let Ok(socket) = accept_with(listener, SocketFlags::CLOEXEC) else { return };
    // Its question is read first: a socket that is closed with something unread loses what was sent.
    if readable_within(&socket, 10) {
        let _ = protocol::receive::<ToLauncher>(&socket);
        let _ = protocol::send(&socket, &FromLauncher::Broken(refusal), &[]);
    }
}

fn readable_within(fd: &OwnedFd, seconds: i64) -> bool {
    let timeout = Timespec { tv_sec: seconds, tv_nsec: 0 };
    matches!(poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timeout)), Ok(1))
}

/// A failed step as an answer.
fn failed(error: &SysError) -> Refusal {
    Refusal::Failed { step: error.step.clone(), errno: error.errno().unwrap_or(0) }
}

impl From<SysError> for Refusal {
    fn from(error: SysError) -> Self {
        failed(&error)
    }
}

impl From<RootError> for Refusal {
    fn from(error: RootError) -> Self {
        match error {
            RootError::Gone(missing) => Self::ImageGone { missing: missing.display().to_string() },
            RootError::TooManyLayers { asked, most } => {
                Self::AboveCeiling { what: Ceiling::Layers, asked: asked as u64, available: most as u64 }
            }
            RootError::System(error) => failed(&error),
        }
    }
}
