//! What lies under and over the layers of every image.

use std::fs::{self, DirBuilder, File, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use super::Paths;
use super::draft::Draft;
use super::stack::{BASE, COVER};
use crate::ImageError;
use crate::error::Doing as _;

/// Directories with their modes, parents first.
const BASE_DIRECTORIES: &[(&str, u32)] = &[
    ("etc", 0o755),
    ("home", 0o755),
    ("root", 0o700),
    ("run", 0o755),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("var", 0o755),
    ("var/tmp", 0o1777),
];
const COVER_DIRECTORIES: &[(&str, u32)] = &[("dev", 0o755), ("etc", 0o755), ("proc", 0o755), ("sys", 0o755)];
const COVER_FILES: &[&str] = &["etc/hostname", "etc/hosts", "etc/resolv.conf"];

/// Makes both layers, unless they are there.
pub(super) fn make(paths: &Paths) -> Result<(), ImageError> {
    layer(paths, BASE, BASE_DIRECTORIES, &[])?;
    layer(paths, COVER, COVER_DIRECTORIES, COVER_FILES)
}

fn layer(paths: &Paths, name: &str, directories: &[(&str, u32)], files: &[&str]) -> Result<(), ImageError> {
    let place = paths.layers().join(name);
    if place.is_dir() {
        return Ok(());
    }
    let draft = Draft::directory(&paths.tmp(), name)?;
    // Whatever the process's mask is.
    let mode =
        |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).doing("make", path);
    mode(draft.path(), 0o755)?;
    for (directory, bits) in directories {
        let path = draft.path().join(directory);
        DirBuilder::new().mode(0o700).create(&path).doing("make", &path)?;
        mode(&path, *bits)?;
    }
    for file in files {
        let path = draft.path().join(file);
        File::create_new(&path).doing("make", &path)?;
        mode(&path, 0o644)?;
    }
    draft.place(&place)
}
