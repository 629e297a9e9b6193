//! OCI layouts: a directory, or the same in an archive.

use std::collections::BTreeMap;

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType};
use serde::de::DeserializeOwned;

use super::files::Files;
use super::ingest::Load;
use super::{CONTAINERD_NAME, LoadError, REF_NAME};
use crate::media_type::{DOCKER_INDEX, DOCKER_MANIFEST};
use crate::{Digest, Image, ImageName, config};

/// How deep indexes may name indexes.
const MAX_DEPTH: usize = 4;
/// How many images a layout may hold.
const MAX_IMAGES: usize = 1000;

/// An image that a layout names.
pub(super) struct Found {
    manifest: Digest,
    pub(super) names: Vec<ImageName>,
}

/// The images of a layout that run here.
pub(super) fn find(load: &Load<'_>, files: &Files) -> Result<Vec<Found>, LoadError> {
    let index: ImageIndex =
        read(load, "index.json", &files.small("index.json", load.limits.max_manifest_bytes)?)?;
    let mut others = Vec::new();
    let mut found: BTreeMap<Digest, Vec<ImageName>> = BTreeMap::new();
    for descriptor in index.manifests() {
        let Some(manifest) = choose(load, files, descriptor, &mut others, 0)? else { continue };
        let names = found.entry(manifest).or_default();
        names.extend(name(descriptor));
        if found.len() > MAX_IMAGES {
            return Err(load.malformed(format!("it holds more than {MAX_IMAGES} images")));
        }
    }
    if found.is_empty() {
        return Err(match others.is_empty() {
            true => load.malformed("index.json names no image"),
            false => load.no_platform(others),
        });
    }
    Ok(found.into_iter().map(|(manifest, names)| Found { manifest, names }).collect())
}

/// What `descriptor` stands for on this machine. What is for others goes to `others`.
fn choose(
    load: &Load<'_>,
    files: &Files,
    descriptor: &Descriptor,
    others: &mut Vec<String>,
    depth: usize,
) -> Result<Option<Digest>, LoadError> {
    if let Some(platform) = descriptor.platform() {
        let (os, architecture) = (platform.os().to_string(), platform.architecture().to_string());
        if let Err(other) = load.platform.runs(&os, &architecture, platform.variant().as_deref()) {
            others.push(other);
            return Ok(None);
        }
    }
    let digest: Digest = descriptor.digest().as_ref().parse()?;
    match descriptor.media_type() {
        MediaType::ImageManifest => return Ok(Some(digest)),
        MediaType::Other(kind) if kind == DOCKER_MANIFEST => return Ok(Some(digest)),
        MediaType::ImageIndex => {}
        MediaType::Other(kind) if kind == DOCKER_INDEX => {}
        _ => return Ok(None),
    }
    if depth == MAX_DEPTH {
        return Err(load.malformed("its indexes are nested too deeply"));
    }
    let bytes = document(load, files, &digest)?;
    let index: ImageIndex = read(load, &path(&digest), &bytes)?;
    match load.platform.choose(index.manifests()) {
        Ok(chosen) => choose(load, files, chosen, others, depth + 1),
        Err(offered) => {
            others.extend(offered);
            // The only one need not say what it is for; its configuration does.
            match index.manifests().as_slice() {
                [only] if only.platform().is_none() => choose(load, files, only, others, depth + 1),
                _ => Ok(None),
            }
        }
    }
}

/// Loads one of them under these names.
pub(super) fn load(
    load: &Load<'_>,
    files: &Files,
    found: &Found,
    names: &[ImageName],
) -> Result<Image, LoadError> {
    let bytes = document(load, files, &found.manifest)?;
    let manifest: ImageManifest = read(load, &path(&found.manifest), &bytes)?;
    let config_digest: Digest = manifest.config().digest().as_ref().parse()?;
    let config = document(load, files, &config_digest)?;
    let described = config::read(&config)?;
    let mut layers = Vec::new();
    if manifest.layers().len() > load.limits.max_layers {
        let what = format!("the number of layers of {}", load.label);
        return Err(LoadError::TooLarge { what, limit: load.limits.max_layers as u64 });
    }
    for layer in manifest.layers() {
        let digest: Digest = layer.digest().as_ref().parse()?;
        // What the store has, the archive need not have.
        if !load.ingest.has_blob(&digest) {
            load.blob(&digest, layer.size(), &files.get(&path(&digest))?)?;
        }
        layers.push(digest);
    }
    load.document(&config)?;
    load.document(&bytes)?;
    load.finish(&found.manifest, &layers, &described, names)
}

/// A small blob, which is what its digest says.
fn document(load: &Load<'_>, files: &Files, digest: &Digest) -> Result<Vec<u8>, LoadError> {
    let bytes = files.small(&path(digest), load.limits.max_manifest_bytes)?;
    let actual = Digest::of(&bytes);
    if actual != *digest {
        return Err(load.malformed(format!("{} has the digest {actual}", path(digest))));
    }
    Ok(bytes)
}

fn read<T: DeserializeOwned>(load: &Load<'_>, path: &str, bytes: &[u8]) -> Result<T, LoadError> {
    serde_json::from_slice(bytes).map_err(|error| load.malformed(format!("{path}: {error}")))
}

fn path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// What a layout calls an image. A tag alone is no name.
fn name(descriptor: &Descriptor) -> Option<ImageName> {
    let annotations = descriptor.annotations().as_ref()?;
    let said = annotations
        .get(CONTAINERD_NAME)
        .or_else(|| annotations.get(REF_NAME).filter(|name| name.contains(['/', ':'])))?;
    said.parse().ok()
}
