//! Walks the kernel, without the ledger, and lists everything that carries a home's mark.
//!
//! Clean-up that trusts its own books cannot find what the books lost. So this reads only what the kernel and
//! the file system show: one file per kind of object, every one a plain read that changes nothing and needs
//! no daemon. [`compare`] then holds the result against the ledger, both ways.
//!
//! A walk is not atomic. What is being made or taken apart at that moment may look lost; whoever reports a
//! leak walks again and keeps only what both walks agree on ([`AuditReport::confirmed_by`]).

mod cgroups;
mod claims;
mod compare;
mod descriptors;
mod directories;
mod host;
mod loops;
mod mounts;
mod namespaces;
mod processes;
mod procfs;
mod quotas;
mod removal;
mod slots;
mod sockets;
mod user_ids;

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use serde::Serialize;
use thiserror::Error;

pub use compare::{AuditReport, Missing, compare};
pub use host::{Lack, lacks};
pub use removal::remove;

/// Which home to look for.
#[derive(Debug, Clone)]
pub struct AuditScope {
    /// The id of the home, its mark in the kernel.
    pub home_id: String,
    /// The directory of everything durable.
    pub state_dir: PathBuf,
    /// The directory of sockets and slots.
    pub run_dir: PathBuf,
}

/// The kinds of objects that a walk lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The daemon, launchers, inits and everything that runs in a sandbox.
    Process,
    /// A directory in any cgroup hierarchy.
    Cgroup,
    /// A mount in any mount namespace.
    Mount,
    /// A descriptor of a process outside that keeps a namespace or a detached mount alive.
    Descriptor,
    /// A network namespace, alive by its processes or by a bind mount.
    NetworkNamespace,
    /// A loop device on the disk pool.
    LoopDevice,
    /// A socket in the run directory.
    Socket,
    /// A directory of a slot or a sandbox.
    Directory,
    /// A log of a main command.
    Log,
    /// A subvolume of the disk pool, with its quota.
    Quota,
    /// The lock file of a range of user ids.
    IdClaim,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Process,
        Self::Cgroup,
        Self::Mount,
        Self::Descriptor,
        Self::NetworkNamespace,
        Self::LoopDevice,
        Self::Socket,
        Self::Directory,
        Self::Log,
        Self::Quota,
        Self::IdClaim,
    ];

    /// The kind in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Cgroup => "cgroup",
            Self::Mount => "mount",
            Self::Descriptor => "descriptor",
            Self::NetworkNamespace => "network namespace",
            Self::LoopDevice => "loop device",
            Self::Socket => "socket",
            Self::Directory => "directory",
            Self::Log => "log",
            Self::Quota => "quota",
            Self::IdClaim => "id claim",
        }
    }
}

/// Whom an object belongs to, as far as the kernel tells.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case", tag = "of")]
pub enum Owner {
    /// A sandbox, by its slot or its id.
    Sandbox {
        /// The id of the sandbox.
        sandbox: String,
    },
    /// A slot that no sandbox has taken.
    Slot {
        /// The name of the slot.
        slot: String,
    },
    /// The home as a whole: right as long as anything of the home lives.
    Home,
    /// It carries the mark, and nothing that a home makes accounts for it.
    Nobody,
}

/// An object that carries the home's mark.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Found {
    /// What it is.
    pub kind: Kind,
    /// Its name: a path, a process id, the inode of a namespace.
    pub name: String,
    /// Whom it belongs to.
    pub owner: Owner,
    /// The process that it is or that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// More words for a person.
    pub detail: String,
}

impl Found {
    fn new(kind: Kind, name: impl Into<String>, owner: Owner, detail: impl Into<String>) -> Self {
        Self { kind, name: name.into(), owner, pid: None, detail: detail.into() }
    }

    fn held_by(mut self, pid: u32) -> Self {
        self.pid = Some(pid);
        self
    }

    fn same_as(&self, other: &Self) -> bool {
        self.kind == other.kind && self.name == other.name && self.pid == other.pid
    }
}

/// Which processes hold the home up at the moment of the walk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LiveView {
    /// The daemon.
    pub daemon: Option<u32>,
    /// The launchers; more than one only while an older one drains.
    pub launchers: Vec<u32>,
    /// The slots that a live launcher keeps ready, or has begun with by claiming their user ids.
    pub pool: BTreeSet<String>,
    /// The boot that the machine is in (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
}

/// What a walk saw.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Walk {
    /// Every object with the home's mark.
    pub found: Vec<Found>,
    /// Which processes hold the home up.
    pub live: LiveView,
}

/// Why a walk could not be done.
#[derive(Debug, Error)]
pub enum AuditError {
    /// A part of the kernel's or the home's file system could not be read.
    #[error("cannot read {path:?}: {source}; run `ebb doctor` as the user that the daemon runs as")]
    Unreadable {
        /// What was to be read.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

/// Lists every object in the kernel and in the run directory that carries the home's mark.
///
/// # Errors
/// When the process table, the mount table or a directory of the home cannot be read. What vanishes while it
/// is being read is no error.
pub fn walk(scope: &AuditScope) -> Result<Walk, AuditError> {
    let table = procfs::Table::read()?;
    let slots = slots::Slots::read(scope)?;
    let (mut live, processes) = processes::list(scope, &table, &slots);
    live.pool.extend(claims::slots_of_launchers(scope, &live.launchers)?);
    let spaces = namespaces::Spaces::of(&processes);

    let mut found: Vec<Found> = processes.iter().map(processes::Member::found).collect();
    found.extend(cgroups::list(scope, &slots)?);
    let (mounts, pool) = mounts::list(scope, &table, &slots, &live, &spaces);
    found.extend(mounts);
    found.extend(descriptors::list(scope, &table, &live, &spaces));
    found.extend(namespaces::list(&spaces));
    found.extend(loops::list(scope));
    found.extend(sockets::list(scope, &slots)?);
    found.extend(directories::list(scope, &slots)?);
    found.extend(quotas::list(&slots, pool.as_ref()));
    found.extend(claims::list(scope, &slots)?);
    found.sort();
    Ok(Walk { found, live })
}
