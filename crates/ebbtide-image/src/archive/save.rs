//! Images of the store as files that other tools read.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::files::Part;
use super::{CONTAINERD_NAME, Progress, REF_NAME, SaveError};
use crate::layer::decoder;
use crate::media_type::{OCI_INDEX, OCI_MANIFEST};
use crate::{Digest, Encoding, HeldImage, Image, ImageName, Store};

/// Writes an image as an OCI layout in a tar archive. The same image gives the same bytes.
///
/// # Errors
/// When the image is gone or damaged, or `out` takes no more.
pub fn save_oci_archive(
    store: &Store,
    image: &Image,
    name: &ImageName,
    out: impl Write,
    progress: Progress<'_>,
) -> Result<(), SaveError> {
    let save = Save::begin(store, image, name, progress)?;
    archive(out, |sink| save.layout(sink))
}

/// Writes an image as an OCI layout into an empty directory.
///
/// # Errors
/// When the image is gone or damaged, or something cannot be written.
pub fn save_oci_directory(
    store: &Store,
    image: &Image,
    name: &ImageName,
    directory: &Path,
    progress: Progress<'_>,
) -> Result<(), SaveError> {
    let save = Save::begin(store, image, name, progress)?;
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(directory.join("blobs/sha256"))?;
    save.layout(&mut &*directory)
}

/// Writes an image as `docker save` does, its layers unpacked.
///
/// # Errors
/// When the image is gone or damaged, or `out` takes no more.
pub fn save_docker_archive(
    store: &Store,
    image: &Image,
    name: &ImageName,
    out: impl Write,
    progress: Progress<'_>,
) -> Result<(), SaveError> {
    let save = Save::begin(store, image, name, progress)?;
    archive(out, |sink| save.docker(sink))
}

/// Writes a tar archive of what `fill` puts in.
fn archive(
    out: impl Write,
    fill: impl FnOnce(&mut dyn Sink) -> Result<(), SaveError>,
) -> Result<(), SaveError> {
    let mut archive = tar::Builder::new(out);
    fill(&mut archive)?;
    Ok(archive.into_inner()?.flush()?)
}

/// Where files go.
trait Sink {
    fn file(&mut self, path: &str, size: u64, content: &mut dyn Read) -> io::Result<()>;
}

impl<W: Write> Sink for tar::Builder<W> {
    fn file(&mut self, path: &str, size: u64, content: &mut dyn Read) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_path(path)?;
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size);
        header.set_cksum();
        self.append(&header, content)
    }
}

impl Sink for &Path {
    fn file(&mut self, path: &str, _size: u64, content: &mut dyn Read) -> io::Result<()> {
        let mut file = File::options().write(true).create_new(true).mode(0o644).open(self.join(path))?;
        io::copy(content, &mut file)?;
        file.sync_all()
    }
}

/// One image on its way out. What is held stays, whoever collects garbage.
struct Save<'a> {
    store: &'a Store,
    image: HeldImage,
    name: &'a ImageName,
    progress: Progress<'a>,
}

impl<'a> Save<'a> {
    fn begin(
        store: &'a Store,
        image: &Image,
        name: &'a ImageName,
        progress: Progress<'a>,
    ) -> Result<Self, SaveError> {
        let held = store.hold(image.clone())?;
        let image = held.ok_or_else(|| SaveError::Gone { name: name.familiar() })?;
        Ok(Self { store, image, name, progress })
    }

    fn layout(&self, sink: &mut dyn Sink) -> Result<(), SaveError> {
        let image = &self.image.image;
        let manifest = self.blob(&image.digest)?;
        let descriptor = json!({
            "mediaType": self.media_type(&manifest)?,
            "digest": image.digest,
            "size": manifest.size(),
            "annotations": { CONTAINERD_NAME: self.name.to_string(), REF_NAME: self.name.to_string() },
        });
        let index = json!({
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [descriptor],
        });
        text(sink, "oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#)?;
        text(sink, "index.json", &index.to_string())?;
        let layers = image.layers.iter().map(|layer| layer.blob);
        let blobs: BTreeSet<Digest> = layers.chain([image.digest, image.config_digest]).collect();
        for digest in blobs {
            let part = self.blob(&digest)?;
            let size = part.size();
            self.checked(sink, &format!("blobs/sha256/{}", digest.hex()), size, part, &digest)?;
        }
        Ok(())
    }

    fn docker(&self, sink: &mut dyn Sink) -> Result<(), SaveError> {
        let image = &self.image.image;
        let config = format!("{}.json", image.config_digest.hex());
        let layers: Vec<String> =
            image.layers.iter().map(|layer| format!("{}.tar", layer.diff_id.hex())).collect();
        let entry = json!({ "Config": config, "RepoTags": [self.name.familiar()], "Layers": layers });
        text(sink, "manifest.json", &json!([entry]).to_string())?;
        let part = self.blob(&image.config_digest)?;
        self.checked(sink, &config, part.size(), part, &image.config_digest)?;
        let mut written = BTreeSet::new();
        for (layer, path) in image.layers.iter().zip(&layers) {
            if !written.insert(layer.diff_id) {
                continue;
            }
            let part = self.blob(&layer.blob)?;
            let encoding = Encoding::of(&part.head(512)?);
            // A tar wants to know the size before the content comes.
            let size = match encoding {
                Encoding::Plain => part.size(),
                _ => io::copy(&mut decoder(part.clone(), &|_| ())?, &mut io::sink())?,
            };
            self.checked(sink, path, size, decoder(part, &|_| ())?, &layer.diff_id)?;
        }
        Ok(())
    }

    /// Writes a file whose digest is known, and checks it.
    fn checked(
        &self,
        sink: &mut dyn Sink,
        path: &str,
        size: u64,
        content: impl Read,
        digest: &Digest,
    ) -> Result<(), SaveError> {
        let mut content = Watched { content, hasher: Sha256::new(), progress: self.progress };
        sink.file(path, size, &mut content)?;
        if Digest::from_hasher(content.hasher) != *digest {
            return Err(SaveError::Damaged { digest: digest.to_string() });
        }
        Ok(())
    }

    fn blob(&self, digest: &Digest) -> Result<Part, SaveError> {
        let file = self.store.blob(digest)?;
        let size = file.metadata()?.len();
        Ok(Part::new(Arc::new(file), 0, size))
    }

    /// What the manifest calls itself; one that does not is of the OCI, where that may be left out.
    fn media_type(&self, manifest: &Part) -> Result<String, SaveError> {
        let malformed =
            |error: serde_json::Error| SaveError::Malformed { what: "manifest", problem: error.to_string() };
        let manifest: serde_json::Value = serde_json::from_slice(&manifest.whole()?).map_err(malformed)?;
        let said = manifest["mediaType"].as_str();
        Ok(said.unwrap_or(OCI_MANIFEST).to_owned())
    }
}

fn text(sink: &mut dyn Sink, path: &str, text: &str) -> io::Result<()> {
    sink.file(path, text.len() as u64, &mut text.as_bytes())
}

/// Takes the digest of what is read.
struct Watched<'a, R> {
    content: R,
    hasher: Sha256,
    progress: Progress<'a>,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        (self.progress)(read as u64);
        Ok(read)
    }
}
