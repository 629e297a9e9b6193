//! Images to measure with, written as OCI layouts: the same bytes each time.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use crate::Error;
use crate::peers::PROGRAM;

/// What an image is called in its layout.
pub(super) const TAG: &str = "bench";

/// The files of a layer: their paths and what they hold.
pub(super) type Files = Vec<(String, Vec<u8>)>;

/// Writes an image with these layers, the bottom first, into a new directory.
pub(super) fn write(directory: &Path, layers: impl IntoIterator<Item = Files>) -> Result<(), Error> {
    let failed = || Error::io(format!("writing an image into {}", directory.display()));
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(failed())?;
    let blob = |bytes: &[u8]| {
        let hex = hex(bytes);
        fs::write(blobs.join(&hex), bytes).map_err(failed())?;
        Ok::<_, Error>(json!({ "digest": format!("sha256:{hex}"), "size": bytes.len() }))
    };
    let with_type = |mut descriptor: serde_json::Value, kind: &str| {
        descriptor["mediaType"] = format!("application/vnd.oci.image.{kind}").into();
        descriptor
    };
    let (mut descriptors, mut diff_ids) = (Vec::new(), Vec::new());
    for files in layers {
        let tar = tar(&files).map_err(failed())?;
        diff_ids.push(format!("sha256:{}", hex(&tar)));
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        std::io::Write::write_all(&mut gzip, &tar).map_err(failed())?;
        let bytes = gzip.finish().map_err(failed())?;
        descriptors.push(with_type(blob(&bytes)?, "layer.v1.tar+gzip"));
    }
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        // No command: a sandbox that is made of it idles.
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    let config = with_type(blob(config.to_string().as_bytes())?, "config.v1+json");
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": descriptors,
    });
    let mut manifest = with_type(blob(manifest.to_string().as_bytes())?, "manifest.v1+json");
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": TAG });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(directory.join("index.json"), index.to_string()).map_err(failed())?;
    fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).map_err(failed())
}

/// `mebibytes` of files of different sizes, in five layers; half of them is text, the other half noise.
pub(super) fn large(mebibytes: usize) -> impl Iterator<Item = Files> {
    const LAYERS: usize = 5;
    const SIZES: [usize; 6] = [700, 4 << 10, 12 << 10, 60 << 10, 300 << 10, 1 << 20];
    (0..LAYERS).map(move |layer| {
        let mut left = (mebibytes << 20) / LAYERS;
        let mut files = Files::new();
        while left > 0 {
            let number = files.len();
            let size = SIZES[number % SIZES.len()].min(left);
            let seed = (layer << 32 | number) as u64;
            let even = (number / SIZES.len() + layer).is_multiple_of(2);
            let content = if even { text(seed, size) } else { noise(seed, size) };
            files.push((format!("data/{layer}/{}/{number}", number % 16), content));
            left -= size;
        }
        files
    })
}

/// The program that is run and what it needs, in the bottom one of so many layers.
pub(super) fn runnable(layers: usize) -> Result<Vec<Files>, Error> {
    let mut bottom = Files::new();
    for path in with_libraries(PROGRAM)? {
        let content = fs::read(&path).map_err(Error::io(format!("reading {path}")))?;
        bottom.push((path.trim_start_matches('/').to_owned(), content));
    }
    let above = (1..layers).map(|layer| {
        (0..8).map(|number| (format!("layers/{layer}/{number}"), text(layer as u64, 4 << 10))).collect()
    });
    Ok(std::iter::once(bottom).chain(above).collect())
}

/// A program, its loader and its libraries.
fn with_libraries(program: &str) -> Result<BTreeSet<String>, Error> {
    let output = Command::new("ldd").arg(program).output().map_err(Error::io("running `ldd`"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let libraries = said.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned);
    Ok(libraries.chain([program.to_owned()]).collect())
}

fn tar(files: &Files) -> std::io::Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    let mut made = BTreeSet::new();
    let mut append = |path: &str, kind, mode, content: &[u8]| {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.set_mtime(1_000_000_000);
        tar.append_data(&mut header, path, content)
    };
    for (path, content) in files {
        for (at, _) in path.match_indices('/') {
            if made.insert(&path[..at]) {
                append(&path[..=at], EntryType::Directory, 0o755, b"")?;
            }
        }
        append(path, EntryType::Regular, 0o755, content)?;
    }
    tar.into_inner()
}

fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// What compresses as source code does, to about a quarter.
fn text(seed: u64, size: usize) -> Vec<u8> {
    const WORDS: [&str; 16] = [
        "return", "self", "import", "value", "if", "for", "in", "the", "=", "(", "):\n    ", "None", "not",
        "def", "class", "\n",
    ];
    let mut text = Vec::with_capacity(size + 16);
    for byte in noise(seed, size) {
        if text.len() >= size {
            break;
        }
        text.extend(WORDS[usize::from(byte % 16)].as_bytes());
        text.push(b' ');
    }
    text.truncate(size);
    text
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_large_image_can_be_compressed_and_it_is_as_large_as_asked_for() {
        let files: Files = large(10).flatten().collect();
        let all: Vec<u8> = files.iter().flat_map(|(_, content)| content.clone()).collect();
        assert_eq!(all.len(), 10 << 20);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        std::io::Write::write_all(&mut gzip, &all).unwrap();
        let share = gzip.finish().unwrap().len() as f64 / all.len() as f64;
        assert!((0.5..0.8).contains(&share), "compresses to {share}");
    }

    #[test]
    fn an_image_is_the_same_each_time() {
        let [first, second] = [0, 1].map(|_| tempfile::tempdir().unwrap());
        for directory in [&first, &second] {
            write(directory.path(), runnable(3).unwrap()).unwrap();
        }
        let index = |directory: &tempfile::TempDir| fs::read(directory.path().join("index.json")).unwrap();
        assert_eq!(index(&first), index(&second));
    }
}
