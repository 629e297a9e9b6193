//! Small images, written as OCI layouts and pushed with `skopeo`.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::Command;

use ebbtide_image::Digest;
use serde_json::{Value, json};

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// How a layer is packed.
#[derive(Clone, Copy)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// An OCI layout in a directory of its own.
pub(crate) struct Layout {
    directory: tempfile::TempDir,
    images: Vec<Value>,
}

/// Files that do not get smaller, so that a layer is as large as they are.
pub(crate) fn noise(bytes: usize) -> Vec<u8> {
    std::iter::repeat_with(|| fastrand::u8(..)).take(bytes).collect()
}

impl Layout {
    /// A layout with an image of these layers, each of one file.
    pub(crate) fn of(layers: &[(&str, Vec<u8>, Packing)]) -> Self {
        let mut layout = Self::empty();
        layout.add(("linux", native(), None), layers);
        layout
    }

    /// A layout with an image of one file, which is so many zeros and nearly nothing when it is packed.
    pub(crate) fn of_zeros(bytes: u64) -> Self {
        let mut header = tar::Header::new_gnu();
        header.set_path("zeros").unwrap();
        header.set_size(bytes);
        header.set_mode(0o644);
        header.set_cksum();

        let archive =
            || header.as_bytes().as_slice().chain(io::repeat(0).take(bytes)).chain(io::repeat(0).take(1024));
        let mut hasher = sha2::Sha256::default();
        io::copy(&mut archive(), &mut hasher).unwrap();
        let layer = zstd::encode_all(archive(), 1).unwrap();
        let hex: String = sha2::Digest::finalize(hasher).iter().map(|byte| format!("{byte:02x}")).collect();
        let mut layout = Self::empty();
        layout.add_packed(("linux", native(), None), &[(format!("sha256:{hex}"), "+zstd", layer)]);
        layout
    }

    pub(crate) fn empty() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("blobs/sha256")).unwrap();
        fs::write(directory.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self { directory, images: Vec::new() }
    }

    /// Adds an image for a kind of machine; returns its digest.
    pub(crate) fn add(
        &mut self,
        platform: (&str, &str, Option<&str>),
        layers: &[(&str, Vec<u8>, Packing)],
    ) -> String {
        let packed = layers.iter().map(|(path, content, packing)| {
            let archive = tar_of(path, content);
            let diff_id = Digest::of(&archive).to_string();
            match packing {
                Packing::Plain => (diff_id, "", archive),
                Packing::Gzip => (diff_id, "+gzip", gzip(&archive)),
                Packing::Zstd => (diff_id, "+zstd", zstd::encode_all(archive.as_slice(), 1).unwrap()),
            }
        });
        self.add_packed(platform, &packed.collect::<Vec<_>>())
    }

    /// As [`Layout::add`]; each layer is its diff id, how its type ends, and itself.
    fn add_packed(
        &mut self,
        (os, architecture, variant): (&str, &str, Option<&str>),
        layers: &[(String, &str, Vec<u8>)],
    ) -> String {
        let (mut diff_ids, mut descriptors) = (Vec::new(), Vec::new());
        for (diff_id, suffix, bytes) in layers {
            diff_ids.push(diff_id);
            descriptors.push(self.blob(&format!("{OCI_LAYER}{suffix}"), bytes));
        }
        let config = json!({
            "os": os, "architecture": architecture, "variant": variant,
            "config": { "Cmd": ["/bin/true"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = self.blob(OCI_CONFIG, config.to_string().as_bytes());
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": descriptors });
        let mut manifest = self.blob(OCI_MANIFEST, manifest.to_string().as_bytes());
        let mut platform = json!({ "os": os, "architecture": architecture });
        if let Some(variant) = variant {
            platform["variant"] = json!(variant);
        }
        manifest["platform"] = platform;
        self.images.push(manifest.clone());
        manifest["digest"].as_str().unwrap().to_owned()
    }

    fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        fs::write(self.directory.path().join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": digest.to_string(), "size": bytes.len() })
    }

    /// Makes one index of all its images; returns the index' digest.
    pub(crate) fn indexed(&mut self) -> String {
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": self.images });
        let index = self.blob(OCI_INDEX, index.to_string().as_bytes());
        let digest = index["digest"].as_str().unwrap().to_owned();
        self.images = vec![index];
        digest
    }

    /// Pushes it as `name:tag`, with these further arguments of `skopeo copy`.
    pub(crate) fn push(&self, registry: &str, name: &str, more: &[&str]) {
        let index = json!({ "schemaVersion": 2, "manifests": self.images });
        fs::write(self.directory.path().join("index.json"), index.to_string()).unwrap();
        let output = Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", "--all"])
            .args(if more.contains(&"--format") { None } else { Some("--preserve-digests") })
            .args(more)
            .arg(format!("oci:{}", self.directory.path().display()))
            .arg(format!("docker://{registry}/{name}"))
            .output()
            .expect("skopeo: `cargo xtask test` installs it");
        assert!(output.status.success(), "skopeo: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A file of the layout.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The digest of its only image or index.
    pub(crate) fn digest(&self) -> String {
        self.images[0]["digest"].as_str().unwrap().to_owned()
    }

    /// The digests of the layers of its only image.
    pub(crate) fn layers(&self) -> Vec<String> {
        let hex = self.digest().replace("sha256:", "blobs/sha256/");
        let manifest: Value = serde_json::from_slice(&fs::read(self.path().join(hex)).unwrap()).unwrap();
        let layers = manifest["layers"].as_array().unwrap();
        layers.iter().map(|layer| layer["digest"].as_str().unwrap().to_owned()).collect()
    }
}

/// What this machine is called in images.
pub(crate) fn native() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn tar_of(path: &str, content: &[u8]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, path, content).unwrap();
    archive.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}
