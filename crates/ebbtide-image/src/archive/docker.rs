//! What `docker save` and its like write: `manifest.json`, configurations, and layers as they are unpacked.

use serde::Deserialize;

use super::files::{Files, Part};
use super::ingest::{Load, NewLayer, manifest};
use super::{LoadError, spool};
use crate::{Digest, Encoding, Image, ImageName, config};

/// The list of images.
pub(super) const MANIFEST: &str = "manifest.json";
/// How many images an archive may hold.
const MAX_IMAGES: usize = 1000;

/// An image that an archive names.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// The same, with names that are understood.
pub(super) struct Found {
    entry: Entry,
    pub(super) names: Vec<ImageName>,
}

/// The images of an archive.
pub(super) fn find(load: &Load<'_>, files: &Files) -> Result<Vec<Found>, LoadError> {
    let bytes = files.small(MANIFEST, load.limits.max_manifest_bytes)?;
    let entries: Vec<Entry> =
        serde_json::from_slice(&bytes).map_err(|error| load.malformed(format!("{MANIFEST}: {error}")))?;
    if entries.is_empty() || entries.len() > MAX_IMAGES {
        return Err(load.malformed(format!("{MANIFEST} names {} images", entries.len())));
    }
    let found = entries.into_iter().map(|mut entry| {
        let names = entry.repo_tags.take().unwrap_or_default();
        let names = names.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
        Ok(Found { entry, names })
    });
    found.collect()
}

/// Loads one of them under these names. Its manifest is made here, from the layers as they are.
pub(super) fn load(
    load: &Load<'_>,
    files: &Files,
    found: &Found,
    names: &[ImageName],
) -> Result<Image, LoadError> {
    let Entry { config: config_path, layers: paths, .. } = &found.entry;
    let config = files.small(config_path, load.limits.max_manifest_bytes)?;
    let described = config::read(&config)?;
    if paths.len() != described.diff_ids.len() || paths.len() > load.limits.max_layers {
        return Err(load.malformed(format!(
            "{MANIFEST} names {} layers and {config_path} {}, where {} are allowed",
            paths.len(),
            described.diff_ids.len(),
            load.limits.max_layers
        )));
    }
    let mut layers = Vec::new();
    for (path, diff_id) in paths.iter().zip(&described.diff_ids) {
        layers.push(layer(load, &files.get(path)?, diff_id)?);
    }
    load.document(&config)?;
    let manifest = load.document(&manifest(&config, &layers))?;
    let blobs: Vec<Digest> = layers.iter().map(|layer| layer.blob).collect();
    load.finish(&manifest, &blobs, &described, names)
}

/// Puts a layer into the store as it is, which mostly is the plain tar whose digest is known.
fn layer(load: &Load<'_>, part: &Part, diff_id: &Digest) -> Result<NewLayer, LoadError> {
    let encoding = spool::encoding(part, &load.label)?;
    let blob = match encoding {
        Encoding::Plain => *diff_id,
        _ => spool::digest_of(&mut part.clone(), &load.label, load.limits.max_blob_bytes, load.progress)?.0,
    };
    load.blob(&blob, part.size(), part)?;
    Ok(NewLayer { blob, size: part.size(), encoding })
}
