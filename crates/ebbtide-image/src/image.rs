//! An image in the store.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::{Digest, ImageConfig, ImageName};

/// An image that is here, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Image {
    /// The digest of its manifest: what it is.
    pub digest: Digest,
    /// The digest of its configuration.
    pub config_digest: Digest,
    /// What it is called here; maybe nothing any more.
    pub names: Vec<ImageName>,
    /// How it wants to be run.
    pub config: ImageConfig,
    /// What it was made for: `linux/amd64`.
    pub platform: String,
    /// Its layers, the bottom first.
    pub layers: Vec<Layer>,
    /// Bytes of all its blobs, as they came.
    pub bytes: u64,
    /// How it came here.
    pub origin: Origin,
    /// When it was made, as its maker says.
    pub created: Option<String>,
    /// When it was last used here.
    pub last_used: SystemTime,
    /// Whose credentials it came with, if it did not come without: others have to show that they may have it.
    pub private_to: Option<String>,
    /// How many of the layers at the bottom do not show, since one above hides all below it.
    pub(crate) hidden: usize,
    /// The directory that shows the same as all of its layers; none if these are few.
    pub(crate) merged: Option<String>,
}

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// The digest of the layer as it came.
    pub blob: Digest,
    /// The digest of the tar stream in it.
    pub diff_id: Digest,
    /// The name of the directory that it is unpacked in.
    pub id: String,
    /// Bytes of the layer as it came.
    pub bytes: u64,
}

/// How an image came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// From a registry, which has it still.
    Pulled,
    /// From a file; it may be the only copy.
    Loaded,
}
