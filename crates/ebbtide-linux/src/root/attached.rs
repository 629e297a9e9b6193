//! Overlays of paths: the idmapped layers are attached in the launcher's mount namespace while the overlay is made.
//!
//! Kernels before 6.13 accept neither descriptors nor detached mounts as layers, and cut the strings of the newer calls
//! off at 256 bytes. So the launcher, which has one thread, enters the attached directory of layers, where their names
//! are short, and makes the overlay by the old call, whose options are a page. The overlay keeps private clones of its
//! layers, so that what was attached can go at once.

use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{MountFlags, MoveMountFlags, UnmountFlags, mount, move_mount, unmount};
use rustix::process::chdir;

use super::{Layers, RootError, UpperDirs, detached_clone};
use crate::sys_error::{Step, SysError};

/// The most layers that the kernel takes, and the most bytes of options.
const MOST: usize = 500;
const MOST_BYTES: usize = 4095;

/// An overlay of layers below `store`, which is a mount of the layers' directory. `stage` is an empty directory.
pub(super) fn overlay(
    store: &OwnedFd,
    layers: &Layers,
    dirs: &UpperDirs,
    stage: &Path,
) -> Result<OwnedFd, RootError> {
    let options = options(&layers.names, dirs)?;
    move_mount(store, "", CWD, stage, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .step(|| format!("attach the layers at {}", stage.display()))?;
    let result = overlay_at(stage, &options).map_err(|error| layers.explain(error));
    unmount(stage, UnmountFlags::DETACH)
        .step(|| format!("detach the layers from {}", stage.display()))
        .map_err(RootError::from)
        .and(result)
}

/// Makes the overlay on top of the layers, and takes it off again.
fn overlay_at(stage: &Path, options: &CString) -> Result<OwnedFd, SysError> {
    let flags = MountFlags::NODEV | MountFlags::NOSUID;
    chdir(stage).step(|| "enter the layers")?;
    let made =
        mount("overlay", stage, "overlay", flags, Some(options.as_c_str())).step(|| "mount the overlay");
    // Nothing is to be found by a name that is relative to it.
    chdir("/").step(|| "leave the layers")?;
    made?;
    let clone = detached_clone(stage).step(|| "clone the overlay");
    unmount(stage, UnmountFlags::DETACH).step(|| format!("detach the overlay from {}", stage.display()))?;
    clone
}

fn options(names: &[String], dirs: &UpperDirs) -> Result<CString, RootError> {
    let mut rest = Vec::new();
    for (key, dir) in [("upperdir", &dirs.upper), ("workdir", &dirs.work)] {
        rest.extend_from_slice(format!(",{key}=").as_bytes());
        escape(dir, &mut rest);
    }
    rest.extend_from_slice(b",volatile,index=off");
    let mut options = b"lowerdir=".to_vec();
    let room = MOST_BYTES.saturating_sub(options.len() + rest.len());
    let mut used = 0;
    // Each with the colon that follows it, which the last one has not.
    let fitting = names.iter().take_while(|name| {
        used += name.len() + 1;
        used <= room + 1
    });
    let most = fitting.count().min(MOST);
    if most < names.len() {
        return Err(RootError::TooManyLayers { asked: names.len(), most });
    }
    options.extend_from_slice(names.join(":").as_bytes());
    options.extend(rest);
    Ok(CString::new(options).map_err(io::Error::from).step(|| "name the directories of an overlay")?)
}

/// Writes a path with what means something to the overlay's own parser escaped.
fn escape(path: &Path, into: &mut Vec<u8>) {
    for byte in path.as_os_str().as_bytes() {
        if matches!(byte, b',' | b':' | b'\\') {
            into.push(b'\\');
        }
        into.push(*byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dirs() -> UpperDirs {
        UpperDirs::at(Path::new("/run/ebbtide/abcdefgh/disk/slot-abcdefgh"))
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("{number:026}")).collect()
    }

    #[test]
    fn an_image_of_127_layers_fits_and_one_that_does_not_is_refused_with_the_bound() {
        let fits = options(&names(129), &dirs()).unwrap();
        assert!(fits.as_bytes().len() <= MOST_BYTES);
        let Err(RootError::TooManyLayers { asked: 400, most }) = options(&names(400), &dirs()) else {
            panic!("400 names of 26 characters fit a page")
        };
        assert!(options(&names(most), &dirs()).is_ok() && options(&names(most + 1), &dirs()).is_err());
        let short: Vec<String> = (0..501).map(|number| format!("{number}")).collect();
        assert!(matches!(options(&short, &dirs()), Err(RootError::TooManyLayers { asked: 501, most: 500 })));
    }

    #[test]
    fn a_directory_of_any_name_stays_one_option() {
        let dirs = UpperDirs::at(Path::new("/a,b:c\\d"));
        let options = options(&names(1), &dirs).unwrap().into_string().unwrap();
        assert!(options.contains(r",upperdir=/a\,b\:c\\d/upper,workdir="), "{options}");
    }
}
