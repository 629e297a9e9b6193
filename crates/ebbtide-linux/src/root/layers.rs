//! The layers of a root as directories of one store.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use ebbtide_driver::LayeredRoot;
use rustix::fs::{FlockOperation, flock};

use super::RootError;
use crate::sys_error::{Step, SysError};

/// What a root is made of.
#[derive(Debug, Clone)]
pub(crate) struct Layers {
    /// The directory that holds the layers. One mount of it serves all of them.
    pub(crate) store: PathBuf,
    /// Their names in it, the topmost first.
    pub(crate) names: Vec<String>,
    /// Directories that are shown as they are, read-only, with their places relative to the root. Programs start
    /// faster from them than from an overlay, which looks every name up twice and remembers none.
    pub(crate) shown: Vec<(String, PathBuf)>,
}

impl Layers {
    /// The layers of an image.
    pub(crate) fn of(image: &LayeredRoot) -> Self {
        let names = image.layers.iter().rev().cloned().collect();
        Self { store: image.store.clone(), names, shown: Vec::new() }
    }

    /// Refuses names that could lead elsewhere, or mean something among the options of a mount.
    pub(super) fn check(&self) -> Result<(), RootError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        match self.names.iter().find(|name| name.starts_with('.') || !name.bytes().all(plain)) {
            None => Ok(()),
            Some(name) => {
                Err(SysError::new(format!("use the layer {name:?}"), io::ErrorKind::InvalidInput).into())
            }
        }
    }

    /// What a failed step means: that a layer is gone, or what the kernel says.
    pub(super) fn explain(&self, error: SysError) -> RootError {
        let paths = self.names.iter().map(|name| self.store.join(name));
        match [self.store.clone()].into_iter().chain(paths).find(|path| !path.is_dir()) {
            Some(missing) if matches!(error.errno(), Some(libc::ENOENT | libc::ENOTDIR)) => {
                RootError::Gone(missing)
            }
            _ => error.into(),
        }
    }
}

/// Takes a share of the lock that keeps an image from being removed. It lasts until the last process that
/// inherits the file has ended.
pub(crate) fn hold(path: &Path) -> Result<File, RootError> {
    let gone = || RootError::Gone(path.to_owned());
    let step = || format!("hold the image {}", path.display());
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(gone()),
        result => result.step(step)?,
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        // Whoever has it for himself is removing the image.
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(gone()),
        result => result.step(step)?,
    }
    // Between open and lock it may have been removed: then this lock guards a name that is gone.
    let ours = file.metadata().step(step)?;
    let same = fs::metadata(path).is_ok_and(|now| (now.dev(), now.ino()) == (ours.dev(), ours.ino()));
    if same { Ok(file) } else { Err(gone()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock_for_removal(path: &Path) -> rustix::io::Result<File> {
        let file = File::open(path).unwrap();
        flock(&file, FlockOperation::NonBlockingLockExclusive).map(|()| file)
    }

    #[test]
    fn a_held_image_cannot_be_locked_for_removal_until_the_last_holder_lets_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        fs::write(&path, "").unwrap();
        let (first, second) = (hold(&path).unwrap(), hold(&path).unwrap());
        let inherited = first.try_clone().unwrap();
        drop((first, second));
        assert!(lock_for_removal(&path).is_err());
        drop(inherited);
        let removing = lock_for_removal(&path).unwrap();
        assert!(matches!(hold(&path), Err(RootError::Gone(_))));
        fs::remove_file(&path).unwrap();
        drop(removing);
        assert!(matches!(hold(&path), Err(RootError::Gone(gone)) if gone == path));
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let layers =
            |name: &str| Layers { store: "/".into(), names: vec![name.to_owned()], shown: Vec::new() };
        assert!(layers("abcdefghijklmnopqrstuvwx27").check().is_ok());
        for name in ["..", ".", "a/b", "a:b", "a,b", "a\\b", "/etc"] {
            assert!(layers(name).check().is_err(), "{name}");
        }
    }
}
