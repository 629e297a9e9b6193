//! Overlays of descriptors: no path is looked up, nothing is attached.

use std::os::fd::OwnedFd;

use rustix::mount::fsconfig_set_fd;

use super::{UpperDirs, mount_overlay, open_dir, open_overlay};
use crate::sys_error::{Step, SysError};

pub(super) fn overlay(lower: &OwnedFd, dirs: &UpperDirs) -> Result<OwnedFd, SysError> {
    let fs = open_overlay()?;
    fsconfig_set_fd(&fs, "lowerdir+", lower).step(|| "give the overlay its layer".to_owned())?;
    for (key, dir) in [("upperdir", &dirs.upper), ("workdir", &dirs.work)] {
        fsconfig_set_fd(&fs, key, open_dir(dir)?).step(|| format!("give the overlay its {key}"))?;
    }
    mount_overlay(&fs)
}
