//! What the root of an image is made of: its layers, or the one directory that the layers of an image of many become.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use super::draft::Draft;
use super::ingest::Facts;
use super::{Ingest, Paths};
use crate::{Digest, Image, ImageError, Layer, layer};

/// Lies under the layers of every image: the few directories that any program expects.
pub(super) const BASE: &str = "base";
/// Lies over them: where the runtime puts its own.
pub(super) const COVER: &str = "cover";
/// The most layers of an image that are mounted one by one.
const MOST_MOUNTED: usize = 32;

/// Directories in the store that make up a root, the bottom first.
pub(super) struct Stack(Vec<String>);

impl Stack {
    /// What every image stands on, its layers without the `hidden` ones at the bottom, and the places that the runtime
    /// mounts at.
    pub(super) fn of(layers: &[Layer], hidden: usize) -> Self {
        let layers = layers.get(hidden..).unwrap_or_default();
        let mut seen = HashSet::new();
        // The same layer twice is as good as its upper one, and overlayfs takes each directory once.
        let own = layers.iter().rev().map(|layer| layer.id.as_str()).filter(|id| seen.insert(*id));
        let mut names: Vec<String> =
            [COVER].into_iter().chain(own).chain([BASE]).map(str::to_owned).collect();
        names.reverse();
        Self(names)
    }

    /// The name of the directory that shows the same; `None` if there are too few for it to be worth while.
    pub(super) fn merged(&self) -> Option<String> {
        let is_long = self.0.len() > MOST_MOUNTED + [BASE, COVER].len();
        is_long.then(|| format!("merged-{}", Digest::of(self.0.join("/").as_bytes()).short()))
    }
}

/// The directories to mount for an image, the bottom first: the one that shows the same as all, if it is there.
pub(super) fn mounted(image: &Image, paths: &Paths) -> Vec<String> {
    match &image.merged {
        Some(merged) if paths.layers().join(merged).is_dir() => vec![merged.clone()],
        _ => Stack::of(&image.layers, image.hidden).0,
    }
}

/// A merged directory that is still to be put into its place.
pub(super) struct Merged {
    draft: Draft,
    name: String,
}

impl Merged {
    /// Puts it into its place, where it is trusted: all of it has to be on the disk.
    pub(super) fn place(self, paths: &Paths) -> Result<(), ImageError> {
        self.draft.place(&paths.layers().join(self.name))
    }
}

impl Ingest {
    /// Merges the directories of a stack, unless that has been done, or is not worth while, or cannot be: what the image
    /// is made of can be mounted in any case.
    ///
    /// # Errors
    /// When it is given up.
    pub(super) fn merge(&self, stack: &Stack) -> Result<Option<Merged>, ImageError> {
        let paths = self.paths();
        let Some(name) = stack.merged().filter(|name| !paths.layers().join(name).is_dir()) else {
            return Ok(None);
        };
        let draft = Draft::directory(&paths.tmp(), "merged")?;
        let layers: Vec<&str> = stack.0.iter().rev().map(String::as_str).collect();
        let merged =
            layer::merge(&paths.layers(), &layers, draft.path(), self.store.limits(), &self.given_up);
        let merged = merged.and_then(|bytes| Facts { bytes, hides_below: false }.write(draft.path()));
        match merged {
            Ok(()) => Ok(Some(Merged { draft, name })),
            Err(problem) if self.given_up.load(Ordering::Relaxed) => Err(problem),
            Err(ImageError::TooLarge { most, .. }) => {
                tracing::info!(most, "an image of many files keeps its layers apart");
                Ok(None)
            }
            Err(problem) => {
                tracing::warn!(%problem, "an image of many layers keeps them apart, and takes longer to start");
                Ok(None)
            }
        }
    }
}
