//! Images of one layer, from a root file system.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::files::Part;
use super::ingest::{Load, NewLayer, manifest};
use super::{LoadError, spool};
use crate::{BlobWriter, Digest, Encoding, Image, ImageError, ImageName, config};

/// How an image that comes as a bare file system wants to be run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RootConfig {
    /// As whom: `user[:group]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// `NAME=VALUE`, each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// The program and its first arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// The arguments after them, or the program itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Where it starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
}

#[derive(Serialize)]
struct Configuration<'a> {
    architecture: &'a str,
    os: &'a str,
    config: &'a RootConfig,
    rootfs: RootFs,
}

#[derive(Serialize)]
struct RootFs {
    r#type: &'static str,
    diff_ids: [Digest; 1],
}

/// A configuration that says nothing of when it was made: the same files make the same image.
fn configuration(architecture: &str, config: &RootConfig, diff_id: Digest) -> Vec<u8> {
    let rootfs = RootFs { r#type: "layers", diff_ids: [diff_id] };
    let configuration = Configuration { architecture, os: "linux", config, rootfs };
    // Texts and lists: nothing that JSON could refuse.
    serde_json::to_vec(&configuration).unwrap_or_default()
}

/// From a tar archive, which is kept as it came.
pub(super) fn from_tar(
    load: &Load<'_>,
    part: &Part,
    name: &ImageName,
    config: &RootConfig,
) -> Result<Image, LoadError> {
    let encoding = spool::encoding(part, &load.label)?;
    let most = load.limits.max_blob_bytes;
    let (blob, size) = spool::digest_of(&mut part.clone(), &load.label, most, load.progress)?;
    let diff_id = match encoding {
        Encoding::Plain => blob,
        _ => {
            let mut plain = spool::decoded(part, &load.label)?;
            spool::digest_of(&mut *plain, &load.label, load.limits.max_unpacked_bytes, &|_| ())?.0
        }
    };
    load.blob(&blob, size, part)?;
    finish(load, NewLayer { blob, size, encoding }, diff_id, name, config)
}

/// From a directory. It is packed twice, once for the digest and once into the store, rather than being written twice.
pub(super) fn from_directory(
    load: &Load<'_>,
    directory: &Path,
    name: &ImageName,
    config: &RootConfig,
) -> Result<Image, LoadError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root =
        openat(CWD, directory, flags, Mode::empty()).map_err(|errno| LoadError::read(&load.label, errno))?;
    let mut sum = Sum { hasher: Sha256::new(), size: 0, progress: load.progress };
    pack(&root, directory, &mut sum)?;
    let (blob, size) = (Digest::from_hasher(sum.hasher), sum.size);
    let writer = load.writer(&blob, size)?;
    if !writer.is_complete() {
        let mut into = Into { writer, failure: None };
        let packed = pack(&root, directory, &mut into);
        let changed = |error| match error {
            ImageError::Mismatch { .. } | ImageError::Size { .. } => {
                LoadError::Changed { what: load.label.clone() }
            }
            error => error.into(),
        };
        match into.failure {
            Some(failure) => return Err(changed(failure)),
            None => packed?,
        }
        into.writer.commit().map_err(changed)?;
    }
    finish(load, NewLayer { blob, size, encoding: Encoding::Plain }, blob, name, config)
}

fn finish(
    load: &Load<'_>,
    layer: NewLayer,
    diff_id: Digest,
    name: &ImageName,
    config: &RootConfig,
) -> Result<Image, LoadError> {
    let configuration = configuration(load.platform.architecture(), config, diff_id);
    let described = config::read(&configuration)?;
    load.document(&configuration)?;
    let blob = layer.blob;
    let manifest = load.document(&manifest(&configuration, &[layer]))?;
    load.finish(&manifest, &[blob], &described, std::slice::from_ref(name))
}

fn pack(root: &OwnedFd, directory: &Path, out: &mut dyn Write) -> Result<(), LoadError> {
    ebbtide_archive::pack_root(root.as_fd(), io::BufWriter::with_capacity(spool::PIECE, out))
        .map_err(|source| LoadError::Pack { directory: directory.to_owned(), source })
}

/// Takes the digest of what is written.
struct Sum<'a> {
    hasher: Sha256,
    size: u64,
    progress: super::Progress<'a>,
}

impl Write for Sum<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        (self.progress)(bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a blob, and remembers why that failed.
struct Into {
    writer: BlobWriter,
    failure: Option<ImageError>,
}

impl Write for Into {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes).map_err(|error| {
            let told = io::Error::other(error.to_string());
            self.failure = Some(error);
            told
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
