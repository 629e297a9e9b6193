//! Overlays of descriptors: no path is looked up, nothing is attached.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_fd, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use super::{Layers, RootError, UpperDirs, open_dir};
use crate::sys_error::{Step, SysError};

/// The most layers that the kernel takes.
const MOST: usize = 500;

/// An overlay of layers below `store`, which is a mount of the layers' directory.
pub(super) fn overlay(store: &OwnedFd, layers: &Layers, dirs: &UpperDirs) -> Result<OwnedFd, RootError> {
    if layers.names.len() > MOST {
        return Err(RootError::TooManyLayers { asked: layers.names.len(), most: MOST });
    }
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).step(|| "open the overlay file system")?;
    for name in &layers.names {
        add_layer(&fs, store, name).map_err(|error| layers.explain(error))?;
    }
    for (key, dir) in [("upperdir", &dirs.upper), ("workdir", &dirs.work)] {
        fsconfig_set_fd(&fs, key, open_dir(dir)?).step(|| format!("give the overlay its {key}"))?;
    }
    fsconfig_set_flag(&fs, "volatile").step(|| "make the overlay volatile")?;
    fsconfig_set_string(&fs, "index", "off").step(|| "have the overlay keep no index")?;
    fsconfig_create(&fs).step(|| "make the overlay")?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID;
    Ok(fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes).step(|| "mount the overlay")?)
}

fn add_layer(fs: &OwnedFd, store: &OwnedFd, name: &str) -> Result<(), SysError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let layer = openat(store, name, flags, Mode::empty()).step(|| format!("open the layer {name}"))?;
    fsconfig_set_fd(fs, "lowerdir+", layer).step(|| format!("give the overlay the layer {name}"))
}
