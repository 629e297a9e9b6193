//! The root file system of a sandbox, built by the launcher as detached mounts.
//!
//! The layers are the same files for every sandbox; an idmapped clone shows them as the sandbox's own. The root
//! is an overlay, so that whatever the sandbox writes goes to its upper directory on the bounded disk. Built in
//! the launcher's mount namespace, handed over as descriptors, attached by the init: nothing of it ever shows in
//! the host's mount table.

mod attached;
mod by_descriptor;
mod device_tree;
mod error;
mod host_image;
mod layers;
mod upper;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{FsOpenFlags, OpenTreeFlags, fsopen, open_tree};

use crate::sys;
use crate::sys_error::{Step, SysError};
pub(crate) use device_tree::{DeviceTree, EMPTY_DIR, OWN_DIR};
pub(crate) use error::RootError;
pub(crate) use host_image::host_layers;
pub(crate) use layers::{Layers, hold};
pub(crate) use upper::{Stamp, UpperDirs};

/// The mounts of one sandbox's root, detached.
pub(crate) struct Root {
    /// Each with its place relative to the root.
    pub(crate) mounts: Vec<(String, OwnedFd)>,
    /// Mounts that have served. Letting go of one waits for every processor of the machine, so that is left to
    /// the init, which nobody waits for yet.
    pub(crate) used: Vec<OwnedFd>,
}

/// How overlays are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootBuilder {
    /// Every layer by descriptor; kernels that accept descriptors of detached mounts (6.13 and later).
    ByDescriptor,
    /// Layers attached for a moment in the launcher's mount namespace and named by path; from 6.1 on.
    Attached,
}

impl RootBuilder {
    /// Whether this kernel can build roots this way.
    pub fn is_supported(self) -> bool {
        match self {
            Self::Attached => true,
            Self::ByDescriptor => detached_clone(Path::new("/usr")).is_ok_and(|lower| {
                fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
                    .is_ok_and(|fs| rustix::mount::fsconfig_set_fd(&fs, "lowerdir+", &lower).is_ok())
            }),
        }
    }

    /// The builder that suits this kernel best.
    pub(crate) fn probe() -> Self {
        if Self::ByDescriptor.is_supported() { Self::ByDescriptor } else { Self::Attached }
    }

    /// Builds the mounts of a root, with their places; what is written to it goes to `dirs`. `stage` is an empty
    /// directory for mounts of a moment.
    pub(crate) fn build(
        self,
        layers: &Layers,
        dirs: &UpperDirs,
        userns: BorrowedFd<'_>,
        stage: &Path,
    ) -> Result<Root, RootError> {
        layers.check()?;
        // One for all of them: a mount for each would take most of the time.
        let store = idmapped(&layers.store, userns).map_err(|error| layers.explain(error))?;
        let root = match self {
            Self::ByDescriptor => by_descriptor::overlay(&store, layers, dirs)?,
            Self::Attached => attached::overlay(&store, layers, dirs, stage)?,
        };
        let mut mounts = vec![(String::new(), root)];
        for (target, path) in &layers.shown {
            let mount = idmapped(path, userns)?;
            sys::make_read_only(mount.as_fd()).step(|| format!("protect {}", path.display()))?;
            mounts.push((target.clone(), mount));
        }
        Ok(Root { mounts, used: vec![store] })
    }
}

fn detached_clone(path: &Path) -> rustix::io::Result<OwnedFd> {
    open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
}

/// A detached clone of the mount at `path` whose files belong to the sandbox; on file systems that cannot be
/// idmapped they belong to nobody, which reads as well and protects as much.
fn idmapped(path: &Path, userns: BorrowedFd<'_>) -> Result<OwnedFd, SysError> {
    let clone = detached_clone(path).step(|| format!("clone the mount of {}", path.display()))?;
    match sys::idmap(clone.as_fd(), userns) {
        Err(error) if error.raw_os_error() != Some(libc::EINVAL) => {
            Err(SysError::new(format!("map the owners of {}", path.display()), error))
        }
        _ => Ok(clone),
    }
}

fn open_dir(path: &Path) -> Result<OwnedFd, SysError> {
    File::open(path).map(OwnedFd::from).step(|| format!("open {}", path.display()))
}
