//! Overlays of paths: the idmapped layer is attached in the launcher's mount namespace while the overlay is made.
//!
//! Kernels before 6.13 accept neither descriptors nor detached mounts as layers. The overlay keeps a private
//! clone of each layer, so that the attached one can go at once.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, UnmountFlags, fsconfig_set_string, move_mount, unmount};

use super::{UpperDirs, mount_overlay, open_overlay};
use crate::sys_error::{Step, SysError};

pub(super) fn overlay(lower: &OwnedFd, dirs: &UpperDirs, stage: &Path) -> Result<OwnedFd, SysError> {
    fs::create_dir_all(stage).step(|| format!("make the directory {}", stage.display()))?;
    move_mount(lower, "", CWD, stage, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .step(|| format!("attach the layer at {}", stage.display()))?;
    let result = overlay_of_paths(stage, dirs);
    unmount(stage, UnmountFlags::DETACH).step(|| format!("detach the layer from {}", stage.display()))?;
    result
}

fn overlay_of_paths(lower: &Path, dirs: &UpperDirs) -> Result<OwnedFd, SysError> {
    let fs = open_overlay()?;
    for (key, dir) in [("lowerdir", lower), ("upperdir", &dirs.upper), ("workdir", &dirs.work)] {
        fsconfig_set_string(&fs, key, dir).step(|| format!("give the overlay its {key}"))?;
    }
    mount_overlay(&fs)
}
