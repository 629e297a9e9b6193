//! From the files of an image into the store.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::files::Part;
use super::{LoadError, Progress, spool};
use crate::config::Described;
use crate::media_type::{OCI_CONFIG, OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, OCI_MANIFEST};
use crate::{BlobWriter, Digest, Encoding, Image, ImageName, Ingest, Limits, Origin, Platform};

/// One load: where it goes, what it may take, who watches.
pub(super) struct Load<'a> {
    /// What the user calls what is loaded.
    pub(super) label: String,
    pub(super) ingest: Ingest,
    pub(super) limits: Limits,
    /// What runs here.
    pub(super) platform: Platform,
    pub(super) progress: Progress<'a>,
}

impl Load<'_> {
    /// Puts a small document into the store.
    pub(super) fn document(&self, bytes: &[u8]) -> Result<Digest, LoadError> {
        let digest = Digest::of(bytes);
        let mut writer = self.writer(&digest, bytes.len() as u64)?;
        if !writer.is_complete() {
            writer.write(bytes)?;
            writer.commit()?;
        }
        Ok(digest)
    }

    /// Puts a blob into the store, which checks that it is what it is said to be.
    pub(super) fn blob(&self, digest: &Digest, size: u64, from: &Part) -> Result<(), LoadError> {
        let mut writer = self.writer(digest, size)?;
        if writer.is_complete() {
            return Ok(());
        }
        let take = |piece: &[u8]| {
            (self.progress)(piece.len() as u64);
            Ok(writer.write(piece)?)
        };
        spool::pieces(&mut from.clone(), take, |error| LoadError::read(&self.label, error))?;
        Ok(writer.commit()?)
    }

    /// A writer that begins at the first byte: what an earlier one has left is read again here in no time.
    pub(super) fn writer(&self, digest: &Digest, size: u64) -> Result<BlobWriter, LoadError> {
        let mut writer = self.ingest.blob(digest, Some(size))?;
        writer.start_over()?;
        Ok(writer)
    }

    /// Unpacks the layers and writes the record of an image whose blobs are all here.
    pub(super) fn finish(
        &self,
        manifest: &Digest,
        layers: &[Digest],
        described: &Described,
        names: &[ImageName],
    ) -> Result<Image, LoadError> {
        if described.diff_ids.len() != layers.len() {
            let (layers, diff_ids) = (layers.len(), described.diff_ids.len());
            return Err(
                self.malformed(format!("its manifest has {layers} layers and its configuration {diff_ids}"))
            );
        }
        let mut parts = described.platform.split('/');
        let (os, architecture) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        self.platform.runs(os, architecture, parts.next()).map_err(|other| self.no_platform(vec![other]))?;
        for (blob, diff_id) in layers.iter().zip(&described.diff_ids) {
            let told = AtomicU64::new(0);
            let progress = |read| (self.progress)(read - told.swap(read, Ordering::Relaxed).min(read));
            self.ingest.unpack(blob, diff_id, &progress)?;
        }
        Ok(self.ingest.finish(manifest, names, Origin::Loaded, None)?)
    }

    /// That what is loaded is not what it should be.
    pub(super) fn malformed(&self, problem: impl Into<String>) -> LoadError {
        LoadError::Malformed { archive: self.label.clone(), problem: problem.into() }
    }

    /// That what is loaded is for other machines.
    pub(super) fn no_platform(&self, mut found: Vec<String>) -> LoadError {
        found.sort();
        found.dedup();
        LoadError::NoPlatform { archive: self.label.clone(), wanted: self.platform.clone(), found }
    }
}

/// A layer as its blob came.
pub(super) struct NewLayer {
    pub(super) blob: Digest,
    pub(super) size: u64,
    pub(super) encoding: Encoding,
}

/// A document that another one names.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    media_type: &'static str,
    digest: Digest,
    size: u64,
}

/// Not one of a library's: its bytes are what the image is, and must stay the same for ever.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    media_type: &'static str,
    config: Named,
    layers: Vec<Named>,
}

/// A manifest for layers that came with none.
pub(super) fn manifest(config: &[u8], layers: &[NewLayer]) -> Vec<u8> {
    let layer = |layer: &NewLayer| Named {
        media_type: match layer.encoding {
            Encoding::Plain => OCI_LAYER,
            Encoding::Gzip => OCI_LAYER_GZIP,
            Encoding::Zstd => OCI_LAYER_ZSTD,
        },
        digest: layer.blob,
        size: layer.size,
    };
    let manifest = Manifest {
        schema_version: 2,
        media_type: OCI_MANIFEST,
        config: Named { media_type: OCI_CONFIG, digest: Digest::of(config), size: config.len() as u64 },
        layers: layers.iter().map(layer).collect(),
    };
    // Numbers, texts and lists: nothing that JSON could refuse.
    serde_json::to_vec(&manifest).unwrap_or_default()
}
