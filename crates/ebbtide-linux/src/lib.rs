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
mod ids;
mod init;
mod launcher;
mod protocol;
mod root;
mod run_record;
mod seccomp;
mod slot;
#[expect(unsafe_code, reason = "system calls that no safe library offers")]
mod sys;
mod sys_error;

pub use driver::{LinuxConfig, LinuxDriver};
pub use launcher::launcher_main;
pub use root::RootBuilder;
pub use sys_error::SysError;
#[expect(unsafe_code, reason = "descriptors that nobody in this process owns can only be closed by number")]
mod descriptors;

pub use descriptors::close_inherited_descriptors;
