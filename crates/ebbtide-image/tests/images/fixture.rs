//! A store in a directory of its own, and images to put into it.

use std::io::Write as _;
use std::path::PathBuf;

use ebbtide_image::{Digest, Image, ImageError, ImageName, Ingest, Limits, Origin, Store};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::tarball::Tarball;

/// A store, which goes with the test.
pub(crate) struct Fixture {
    pub(crate) around: tempfile::TempDir,
    pub(crate) store: Store,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(crate) fn with(limits: Limits) -> Self {
        let around = tempfile::tempdir().unwrap();
        let store = Store::open(around.path().join("images"), limits).unwrap();
        Self { around, store }
    }

    /// The store again, as another process would open it.
    pub(crate) fn reopen(&self) -> Store {
        Store::open(self.path(""), Limits::default()).unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.around.path().join("images").join(name)
    }

    pub(crate) fn names_in(&self, directory: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(directory)).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Puts an image of these layers in.
    pub(crate) fn image(&self, layers: &[Vec<u8>], names: &[&str], origin: Origin) -> Image {
        let ingest = self.store.begin().unwrap();
        let parts: Vec<_> = layers.iter().map(|layer| put_layer(&ingest, layer).unwrap()).collect();
        let manifest = put_manifest(&ingest, &parts, "{}").unwrap();
        let names: Vec<ImageName> = names.iter().map(|name| name.parse().unwrap()).collect();
        ingest.finish(&manifest, &names, origin, None).unwrap()
    }
}

/// A layer of one file.
pub(crate) fn layer_of(name: &str, content: &[u8]) -> Vec<u8> {
    Tarball::new().file(name, content).end()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

pub(crate) fn put(ingest: &Ingest, content: &[u8]) -> Result<Digest, ImageError> {
    let digest = Digest::of(content);
    let mut writer = ingest.blob(&digest, Some(content.len() as u64))?;
    if !writer.is_complete() {
        writer.write(&content[usize::try_from(writer.offset()).unwrap()..])?;
    }
    writer.commit()?;
    Ok(digest)
}

/// Puts a layer in and unpacks it; blob and tar stream.
pub(crate) fn put_layer(ingest: &Ingest, layer: &[u8]) -> Result<(Digest, Digest), ImageError> {
    let blob = put(ingest, &gzip(layer))?;
    let diff_id = Digest::of(layer);
    ingest.unpack(&blob, &diff_id, &|_| {})?;
    Ok((blob, diff_id))
}

/// Puts manifest and configuration in; the configuration's own part is `config`.
pub(crate) fn put_manifest(
    ingest: &Ingest,
    layers: &[(Digest, Digest)],
    config: &str,
) -> Result<Digest, ImageError> {
    let list = |of: &dyn Fn(&(Digest, Digest)) -> String| layers.iter().map(of).collect::<Vec<_>>().join(",");
    let diff_ids = list(&|(_, diff_id)| format!("\"{diff_id}\""));
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{config},"rootfs":{{"type":"layers","diff_ids":[{diff_ids}]}}}}"#
    );
    let size = config.len();
    let config = put(ingest, config.as_bytes())?;
    let layers = list(&|(blob, _)| {
        format!(r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{blob}","size":1}}"#)
    });
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":{size}}},"layers":[{layers}]}}"#
    );
    put(ingest, manifest.as_bytes())
}
