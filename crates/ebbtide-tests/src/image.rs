//! Images made by a test: layers entry by entry, and the OCI layout around them.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// As most layers are.
    Gzip,
    /// As newer tools do it.
    Zstd,
}

/// What an entry is like beside its name and content.
#[derive(Debug, Clone)]
pub struct Meta {
    /// The permission bits, set-user-id and its like included.
    pub mode: u32,
    /// The owner.
    pub uid: u64,
    /// The group.
    pub gid: u64,
    /// When it was changed, in seconds.
    pub mtime: u64,
    /// Extended attributes.
    pub xattrs: Vec<(String, Vec<u8>)>,
}

impl Meta {
    /// Of root, with this mode, from 2001.
    pub fn new(mode: u32) -> Self {
        Self { mode, uid: 0, gid: 0, mtime: 1_000_000_000, xattrs: Vec::new() }
    }

    /// The same with another owner.
    #[must_use]
    pub fn of(mut self, uid: u64, gid: u64) -> Self {
        (self.uid, self.gid) = (uid, gid);
        self
    }

    /// The same, changed at another time.
    #[must_use]
    pub fn at(mut self, mtime: u64) -> Self {
        self.mtime = mtime;
        self
    }

    /// The same with an extended attribute.
    #[must_use]
    pub fn xattr(mut self, name: &str, value: &[u8]) -> Self {
        self.xattrs.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A layer, entry by entry, in the order in which they are added.
#[derive(Debug, Clone, Default)]
pub struct Layer(Vec<u8>);

impl Layer {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// A directory.
    #[must_use]
    pub fn dir(self, path: impl AsRef<[u8]>, meta: Meta) -> Self {
        self.entry(EntryType::Directory, path, b"", meta, b"")
    }

    /// A regular file.
    #[must_use]
    pub fn file(self, path: impl AsRef<[u8]>, meta: Meta, content: impl AsRef<[u8]>) -> Self {
        self.entry(EntryType::Regular, path, b"", meta, content)
    }

    /// A symbolic link.
    #[must_use]
    pub fn symlink(self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.entry(EntryType::Symlink, path, target, Meta::new(0o777), b"")
    }

    /// Another name of a file that came before.
    #[must_use]
    pub fn hard_link(self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.entry(EntryType::Link, path, target, Meta::new(0o644), b"")
    }

    /// Takes away what the layers below have in `path`.
    #[must_use]
    pub fn whiteout(self, path: &str) -> Self {
        let path = Path::new(path);
        let name = path.file_name().expect("a name").to_str().expect("a name in UTF-8");
        let whiteout = path.with_file_name(format!(".wh.{name}"));
        self.file(whiteout.to_str().expect("a path in UTF-8"), Meta::new(0o600), b"")
    }

    /// Takes away everything that the layers below have in a directory.
    #[must_use]
    pub fn opaque(self, directory: &str) -> Self {
        self.file(format!("{directory}/.wh..wh..opq"), Meta::new(0o600), b"")
    }

    /// Any entry, with its names as they are.
    ///
    /// # Panics
    /// When a name or an attribute is longer than any format takes.
    #[must_use]
    pub fn entry(
        mut self,
        kind: EntryType,
        path: impl AsRef<[u8]>,
        link: impl AsRef<[u8]>,
        meta: Meta,
        content: impl AsRef<[u8]>,
    ) -> Self {
        let (path, link, content) = (path.as_ref(), link.as_ref(), content.as_ref());
        let records: Vec<u8> = meta
            .xattrs
            .iter()
            .flat_map(|(name, value)| record(format!("SCHILY.xattr.{name}").as_bytes(), value))
            .collect();
        for (kind, before) in [
            (EntryType::XHeader, records),
            (EntryType::GNULongName, long(path)),
            (EntryType::GNULongLink, long(link)),
        ] {
            if !before.is_empty() {
                self.raw(kind, b"././@LongLink", b"", &Meta::new(0o644), &before);
            }
        }
        self.raw(kind, &path[..path.len().min(100)], &link[..link.len().min(100)], &meta, content);
        self
    }

    fn raw(&mut self, kind: EntryType, path: &[u8], link: &[u8], meta: &Meta, content: &[u8]) {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(meta.mode);
        header.set_uid(meta.uid);
        header.set_gid(meta.gid);
        header.set_mtime(meta.mtime);
        header.set_size(content.len() as u64);
        let gnu = header.as_gnu_mut().expect("a GNU header");
        gnu.name[..path.len()].copy_from_slice(path);
        gnu.linkname[..link.len()].copy_from_slice(link);
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    /// The tar stream.
    pub fn tar(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

/// A name that its header does not hold, as it comes before.
fn long(name: &[u8]) -> Vec<u8> {
    if name.len() > 100 { [name, &[0]].concat() } else { Vec::new() }
}

/// A record of an extended header.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (1..).map(|digits| rest + digits).find(|length| rest + length.to_string().len() == *length);
    let length = length.expect("a length");
    [format!("{length} ").as_bytes(), key, b"=", value, b"\n"].concat()
}

/// An image for this machine: its configuration and its layers as tar streams, the bottom first.
#[derive(Debug, Clone, Default)]
pub struct TestImage {
    /// The part `config` of the configuration.
    pub config: Value,
    /// The layers.
    pub layers: Vec<(Vec<u8>, Compression)>,
}

impl TestImage {
    /// One without layers, which says nothing of how to be run.
    pub fn new() -> Self {
        Self { config: json!({}), layers: Vec::new() }
    }

    /// The same, with another part `config` of the configuration.
    #[must_use]
    pub fn config(mut self, config: Value) -> Self {
        self.config = config;
        self
    }

    /// The same with one layer more.
    #[must_use]
    pub fn layer(mut self, layer: Layer, compression: Compression) -> Self {
        self.layers.push((layer.tar(), compression));
        self
    }

    /// Writes an OCI layout into a new directory, in which the image is called `reference`.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, directory: &Path, reference: &str) -> Written {
        let blobs = directory.join("blobs/sha256");
        fs::create_dir_all(&blobs).expect("make the layout");
        let blob = |bytes: &[u8]| {
            let hex = hex(bytes);
            fs::write(blobs.join(&hex), bytes).expect("write a blob");
            format!("sha256:{hex}")
        };
        let mut layers = Vec::new();
        let mut diff_ids = Vec::new();
        for (tar, compression) in &self.layers {
            let bytes = compressed(tar, *compression);
            let suffix = match compression {
                Compression::None => "",
                Compression::Gzip => "+gzip",
                Compression::Zstd => "+zstd",
            };
            diff_ids.push(format!("sha256:{}", hex(tar)));
            layers.push(json!({
                "mediaType": format!("application/vnd.oci.image.layer.v1.tar{suffix}"),
                "digest": blob(&bytes), "size": bytes.len(),
            }));
        }
        let config = json!({
            "architecture": architecture(), "os": "linux", "created": "2001-09-09T01:46:40Z", "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": diff_ids.iter().map(|_| json!({"created_by": "a test"})).collect::<Vec<_>>(),
        })
        .to_string();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": layers,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json", "digest": blob(config.as_bytes()),
                "size": config.len(),
            },
        })
        .to_string();
        let digest = blob(manifest.as_bytes());
        let index = json!({"schemaVersion": 2, "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": manifest.len(),
            "annotations": {"org.opencontainers.image.ref.name": reference},
        }]});
        fs::write(directory.join("index.json"), index.to_string()).expect("write the index");
        fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
            .expect("write the layout");
        Written { digest, diff_ids }
    }
}

/// What a layout holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The digest of the manifest.
    pub digest: String,
    /// The digests of the layers as they are unpacked.
    pub diff_ids: Vec<String>,
}

/// What images call the processor of this machine.
pub fn architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

/// Bytes, compressed.
///
/// # Panics
/// Never, in memory.
pub fn compressed(bytes: &[u8], compression: Compression) -> Vec<u8> {
    match compression {
        Compression::None => bytes.to_vec(),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).expect("write to memory");
            encoder.finish().expect("write to memory")
        }
        Compression::Zstd => zstd::encode_all(bytes, 1).expect("write to memory"),
    }
}

/// The SHA-256 digest of bytes, in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
