//! An image that is being used.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::Image;

/// An image that is not removed as long as this is there, or another holds a shared lock on its file.
#[derive(Debug)]
pub struct HeldImage {
    /// The image.
    pub image: Image,
    pub(super) names: Vec<String>,
    pub(super) layers: PathBuf,
    pub(super) path: PathBuf,
    pub(super) _lock: File,
}

impl HeldImage {
    /// The directory that the layers are in.
    pub fn store_dir(&self) -> &Path {
        &self.layers
    }

    /// The names of the directories to mount, the bottom first: what every image stands on, its own layers, and the
    /// places that the runtime mounts at; or one that shows the same.
    pub fn layer_names(&self) -> &[String] {
        &self.names
    }

    /// The file whose shared lock keeps the image.
    pub fn hold_file(&self) -> &Path {
        &self.path
    }
}
