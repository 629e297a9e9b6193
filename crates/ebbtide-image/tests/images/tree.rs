//! A layer unpacked beside something that must stay as it is.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::BufRead;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use ebbtide_image::layer::{Unpacked, unpack};
use ebbtide_image::{ImageError, Limits};

/// What is beside the layer.
const CANARY: &str = "canary";

/// A layer that has been unpacked, or not.
pub(crate) struct Tree {
    around: tempfile::TempDir,
    pub(crate) result: Result<Unpacked, ImageError>,
}

impl Tree {
    pub(crate) fn of(stream: &[u8]) -> Self {
        Self::within(stream, &Limits::default())
    }

    /// Unpacks, and looks that nothing beside it has changed.
    pub(crate) fn within(mut stream: impl BufRead, limits: &Limits) -> Self {
        let around = tempfile::tempdir().unwrap();
        let layer = around.path().join("layer");
        fs::create_dir(&layer).unwrap();
        fs::create_dir(around.path().join(CANARY)).unwrap();
        fs::write(around.path().join(CANARY).join("secret"), "kept").unwrap();
        let before = listing(&around.path().join(CANARY));
        let result = unpack(&mut stream, &layer, limits);
        assert_eq!(listing(&around.path().join(CANARY)), before, "something beside the layer has changed");
        let mut beside: Vec<_> =
            fs::read_dir(around.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        beside.sort();
        assert_eq!(beside, [CANARY, "layer"], "something has come beside the layer");
        Self { around, result }
    }

    /// What it became; a layer that has to be taken.
    pub(crate) fn good(stream: &[u8]) -> Self {
        let tree = Self::of(stream);
        if let Err(error) = &tree.result {
            panic!("refused: {error}");
        }
        tree
    }

    pub(crate) fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.around.path().join("layer").join(Path::new(name.as_ref()))
    }

    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn stat(&self, name: &str) -> fs::Metadata {
        fs::symlink_metadata(self.path(name)).unwrap()
    }

    pub(crate) fn mode(&self, name: &str) -> u32 {
        self.stat(name).mode() & 0o7777
    }

    pub(crate) fn is_there(&self, name: &str) -> bool {
        fs::symlink_metadata(self.path(name)).is_ok()
    }

    /// Whether overlayfs shows nothing here, of any layer.
    pub(crate) fn is_whiteout(&self, name: &str) -> bool {
        let stat = self.stat(name);
        stat.file_type().is_char_device() && stat.rdev() == 0
    }

    /// Whether overlayfs shows nothing of the layers below in this directory.
    pub(crate) fn is_opaque(&self, name: &str) -> bool {
        self.xattr(name, "trusted.overlay.opaque").is_some_and(|value| value == b"y")
    }

    pub(crate) fn xattr(&self, name: &str, attribute: &str) -> Option<Vec<u8>> {
        let mut value = vec![0; 4096];
        let length = rustix::fs::lgetxattr(self.path(name), attribute, &mut value[..]).ok()?;
        value.truncate(length);
        Some(value)
    }
}

/// All below a directory, with all that could change about it.
pub(crate) fn listing(directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut to_see = vec![directory.to_owned()];
    while let Some(path) = to_see.pop() {
        let stat = fs::symlink_metadata(&path).unwrap();
        let content = match stat.file_type() {
            kind if kind.is_file() => fs::read(&path).unwrap(),
            kind if kind.is_symlink() => fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec(),
            _ => Vec::new(),
        };
        let about = format!(
            "{:o} {}:{} {} {} {}.{} {:?}",
            stat.mode(),
            stat.uid(),
            stat.gid(),
            stat.nlink(),
            stat.rdev(),
            stat.mtime(),
            stat.mtime_nsec(),
            ebbtide_image::Digest::of(&content)
        );
        if stat.is_dir() {
            to_see.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        all.insert(path, about);
    }
    all
}
