//! What the fake makes of an image: the files of its layers, and who its users are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, iter};

use crate::{DriverError, LayeredRoot, RootImage};

/// The files that an image holds.
pub(super) fn files(image: &RootImage) -> Result<BTreeMap<String, Vec<u8>>, DriverError> {
    let mut files = BTreeMap::new();
    let RootImage::Layers(LayeredRoot { store, layers, hold }) = image else { return Ok(files) };
    let layers: Vec<PathBuf> = layers.iter().map(|layer| store.join(layer)).collect();
    if let Some(missing) = iter::once(hold).chain(&layers).find(|path| !path.exists()) {
        return Err(DriverError::ImageGone { missing: missing.display().to_string() });
    }
    layers.iter().for_each(|layer| take(layer, layer, &mut files));
    Ok(files)
}

fn take(layer: &Path, directory: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for path in fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            take(layer, &path, files);
        } else if let (Ok(below), Ok(content)) = (path.strip_prefix(layer), fs::read(&path)) {
            files.insert(format!("/{}", below.display()), content);
        }
    }
}

/// The numbers of a user and a group; only two of each have names.
pub(super) fn identity(user: &str) -> Result<(u32, u32), DriverError> {
    let unknown = || DriverError::UnknownUser { user: user.to_owned() };
    let id = |name: &str, nobody: &str| match name {
        "root" => Some(0),
        name if name == nobody => Some(65534),
        name => name.parse().ok().filter(|id| *id < 65536),
    };
    let (name, group) = user.split_once(':').unwrap_or((user, ""));
    let uid = id(name, "nobody").ok_or_else(unknown)?;
    let gid = match group {
        "" if uid == 65534 => Some(uid),
        "" => Some(0),
        group => id(group, "nogroup"),
    };
    Ok((uid, gid.ok_or_else(unknown)?))
}
