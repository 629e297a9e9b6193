//! The independent reader of the kernel: processes by start time, namespaces, cgroups, mounts of every mount
//! namespace, loop devices, files. It asks nobody but the kernel.

mod mounts;
mod snapshot;
mod table;
mod trace;

pub(crate) use mounts::{Hierarchies, detach};
pub(crate) use snapshot::{Scope, Snapshot};
pub(crate) use table::Table;
pub(crate) use trace::{Trace, ticks};

use serde::{Deserialize, Serialize};

/// A kind of thing that can be left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A process.
    Process,
    /// A namespace that a descriptor or a mount holds though no process of the sandbox is left.
    Namespace,
    /// A mount.
    Mount,
    /// A loop device.
    LoopDevice,
    /// A directory of a cgroup file system.
    Cgroup,
    /// A file or directory.
    File,
}

impl Kind {
    /// Whether it costs nothing but its name: an empty directory of a cgroup, a file.
    pub(crate) fn is_inert(self) -> bool {
        matches!(self, Self::Cgroup | Self::File)
    }

    /// Its name, for as many.
    pub(crate) fn counted(self, count: usize) -> &'static str {
        let (one, many) = match self {
            Self::Process => ("process", "processes"),
            Self::Namespace => ("namespace", "namespaces"),
            Self::Mount => ("mount", "mounts"),
            Self::LoopDevice => ("loop device", "loop devices"),
            Self::Cgroup => ("cgroup", "cgroups"),
            Self::File => ("file", "files"),
        };
        if count == 1 { one } else { many }
    }
}

/// One thing that is there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Found {
    /// What it is.
    pub(crate) kind: Kind,
    /// Which one.
    pub(crate) name: String,
}
