//! A host with many mounts: each new mount namespace copies them all, so they cost every contender something.
//!
//! This program runs in a mount namespace of its own (`cargo xtask bench` sees to that), so the mounts are gone with
//! it whatever ends it.

use std::fs;
use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};

use crate::Error;

/// A tmpfs with bind mounts in it; unmounted when dropped.
pub(crate) struct ExtraMounts {
    place: Option<tempfile::TempDir>,
}

impl ExtraMounts {
    /// Makes `count` mounts.
    pub(crate) fn make(count: usize) -> Result<Self, Error> {
        if count == 0 {
            return Ok(Self { place: None });
        }
        let failed = || Error::io(format!("making {count} mounts"));
        let place = tempfile::Builder::new().prefix("ebbtide-bench-mounts-").tempdir().map_err(failed())?;
        let root = place.path().to_owned();
        mount("tmpfs", &root, "tmpfs", MountFlags::empty(), None).map_err(|error| failed()(error.into()))?;
        // From here on dropping undoes it.
        let mounts = Self { place: Some(place) };
        let source = root.join("source");
        fs::create_dir(&source).map_err(failed())?;
        for number in 1..count {
            let target = root.join(number.to_string());
            fs::create_dir(&target).map_err(failed())?;
            mount_bind(&source, &target).map_err(|error| failed()(error.into()))?;
        }
        Ok(mounts)
    }
}

impl Drop for ExtraMounts {
    fn drop(&mut self) {
        if let Some(place) = &self.place {
            // Detaching takes what is mounted below along. If it fails the namespace's end does it.
            let _ = unmount(Path::new(place.path()), UnmountFlags::DETACH);
        }
    }
}
