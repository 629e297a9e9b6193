//! Process 1 of a sandbox: takes the request, runs commands, reaps, holds the deadlines, records the end.
//!
//! It is the launcher's clone and never execs, so it costs nothing to start. It holds nothing of any other
//! sandbox: every descriptor of the launcher but its own few is closed first. Code of the payload cannot trace
//! it or read its memory (not dumpable, more capabilities than the payload has) and cannot reach its socket.

mod commands;
mod deadlines;
mod deserted;
mod freezer;
mod help;
mod host_shutdown;
mod identity;
mod main_end;
mod memory;
mod mounted;
mod names;
mod processes;
mod requests;
mod server;
mod setup;
mod spawn;
mod streams;
mod switch;

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::cgroup::SlotCgroups;
use crate::protocol;
use crate::seccomp::Filter;
use crate::sys;
pub(crate) use host_shutdown::HostInit;
use identity::Identity;

/// What a new init takes over from the launcher.
pub(crate) struct Inheritance {
    /// To hear from the launcher once.
    pub(crate) launcher: OwnedFd,
    /// At its end once the launcher has died.
    pub(crate) pulse: OwnedFd,
    /// To tell the end of the host from any other.
    pub(crate) host_init: HostInit,
    /// The bound and listening socket.
    pub(crate) listener: OwnedFd,
    /// The run record.
    pub(crate) record: File,
    /// The cgroups for the payload.
    pub(crate) cgroups: SlotCgroups,
    /// The lock of the user-id range; held for life.
    pub(crate) id_lock: Option<File>,
    /// A share of the lock that keeps its image from being removed; held for life.
    pub(crate) image: Option<File>,
    /// The payload's system-call filter.
    pub(crate) filter: Arc<Filter>,
    /// A directory to attach the root at.
    pub(crate) stage: std::path::PathBuf,
}

/// What the launcher tells a new init, with the mounts of its root in the order of the targets.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Roots {
    pub(crate) targets: Vec<String>,
}

/// What a new init answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Readiness {
    /// It listens.
    Ready,
    /// A step failed; it has ended.
    Failed { step: String, errno: i32 },
}

/// The life of an init, from the first instruction of the clone.
pub(crate) fn run(inheritance: Inheritance) -> ! {
    let life = std::panic::AssertUnwindSafe(|| live(inheritance));
    std::process::exit(std::panic::catch_unwind(life).unwrap_or(70))
}

fn live(mut inheritance: Inheritance) -> i32 {
    let mut keep: Vec<i32> = vec![
        inheritance.launcher.as_raw_fd(),
        inheritance.pulse.as_raw_fd(),
        inheritance.listener.as_raw_fd(),
        inheritance.record.as_raw_fd(),
        inheritance.cgroups.init.as_raw_fd(),
        inheritance.cgroups.payload.as_raw_fd(),
        inheritance.cgroups.freeze.as_raw_fd(),
        inheritance.cgroups.memory_events.as_raw_fd(),
    ];
    keep.extend(inheritance.cgroups.self_attach.iter().map(AsRawFd::as_raw_fd));
    let held = inheritance.id_lock.iter().chain(&inheritance.image);
    keep.extend(held.chain(inheritance.host_init.file()).map(AsRawFd::as_raw_fd));
    if sys::close_all_but(&keep).is_err() {
        return 70;
    }
    let _ = rustix::thread::set_name(c"ebb-init");
    let server = setup::enter(&mut inheritance).and_then(|()| {
        server::Server::new(inheritance.listener, {
            let SlotCgroups { init, payload, self_attach, freeze, memory_events } = inheritance.cgroups;
            // It is in there already.
            drop(init);
            let (filter, identity) = (inheritance.filter, Identity::root());
            let cage = spawn::Cage { payload, self_attach, filter, identity };
            let memory = memory::Kills::count_from_now(memory_events);
            let (record, pulse, host_init) = (inheritance.record, inheritance.pulse, inheritance.host_init);
            server::Resources { record, cage, freeze, memory, pulse, host_init }
        })
    });
    let (answer, server) = match server {
        Ok(server) => (Readiness::Ready, Some(server)),
        Err(error) => {
            (Readiness::Failed { step: error.step.clone(), errno: error.errno().unwrap_or(0) }, None)
        }
    };
    let _ = protocol::send(&inheritance.launcher, &answer, &[]);
    drop(inheritance.launcher);
    match server {
        Some(server) => server.run(),
        None => 1,
    }
}
