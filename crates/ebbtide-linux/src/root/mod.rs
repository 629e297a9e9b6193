//! The root file system of a sandbox: overlays over read-only layers, built by the launcher as detached mounts.
//!
//! The layers are the same files for every sandbox; an idmapped clone shows them as the sandbox's own, and
//! whatever it writes goes to its upper directory on the bounded disk. Built in the launcher's mount namespace,
//! handed over as descriptors, attached by the init: nothing of it ever shows in the host's mount table.

mod attached;
mod by_descriptor;
mod device_tree;
mod host_image;

use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsmount, fsopen, open_tree};

use crate::sys;
use crate::sys_error::{Step, SysError};
pub(crate) use device_tree::DeviceTree;
pub(crate) use host_image::host_layers;

/// A read-only directory and where its overlay is attached, relative to the root; empty for the root itself.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub(crate) target: String,
    pub(crate) lower: PathBuf,
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

    /// Builds one overlay per layer over directories of `upper`, owned by the sandbox's root `uid`.
    ///
    /// `stage` is an empty directory for mounts of a moment.
    pub(crate) fn build(
        self,
        layers: &[Layer],
        upper: &Path,
        uid: u32,
        userns: BorrowedFd<'_>,
        stage: &Path,
    ) -> Result<Vec<(String, OwnedFd)>, SysError> {
        layers
            .iter()
            .map(|layer| {
                let dirs = UpperDirs::make(upper, &layer.target, uid)?;
                let lower = idmapped(&layer.lower, userns)?;
                let mount = match self {
                    Self::ByDescriptor => by_descriptor::overlay(&lower, &dirs)?,
                    Self::Attached => attached::overlay(&lower, &dirs, stage)?,
                };
                Ok((layer.target.clone(), mount))
            })
            .collect()
    }
}

/// The directories of one overlay that can be written to.
struct UpperDirs {
    upper: PathBuf,
    work: PathBuf,
}

impl UpperDirs {
    fn make(at: &Path, target: &str, uid: u32) -> Result<Self, SysError> {
        let name = if target.is_empty() { "root" } else { target };
        let dirs = Self { upper: at.join(name), work: at.join(format!("{name}.work")) };
        for dir in [&dirs.upper, &dirs.work] {
            fs::create_dir(dir)
                .and_then(|()| chown(dir, Some(uid), Some(uid)))
                .step(|| format!("make the directory {}", dir.display()))?;
        }
        Ok(dirs)
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

/// Mounts a configured overlay, detached.
fn mount_overlay(fs: &OwnedFd) -> Result<OwnedFd, SysError> {
    rustix::mount::fsconfig_set_flag(fs, "volatile").step(|| "make the overlay volatile".to_owned())?;
    rustix::mount::fsconfig_create(fs).step(|| "make the overlay".to_owned())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID;
    fsmount(fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes).step(|| "mount the overlay".to_owned())
}

fn open_overlay() -> Result<OwnedFd, SysError> {
    fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).step(|| "open the overlay file system".to_owned())
}

fn open_dir(path: &Path) -> Result<OwnedFd, SysError> {
    File::open(path).map(OwnedFd::from).step(|| format!("open {}", path.display()))
}
