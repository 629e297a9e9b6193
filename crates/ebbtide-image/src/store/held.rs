//! An image that is being used.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::Image;

/// Lies under the layers of every image: the few directories that any program expects.
pub(super) const BASE: &str = "base";
/// Lies over them: where the runtime puts its own.
pub(super) const COVER: &str = "cover";

/// An image that is not removed as long as this is there, or another holds a shared lock on its file.
#[derive(Debug)]
pub struct HeldImage {
    /// The image.
    pub image: Image,
    pub(super) layers: PathBuf,
    pub(super) path: PathBuf,
    pub(super) _lock: File,
}

impl HeldImage {
    /// The directory that the layers are in.
    pub fn store_dir(&self) -> &Path {
        &self.layers
    }

    /// The names of the layers' directories, the bottom first: what every image stands on, its own layers, and the
    /// places that the runtime mounts at.
    pub fn layer_names(&self) -> Vec<String> {
        let own = self.image.layers.iter().skip(self.image.hidden).map(|layer| layer.id.clone());
        let mut names = vec![BASE.to_owned()];
        for name in own {
            // The same layer twice is as good as its upper one, and overlayfs takes each directory once.
            names.retain(|earlier| *earlier != name);
            names.push(name);
        }
        names.push(COVER.to_owned());
        names
    }

    /// The file whose shared lock keeps the image.
    pub fn hold_file(&self) -> &Path {
        &self.path
    }
}
