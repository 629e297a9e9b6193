//! The embedded runtime: sandboxes made of Linux namespaces, cgroups and mounts.
//!
//! Three processes share the work (see `docs/processes.md`): the daemon, which talks to this crate through
//! [`LinuxDriver`]; the launcher ([`launcher_main`]), single-threaded, which makes and removes everything in the
//! kernel; and one init per sandbox, a clone of the launcher, which runs the commands and holds the deadlines.
//!
//! This is the only crate of the workspace that may hold `unsafe` code; it is kept in few modules, each block
//! with its reason.

pub mod audit;
mod capabilities;
mod cgroup;
pub mod disk;
mod driver;
mod helper;
mod ids;
mod init;
mod launcher;
mod main_log;
mod protocol;
mod root;
mod run_record;
mod seccomp;
mod slot;
#[expect(unsafe_code, reason = "system calls that no safe library offers")]
mod sys;
mod sys_error;

pub use cgroup::OwnCgroup;
pub use driver::{LinuxConfig, LinuxDriver};
pub use launcher::launcher_main;
pub use root::RootBuilder;
pub use sys_error::SysError;

/// Lets go of everything that was inherited but standard input, output and error.
///
/// For a daemon that is started on first use: its starter may have had anything open, down to the write end of a
/// pipe whose reader waits for its end. To be called before the process has opened anything itself.
///
/// # Errors
/// When the kernel does not know how (before Linux 5.9).
pub fn close_inherited_descriptors() -> std::io::Result<()> {
    sys::close_all_but(&[])
}

/// Hears the signals that the one who started this process had blocked.
///
/// To be called before the process has a second thread.
pub fn unblock_inherited_signals() {
    sys::unblock_signals();
}

/// Hears the signals that the one who started this process had ignored: a background job of a shell, `nohup`.
///
/// For a daemon that is started on first use, which would keep what held for its starter, for all who come later.
pub fn heed_inherited_signals() {
    sys::heed_ignored_signals();
}
